"""The verdicts of each vantage on each target, and their differences."""

from _collections_abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_

from fastnet._backend import probe as _core
from fastnet._contract.values import counted
from fastnet._distributed.merged import DistributedResult
from fastnet._distributed.vantages import Vantage
from fastnet._results import as_dict, shown
from fastnet._sweep.result import ALIVE, INACTIVE, UNREACHABLE, Verdict, places
from fastnet._typing import Any, ClassVar, NamedTuple, overload
from fastnet.targets import Targets

_ESTABLISHED = {ALIVE, INACTIVE, UNREACHABLE}
"""States that a vantage has established; "not probed" and "unknown" are none."""
_BITS = bytearray(256)
"""Translates an established state to a bit of its own, any other to 0."""
for _bit, _state in enumerate((_core.ALIVE, _core.SILENT, _core.UNREACHABLE)):
    _BITS[_state] = 1 << _bit
_SEVERAL = bytes(value.bit_count() > 1 for value in range(256))
_ANY_ALIVE = bytes(value & 1 for value in range(256))


class Sighting(NamedTuple):
    """The verdicts of each vantage on one target."""

    address: str
    """Numeric; for a name that did not resolve, the name."""
    verdicts: tuple[tuple[str, Verdict], ...]
    """Each vantage's name and verdict. One that was not connected has ``unknown``, never ``inactive``."""

    @property
    def seen_by(self) -> tuple[str, ...]:
        """The vantages for which the target is alive."""
        return tuple(name for name, verdict in self.verdicts if verdict.state == ALIVE)

    @property
    def differs(self) -> bool:
        """Whether two vantages that have probed it see different states."""
        return len({verdict.state for _, verdict in self.verdicts} & _ESTABLISHED) > 1

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Comparison(Sequence[Sighting]):
    """The verdicts of each vantage on each target, in the order of the targets, made when accessed."""

    __slots__ = ("_results", "_targets", "_vantages")

    def __init__(
        self, targets: Targets, results: Mapping[str, DistributedResult], vantages: tuple[Vantage, ...]
    ) -> None:
        self._targets, self._results, self._vantages = targets, dict(results), vantages

    @property
    def targets(self) -> Targets:
        return self._targets

    @property
    def vantages(self) -> tuple[Vantage, ...]:
        """Each vantage with its counters, by name; those that were left out have the ``problem``."""
        return self._vantages

    @property
    def by_vantage(self) -> dict[str, DistributedResult]:
        """The result of each vantage, by its name."""
        return dict(self._results)

    @property
    def complete(self) -> bool:
        """False if a vantage has not probed all targets: the others are ``unknown`` for it."""
        return all(result.complete for result in self._results.values())

    @property
    def differing(self) -> Iterator[Sighting]:
        """The targets of which two vantages see different states."""
        return self._where(_SEVERAL)

    @property
    def alive(self) -> Iterator[Sighting]:
        """The targets that are alive for a vantage."""
        return self._where(_ANY_ALIVE)

    def _where(self, table: bytes) -> Iterator[Sighting]:
        columns = (result.blocks() for result in self._results.values())
        for blocks in zip(*columns, strict=True):
            seen = (int.from_bytes(states.translate(_BITS), "big") for _, states in blocks)
            size = len(blocks[0][1])
            for place in places(reduce(or_, seen, 0).to_bytes(size, "big").translate(table), 1):
                yield self[blocks[0][0] + place]

    def __len__(self) -> int:
        return self._targets.size + len(self._targets.unresolved)

    @overload
    def __getitem__(self, index: int) -> Sighting: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sighting]: ...
    def __getitem__(self, index: int | slice) -> Sighting | list[Sighting]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        verdicts = tuple((name, result[index]) for name, result in self._results.items())
        return Sighting(verdicts[0][1].address, verdicts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``complete``, ``vantages``, and all ``targets``."""
        known = {"complete": self.complete, "vantages": [each.as_dict() for each in self.vantages]}
        return {**known, "targets": [each.as_dict() for each in self]}

    def __eq__(self, other: object) -> bool:
        """Whether all sightings are equal."""
        if not isinstance(other, Comparison):
            return NotImplemented
        return self._results == other._results

    __hash__: ClassVar[None]  # type: ignore[assignment]  # __eq__ makes it so

    def __reduce__(self) -> tuple[Any, ...]:
        return Comparison, (self._targets, self._results, self._vantages)

    def __repr__(self) -> str:
        alive = ", ".join(f"{name!r}: {result.counts.alive}" for name, result in self._results.items())
        return f"<Comparison of {counted(len(self), 'target')}, alive={{{alive}}}>"
