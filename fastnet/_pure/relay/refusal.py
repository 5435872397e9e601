"""The phase in which a client is told why it is refused, and has time to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnet._pure.http_head import refusal
from fastnet._pure.relay.poller import ERR, HUP, IN, OUT

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side

_DISCARDED = 65536


class Refusal:
    """Sends the response and FIN, and reads on: a reset for unread data would destroy the response."""

    def __init__(self, connection: Connection, status: int, reason: str) -> None:
        self._connection = connection
        self._response = refusal(status, reason)

    def enter(self) -> None:
        self._connection.serving.linger_timer.arm(self)
        self._connection.down.unsent += self._response
        self._flush(self._connection.down)
        self._settle(self._connection.down)

    def leave(self) -> None:
        self._connection.serving.linger_timer.disarm(self)

    def over(self) -> None:
        self._connection.end("refused")

    def on_event(self, side: Side, events: int) -> None:
        if events & OUT:
            self._flush(side)
        if events & ~OUT:
            side.gone = bool(events & (ERR | HUP))
            self._discard(side)
        self._settle(side)

    def _flush(self, side: Side) -> None:
        sent = side.send(side.unsent)
        self._connection.serving.tally.sent_down += sent
        del side.unsent[:sent]

    def _discard(self, side: Side) -> None:
        try:
            side.reading = bool(side.sock.recv(_DISCARDED))
        except BlockingIOError:
            pass
        except OSError:
            side.fail()

    def _settle(self, side: Side) -> None:
        if not (side.unsent or side.shut or side.broken):
            side.shut_down()
        if side.broken or not side.reading:
            self.over()
        else:
            side.watch(IN | OUT if side.unsent else IN)
