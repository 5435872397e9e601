"""What was counted of a rule's connections."""

from __future__ import annotations

from fastnet._contract.relay import COUNTED


class LaneCounters:
    """What one loop did for one rule: only the loop's thread writes."""

    __slots__ = COUNTED

    def __init__(self) -> None:
        self.accepted = self.active = self.unreachable = self.refused = self.denied = 0
        self.resets = self.timed_out = self.sent_up = self.sent_down = self.connects_retried = 0


class Counters:
    """What a rule has done so far, in all of its loops. May be read in any thread, at any time."""

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
        """Connections for which no upstream could be connected to."""
        return sum([counters.unreachable for counters in self._parts])

    @property
    def refused(self) -> int:
        """Connections ended by an answer of our own to what a side sent: 400, 408 or 502."""
        return sum([counters.refused for counters in self._parts])

    @property
    def denied(self) -> int:
        """Connections that were closed at once: by prefix, too many of one source, or no PROXY header."""
        return sum([counters.denied for counters in self._parts])

    @property
    def resets(self) -> int:
        """Connections that one of the sides reset, or that were cut when the loop was stopped."""
        return sum([counters.resets for counters in self._parts])

    @property
    def timed_out(self) -> int:
        """Connections that were cut because nothing had come for too long."""
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
