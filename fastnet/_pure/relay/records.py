"""The records of connections that have ended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._contract.relay import Record

_MOST = 16384


class Records:
    """Those that nobody has asked for yet: one thread adds, one takes."""

    def __init__(self) -> None:
        self._kept: deque[Record] = deque()
        self.lost = 0
        """How many there was no room for."""

    def add(self, record: Record) -> None:
        if len(self._kept) < _MOST:
            self._kept.append(record)
        else:
            self.lost += 1

    def take(self) -> list[Record]:
        """All, the earliest first."""
        return [self._kept.popleft() for _ in range(len(self._kept))]
