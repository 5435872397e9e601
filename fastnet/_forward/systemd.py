"""The interface to systemd: inherited sockets, and notifications.

The protocols are sd_listen_fds(3) and sd_notify(3). Started by something else, a process inherits nothing
and nobody is notified.
"""

import os
import socket
from _collections_abc import Callable
from contextlib import ExitStack

from fastnet._limits import MAX_SECONDS
from fastnet._threads import Repeated
from fastnet.errors import InvalidArgument

__all__ = ["Watchdog", "inherited", "notify", "watchdog_interval"]

_FIRST_DESCRIPTOR = 3
_MOST_DESCRIPTORS = 1024
_SECONDS = 1.0
"""Seconds that systemd has to take a message."""
_UNNAMED = "unknown"
"""systemd's name of a socket without a name in its unit."""


def inherited(name: str = "") -> list[socket.socket]:
    """The sockets of this name that systemd passed on (``FileDescriptorName=``); all without a name.

    They are duplicates, so this can be called again. Raises InvalidArgument if there is none
    of this name, or where one is a connection (``Accept=yes``), and OSError for what is no socket.
    """
    named = _inherited_descriptors()
    wanted = [descriptor for descriptor, given in named if name in ("", given)]
    if not wanted:
        there = ", ".join(dict.fromkeys(given for _, given in named)) or "none"
        raise InvalidArgument(f"systemd:{name}: no such socket was inherited: there is {there}")
    with ExitStack() as undo:
        sockets = []
        for descriptor in wanted:
            sockets.append(undo.enter_context(_duplicate(descriptor)))
            _check_serves(sockets[-1], name)
        undo.pop_all()
    return sockets


def _inherited_descriptors() -> list[tuple[int, str]]:
    """Each descriptor that was passed to this very process, with its name."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = _whole("LISTEN_FDS", 0, _MOST_DESCRIPTORS)
    names = os.environ.get("LISTEN_FDNAMES")
    given = names.split(":") if names else [_UNNAMED] * count
    if len(given) != count:
        raise InvalidArgument(f"LISTEN_FDNAMES={names!r}: expected as many names as LISTEN_FDS={count}")
    return list(zip(range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count), given, strict=True))


def _duplicate(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        return socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise OSError(error.errno, f"LISTEN_FDS: descriptor {descriptor}: {error.strerror}") from None


def _check_serves(sock: socket.socket, name: str) -> None:
    if sock.type == socket.SOCK_STREAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise InvalidArgument(f"systemd:{name}: expected a socket that listens, with Accept=no")


def notify(**news: str | int) -> bool:
    """Notify systemd: ``notify(READY=1, STATUS="two rules")``. False where nobody listens.

    Raises InvalidArgument for a NOTIFY_SOCKET that is neither a path nor ``@abstract``, and OSError where it
    can't be notified.
    """
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return False
    if place[0] not in "/@":
        raise InvalidArgument(f"NOTIFY_SOCKET={place!r}: expected a path or @name")
    address = "\0" + place[1:] if place[0] == "@" else place
    text = "\n".join(f"{key}={value}" for key, value in news.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_SECONDS)
        try:
            sock.connect(address)
            sock.sendall(text.encode())
        except OSError as error:
            raise OSError(error.errno, f"NOTIFY_SOCKET={place}: {error.strerror or error}") from None
    return True


def watchdog_interval() -> float | None:
    """Seconds from one WATCHDOG=1 to the next: half of what systemd allows. None where it keeps no watch."""
    if "WATCHDOG_USEC" not in os.environ:
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return _whole("WATCHDOG_USEC", 1, MAX_SECONDS * 1_000_000) / 2_000_000


class Watchdog:
    """Notifies systemd every ``interval`` seconds, from a thread of its own, that ``prove`` returned.

    ``prove()`` is what only a working service does in time: while it hangs, systemd hears nothing, and acts.
    ``warn`` is called with a line of text where systemd can't be notified.
    """

    def __init__(self, interval: float, prove: Callable[[], object], warn: Callable[[str], None]) -> None:
        def step() -> None:
            prove()
            notify(WATCHDOG=1)

        self._repeated = Repeated(step, "fastnet-watchdog", "watchdog", warn, interval)

    def stop(self) -> None:
        """Notify no more."""
        self._repeated.end()


def _whole(variable: str, low: int, high: int) -> int:
    text = os.environ.get(variable, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise InvalidArgument(f"{variable}={text!r}: expected a whole number from {low} to {high}")
    return int(text)
