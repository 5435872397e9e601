"""The records of connections that have ended."""

from __future__ import annotations

from collections import deque

from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._contract.relay import Record

_MOST = 16384


class Records:
    """The records not taken yet: one thread adds, one takes."""

    def __init__(self) -> None:
        self._kept: deque[Record] = deque()
        self.lost = 0
        """The number of records dropped for lack of room."""

    def add(self, record: Record) -> None:
        if len(self._kept) < _MOST:
            self._kept.append(record)
        else:
            self.lost += 1

    def take(self) -> list[Record]:
        """Take all records, the oldest first."""
        return [self._kept.popleft() for _ in range(len(self._kept))]
