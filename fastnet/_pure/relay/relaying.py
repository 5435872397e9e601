"""The phase in which bytes pass between a client and an upstream.

What is read from one side is sent to the other at once; only what the kernel would not take is kept, and
until that is gone nothing more is read: a direction holds one read at most. Each direction ends by itself
(half-close). A side that fails is *broken*: what it sent before is still delivered, then the other side is
reset.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastnet._pure.relay.poller import ERR, HUP, IN, OUT

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side

_GONE = ERR | HUP


class Relaying:
    """Two sides, either of which is read only while the other has taken all that came."""

    __slots__ = (
        *("_connection", "_down", "_early", "_over", "_quiet", "_rates", "_serving", "_tally", "_tap"),
        *("_throttled", "_up", "_view"),
    )

    def __init__(self, connection: Connection, up: Side, early: bytes) -> None:
        self._connection = connection
        self._serving = serving = connection.serving
        self._tally = serving.tally
        self._view = serving.ground.view
        self._down = connection.down
        self._up = up
        self._early = early
        self._rates = serving.rates()
        self._tap = serving.options.tap
        self._quiet = serving.idle_timer
        self._throttled = False
        self._over = False

    def enter(self) -> None:
        down, up = self._down, self._up
        down.peer, up.peer = up, down
        up.phase = self
        if self._quiet is not None:
            self._quiet.arm(self)
        if self._early:
            self._receive(down, memoryview(self._early))
        self._settle()

    def leave(self) -> None:
        self._over = True
        self._serving.forget(self)

    # Passing bytes on

    def on_event(self, side: Side, events: int) -> None:
        if events & OUT:
            self._flush(side)
        if events & ~OUT and not self._over:
            side.gone = bool(events & _GONE)
            if side.reading and self._may_read(side):
                self._read(side)
            else:
                if events & ERR:
                    side.fail()
                self._settle()

    def _may_read(self, side: Side) -> bool:
        """Whether the other side can take what this one would give."""
        peer = side.peer
        return not (peer.unsent or peer.broken or self._throttled)

    def _read(self, side: Side) -> None:
        view = self._view
        if self._rates:
            view = view[: self._room()]
            if not view:
                return
        try:
            size = side.sock.recv_into(view)
        except BlockingIOError:
            return
        except OSError:
            side.fail()
            size = 0
        if size:
            if self._rates:
                self._spend(size)
            self._receive(side, view[:size])
        else:
            side.reading = False
            self._settle()

    def _receive(self, side: Side, data: memoryview) -> None:
        """These bytes have come from this side."""
        self._pass(side.peer, data)

    def _pass(self, side: Side, data: bytes | memoryview) -> None:
        """Send these to a side, or keep what can't be sent now."""
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
            self._tally.sent_up += sent
        else:
            self._tally.sent_down += sent
        if sent and self._quiet is not None:
            self._quiet.arm(self)
        return sent

    def _flush(self, side: Side) -> None:
        if side.unsent:
            del side.unsent[: self._send(side, side.unsent)]
            if not side.unsent:
                self._settle()

    # Rates

    def _room(self) -> int:
        """Bytes that may be read now; where it is none, pause for as long as half a burst takes."""
        now = time.monotonic()
        room = min([rate.room(now) for rate in self._rates])
        if room == 0:
            self._throttled = True
            self._serving.throttle_timer.arm(self)
            self._settle()
        return room

    def _spend(self, size: int) -> None:
        now = time.monotonic()
        for rate in self._rates:
            rate.take(now, size)

    def go_on(self) -> None:
        """The pause is over."""
        self._throttled = False
        self._settle()

    # Ending

    def _settle(self) -> None:
        """After anything but plain relaying: pass on ends and resets, close, or watch for what is next."""
        if self._over:
            return
        down, up = self._down, self._up
        for side in (down, up):
            over = not side.peer.reading and not side.peer.broken and not side.unsent
            if over and not side.shut and not side.broken:
                side.shut_down()
                self._half_closed()
        if down.broken or up.broken:
            self.pass_reset()
        elif down.shut and up.shut:
            self._connection.end("closed")
        if not self._over:
            self._watch(down)
            self._watch(up)

    def _half_closed(self) -> None:
        """One direction has ended: another time-out holds for the other, where one was asked for."""
        timer = self._serving.half_closed_timer
        if timer is not None:
            if self._quiet is not None:
                self._quiet.disarm(self)
            self._quiet = timer
            timer.arm(self)

    def pass_reset(self) -> None:
        """Reset the other side of a broken one as soon as that loses nothing."""
        broken, other = (self._down, self._up) if self._down.broken else (self._up, self._down)
        self._note_reset("client reset" if broken is self._down else "upstream reset")
        if other.broken or not (broken.reading or other.unsent or other.unacknowledged()):
            self.reset()
        else:
            self._serving.reset_poll.arm(self)
            if self not in self._serving.reset_grace:
                self._serving.reset_grace.arm(self)

    def reset(self) -> None:
        """Close both sides by a reset: at the upstream's expense, if no reason is known yet."""
        self._note_reset("upstream reset")
        self._connection.end(self._connection.ended, abort=True)

    def stop(self) -> None:
        self._note_reset("stopped")
        self.reset()

    def _note_reset(self, ended: str) -> None:
        if not self._connection.ended:
            self._connection.ended = ended
            self._tally.resets += 1

    def idle(self) -> None:
        self._time_out("idle")

    def half_closed(self) -> None:
        self._time_out("half-closed")

    def _time_out(self, ended: str) -> None:
        self._tally.timed_out += 1
        self._connection.end(ended, abort=True)

    def _watch(self, side: Side) -> None:
        wanted = OUT if side.unsent else 0
        if side.reading and self._may_read(side):
            wanted |= IN
        side.watch(wanted)
