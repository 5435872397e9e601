"""The phase in which an upstream is connected to: one after the other, each at all of its addresses.

The addresses of one upstream are tried as "Happy Eyeballs" says (RFC 8305): the next one begins when one
fails, or after 250 ms without an answer; the first that is connected wins.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from fastnet._pure.relay.poller import ERR, OUT
from fastnet._pure.relay.prefixes import ip_of
from fastnet._pure.relay.proxy import build
from fastnet._pure.relay.side import Side

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.options import Address
    from fastnet._pure.relay.rule import Upstream

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What says that this process, or machine, has no more descriptors or memory for sockets."""

_IP_BIND_ADDRESS_NO_PORT = 24
_RESET = (errno.ECONNRESET, errno.EPIPE)
_PASSING = {*SHORTAGES, errno.EADDRNOTAVAIL, errno.EAGAIN}
"""Also: no local port is free, and a Unix listener's backlog is full."""


class Connecting:
    """``spare`` is a socket to begin with, ``early`` what the client has sent already."""

    def __init__(self, connection: Connection, spare: socket.socket | None, early: bytes) -> None:
        self._connection = connection
        self._serving = connection.serving
        self._spare = spare
        self._early = early
        self._give_up = time.monotonic() + self._serving.options.connect_timeout
        self._attempts: dict[Side, Address] = {}
        self._addresses: deque[Address] = deque()
        self._upstream: Upstream | None = None
        self._failed = 0  # Connects that failed since the last one began.
        self._errors: set[int] = set()

    def enter(self) -> None:
        self._connection.down.watch(0)
        self.begin()

    def begin(self) -> None:
        """Try all upstreams, for the first time or once more."""
        rule = self._serving.rule
        self._errors.clear()
        self._upstreams = iter(rule._choice.order(rule._upstreams))
        self.next_address()

    def leave(self) -> None:
        self._drop_attempts()
        if self._spare:
            self._spare.close()
        for timer in (self._serving.connect_timer, self._serving.next_timer, self._serving.retry_timer):
            timer.disarm(self)

    # One address after the other

    def next_address(self) -> None:
        """Begin with the next address, beside those under way; without any, go on to the next upstream."""
        while self._addresses or not self._attempts:
            if self._addresses:
                if self._connect(self._addresses.popleft()):
                    return
            elif not self._next_upstream():
                self._exhausted()
                return

    def _next_upstream(self) -> bool:
        if self._upstream and self._errors - _PASSING:
            self._upstream._failed(self._serving.options)
        self._upstream = next(self._upstreams, None)
        if self._upstream is None:
            return False
        self._addresses.extend(self._upstream._interleaved)
        self._serving.connect_timer.arm(self)
        return True

    def late(self) -> None:
        """The time for this upstream is up."""
        self._failed += len(self._attempts)
        self._errors.add(errno.ETIMEDOUT)
        self._addresses.clear()
        self._drop_attempts()
        self.next_address()

    def _exhausted(self) -> None:
        """All have failed: where that was for a reason that passes, try again while there is time."""
        if not self._errors or self._errors - _PASSING or time.monotonic() >= self._give_up:
            self._connection.unreachable()
            return
        for code in self._errors - {errno.EAGAIN}:
            self._serving.shortage(code)
        self._serving.connect_timer.disarm(self)
        self._serving.retry_timer.arm(self)

    def _connect(self, address: Address) -> bool:
        """Begin to connect; False where that fails at once."""
        self._serving.tally.connects_retried += self._failed
        self._failed = 0
        try:
            side = self._new_side(address[0])
        except OSError as error:
            return self._not_connected(error.errno)
        try:
            if self._serving.options.transparent:
                self._bind_to_client(side.sock)
            code = side.sock.connect_ex(address[1])
        except OSError as error:
            code = error.errno or errno.EINVAL
        self._attempts[side] = address
        if code == 0:
            self._connected(side)
        elif code == errno.EINPROGRESS:
            side.watch(OUT)
            if self._addresses:
                self._serving.next_timer.arm(self)
        else:
            self._drop(side)
            return self._not_connected(code)
        return True

    def _not_connected(self, code: int | None) -> bool:
        self._failed += 1
        self._errors.add(code or 0)
        return False

    def _new_side(self, family: int) -> Side:
        sock, self._spare = self._spare, None
        if sock and sock.family != family:
            sock.close()
            sock = None
        sock = sock or socket.socket(family, socket.SOCK_STREAM)
        return Side(sock, self._serving.poller, self, self._serving.options.congestion)

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

    def abandon(self) -> None:
        """In a forked child: close the copies."""
        for side in self._attempts:
            side.sock.close()
        if self._spare:
            self._spare.close()

    def _drop(self, side: Side) -> None:
        del self._attempts[side]
        side.close()

    def _drop_attempts(self) -> None:
        for side in list(self._attempts):
            self._drop(side)

    # What the sockets say

    def on_event(self, side: Side, events: int) -> None:
        if side is self._connection.down:
            if events & ERR:
                self._connection.end("client reset", abort=True)
            else:  # A Unix client has closed; what it sent is still to be read.
                side.gone = True
                side.watch(0)
            return
        error = side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # A port of this machine without a listener can be connected to itself (RFC 9293, section 3.5).
        if (error and error not in _RESET) or side.sock.getsockname() == peername(side.sock):
            self._drop(side)
            self._not_connected(error)
            self._serving.next_timer.disarm(self)
            self.next_address()
        else:
            # It may have been connected and be reset already; what it sent in between can be read.
            side.broken = bool(error)
            self._connected(side)

    def _connected(self, side: Side) -> None:
        address = self._attempts.pop(side)
        upstream = self._upstream
        assert upstream
        upstream._failures = 0
        self._send_proxy_header(side)
        self._connection.join(side, address, upstream, self._early)

    def _send_proxy_header(self, side: Side) -> None:
        version = self._serving.options.send_proxy
        if not version:
            return
        header = build(version, self._connection.client, self._connection.reached)
        # A fresh socket takes so few bytes whole; a broken one is what the next phase sees.
        try:
            side.sock.send(header, socket.MSG_NOSIGNAL)
        except OSError:
            side.broken = True


def peername(sock: socket.socket) -> Any:
    """Whom a socket is connected to; None where it is not, or no more."""
    try:
        return sock.getpeername()
    except OSError:
        return None
