"""Connecting to the first of several addresses that accepts: Happy Eyeballs (RFC 8305).

The addresses are tried in the resolver's order with alternating families, one more each 250 ms, and
at once when one fails; the first success closes the others. ``connect`` is for a socket and
``race`` for whatever else is asked of an address. Both are steps: ``run`` and ``run_async`` take them,
closing them ends every connection that is under way, and a deadline is a ``time.monotonic()``.
"""

import _socket as socket
import errno
import os
import time
from _collections_abc import Callable, Iterable
from itertools import zip_longest

from fastnet._steps import WRITABLE, Steps, Together, Wait, earliest
from fastnet._typing import NamedTuple, TypeVar, deque
from fastnet.endpoints import Resolved

T = TypeVar("T")

DELAY_SECONDS = 0.25
"""Time after which the next address is tried beside those without an answer (RFC 8305, section 5)."""

_RESET = (errno.ECONNRESET, errno.EPIPE)
"""What connecting itself gives where the server accepted and reset sooner than that was seen."""
_QUEUE_PAUSE = 0.01
"""Time between two connects to a Unix socket whose queue of connections is full."""


class Failure(NamedTuple):
    """Why one address did not succeed."""

    address: Resolved
    error: OSError


class NoneReached(OSError):
    """No address succeeded; ``failures`` are the reasons, in the order in which they were known."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self.failures = tuple(failures)
        super().__init__(", ".join(dict.fromkeys(describe(failure.error) for failure in self.failures)))


def connect(addresses: Iterable[Resolved], deadline: float | None = None) -> Steps[socket.socket]:
    """A TCP or Unix connection to the first address that accepts, as a non-blocking socket.

    Raises NoneReached with every address's error; TimeoutError stands for those without an answer.
    """
    return race(addresses, lambda address: connect_one(address, deadline))


def race(addresses: Iterable[Resolved], attempt: Callable[[Resolved], Steps[T]]) -> Steps[T]:
    """The result of the first attempt that does not raise OSError. Raises NoneReached if all do."""
    waiting = deque(interleave(addresses))
    failures: list[Failure] = []
    with Together[T | Failure]() as attempts:
        while waiting or attempts.running:
            if waiting:
                attempts.start(_tried(waiting.popleft(), attempt))
            next_start = time.monotonic() + DELAY_SECONDS if waiting else None
            failed = False
            while not failed and (next_start is None or time.monotonic() < next_start):
                for ended in attempts.advance():
                    if not isinstance(ended, Failure):
                        return ended
                    failures.append(ended)
                    failed = True
                if not failed:
                    yield attempts.wait(next_start)
    raise NoneReached(failures)


def _tried(address: Resolved, attempt: Callable[[Resolved], Steps[T]]) -> Steps[T | Failure]:
    try:
        return (yield from attempt(address))
    except OSError as error:
        return Failure(address, error)


def interleave(addresses: Iterable[Resolved]) -> list[Resolved]:
    """The addresses with alternating families, each family in its own order (RFC 8305, section 4)."""
    families: dict[int, list[Resolved]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address]


def connect_one(address: Resolved, deadline: float | None = None) -> Steps[socket.socket]:
    """A connection to one address, as a non-blocking socket.

    Raises the connection's OSError, or TimeoutError if there is no answer by the deadline.
    """
    if deadline is not None and time.monotonic() >= deadline:
        raise _error(errno.ETIMEDOUT)
    sock = _open(address.family)
    try:
        sock.setblocking(False)
        while (code := sock.connect_ex(address.address)) == errno.EAGAIN:  # unix(7): its queue is full
            if deadline is not None and time.monotonic() >= deadline:
                raise _error(errno.ETIMEDOUT)
            yield Wait(-1, 0, earliest(deadline, time.monotonic() + _QUEUE_PAUSE))
        if code == errno.EINPROGRESS and not (code := outcome(sock)):
            answered = yield Wait(sock.fileno(), WRITABLE, deadline)
            code = outcome(sock) or (0 if answered else errno.ETIMEDOUT)
        if code in _RESET and _has_sent(sock):
            code = 0  # it was accepted, and what came before its end is still there to read
        if not code and _is_to_itself(sock, address):
            code = errno.ECONNREFUSED
        if code and address.family == socket.AF_UNIX:
            raise _error(code)
        if code:
            raise OSError(code, explain(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _open(family: int) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except PermissionError as error:
        raise OSError(error.errno, "no stream socket is permitted here") from None


def outcome(sock: socket.socket) -> int:
    """How connecting ended, or 0.

    An ICMP error that arrives while connect(2) holds the socket, as one from a namespace of this machine
    does, only sets the soft error: the attempt goes on, and SO_ERROR returns it.

    Whoever prohibits it on the way has the system give EACCES for IPv6, as a prohibit route here does, and
    EHOSTUNREACH for IPv4: that is returned for both.
    """
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.EHOSTUNREACH if code == errno.EACCES else code


_CAUSES = {
    errno.EACCES: " (a prohibit route)",
    errno.EINVAL: " (a blackhole route, or a link-local address without its interface)",
}


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def explain(code: int) -> str:
    """The reason for which the system does not connect, from its errno."""
    return os.strerror(code) + _CAUSES.get(code, "")


def _is_to_itself(sock: socket.socket, address: Resolved) -> bool:
    """Whether the socket is connected to its own port: nobody listens there (RFC 9293, section 3.5)."""
    return address.family != socket.AF_UNIX and sock.getsockname()[:2] == address.address[:2]


def _has_sent(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def describe(error: OSError) -> str:
    """The error in a few words."""
    return error.strerror.lower() if error.strerror else str(error)
