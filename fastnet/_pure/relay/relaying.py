"""The phase that passes bytes between a client and an upstream.

Bytes read from one side are sent to the other at once. Bytes that the kernel does not take are kept, and
nothing more is read until they are sent: a direction holds at most one read. Each direction ends by itself
(half-close). A side that fails is *broken*: the bytes that it sent before are still delivered, then the other
side is reset.
"""

from __future__ import annotations

import socket
import time

from fastnet._pure.relay.bucket import pause
from fastnet._pure.relay.loop import ERR, HUP, IN, NEVER, OUT
from fastnet._pure.relay.steps import Ended
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _collections_abc import Callable

    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side
    from fastnet._pure.relay.steps import Steps

RESET_GRACE = 2.0
"""Seconds that a reset is delayed until the bytes sent before it are acknowledged."""
RESET_POLL = 0.01
_GONE = ERR | HUP


class Relaying:
    """Two sides; each is read only while the other has taken all bytes so far."""

    __slots__ = (
        *("_connection", "_counters", "_down", "_due", "_options", "_quiet", "_rates", "_tap", "_up"),
        *("_next", "_throttled", "_view"),
    )

    def __init__(self, connection: Connection, up: Side) -> None:
        lane = connection.lane
        self._connection = connection
        self._options = lane.options
        self._counters = lane.counters
        self._view = lane.inbox.view
        self._down, self._up = connection.down, up
        self._rates = lane.rates()
        self._tap = lane.options.tap
        self._due: dict[Callable[[Any], None], float] = {}
        """Methods with their times; unbound, since bound ones would be a reference cycle."""
        self._throttled = False
        self._next = up
        """The side that is read first after a pause: the directions take turns."""
        self._quiet = ("idle", lane.options.idle_timeout)
        """The end and the limit in seconds of an idle connection; 0 is no limit."""

    def steps(self, early: bytes) -> Steps[None]:
        """Relay until ``Ended``. ``early`` has the bytes of the client that were already read."""
        self._begin(early)
        while True:
            try:
                event = yield min(self._due.values()) if self._due else NEVER
            except Ended as end:
                self._note_reset(end.ended)
                raise
            if event is None:
                self._on_time()
                continue
            side, events = event
            if events & OUT and side.unsent:
                self._flush(side)
            if events & ~OUT:
                side.gone = bool(events & _GONE)
                if side.reading and self._may_read(side):
                    self._read(side)
                else:
                    if events & ERR:
                        side.fail()
                    self._settle()

    def _begin(self, early: bytes) -> None:
        self._note_traffic()
        if early:
            self._receive(self._down, memoryview(early))
        self._settle()

    def _on_time(self) -> None:
        now = time.monotonic()
        for action in [action for action, due in self._due.items() if due <= now]:
            if self._due.get(action, NEVER) <= now:
                del self._due[action]
                action(self)

    # Passing bytes on

    def _may_read(self, side: Side) -> bool:
        """Whether the other side can take bytes from this one."""
        peer = side.peer
        return not (peer.unsent or peer.broken or self._throttled)

    def _read(self, side: Side) -> None:
        view, rates, now = self._view, self._rates, time.monotonic()
        if rates:
            view = view[: rates.room(now)]
            if not view:
                self._pause()
                return
        try:
            size = side.sock.recv_into(view)
        except BlockingIOError:
            return
        except OSError:
            side.fail()
            size = 0
        if size:
            rates.take(now, size)
            self._receive(side, view[:size])
            # At the same time as above: what has become room since then is for whoever waits for it.
            if rates and not rates.room(now):
                self._pause()
        else:
            side.reading = False
            if side.gone and side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                side.fail()  # A reset followed the FIN; the read returns only the end.
            self._settle()

    def _receive(self, side: Side, data: memoryview) -> None:
        """Handle bytes from this side."""
        self._pass(side.peer, data)

    def _pass(self, side: Side, data: bytes | memoryview) -> None:
        """Send bytes to a side, and keep those that can't be sent now."""
        if self._tap:
            self._tap(self._connection.number, side is self._up, bytes(data))
        sent = 0 if side.unsent else self._send(side, data)
        if sent < len(data):
            if not side.broken:
                side.unsent += data[sent:]
            self._settle()

    def _send(self, side: Side, data: bytes | memoryview | bytearray) -> int:
        sent = side.send(data)
        if side is self._up:
            self._counters.sent_up += sent
        else:
            self._counters.sent_down += sent
        if sent and self._quiet[1]:
            self._note_traffic()
        return sent

    def _flush(self, side: Side) -> None:
        del side.unsent[: self._send(side, side.unsent)]
        if not side.unsent:
            self._settle()

    def _pause(self) -> None:
        """The rates allow nothing now: stop reading for a while."""
        self._throttled = True
        self._due[type(self)._go_on] = time.monotonic() + pause()
        self._settle()

    def _go_on(self) -> None:
        """The pause is over."""
        self._throttled = False
        side, self._next = self._next, self._next.peer
        if side.reading and self._may_read(side):
            self._read(side)
        self._settle()

    # Ending

    def _settle(self) -> None:
        """Pass on ends and resets, or set the events to wait for."""
        down, up = self._down, self._up
        for side in (down, up):
            over = not side.peer.reading and not side.peer.broken and not side.unsent
            if over and not side.shut and not side.broken:
                side.shut_down()
                self._half_close()
        if down.broken or up.broken:
            self._pass_reset()
        elif down.shut and up.shut:
            raise Ended("closed")
        self._watch(down)
        self._watch(up)

    def _watch(self, side: Side) -> None:
        wanted = OUT if side.unsent else 0
        if side.reading and self._may_read(side):
            wanted |= IN
        side.watch(wanted, anyhow=True)

    def _note_traffic(self) -> None:
        _, seconds = self._quiet
        if seconds:
            self._due[Relaying._time_out] = time.monotonic() + seconds

    def _time_out(self) -> None:
        """The idle time is over; ignored while the rates let nothing pass."""
        if self._throttled:
            self._note_traffic()
            return
        ended, _ = self._quiet
        self._counters.timed_out += 1
        raise Ended(ended, abort=True)

    def _half_close(self) -> None:
        """One direction has ended: the other has a timeout of its own, if the rule has one."""
        if self._options.half_closed_timeout:
            self._quiet = ("half-closed", self._options.half_closed_timeout)
            self._note_traffic()

    def _pass_reset(self) -> None:
        """Reset the other side of a broken one as soon as no bytes are lost by it."""
        broken, other = (self._down, self._up) if self._down.broken else (self._up, self._down)
        self._note_reset("client reset" if broken is self._down else "upstream reset")
        if other.broken or not (broken.reading or other.unsent or other.unacknowledged()):
            self._reset()
        now = time.monotonic()
        self._due[Relaying._pass_reset] = now + RESET_POLL
        self._due.setdefault(Relaying._reset, now + RESET_GRACE)

    def _reset(self) -> None:
        raise Ended(self._connection.ended, abort=True)

    def _note_reset(self, ended: str) -> None:
        if not self._connection.ended:
            self._connection.ended = ended
            self._counters.resets += 1
