"""A connection: a client's socket and an upstream's, and the bytes that pass between them.

What is read from one side is sent to the other at once; only what the kernel would not take is kept, and
until that is gone nothing more is read: a direction holds one read at most. Each direction ends by itself
(half-close). A side that fails is *broken*: what it sent before is still delivered, then the other side is
reset.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from fastnet._pure.http_head import BadMessage, Exchange, refusal
from fastnet._pure.relay.poller import ERR, HUP, IN, OUT
from fastnet._pure.relay.side import Side

if TYPE_CHECKING:
    from fastnet._pure.relay.serving import Serving

HTTP_BUFFER_SIZE = 65536
"""Bytes of one read where request heads are rewritten: a rewritten head may be longer than it came."""


class Connection:
    __slots__ = (
        "_addresses",
        "closed",
        "connected",
        "down",
        "exchange",
        "refused",
        "serving",
        "up",
    )

    def __init__(self, serving: Serving, downstream: socket.socket) -> None:
        self.serving = serving
        self._addresses = iter(
            [address for upstream in serving.rule._upstreams for address in upstream.addresses]
        )
        self.exchange: Exchange | None = None
        self.connected = False
        self.refused = False
        self.closed = False
        # Until there is an upstream, the client's side stands in for it.
        self.down = self.up = Side(self, downstream)
        self.down.peer = self.down
        serving.connections.add(self)
        serving.tally.active += 1

    # Connecting

    def join(self, sock: socket.socket) -> None:
        """The upstream is this connected socket."""
        self._pair(sock)
        self.connected = True
        self._settle()

    def connect(self, spare: socket.socket | None) -> None:
        """Begin to connect to the next address that allows it; ``spare`` is a socket to do so with."""
        for family, address in self._addresses:
            try:
                sock = spare or socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue
            spare = None
            self._pair(sock)
            code = sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS):
                self.up.watch(OUT)
                self.down.watch(0)
                self.serving.connect_timer.arm(self)
                return
            self.up.close()
        self.serving.tally.unreachable += 1
        if self.exchange:
            self._refuse(502, "the upstream can't be connected to")
        else:
            self.abort()

    def connect_failed(self) -> None:
        """This address refused, or its time was up: on to the next."""
        self.up.close()
        self.connect(None)

    def _pair(self, sock: socket.socket) -> None:
        self.up = Side(self, sock)
        self.up.peer, self.down.peer = self.down, self.up

    def _on_connecting(self, side: Side, events: int) -> None:
        if side is self.down:
            if events & (ERR | HUP):
                self.abort()
            return
        sock = side.sock
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        reset = error in (errno.ECONNRESET, errno.EPIPE)
        # A port of this machine without a listener can be connected to itself (RFC 9293, section 3.5).
        if (error and not reset) or sock.getsockname() == _peername(sock):
            self.connect_failed()
            return
        self.serving.connect_timer.disarm(self)
        self.connected = True
        if reset:  # It was connected and is reset already; what it sent in between can be read.
            self._break(side)
        self._settle()

    # Relaying

    def on_event(self, side: Side, events: int) -> None:
        if not self.connected and not self.refused:
            self._on_connecting(side, events)
            return
        if events & OUT and side.unsent:
            self._flush(side)
        if events & ~OUT and not self.closed:
            side.gone = bool(events & (ERR | HUP))
            if side.reading and self._may_read(side):
                self._read(side)
            else:
                if events & ERR:
                    self._break(side)
                self._settle()

    def _may_read(self, side: Side) -> bool:
        """Whether the other side can take what this one would give."""
        peer = side.peer
        if self.refused:
            return True
        if peer.unsent or peer.broken:
            return False
        return side is self.up or not self._held()

    def _held(self) -> bool:
        """Whether the client must wait for a response, which may still come."""
        return self.exchange is not None and self.exchange.held and self.up.reading

    def _read(self, side: Side) -> None:
        data: bytes | memoryview
        try:
            if self.exchange is None:
                data = self.serving.view[: side.sock.recv_into(self.serving.view)]
            else:
                data = side.sock.recv(HTTP_BUFFER_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._break(side)
            data = b""
        if not data:
            side.reading = False
            self._settle()
        elif self.refused:
            return
        elif self.exchange is None:
            self._send(side.peer, data)
        elif side is self.down:
            self._request(self.exchange, bytes(data))
        else:
            self._response(self.exchange, bytes(data))

    def _request(self, exchange: Exchange, data: bytes) -> None:
        if data and exchange.held:
            return  # No response can come any more: nothing can be passed on, either.
        out = exchange.request(data)
        if out:
            self._send(self.up, out)
        if self.closed:
            return
        timer = self.serving.head_timer
        if not (exchange.refusal or exchange.head_pending):
            timer.disarm(self)
        elif out or self not in timer:
            timer.arm(self)
        if exchange.refusal and exchange.idle:
            self.serving.tally.refused += 1
            self._refuse(400, exchange.refusal)
        self._settle()

    def _response(self, exchange: Exchange, data: bytes) -> None:
        held = exchange.held
        try:
            exchange.response(data)
        except BadMessage:
            self.abort()
            return
        self._send(self.down, data)
        if held and not self.closed:
            self._request(exchange, b"")

    def _send(self, side: Side, data: bytes | memoryview) -> None:
        if self.closed or side.broken:
            return
        sent = 0
        if not side.unsent:
            sent = self._sent(side, data)
        if sent < len(data):
            if not side.broken:
                side.unsent += data[sent:]
            self._settle()

    def _sent(self, side: Side, data: bytes | memoryview | bytearray) -> int:
        try:
            sent = side.sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self._break(side)
            return 0
        if side is self.up:
            self.serving.tally.sent_up += sent
        else:
            self.serving.tally.sent_down += sent
        return sent

    def _flush(self, side: Side) -> None:
        del side.unsent[: self._sent(side, side.unsent)]
        if not side.unsent:
            self._settle()

    # Ending

    def _break(self, side: Side) -> None:
        """Nothing more can be sent to this side; what it sent before can still be read."""
        side.broken = True
        side.unsent.clear()

    def _settle(self) -> None:
        """After anything but plain relaying: pass on ends and resets, close, or watch for what is next."""
        if self.closed:
            return
        if self.refused:
            self._settle_refused()
            return
        for side in (self.down, self.up):
            over = not side.peer.reading and not side.peer.broken and not side.unsent
            if over and not side.shut and not side.broken:
                side.shut_down()
        if self.down.broken or self.up.broken:
            self.pass_reset()
        elif self.down.shut and self.up.shut:
            self.close()
        if not self.closed:
            self._watch(self.down)
            self._watch(self.up)

    def pass_reset(self) -> None:
        """Reset the other side of a broken one as soon as that loses nothing."""
        broken, other = (self.down, self.up) if self.down.broken else (self.up, self.down)
        if other.broken or not (broken.reading or other.unsent or other.unacknowledged()):
            self.abort()
        else:
            self.serving.reset_poll.arm(self)
            if self not in self.serving.reset_grace:
                self.serving.reset_grace.arm(self)

    def _settle_refused(self) -> None:
        side = self.down
        if not side.unsent and not side.shut and not side.broken:
            side.shut_down()
        if side.broken or not side.reading:
            self.close()
        else:
            self._watch(side)

    def _watch(self, side: Side) -> None:
        wanted = OUT if side.unsent else 0
        if side.reading and self._may_read(side):
            wanted |= IN
        side.watch(wanted)

    def head_late(self) -> None:
        """The head's time is up, or the time in which earlier responses would let a refusal be sent."""
        self.serving.tally.refused += 1
        if self.exchange and self.exchange.idle:
            self._refuse(408, "the request's head took too long")
        else:
            self.abort()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer instead of the upstream, and close once the client has had time to read it."""
        self.refused = True
        self.serving.forget(self)
        self.serving.linger_timer.arm(self)
        if self.connected:
            self.up.close(abort=True)
        self._send(self.down, refusal(status, reason))
        self._settle()

    def abort(self) -> None:
        """Close both sides by a reset."""
        self.serving.tally.resets += self.connected
        self.close(abort=True)

    def close(self, abort: bool = False) -> None:
        if not self.closed:
            self.closed = True
            self.serving.forget(self)
            self.down.close(abort)
            self.up.close(abort)
            self.serving.tally.active -= 1
            self.serving.connections.discard(self)
            self.serving.resume()


def _peername(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:
        return None
