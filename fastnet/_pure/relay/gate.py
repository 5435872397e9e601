"""How many connections a rule has open, in all of its loops together, and from each source address."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.serving import Serving


class Gate:
    """Counts connections in and out. All threads' loops pass it, so a lock guards the counts."""

    def __init__(self, limit: int, limit_per_source: int) -> None:
        self._limit = limit
        self._limit_per_source = limit_per_source
        self.reset()

    def reset(self) -> None:
        """Nobody is in; for a forked child too, in which another thread's lock is held for ever."""
        self._lock = Lock()
        self._inside = 0
        self._sources: dict[bytes, int] = {}
        self._waiting: set[Serving] = set()

    def enter(self, serving: Serving) -> bool:
        """Let one more in; where there is no room, ``leave`` will name who was waiting for it."""
        with self._lock:
            if self._inside >= self._limit:
                self._waiting.add(serving)
                return False
            self._inside += 1
            return True

    def enter_anyway(self) -> None:
        """One more is in, whether there is room or not."""
        with self._lock:
            self._inside += 1

    def leave(self) -> set[Serving]:
        """One is gone; who had been waiting for room."""
        with self._lock:
            self._inside -= 1
            waiting = self._waiting
            if waiting:
                self._waiting = set()
            return waiting

    def take(self, source: bytes) -> bool:
        """Count one more from this source; False where it has as many as it may have."""
        with self._lock:
            open_now = self._sources.get(source, 0)
            if open_now >= self._limit_per_source:
                return False
            self._sources[source] = open_now + 1
            return True

    def give(self, source: bytes) -> None:
        """One from this source is gone."""
        with self._lock:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]
