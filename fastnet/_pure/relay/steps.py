"""What a connection's steps yield, receive and raise.

The idiom is that of ``fastnet._steps``: a generator yields the ``time.monotonic()`` until which it waits, and
receives the next event: a side and its events, or None if that time has come.
"""

from __future__ import annotations

from _collections_abc import Generator

from fastnet._pure.relay.side import Side
from fastnet._typing import TypeVar

T = TypeVar("T")

Event = tuple[Side, int]
Steps = Generator[float, Event | None, T]


class Ended(Exception):
    """The connection is over, for this reason if there was none before; ``abort``: by a reset."""

    def __init__(self, ended: str, abort: bool = False) -> None:
        self.ended = ended
        self.abort = abort


class Refused(Exception):
    """The client is sent a refusal in place of the upstream's response, or nothing for status 0."""

    def __init__(self, status: int, reason: str, ended: str) -> None:
        self.status = status
        self.reason = reason
        self.ended = ended
