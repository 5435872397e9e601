"""The numbers of a rule's open connections: in all of its loops together, and from each source address."""

from __future__ import annotations

from threading import Lock

from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.lane import Lane


class Admission:
    """Counts connections as they begin and end. Loops of several threads share it, so a lock guards it."""

    def __init__(self, limit: int, limit_per_source: int, source_prefix: int) -> None:
        self._limit = limit
        self._limit_per_source = limit_per_source
        self._source_mask = (1 << 128) - (1 << (128 - source_prefix))
        self.reset()

    def reset(self) -> None:
        """Reset the counts; also for a forked child, where locks of other threads are never released."""
        self._lock = Lock()
        self._inside = 0
        self._sources: dict[bytes, int] = {}
        self._waiting: set[Lane] = set()

    @property
    def inside(self) -> int:
        """The number of open connections in all loops."""
        return self._inside

    def enter(self, lane: Lane) -> bool:
        """Count one more; if there is no room, a later ``leave`` returns the caller as waiting."""
        with self._lock:
            if self._inside >= self._limit:
                self._waiting.add(lane)
                return False
            self._inside += 1
            return True

    def enter_anyway(self) -> None:
        """Count one more, whether there is room or not."""
        with self._lock:
            self._inside += 1

    def leave(self) -> set[Lane]:
        """Count one less; returns those that waited for room."""
        with self._lock:
            self._inside -= 1
            waiting = self._waiting
            if waiting:
                self._waiting = set()
            return waiting

    def take(self, ip: bytes) -> bool:
        """Count one more from this address's source; False if it already has the maximum."""
        source = self._source(ip)
        with self._lock:
            open_now = self._sources.get(source, 0)
            if open_now >= self._limit_per_source:
                return False
            self._sources[source] = open_now + 1
            return True

    def give(self, ip: bytes) -> None:
        """Count one less from this address's source."""
        source = self._source(ip)
        with self._lock:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def _source(self, ip: bytes) -> bytes:
        """The address, or the first one of its prefix: a host with one IPv6 address usually has 2^64."""
        if len(ip) == 4:
            return ip
        return (int.from_bytes(ip, "big") & self._source_mask).to_bytes(16, "big")
