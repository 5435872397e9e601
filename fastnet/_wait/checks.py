"""One check of a service at one address, with the result up, not up, or unknown.

A check that passes returns; any other raises Fault. An interrupted check is neither up nor gone.
"""

import _socket as socket
import errno
import time

from fastnet._connect import connect_one, describe
from fastnet._steps import READABLE, WRITABLE, Steps, Wait, earliest
from fastnet._typing import Literal
from fastnet._wait.fault import CLOSES, Fault
from fastnet._wait.http import Reply, build_request
from fastnet._wait.targets import Target
from fastnet.endpoints import Resolved, has_no_route

Check = Literal["connect", "stable", "banner"]
CHECKS = ("connect", "stable", "banner")
"""Whether a connection must be accepted, stay open for a moment, or receive data from the server."""

STABLE_SECONDS = 0.2
"""How long a connection must stay open to count as stable; data from the server ends it at once."""

_CHUNK_BYTES = 16384
_CLOSED = (errno.ECONNRESET, errno.EPIPE)
"""The errors of a connection that the server closed, even during the connect."""
_NOBODY_THERE = frozenset(
    {
        *(errno.ECONNREFUSED, errno.ECONNABORTED, errno.ENOENT, errno.ENOTDIR, errno.EPROTOTYPE),
        *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EAFNOSUPPORT),
        errno.ENOPROTOOPT,  # protocol unreachable
    }
)


class Checker:
    """How services are checked: by which check, and until when (``time.monotonic()``)."""

    def __init__(self, check: Check, attempt_timeout: float, deadline: float | None) -> None:
        self._check = check
        self._attempt_timeout = attempt_timeout
        self._deadline = deadline

    def check(self, target: Target, address: Resolved) -> Steps[Resolved]:
        """The address, if a fresh connection to it passes the check. Raises Fault."""
        try:
            yield from self._checked(target, address)
        except Fault:
            raise
        except OSError as error:
            raise self._fault(error, address) from None
        return address

    def _checked(self, target: Target, address: Resolved) -> Steps[None]:
        began = time.monotonic()
        try:
            sock = yield from connect_one(address, self._answer_by(began))
        except TimeoutError:
            raise self._no_answer(began) from None
        except (ConnectionResetError, BrokenPipeError):
            # Sometimes so soon that connect() itself fails; it was accepted all the same.
            if self._check == "connect" and not target.get:
                return
            raise
        try:
            if target.endpoint and target.get:
                yield from self._ask(sock, build_request(target.endpoint, target.get))
            elif self._check == "stable":
                yield from self._stay(sock)
            elif self._check == "banner":
                yield from self._listen(sock)
        finally:
            sock.close()

    def _answer_by(self, began: float) -> float:
        until = began + self._attempt_timeout
        return until if self._deadline is None else min(until, self._deadline)

    def _no_answer(self, began: float) -> Fault:
        waited = max(0.001, self._answer_by(began) - began)
        return Fault(f"no answer within {waited:.3g} s", is_known=False)

    def _stay(self, sock: socket.socket) -> Steps[None]:
        enough = time.monotonic() + STABLE_SECONDS
        if (yield Wait(sock.fileno(), READABLE, earliest(self._deadline, enough))):
            if not sock.recv(1):
                raise Fault(CLOSES, is_known=True)
        elif self._deadline is not None and self._deadline < enough:
            raise Fault(f"accepts, but was not seen to stay open for {STABLE_SECONDS:g} s", is_known=False)

    def _listen(self, sock: socket.socket) -> Steps[None]:
        began = time.monotonic()
        if not (yield Wait(sock.fileno(), READABLE, self._answer_by(began))):
            raise Fault("accepts, but sends nothing", is_known=False)
        if not sock.recv(1):
            raise Fault(CLOSES, is_known=True)

    def _ask(self, sock: socket.socket, request: bytes) -> Steps[None]:
        began = time.monotonic()
        until = self._answer_by(began)
        unsent = memoryview(request)
        reply = Reply()
        status = None
        while status is None:
            events = READABLE | (WRITABLE if unsent else 0)
            # Data that arrived in time counts; slowly dripping bytes do not extend the deadline.
            if time.monotonic() >= until or not (yield Wait(sock.fileno(), events, until)):
                raise self._no_answer(began)
            unsent = unsent[_send(sock, unsent) :]
            try:
                status = reply.take(sock.recv(_CHUNK_BYTES))
            except BlockingIOError:
                continue
        if not 200 <= status < 400:
            raise Fault(f"HTTP status {status}", is_known=True)

    def _fault(self, error: OSError, address: Resolved) -> Fault:
        if error.errno in _CLOSED:
            return Fault(CLOSES, is_known=True)
        no_route = error.errno == errno.EADDRNOTAVAIL and has_no_route(address)
        return Fault(describe(error), no_route or error.errno in _NOBODY_THERE, error.errno)


def _send(sock: socket.socket, data: memoryview) -> int:
    """How much was sent: all, where nobody reads any more, since an answer may have come before that."""
    try:
        return sock.send(data) if data else 0
    except BlockingIOError:
        return 0
    except (ConnectionResetError, BrokenPipeError):
        return len(data)
