"""Sockets that the system refuses: what would permit them, and what works here without."""

import _socket as socket
import errno
import os

from fastnet._typing import TYPE_CHECKING
from fastnet.errors import NotPermitted

if TYPE_CHECKING:
    from socket import socket as Socket

DATAGRAM_CURE = "allow datagram ones to your group (sysctl -w net.ipv4.ping_group_range='0 2147483647')"
_SANDBOX_CURE = "permit {} ones in the sandbox or security policy (seccomp, SELinux) that refuses them"
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_STATUS = "/proc/thread-self/status"
_NET_RAW = 1 << 13  # linux/capability.h
_BY_TCP_ALONE = "`fastnet ping --engine tcp` (without -s, -p, -M, -m and --mtu)"


def raw_cure() -> str:
    """What permits raw sockets and packet sockets to this process: capabilities(7).

    Outside of the bounding set root lacks the capability too, and a file that has it can't be executed.
    Under no_new_privs neither sudo nor a file's capabilities have an effect.
    """
    status = _status()
    is_outside = not int(status.get("CapBnd", "-1"), 16) & _NET_RAW
    is_final = is_outside or status.get("NoNewPrivs") == "1"
    ways = ["root", "AmbientCapabilities= in a systemd unit", "cap_add for root in a container"]
    if is_outside:
        ways[:2] = ["AmbientCapabilities= and CapabilityBoundingSet= in a systemd unit"]
    if not is_final and (file := _interpreter()):
        ways.append(f"setcap cap_net_raw+ep {file}, which grants it to all that this Python runs")
    since = " from the start" if is_final else ""
    return f"have the capability CAP_NET_RAW{since} ({', '.join(ways[:-1])}, or {ways[-1]})"


def _status() -> dict[str, str]:
    """The fields of this thread in proc(5); none if they are unknown."""
    try:
        with open(_STATUS, errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}


def _interpreter() -> str | None:
    """The file that is executed, never a link to it, which setcap refuses; None if that is unknown."""
    try:
        return os.readlink("/proc/self/exe")
    except OSError:
        return None


def is_permitted(family: int, kind: int) -> bool:
    """Whether such a socket can be opened here, without any protocol of its own.

    Raises OSError for a shortage, in which that is not known.
    """
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        return False
    return True


def refusal(what: str, family: int, *cures: str) -> NotPermitted:
    """The error for a socket that is refused, with its cures, and what works here without it. Raises OSError.

    Where even UDP sockets are refused, it is not for the lack of a privilege.
    """
    udp, tcp = (is_permitted(family, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    if not (cures and udp):
        refused = [what, *(name for name, fine in (("UDP", udp), ("TCP", tcp)) if not fine and name != what)]
        cures = (_SANDBOX_CURE.format(_listed(refused)),)
    free = ["`fastnet ping --engine udp`", "`trace`"] if udp else []
    if tcp:
        free += ["`ping --engine tcp`" if udp else _BY_TCP_ALONE, "`sweep --engine tcp`", "`wait`"]
    words = f"; {_listed(free)} work here" if free else ""
    return NotPermitted(errno.EPERM, f"no {what} socket is permitted here: {', or '.join(cures)}{words}")


def _listed(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def open_stream(family: int) -> "Socket":
    """A TCP socket. Raises NotPermitted, OSError."""
    from socket import socket as Socket  # only here: it takes long to load

    try:
        return Socket(family, socket.SOCK_STREAM)
    except PermissionError:
        raise refusal("TCP", family) from None


def check_stream(family: int) -> None:
    """Raises NotPermitted where TCP sockets are refused; what else is wrong is for the first connection."""
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except PermissionError:
        raise refusal("TCP", family) from None
    except OSError:
        return
