"""Relaying of HTTP/1 streams, with the Host in the requests' heads rewritten."""

from __future__ import annotations

import time

from fastnet._contract.http_head import BadMessage
from fastnet._pure.http_head import Exchange
from fastnet._pure.relay.bucket import BURST
from fastnet._pure.relay.loop import NEVER
from fastnet._pure.relay.relaying import Relaying
from fastnet._pure.relay.steps import Ended, Refused
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.http_head import HostRewrite
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side

BUFFER_SIZE = 65536
"""Bytes of one read: a rewritten head may be longer than the original."""


class Rewriting(Relaying):
    """An ``Exchange`` parses the heads and may refuse a request. Bodies pass unchanged."""

    __slots__ = ("_exchange", "_heard")

    def __init__(self, connection: Connection, up: Side, rewrite: HostRewrite) -> None:
        super().__init__(connection, up)
        self._view = self._view[:BUFFER_SIZE]
        _, destination = connection.destination
        self._exchange = Exchange(rewrite, destination[0] if isinstance(destination, tuple) else "")
        self._heard = False  # The client has sent something.

    def _begin(self, early: bytes) -> None:
        self._due[Rewriting._head_late] = self._connection.admitted + self._options.head_timeout
        super()._begin(early)
        # Bytes that came during the connect are in time.
        if self._may_read(self._down):
            self._read(self._down)

    def _may_read(self, side: Side) -> bool:
        # A client waits for a response only as long as one may still come.
        held = side is self._down and self._exchange.held and self._up.reading
        return super()._may_read(side) and not held

    def _receive(self, side: Side, data: memoryview) -> None:
        # Copied: the exchange may keep the bytes, and the next read overwrites the view.
        exchange = self._exchange
        if side is self._down:
            if len(data) <= exchange.request_passes:
                exchange.request_passed(len(data))
                self._pass(self._up, data)
                self._watch_heads()
            else:
                self._request(bytes(data))
        elif len(data) <= exchange.response_passes and not exchange.held:
            exchange.response_passed(len(data))
            self._pass(self._down, data)
            self._watch_heads()
        else:
            self._response(bytes(data))

    def _on_time(self) -> None:
        if self._connection.lane.inbox.draining and Rewriting._stay_away in self._due:
            self._due[Rewriting._stay_away] = 0.0
        super()._on_time()

    def _request(self, data: bytes) -> None:
        exchange = self._exchange
        if data and exchange.held:
            return  # No response can come any more, so that no request can be passed on either.
        self._heard |= bool(data)
        out = exchange.request(data)
        if out:
            self._await_nothing()
            self._pass(self._up, out)
        self._watch_heads()
        if exchange.refusal and exchange.idle:
            raise self._refused(400, exchange.refusal, "refused")
        self._settle()

    def _watch_heads(self) -> None:
        """Set the time limit for a request's head, or for the next request, or none.

        The time for a head runs from its first byte to its last (for the first head, from the accept), and
        begins again while earlier responses are being sent. The time between requests begins when all of the
        last response is sent; blank lines neither end nor prolong it.
        """
        exchange, due = self._exchange, self._due
        if exchange.refusal or exchange.head_pending:
            self._await_no_request()
            if Rewriting._head_late not in due:
                self._await_head()
        elif not exchange.awaits_request:
            self._await_nothing()
        elif not (Rewriting._head_late in due or Rewriting._stay_away in due or self._has_unsent):
            self._await_request()

    @property
    def _has_unsent(self) -> bool:
        return bool(self._down.unsent or self._up.unsent)

    def _flush(self, side: Side) -> None:
        super()._flush(side)
        self._watch_heads()

    def _await_head(self) -> None:
        self._due[Rewriting._head_late] = time.monotonic() + self._options.head_timeout

    def _await_request(self) -> None:
        inbox = self._connection.lane.inbox
        seconds = BURST if inbox.draining else self._options.keep_alive_timeout or NEVER
        self._due[Rewriting._stay_away] = time.monotonic() + seconds
        inbox.between_requests.add(self._connection)

    def _await_no_request(self) -> None:
        self._due.pop(Rewriting._stay_away, None)
        self._connection.lane.inbox.between_requests.discard(self._connection)

    def _await_nothing(self) -> None:
        self._due.pop(Rewriting._head_late, None)
        self._await_no_request()

    def _response(self, data: bytes) -> None:
        exchange = self._exchange
        held = exchange.held
        try:
            out = exchange.response(data)
        except BadMessage as error:
            out = error.before
        if out:
            self._pass(self._down, out)
        if exchange.unfollowed:
            self._give_up(exchange.unfollowed)
        elif held:
            self._request(b"")
        else:
            self._watch_heads()

    def _give_up(self, reason: str) -> None:
        """The upstream's bytes can't be parsed: it is broken, unless the client can still be refused."""
        if self._exchange.unanswered:
            raise self._refused(502, reason, "bad response")
        self._note_reset("bad response")
        self._up.reading = False
        self._up.fail()
        self._settle()

    def _settle(self) -> None:
        exchange = self._exchange
        up_ended = not (self._up.reading or self._down.broken)
        in_order = not (self._up.broken and exchange.has_answered)
        if up_ended and in_order and exchange.in_answer:
            raise self._refused(502, "a response that ends within its head", "bad response")
        if up_ended and exchange.unanswered and not (exchange.in_answer or exchange.has_answered):
            # A client that has had a response expects that a connection may end, and repeats its request.
            raise self._refused(502, "the upstream ended without a response", "bad response")
        super()._settle()

    def _refused(self, status: int, reason: str, ended: str) -> Refused:
        self._counters.refused += 1
        return Refused(status, reason, ended)

    # Time limits

    def _go_on(self) -> None:
        # Bytes that the rates delayed could not come in time.
        if Rewriting._head_late in self._due:
            self._await_head()
        if Rewriting._stay_away in self._due:
            self._await_request()
        super()._go_on()

    def _head_late(self) -> None:
        under_way = not self._exchange.idle and self._up.reading
        # The rates keep it from being read, or a response comes first.
        if self._throttled or (self._heard and under_way):
            self._await_head()
        elif not self._heard:
            self._counters.timed_out += 1
            raise Ended("late head")
        elif self._exchange.idle:
            raise self._refused(408, "the request's head took too long", "late head")
        else:
            self._counters.refused += 1
            self._counters.resets += 1
            raise Ended("late head", abort=True)

    def _stay_away(self) -> None:
        if self._throttled:
            self._await_request()
        elif self._down.unread() or self._down.unacknowledged():
            # A reset for unread data would destroy the last response (RFC 9112 9.6).
            raise Refused(0, "", "closed")
        else:
            raise Ended("closed")
