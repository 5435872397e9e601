"""Counters of a rule's connections."""

from __future__ import annotations

from fastnet._contract.relay import COUNTED


class LaneCounters:
    """The counters of one rule in one loop; only the loop's thread writes them."""

    __slots__ = COUNTED

    def __init__(self) -> None:
        self.accepted = self.active = self.unreachable = self.refused = self.denied = 0
        self.resets = self.timed_out = self.sent_up = self.sent_down = self.connects_retried = 0


class Counters:
    """A rule's counters, summed over all of its loops. Any thread may read them at any time."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[LaneCounters]) -> None:
        self._parts = parts

    @property
    def accepted(self) -> int:
        """Connections accepted."""
        return sum([counters.accepted for counters in self._parts])

    @property
    def active(self) -> int:
        """Connections open now."""
        return sum([counters.active for counters in self._parts])

    @property
    def unreachable(self) -> int:
        """Connections for which every connect to an upstream failed."""
        return sum([counters.unreachable for counters in self._parts])

    @property
    def refused(self) -> int:
        """Connections ended by a response of the relay itself: 400, 408 or 502."""
        return sum([counters.refused for counters in self._parts])

    @property
    def denied(self) -> int:
        """Connections closed at once: denied by prefix, too many of one source, or no PROXY header."""
        return sum([counters.denied for counters in self._parts])

    @property
    def resets(self) -> int:
        """Connections that a side reset, or that were reset when the loop was stopped."""
        return sum([counters.resets for counters in self._parts])

    @property
    def timed_out(self) -> int:
        """Connections reset because they were idle for too long."""
        return sum([counters.timed_out for counters in self._parts])

    @property
    def sent_up(self) -> int:
        """Bytes sent to the upstream (the second socket of ``join``)."""
        return sum([counters.sent_up for counters in self._parts])

    @property
    def sent_down(self) -> int:
        """Bytes sent to the client (the first socket of ``join``)."""
        return sum([counters.sent_down for counters in self._parts])

    @property
    def connects_retried(self) -> int:
        """Connects that failed and were followed by one to another address or upstream."""
        return sum([counters.connects_retried for counters in self._parts])
