"""The merged result of a sweep: the columns of its shards, from which a verdict is made when it is accessed.

Shard k of n has the targets k, k + n, ...: nothing is copied to merge them, and what is in the order of the
targets is put together block by block.
"""

from _collections_abc import Iterator, Sequence

from fastnet._backend import probe as _core
from fastnet._distributed.columns import STATE_OF, STATES, UNKNOWN, Columns
from fastnet._distributed.vantages import Vantage
from fastnet._results import listed
from fastnet._sweep.result import NOT_PROBED, Counts, Verdict, places
from fastnet._typing import Any, ClassVar, Protocol, overload
from fastnet.targets import Targets

_BLOCK = 1 << 20
"""Targets that are put together at once."""
_COUNTED = (_core.ALIVE, _core.SILENT, _core.UNREACHABLE, _core.PENDING)


class Store(Protocol):
    """Stores the columns of the shards: in memory, or in the files of a directory."""

    def put(self, shard: int, columns: Columns) -> None:
        """Keep the columns of a shard, from 0."""

    def get(self, shard: int) -> Columns | None:
        """The columns of a shard, None if it is not done."""

    def done(self) -> set[int]:
        """The shards that are done."""


class Memory:
    """Columns in memory: a byte per target, and four per alive one."""

    def __init__(self) -> None:
        self._columns: dict[int, Columns] = {}

    def put(self, shard: int, columns: Columns) -> None:
        self._columns[shard] = columns

    def get(self, shard: int) -> Columns | None:
        return self._columns.get(shard)

    def done(self) -> set[int]:
        return {*self._columns}


class DistributedResult(Sequence[Verdict]):
    """The verdicts of a sweep from many vantages, in the order of the targets, each made when it is accessed.

    After them are those of names that did not resolve. ``mac`` and ``responder`` of a verdict are None, as
    shards do not carry them. A target of a shard that is not done is ``not probed``, in a Comparison
    ``unknown``.
    """

    __slots__ = ("_absent", "_counts", "_of", "_store", "_targets", "_unresolved", "_vantages")

    def __init__(
        self,
        targets: Targets,
        of: int,
        store: Store,
        counts: Counts,
        vantages: tuple[Vantage, ...],
        absent: int = _core.PENDING,
    ) -> None:
        self._targets, self._of, self._store = targets, of, store
        self._vantages, self._absent = vantages, absent
        self._unresolved = [Verdict(each.name, NOT_PROBED, None, each.reason) for each in targets.unresolved]
        self._counts = counts

    @property
    def targets(self) -> Targets:
        return self._targets

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self._of

    @property
    def vantages(self) -> tuple[Vantage, ...]:
        """Each vantage with its counters, by name; those that were left out have the ``problem``."""
        return self._vantages

    @property
    def complete(self) -> bool:
        """False if a shard is not done."""
        return len(self._store.done()) == self._of

    @property
    def counts(self) -> Counts:
        """The number of targets in each state; those of shards that are not done are not probed."""
        return self._counts

    @property
    def alive(self) -> "Chosen":
        return Chosen(self, _core.ALIVE)

    @property
    def inactive(self) -> "Chosen":
        """Those to which every request was sent, without a reply or an error."""
        return Chosen(self, _core.SILENT)

    @property
    def unreachable(self) -> "Chosen":
        """Those with an ICMP error and no reply."""
        return Chosen(self, _core.UNREACHABLE)

    @property
    def not_probed(self) -> "Chosen":
        """Those to which no vantage sent a request, with any reason."""
        return Chosen(self, _core.PENDING)

    @property
    def known(self) -> Iterator[Verdict]:
        """The verdicts of the shards that are done."""
        for begin, block in self.blocks():
            for place, state in enumerate(block):
                if state != self._absent or self._store.get((begin + place) % self._of):
                    yield self[begin + place]
        yield from self._unresolved

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """The states of successive targets, a byte each, with the index of the first: a block at a time."""
        of, size = self._of, self._targets.size
        width = max(1, _BLOCK // of)
        for begin in range(0, -(-size // of), width):
            block = bytearray([self._absent]) * (of * width)
            for shard in range(of):
                if columns := self._store.get(shard):
                    part = columns.verdicts[begin : begin + width]
                    block[shard : shard + of * len(part) : of] = part
            yield begin * of, bytes(block[: size - begin * of]).translate(STATE_OF)

    def state(self, index: int) -> int:
        """The number of a target's state, which is its index in ``STATES``."""
        columns = self._store.get(index % self._of)
        return columns.state(index // self._of) if columns else self._absent

    def __len__(self) -> int:
        return self._targets.size + len(self._unresolved)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        if index >= self._targets.size:
            return self._unresolved[index - self._targets.size]
        address, place = self._targets[index], index // self._of
        columns = self._store.get(index % self._of)
        if columns is None:
            reason = "interrupted" if self._absent != UNKNOWN else "no such vantage was there"
            return Verdict(address, STATES[self._absent], None, reason)
        state = columns.state(place)
        rtt_ms = columns.rtt_ms(place) if state == _core.ALIVE else None
        return Verdict(address, STATES[state], rtt_ms, columns.reason(place))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``complete``, ``counts``, ``vantages``, and all ``verdicts``."""
        known = {"complete": self.complete, "counts": self.counts.as_dict()}
        vantages = [each.as_dict() for each in self.vantages]
        return {**known, "vantages": vantages, "verdicts": [verdict.as_dict() for verdict in self]}

    def __eq__(self, other: object) -> bool:
        """Whether all verdicts are equal."""
        if not isinstance(other, DistributedResult):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__: ClassVar[None]  # type: ignore[assignment]  # __eq__ makes it so

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._targets, self._of, self._store, self._counts, self._vantages, self._absent)
        return DistributedResult, given

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={value}" for name, value in self.counts._asdict().items())
        return f"<DistributedResult {counts}, vantages={len(self.vantages)}>"


class Chosen(Sequence[Verdict]):
    """The verdicts of a result in one state, looked up when they are accessed."""

    __slots__ = ("_result", "_state")

    def __init__(self, result: DistributedResult, state: int) -> None:
        self._result, self._state = result, state

    def __len__(self) -> int:
        return self._result.counts[_COUNTED.index(self._state)]

    def __iter__(self) -> Iterator[Verdict]:
        for begin, block in self._result.blocks():
            for place in places(block, self._state):
                yield self._result[begin + place]
        if self._state == _core.PENDING:
            yield from self._result[self._result.targets.size :]

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        return [*self][index]

    def __repr__(self) -> str:
        shown = f": {listed(self, len(self))}" if self else ""
        return f"<{len(self)} {STATES[self._state]}{shown}>"


def counted(targets: Targets, store: Store) -> Counts:
    """The number of targets in each state, from the columns of a store."""
    found = [0] * len(_COUNTED)
    for shard in store.done():
        if columns := store.get(shard):
            states = columns.verdicts.translate(STATE_OF)
            found = [before + states.count(state) for before, state in zip(found, _COUNTED, strict=True)]
    return counts_of(targets, found)


def counts_of(targets: Targets, found: list[int]) -> Counts:
    """The counts from these numbers of alive, silent and unreachable targets: no other was probed."""
    alive, silent, unreachable = found[:3]
    everything = targets.size + len(targets.unresolved)
    return Counts(alive, silent, unreachable, everything - alive - silent - unreachable)
