"""The verdicts of one shard as columns: a byte per target, and a float32 per alive one.

A verdict's byte has the state in its low three bits, and above them which of ``reasons`` it has: 0 is none, 1
the first one. A state's number is its index in ``STATES``.
"""

from _collections_abc import Iterator
from array import array
from itertools import compress
from math import isnan

from fastnet._backend import probe as _core
from fastnet._sweep.result import STATES as SWEPT
from fastnet._sweep.result import SweepResult, places
from fastnet._typing import NamedTuple

STATES = (*SWEPT, "unknown")
"""The states of a sweep, and that of a target whose vantage was not connected."""
UNKNOWN = len(STATES) - 1

_STATE_BITS = 3
_STATE = (1 << _STATE_BITS) - 1
_MAX_REASONS = 0xFF >> _STATE_BITS
ANOTHER_REASON = "another reason"
"""Replaces the reasons that do not fit into a byte."""

STATE_OF = bytes(value & _STATE for value in range(256))
"""Translates verdicts to states."""


def _only(state: int, value: int) -> bytes:
    """A table that translates the verdicts with a state to a value, and all others to 0."""
    return bytes(value if verdict & _STATE == state else 0 for verdict in range(256))


_IS_ALIVE = _only(_core.ALIVE, 1)
_IS_PENDING = _only(_core.PENDING, 0xFF)


class Columns(NamedTuple):
    """The verdicts of one shard."""

    vantage: str
    """The name of the vantage that probed."""
    engine: str
    sent: int
    seconds: float
    """How long the sweep of the shard took."""
    reasons: tuple[str, ...]
    verdicts: bytes
    rtts_ms: bytes
    """A float32 in native order for each alive target, NaN if unknown, in the order of the targets."""

    def count(self, state: int) -> int:
        """The number of targets in a state."""
        return self.verdicts.translate(STATE_OF).count(state)

    def state(self, place: int) -> int:
        return self.verdicts[place] & _STATE

    def reason(self, place: int) -> str | None:
        which = self.verdicts[place] >> _STATE_BITS
        return self.reasons[which - 1] if which else None

    def rtt_ms(self, place: int) -> float | None:
        """The round-trip time of an alive target; None if unknown."""
        before = self.verdicts.count(_core.ALIVE, 0, place)  # an alive target has no reason
        rtt = memoryview(self.rtts_ms).cast("f")[before]
        return None if isnan(rtt) else round(rtt, 4)

    def undecided(self, reason: str) -> bool:
        """Whether any target was not probed for this reason."""
        if reason not in self.reasons:
            return False
        return _verdict(_core.PENDING, 1 + self.reasons.index(reason)) in self.verdicts

    def decided(self) -> bytes:
        """A bit for each target that was probed, as ``Sweep.decided`` returns it."""
        bits = self.verdicts.translate(_DECIDED_DIGITS)
        return int(bits[::-1] or b"0", 2).to_bytes((len(bits) + 7) // 8, "little")

    def filled(self, later: "Columns") -> "Columns":
        """With the verdicts of another vantage for the targets that this one did not probe."""
        table = [*self.reasons]
        renamed = bytearray(STATE_OF)
        for value in range(1 << _STATE_BITS, 256):
            which = value >> _STATE_BITS
            if which <= len(later.reasons):
                renamed[value] = _verdict(value & _STATE, _number(table, later.reasons[which - 1]))
        size = len(self.verdicts)
        open_ = int.from_bytes(self.verdicts.translate(_IS_PENDING), "big")
        ours = int.from_bytes(self.verdicts, "big") & ~open_
        theirs = int.from_bytes(later.verdicts.translate(bytes(renamed)), "big") & open_
        verdicts = (ours | theirs).to_bytes(size, "big")
        return self._replace(
            vantage=self.vantage if self.count(_core.PENDING) < size else later.vantage,
            sent=self.sent + later.sent,
            seconds=self.seconds + later.seconds,
            reasons=tuple(table),
            verdicts=verdicts,
            rtts_ms=b"".join(_interleaved(self, later)),
        )


_DECIDED_DIGITS = bytes(
    b"01"[verdict & _STATE in (_core.SILENT, _core.UNREACHABLE, _core.ALIVE)] for verdict in range(256)
)


def columns_of(result: SweepResult, vantage: str, sent: int, seconds: float) -> Columns:
    """The columns of a finished sweep."""
    states = result.states
    verdicts, reasons = bytearray(states), list[str]()
    for state in (_core.UNREACHABLE, _core.PENDING):
        for index in places(states, state):
            if reason := result.reason(index):
                verdicts[index] = _verdict(state, _number(reasons, reason))
    rtts = array("f", compress(result.rtts_ms, states.translate(_IS_ALIVE)))
    return Columns(vantage, result.engine, sent, seconds, tuple(reasons), bytes(verdicts), rtts.tobytes())


def _verdict(state: int, reason: int) -> int:
    return state | reason << _STATE_BITS


def _number(reasons: list[str], reason: str) -> int:
    """The number of a reason, which is added if there is room."""
    if reason not in reasons:
        if len(reasons) >= _MAX_REASONS - 1:
            reason = ANOTHER_REASON
        if reason not in reasons:
            reasons.append(reason)
    return 1 + reasons.index(reason)


def _interleaved(first: Columns, second: Columns) -> Iterator[bytes]:
    """The round-trip times of both, in the order of the targets; no target is alive in both."""
    ours, theirs = (places(each.verdicts, _core.ALIVE) for each in (first, second))
    marked = sorted([*((place, 0) for place in ours), *((place, 1) for place in theirs)])
    taken, columns = [0, 0], (first.rtts_ms, second.rtts_ms)
    for _, which in marked:
        yield columns[which][taken[which] : taken[which] + 4]
        taken[which] += 4
