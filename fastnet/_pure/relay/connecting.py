"""The phase of connecting to the upstreams in turn, each by all of its addresses.

The addresses of one upstream are tried as in "Happy Eyeballs" (RFC 8305): the next attempt begins when one
fails, or after 250 ms without an answer. The first to succeed is used; its address is tried first next time.
"""

from __future__ import annotations

import errno
import socket
import time

from fastnet._pure.relay.loop import ERR, NEVER, OUT
from fastnet._pure.relay.prefixes import ip_of
from fastnet._pure.relay.proxy import build
from fastnet._pure.relay.side import Side
from fastnet._pure.relay.sockets import SHORTAGES, peername
from fastnet._pure.relay.steps import Ended, Refused
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._contract.relay import Address
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.steps import Event, Steps
    from fastnet._pure.relay.upstream import Upstream

RETRY_PAUSE = 0.02
NEXT_ADDRESS = 0.25
"""Seconds without an answer after which the next address is connected to as well (RFC 8305, section 5)."""
_IP_BIND_ADDRESS_NO_PORT = 24
_RESET = (errno.ECONNRESET, errno.EPIPE)
_PASSING = {*SHORTAGES, errno.EADDRNOTAVAIL, errno.EAGAIN}
"""Also: no local port is free, and a Unix listener's backlog is full."""


def connect(connection: Connection) -> Steps[Side]:
    """The side of an upstream that is connected. If all fail by errors that may pass, tries again."""
    lane, rule = connection.lane, connection.lane.rule
    give_up = time.monotonic() + lane.options.connect_timeout
    connection.down.watch(0)
    connecting = Connecting(connection)
    while True:
        errors: set[int] = set()
        for upstream in rule._choice.order(rule._upstreams):
            side = yield from connecting.connect_to(upstream)
            if side:
                return side
            if connecting.errors - _PASSING:
                upstream._failed(lane.options)
            errors |= connecting.errors
        if not errors or errors - _PASSING or time.monotonic() >= give_up:
            lane.counters.unreachable += 1
            if lane.options.rewrite:
                raise Refused(502, "the upstream can't be connected to", "unreachable")
            raise Ended("unreachable", abort=True)
        for code in errors - {errno.EAGAIN}:
            lane.shortage(code)
        yield from connecting.wait(time.monotonic() + RETRY_PAUSE)


class Connecting:
    """The attempts at the addresses of one upstream."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lane = connection.lane
        self._attempts = connection.attempts
        self._has_failed = False  # Since the last connect began.
        self._next_due = 0.0  # When the next one may begin in parallel.
        self.errors: set[int] = set()
        """Why the addresses of the last upstream could not be connected to."""

    def connect_to(self, upstream: Upstream) -> Steps[Side | None]:
        """The side of the first attempt that succeeds; None if all fail."""
        self.errors.clear()
        addresses = upstream._in_order()
        late = time.monotonic() + self._lane.options.connect_timeout
        while addresses or self._attempts:
            if addresses and (not self._attempts or time.monotonic() >= self._next_due):
                side = self._begin(addresses.pop(0))
            elif event := (yield from self.wait(min(late, self._next_due if addresses else NEVER))):
                side = self._outcome(*event)
            elif time.monotonic() >= late:
                self._lane.rule._report_failure()
                self._note_failure(errno.ETIMEDOUT)
                break
            else:
                continue
            if side:
                self._succeed(upstream, side)
                return side
        self._connection.drop_attempts()
        return None

    def wait(self, until: float) -> Steps[Event | None]:
        """An attempt and its events; None if the time has come."""
        down = self._connection.down
        while event := (yield until):
            side, events = event
            if side is not down:
                return event
            if events & ERR:
                raise Ended("client reset", abort=True)
            side.gone = True  # A Unix client has closed; its data is still to be read.
            side.watch(0)
        return None

    def _begin(self, address: Address) -> Side | None:
        """Begin to connect to an address; its side, if it is connected at once."""
        self._lane.counters.connects_retried += self._has_failed
        self._has_failed = False
        side = None
        try:
            side = Side(self._socket(address[0]), self._connection)
            if self._lane.options.transparent:
                self._bind_to_client(side.sock)
            code = side.sock.connect_ex(address[1])
            if code == errno.EINPROGRESS:
                side.watch(OUT)
        except OSError as error:
            code = error.errno or errno.EINVAL
        if side and code in (0, errno.EINPROGRESS):
            self._attempts[side] = address
            self._next_due = time.monotonic() + NEXT_ADDRESS
            return None if code else side
        if side:
            side.close()
        self._fail(code)
        return None

    def _outcome(self, side: Side, _events: int) -> Side | None:
        """Handle the end of an attempt; its side, if it is connected."""
        error = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # A connect to a local port without a listener may reach its own socket (RFC 9293, section 3.5).
        if (error and error not in _RESET) or side.sock.getsockname() == peername(side.sock):
            del self._attempts[side]
            side.close()
            self._fail(error)
            return None
        # It may be connected and already reset; data that it sent in between can be read.
        side.broken = bool(error)
        return side

    def _fail(self, code: int) -> None:
        self._note_failure(code)
        if code not in _PASSING:
            self._lane.rule._report_failure()

    def _note_failure(self, code: int) -> None:
        self._next_due = 0.0
        self._has_failed = True
        self.errors.add(code)

    def _succeed(self, upstream: Upstream, side: Side) -> None:
        address = self._attempts.pop(side)
        self._connection.drop_attempts()
        upstream._failures = 0
        upstream._prefer(address)
        version = self._lane.options.send_proxy
        if version:
            # A new socket takes so few bytes at once; the next phase handles a broken one.
            try:
                header = build(version, self._connection.client, self._connection.destination)
                side.sock.send(header, socket.MSG_NOSIGNAL)
            except OSError:
                side.broken = True
        self._connection.connected(side, address, upstream)

    def _socket(self, family: int) -> socket.socket:
        sock, self._connection.spare = self._connection.spare, None
        if sock and sock.family == family:
            return sock
        if sock:
            sock.close()
        return socket.socket(family, socket.SOCK_STREAM)

    def _bind_to_client(self, sock: socket.socket) -> None:
        """Let the upstream see the client's address (IP_TRANSPARENT, ip(7)), at any free port."""
        ip = ip_of(self._connection.client)
        if ip is None or sock.family != (socket.AF_INET if len(ip) == 4 else socket.AF_INET6):
            raise OSError(errno.EAFNOSUPPORT, "the client's address is of another family")
        host = socket.inet_ntop(sock.family, ip)
        scope = self._connection.client[1][2:] if sock.family == socket.AF_INET6 else ()
        sock.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
        sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((host, 0, *scope))
