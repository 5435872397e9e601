"""Relaying between two connected sockets."""

import socket
import sys

from fastnet._backend import relay as _core
from fastnet._coroutines import coroutine_of
from fastnet._limits import quoted
from fastnet._results import as_dict, shown
from fastnet._threads import Work
from fastnet._typing import Any, NamedTuple
from fastnet.errors import InvalidArgument


class Relayed(NamedTuple):
    """What ``relay`` moved."""

    from_a: int
    """Bytes from the first socket that were sent to the second."""
    from_b: int
    """Bytes from the second socket that were sent to the first."""
    reset: bool
    """Whether one side was reset, so that bytes may be missing."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def relay(sock_a: socket.socket, sock_b: socket.socket) -> Relayed:
    """Relay between two connected stream sockets until both directions have ended.

    It takes ownership of the sockets: the caller's objects are closed at once, the connections when it
    returns. Ctrl-C resets both. The result counts bytes. Raises InvalidArgument for an object that
    is not a plain connected stream socket.
    """
    loop, counters = _joined(sock_a, sock_b)
    try:
        # Signals are handled in the main thread, which the loop would block.
        Work(loop.run, "fastnet-relay").result()
    except BaseException:
        loop.stop()
        raise
    return _relayed(counters)


@coroutine_of(relay)
async def relay_async(sock_a: socket.socket, sock_b: socket.socket) -> Relayed:
    """``fastnet.relay`` as a coroutine. Cancelling it resets both connections."""
    loop, counters = _joined(sock_a, sock_b)
    await Work(loop.run, "fastnet-relay").result_async(cancel=loop.stop)
    return _relayed(counters)


def _joined(sock_a: socket.socket, sock_b: socket.socket) -> tuple[_core.Loop, _core.Counters]:
    for name, sock in (("sock_a", sock_a), ("sock_b", sock_b)):
        _check_relayable(name, sock)
    if sock_a.fileno() == sock_b.fileno():
        raise InvalidArgument("sock_b: the same socket as sock_a: expected another")
    loop = _core.Loop()
    return loop, loop.join(_handed_over(sock_a), _handed_over(sock_b))


def _check_relayable(name: str, sock: object) -> None:
    if not isinstance(sock, socket.socket):
        raise InvalidArgument(f"{name} {quoted(sock)}: expected a socket")
    if "ssl" in sys.modules and isinstance(sock, sys.modules["ssl"].SSLSocket):
        raise InvalidArgument(f"{name}: a TLS socket can't be relayed: its bytes pass through its object")
    if sock.type != socket.SOCK_STREAM:
        raise InvalidArgument(f"{name} {sock.type!r}: expected a stream socket")
    try:
        sock.getpeername()
    except OSError as error:
        raise InvalidArgument(f"{name}: expected a connected socket: {error.strerror}") from None


def _handed_over(sock: socket.socket) -> socket.socket:
    return socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())


def _relayed(counters: _core.Counters) -> Relayed:
    return Relayed(counters.sent_up, counters.sent_down, bool(counters.resets))
