"""``serving.py`` with a pure relay that is broken as the first argument names: to test the oracle by."""

from __future__ import annotations

import itertools
import socket
import sys
from collections.abc import Callable
from typing import Any

from fastnet._pure.relay.lane import Lane
from fastnet._pure.relay.loop import Poller
from fastnet._pure.relay.relaying import Relaying
from fastnet._pure.relay.side import Side
from fastnet._pure.relay.udp import Flow

_send = Side.send
_count = itertools.count(1)
_kept: list[socket.socket] = []


def _lose_a_byte() -> None:
    def send(side: Side, data: Any) -> int:
        if next(_count) % 40 or len(data) < 2:
            return _send(side, data)
        sent = _send(side, bytes(data[:9]) + bytes(data[10:]))
        return sent + (sent == len(data) - 1)

    Side.send = send  # type: ignore[method-assign]


def _send_twice() -> None:
    def send(side: Side, data: Any) -> int:
        sent = _send(side, data)
        if not next(_count) % 10:
            _send(side, bytes(data[:sent]))
        return sent

    Side.send = send  # type: ignore[method-assign]


def _stall() -> None:
    """Now and then, a connection is not read any more."""
    read = Relaying._read

    def read_or_rest(relaying: Relaying, side: Side) -> None:
        read(relaying, side)
        if not next(_count) % 40:
            relaying._throttled = True
            relaying._settle()

    Relaying._read = read_or_rest  # type: ignore[method-assign]


def _end_for_reset() -> None:
    close = Side.close
    Side.close = lambda side, abort=False: close(side)  # type: ignore[method-assign]


def _mix_up() -> None:
    """Now and then, bytes go to another connection's client."""
    sides: list[Side] = []

    def send(side: Side, data: Any) -> int:
        sides.append(side)
        others = [other for other in sides[-30:] if other is not side and not other.closed]
        if next(_count) % 40 or not others:
            return _send(side, data)
        _send(others[0], data)
        return len(data)

    Side.send = send  # type: ignore[method-assign]


def _miscount() -> None:
    ended = Lane.ended

    def forget_one(lane: Lane, connection: Any) -> None:
        ended(lane, connection)
        lane.counters.sent_up -= 1

    Lane.ended = forget_one  # type: ignore[method-assign]


def _leak() -> None:
    unwatch = Poller.unwatch

    def keep(poller: Poller, fd: int) -> None:
        unwatch(poller, fd)
        _kept.append(socket.socket())

    Poller.unwatch = keep  # type: ignore[method-assign]


def _spin() -> None:
    poll = Poller.poll
    Poller.poll = lambda poller, timeout: poll(poller, 0)  # type: ignore[method-assign]


def _repeat_datagrams() -> None:
    pass_up = Flow.pass_up

    def twice(flow: Flow, data: memoryview) -> None:
        pass_up(flow, data)
        if not next(_count) % 20:
            pass_up(flow, data)

    Flow.pass_up = twice  # type: ignore[method-assign]


def _misdeliver() -> None:
    clients: list[Any] = []
    pass_down = Flow._pass_down

    def to_another(flow: Flow, data: memoryview) -> None:
        own = flow._client
        clients.append(own)
        if not next(_count) % 20:
            flow._client = clients[0]
        pass_down(flow, data)
        flow._client = own

    Flow._pass_down = to_another  # type: ignore[method-assign]


def _lock_out() -> None:
    pass_up = Flow.pass_up
    Flow.pass_up = lambda flow, data: pass_up(flow, data) if flow.number % 10 else None  # type: ignore[method-assign]


WAYS: dict[str, Callable[[], None]] = {
    "loses a byte": _lose_a_byte,
    "sends twice": _send_twice,
    "stalls": _stall,
    "ends for a reset": _end_for_reset,
    "mixes connections up": _mix_up,
    "miscounts": _miscount,
    "leaks": _leak,
    "spins": _spin,
    "repeats datagrams": _repeat_datagrams,
    "delivers to another client": _misdeliver,
    "locks out": _lock_out,
}

if __name__ == "__main__":
    way = sys.argv.pop(1)
    if way:
        WAYS[way]()
    import serving  # noqa: F401
