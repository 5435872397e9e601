"""Sockets in another network namespace, without moving the calling thread (setns(2))."""

import _socket as socket
import errno
import os
import sys

from fastnet._contract.values import quoted
from fastnet.errors import InvalidArgument, NotPermitted

_CLONE_NEWNET = 0x40000000
_NAMED = "/run/netns"
"""Where ip-netns(8) keeps the namespaces that have a name."""

Namespace = str | int | os.PathLike[str]
"""A name of ``ip netns``, a path, or the id of a process in the namespace."""


def path_of(netns: Namespace) -> str:
    """The file of a namespace. Raises InvalidArgument for what can't be one."""
    if isinstance(netns, int) and not isinstance(netns, bool) and 0 < netns < 1 << 31:
        return f"/proc/{netns}/ns/net"
    if isinstance(netns, os.PathLike):
        return os.fspath(netns)
    if not isinstance(netns, str) or netns in ("", ".", "..") or "\0" in netns:
        raise InvalidArgument(f"netns {quoted(netns)}: expected a name of `ip netns`, a path or a process id")
    return netns if "/" in netns else f"{_NAMED}/{netns}"


def open_sockets(netns: Namespace, family: int, kind: int, protocols: tuple[int, ...]) -> list[int]:
    """Descriptors of new sockets of each protocol, opened by a thread that moves to the namespace and ends.

    Raises InvalidArgument for what is no network namespace, FileNotFoundError where there is none,
    NotPermitted, OSError.
    """
    import threading  # only here: rarely needed

    opened: list[int] = []
    failures: list[Exception] = []
    path = path_of(netns)

    def work() -> None:
        try:
            _enter(path, netns)
            opened.extend(socket.socket(family, kind, protocol).detach() for protocol in protocols)
        except Exception as error:  # the caller's, of whatever kind
            failures.append(error)

    thread = threading.Thread(target=work, name="fastnet-netns")
    thread.start()
    thread.join()
    if failures:
        for each in opened:
            os.close(each)
        raise failures[0]
    return opened


def _enter(path: str, netns: Namespace) -> None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"netns {quoted(netns)}: there is no such network namespace"
        ) from None
    except PermissionError as error:
        raise NotPermitted(error.errno, f"netns {quoted(netns)}: {path} may not be opened") from None
    try:
        _setns(file)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise InvalidArgument(f"netns {quoted(netns)}: {path} is not a network namespace") from None
        if error.errno == errno.EPERM:
            words = f"netns {quoted(netns)}: to enter it needs CAP_SYS_ADMIN (root has it)"
            raise NotPermitted(error.errno, words) from None
        raise
    finally:
        os.close(file)


def _setns(file: int) -> None:
    if sys.version_info >= (3, 12):
        os.setns(file, _CLONE_NEWNET)
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(file, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
