"""Relaying where the stream is HTTP/1 and the Host in its requests' heads is rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnet._pure.http_head import BadMessage, Exchange
from fastnet._pure.relay.relaying import Relaying

if TYPE_CHECKING:
    from fastnet._pure.http_head import HostRewrite
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side

BUFFER_SIZE = 65536
"""Bytes of one read: a rewritten head may be longer than it came."""


class Rewriting(Relaying):
    """What an ``Exchange`` has to see goes through it; it may refuse a request. Bodies pass as they are."""

    __slots__ = ("_exchange",)

    def __init__(self, connection: Connection, up: Side, early: bytes, rewrite: HostRewrite) -> None:
        super().__init__(connection, up, early)
        self._view = self._view[:BUFFER_SIZE]
        _, reached = connection.reached
        self._exchange = Exchange(rewrite, reached[0] if isinstance(reached, tuple) else "")

    def _may_read(self, side: Side) -> bool:
        # A client must wait for a response only as long as one may still come.
        held = side is self._down and self._exchange.held and self._up.reading
        return super()._may_read(side) and not held

    def _receive(self, side: Side, data: memoryview) -> None:
        # The exchange may keep what it is given, and the view is filled anew by the next read.
        exchange = self._exchange
        if side is self._down:
            if len(data) <= exchange.request_passes:
                exchange.request_passed(len(data))
                self._pass(self._up, data)
            else:
                self._request(bytes(data))
        elif len(data) <= exchange.response_passes and not exchange.held:
            exchange.response_passed(len(data))
            self._pass(self._down, data)
        else:
            self._response(bytes(data))

    def _request(self, data: bytes) -> None:
        exchange = self._exchange
        if data and exchange.held:
            return  # No response can come any more: nothing can be passed on, either.
        out = exchange.request(data)
        if out:
            self._pass(self._up, out)
        if self._over:
            return
        timer = self._serving.head_timer
        if not (exchange.refusal or exchange.head_pending):
            timer.disarm(self)
        elif out or self not in timer:
            timer.arm(self)
        if exchange.refusal and exchange.idle:
            self._tally.refused += 1
            self._connection.refuse(400, exchange.refusal, "refused")
        self._settle()

    def _response(self, data: bytes) -> None:
        held = self._exchange.held
        try:
            out = self._exchange.response(data)
        except BadMessage:
            self.reset()
            return
        if out:
            self._pass(self._down, out)
        if held and not self._over:
            self._request(b"")

    def head_late(self) -> None:
        """The head's time is up, or the time in which earlier responses would let a refusal be sent."""
        self._tally.refused += 1
        if self._exchange.idle:
            self._connection.refuse(408, "the request's head took too long", "late head")
        else:
            self._tally.resets += 1
            self._connection.end("late head", abort=True)
