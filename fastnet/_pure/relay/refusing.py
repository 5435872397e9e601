"""The phase that sends a client the refusal and waits until it has read it."""

from __future__ import annotations

import time

from fastnet._pure.http_head import refusal
from fastnet._pure.relay.loop import ERR, HUP, IN, NEVER, OUT
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side
    from fastnet._pure.relay.steps import Steps

LINGER = 2.0
"""Seconds that a refused client has to read the response after it was sent."""
_DISCARDED = 65536


def refuse(connection: Connection, status: int, reason: str) -> Steps[None]:
    """Send the response and FIN, and read on: a reset for unread data would destroy the response.

    With status 0 that of an earlier request, and nothing is sent.
    Bytes kept of an earlier response are sent first; until then the limit is that of a connection in which
    one direction has ended.
    """
    down = connection.down
    if status:
        down.unsent += refusal(status, reason)
    options = connection.lane.options
    quiet = options.half_closed_timeout or options.idle_timeout or NEVER
    last, events = time.monotonic(), OUT
    while True:
        if events & OUT:
            sent = down.send(down.unsent)
            del down.unsent[:sent]
            connection.lane.counters.sent_down += sent
            last = time.monotonic() if sent else last
        if events & ~OUT:
            down.gone = bool(events & (ERR | HUP))
            _discard(down)
        if not (down.unsent or down.shut or down.broken):
            down.shut_down()
        # A client that has ended may still read.
        if down.broken or not (down.reading or down.unsent):
            return
        down.watch((IN if down.reading else 0) | (OUT if down.unsent else 0), anyhow=True)
        event = yield last + (quiet if down.unsent else LINGER)
        if event is None:
            return
        _, events = event


def _discard(side: Side) -> None:
    try:
        side.reading = bool(side.sock.recv(_DISCARDED))
    except BlockingIOError:
        pass
    except OSError:
        side.fail()
