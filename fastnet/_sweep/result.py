"""The result of a sweep: a byte and a time per target; a verdict is created when it is accessed."""

import _socket as socket
from _bisect import bisect_right
from _collections_abc import Callable, Iterable, Iterator, Sequence
from _operator import eq
from itertools import pairwise

from fastnet._backend import probe as _core
from fastnet._limits import check_type
from fastnet._reasons import explain, explain_refusal
from fastnet._results import as_dict, listed, shown
from fastnet._sweep.plan import Part, Segment, Worker
from fastnet._typing import Any, ClassVar, NamedTuple, TypeVar, cast, overload
from fastnet.errors import InvalidArgument
from fastnet.targets import Targets, address_text

NOT_PROBED, INACTIVE, UNREACHABLE, ALIVE, DECIDED = STATES = (
    "not probed",
    "inactive",
    "unreachable",
    "alive",
    "decided before",
)
"""The names of the core's states, in its order."""

UNDECIDED = 255
"""The value of a state that may still change."""

T = TypeVar("T")


def _table(values: dict[int, int]) -> bytes:
    """A table for ``bytes.translate`` that replaces these values."""
    return bytes(values.get(value, value) for value in range(256))


# Before the end, silence means nothing, and a reply may still follow an error.
_SO_FAR = _table({_core.SILENT: _core.PENDING})
_FINAL_SO_FAR = _table(dict.fromkeys((_core.PENDING, _core.SILENT, _core.UNREACHABLE), UNDECIDED))
_OWN = _table({_core.DECIDED: UNDECIDED})
_OWN_SO_FAR = _table(dict.fromkeys((_core.PENDING, _core.DECIDED), UNDECIDED))
_IS_CHANGED = _table(dict.fromkeys(range(1, 256), 1))
_HAS_STATE = bytes(b"10"[value == UNDECIDED] for value in range(256))
_BITS = {
    finished: bytes(b"01"[value in decided] for value in range(256))
    for finished, decided in (
        (False, {_core.ALIVE, _core.DECIDED}),
        (True, {_core.ALIVE, _core.DECIDED, _core.SILENT, _core.UNREACHABLE}),
    )
}


class Verdict(NamedTuple):
    """The verdict on one target."""

    address: str
    """Numeric; for a name that did not resolve, the name."""
    state: str
    """One of ``STATES``."""
    rtt_ms: float | None
    """The round-trip time of an alive target; None if unknown, because the reply was read too late."""
    reason: str | None
    """Why it is unreachable, or was not probed."""
    mac: str | None = None
    """The hardware address of an alive target on our own link, as ``02:00:00:00:00:07``."""
    responder: str | None = None
    """The address of the router that replied for an anycast address. None if ``address`` itself replied."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Counts(NamedTuple):
    """The number of targets in each state."""

    alive: int
    inactive: int
    unreachable: int
    not_probed: int

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Run(NamedTuple):
    """Targets one after the other, whose addresses differ by ``step``."""

    begin: int
    """The index in the result of the first one."""
    size: int
    family: int
    first: int
    """The integer of the first address."""
    step: int
    rtts_ms: memoryview
    mac: Callable[[int], bytes | None] | None
    """By the number in the run; None unless the targets are on a link of this machine."""
    responder: Callable[[int], str | None] | None
    """By the number in the run; None unless IPv6."""


class SweepResult(Sequence[Verdict]):
    """The verdicts in the order of the targets, each created when it is accessed.

    After them are those of names that did not resolve: not probed, under the name, with the reason. Two
    results are equal if all verdicts are; they have no hash.
    """

    __slots__ = (
        "_complete",
        "_engine",
        "_owners",
        "_parts",
        "_resolved",
        "_starts",
        "_states",
        "_targets",
        "_unresolved",
    )

    def __init__(self, targets: Targets, parts: Sequence[Part], engine: str) -> None:
        self._targets, self._engine = targets, engine
        self._complete = all(part.worker.finished for part in parts)
        self._states = _joined_states(targets, parts, _SO_FAR)
        self._parts = parts
        owned = sorted((own.start, number) for number, part in enumerate(parts) for own in part.segment.own)
        self._starts = [start for start, _ in owned]
        self._owners = [_Owner.of(parts[number]) for _, number in owned]
        self._unresolved = [Verdict(each.name, NOT_PROBED, None, each.reason) for each in targets.unresolved]
        self._resolved = len(self.states) - len(self._unresolved)

    @property
    def targets(self) -> Targets:
        return self._targets

    @property
    def engine(self) -> str:
        """The engine used: one of ``ENGINES`` except ``auto``, or two of them as in ``link+raw``."""
        return self._engine

    @property
    def complete(self) -> bool:
        """False if it was interrupted: a target without a verdict then counts as not probed."""
        return self._complete

    @property
    def states(self) -> bytes:
        """A byte for each target: the index of its state in ``STATES``."""
        return self._states

    @property
    def rtts_ms(self) -> memoryview:
        """A float32 for each target: the round-trip time of an alive one, NaN if unknown.

        The values of other targets are undefined.
        """
        if len(self._parts) == 1 and not self._unresolved:
            return memoryview(self._parts[0].worker.rtts_ms).toreadonly()
        joined = cast("memoryview", memoryview(bytearray(4 * len(self))).cast("f"))
        _join(self._parts, (part.worker.rtts_ms for part in self._parts), joined)
        return joined.toreadonly()

    @property
    def counts(self) -> Counts:
        order = (_core.ALIVE, _core.SILENT, _core.UNREACHABLE, _core.PENDING)
        return Counts(*map(self.states.count, order))

    @property
    def alive(self) -> "Verdicts":
        return Verdicts(self, _core.ALIVE)

    @property
    def inactive(self) -> "Verdicts":
        """Those to which every request was sent and from which nothing came back."""
        return Verdicts(self, _core.SILENT)

    @property
    def down(self) -> "Verdicts":
        """Alias of ``inactive``."""
        return self.inactive

    @property
    def unreachable(self) -> "Verdicts":
        """Those for which an ICMP error came back and no reply; the reason has the error and its sender."""
        return Verdicts(self, _core.UNREACHABLE)

    @property
    def not_probed(self) -> "Verdicts":
        """Those to which the system did not send, with any reason."""
        return Verdicts(self, _core.PENDING)

    @property
    def decided_before(self) -> "Verdicts":
        """Those left out because the earlier sweep, which this one resumes, has their verdicts."""
        return Verdicts(self, _core.DECIDED)

    @property
    def known(self) -> Iterator[Verdict]:
        """This sweep's own verdicts: none left open by an interruption, or decided by an earlier sweep."""
        return (self[index] for index, state in enumerate(self.known_states()) if state != UNDECIDED)

    def known_states(self) -> bytes:
        """``states``, with ``UNDECIDED`` for what ``known`` has no verdict on."""
        if self.complete:
            return self.states.translate(_OWN)
        column = bytearray(self.states.translate(_OWN_SO_FAR))
        column[self._resolved :] = self.states[self._resolved :]
        for owner, own in zip(self._owners, self._ranges(), strict=True):
            for place in refused(owner.worker, own.start - owner.begin, own.stop - owner.begin):
                column[owner.begin + place] = _core.PENDING
        return bytes(column)

    def runs(self) -> Iterator[Run]:
        """The targets that are addresses, in their order."""
        for owner, own in zip(self._owners, self._ranges(), strict=True):
            segment, begin = owner.segment, own.start
            indices = segment.indices[own.start - owner.begin : own.stop - owner.begin]
            for family, first, count in segment.targets.stretches(indices):
                place = begin - owner.begin
                yield Run(
                    *(begin, count, family, first, indices.step),
                    memoryview(owner.rtts_ms)[place : place + count],
                    _from(place, owner.mac),
                    _from(place, owner.responder),
                )
                begin += count

    def _ranges(self) -> list[range]:
        """The indexes of each owner."""
        return [range(*ends) for ends in pairwise([*self._starts, self._resolved])]

    def changes(self, before: "SweepResult") -> Iterator[Verdict]:
        """The verdicts whose state or reason differs from an earlier result of the same targets.

        Targets left open by an interruption are not among them. Raises InvalidArgument for a result of
        other targets.
        """
        return (self[index] for index in self._changed(before))

    def changed_states(self, before: "SweepResult") -> bytes:
        """``states``, with ``UNDECIDED`` for what ``changes`` has no verdict on."""
        column = bytearray([UNDECIDED]) * len(self)
        for index in self._changed(before):
            column[index] = self.states[index]
        return bytes(column)

    def _changed(self, before: "SweepResult") -> Iterator[int]:
        check_type("before", before, SweepResult, "a SweepResult")
        if len(before) != len(self) or before.targets != self.targets:
            raise InvalidArgument("before: expected a result of the same targets")
        changed = {*differing(before.states, self.states)}
        for state in (_core.UNREACHABLE, _core.PENDING):
            for index in places(self.states, state):
                if index not in changed and self.reason(index) != before.reason(index):
                    changed.add(index)
        return (index for index in sorted(changed) if self._is_known(index))

    def reason(self, index: int) -> str | None:
        """Why a target is unreachable or was not probed, without the rest of its verdict; None for others."""
        if index >= self._resolved:
            return self._unresolved[index - self._resolved].reason
        owner = self._owner(index)
        return _why(owner, index - owner.begin, self.states[index])

    def _is_known(self, index: int) -> bool:
        state = self.states[index]
        if state == _core.PENDING and not self.complete and index < self._resolved:
            owner = self._owner(index)
            return owner.worker.reason(index - owner.begin) is not None
        return state != _core.DECIDED

    def _owner(self, index: int) -> "_Owner":
        return self._owners[bisect_right(self._starts, index) - 1]

    def __len__(self) -> int:
        return len(self.states)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        state = self.states[index]
        index %= len(self.states)
        if index >= self._resolved:
            return self._unresolved[index - self._resolved]
        owner = self._owner(index)
        return owner.verdict(index - owner.begin, state)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``engine``, ``complete``, ``counts``, and all ``verdicts``."""
        about = {"engine": self.engine, "complete": self.complete, "counts": self.counts.as_dict()}
        return {**about, "verdicts": [verdict.as_dict() for verdict in self]}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SweepResult):
            return NotImplemented
        ours, theirs = ((each.engine, each.complete, each.states) for each in (self, other))
        return ours == theirs and all(map(eq, self, other))

    __hash__: ClassVar[None]  # type: ignore[assignment]  # __eq__ makes it so

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the parts with their verdicts, without their sockets."""
        parts = [each._replace(worker=cast("Worker", Found.of(each))) for each in self._parts]
        state = {"_complete": self._complete, "_states": self._states}
        return SweepResult, (self.targets, parts, self.engine), (None, state)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={value}" for name, value in self.counts._asdict().items())
        return f"<SweepResult {counts}, engine={self.engine!r}>"


class _Owner(NamedTuple):
    """A part whose verdicts are being read: values that all of them share are looked up once."""

    segment: Segment
    worker: Worker
    begin: int
    rtts_ms: Any
    mac: Callable[[int], bytes | None] | None
    """None unless the targets are on a link of this machine."""
    responder: Callable[[int], str | None] | None
    """None unless IPv6: only IPv6 routers reply for an anycast address."""

    @classmethod
    def of(cls, part: Part) -> "_Owner":
        segment, worker = part
        known: Any = worker
        mac = known.mac if segment.on_link else None
        may_differ = segment.family == socket.AF_INET6 and hasattr(worker, "responder")
        responder = known.responder if may_differ else None
        return cls(segment, worker, segment.begin, worker.rtts_ms, mac, responder)

    def verdict(self, place: int, state: int) -> Verdict:
        address = address_text(*self.segment.at(place))
        if state != _core.ALIVE:
            return Verdict(address, STATES[state], None, _why(self, place, state))
        rtt_ms = self.rtts_ms[place]
        known = None if rtt_ms != rtt_ms else round(rtt_ms, 4)  # not a number: not known
        mac = self.mac(place) if self.mac else None
        responder = self.responder(place) if self.responder else None
        return Verdict(address, ALIVE, known, None, mac.hex(":") if mac else None, responder)


class Found:
    """A worker's results for its segment, with the worker's interface for reading."""

    def __init__(
        self,
        states: bytes,
        rtts: bytes,
        finished: bool,
        reasons: dict[int, str],
        macs: dict[int, bytes],
        responders: dict[int, str],
    ) -> None:
        self.states, self._rtts, self.finished = states, rtts, finished
        self._reasons, self._macs, self._responders = reasons, macs, responders
        self.reason, self.mac, self.responder = reasons.get, macs.get, responders.get

    @classmethod
    def of(cls, part: Part) -> "Found":
        owner, states = _Owner.of(part), bytes(part.worker.states)
        undone = (place for state in (_core.UNREACHABLE, _core.PENDING) for place in places(states, state))
        return cls(
            states,
            bytes(part.worker.rtts_ms),
            part.worker.finished,
            _known(lambda place: _reason(owner, place), undone),
            _known(owner.mac, places(states, _core.ALIVE)),
            _known(owner.responder, places(states, _core.ALIVE)),
        )

    @property
    def rtts_ms(self) -> Any:
        return memoryview(self._rtts).cast("f")

    def __reduce__(self) -> tuple[Any, ...]:
        found = (self.states, self._rtts, self.finished, self._reasons, self._macs, self._responders)
        return Found, found


def _known(of: Callable[[int], T | None] | None, where: Iterable[int]) -> dict[int, T]:
    """The results by index, only where there is one."""
    return {place: value for place in where if (value := of(place)) is not None} if of else {}


class Verdicts(Sequence[Verdict]):
    """The verdicts of a result in one state, looked up when they are accessed."""

    __slots__ = ("_result", "_state")

    def __init__(self, result: SweepResult, state: int) -> None:
        self._result, self._state = result, state

    def __len__(self) -> int:
        return self._result.states.count(self._state)

    def __iter__(self) -> Iterator[Verdict]:
        return (self._result[index] for index in places(self._result.states, self._state))

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        chosen = [*places(self._result.states, self._state)][index]
        return [self._result[each] for each in chosen] if isinstance(chosen, list) else self._result[chosen]

    def __reduce__(self) -> tuple[Any, ...]:
        return Verdicts, (self._result, self._state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and [*self] == [*other]

    __hash__: ClassVar[None]  # type: ignore[assignment]  # __eq__ makes it so

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the ``state``, and the ``verdicts``."""
        return {"state": STATES[self._state], "verdicts": [verdict.as_dict() for verdict in self]}

    def __repr__(self) -> str:
        shown = f": {listed(self, len(self))}" if self else ""
        return f"<{len(self)} {STATES[self._state]}{shown}>"


def places(values: bytes, value: int) -> Iterator[int]:
    """The indexes of a value, ascending."""
    index = values.find(value)
    while index >= 0:
        yield index
        index = values.find(value, index + 1)


def refused(worker: Any, begin: int, end: int) -> Iterator[int]:
    """The targets in a range that were not probed for a known reason, ascending."""
    find = getattr(worker, "find_refused", None)
    if find is None:
        states = bytes(worker.states)[begin:end]
        yield from (
            begin + each for each in places(states, _core.PENDING) if worker.reason(begin + each) is not None
        )
        return
    place = find(begin)
    while place < end:
        yield place
        place = find(place + 1)


def _from(place: int, known: Callable[[int], T | None] | None) -> Callable[[int], T | None] | None:
    """The same, counted from a place."""
    return (lambda number: known(place + number)) if known else None


def differing(before: bytes, after: bytes) -> Iterator[int]:
    """The indexes at which two columns of equal length differ, ascending."""
    both = int.from_bytes(before, "big") ^ int.from_bytes(after, "big")
    return places(both.to_bytes(len(after), "big").translate(_IS_CHANGED), 1)


def final_states(targets: Targets, parts: Sequence[Part]) -> bytes:
    """The final states; for the others a value that is no state."""
    return _joined_states(targets, parts, _FINAL_SO_FAR)


def decided_bits(parts: Sequence[Part]) -> bytes:
    """A bit for each target with a final verdict: bit k % 8 of byte k / 8."""
    columns = [bytes(part.worker.states).translate(_BITS[part.worker.finished]) for part in parts]
    return _packed(_joined(parts, columns))


def without(states: bytes, decided: bytes) -> bytes:
    """The bits of decided targets, cleared where the target has a state in this column."""
    given = int.from_bytes(_packed(states.translate(_HAS_STATE)), "little")
    return (int.from_bytes(decided, "little") & ~given).to_bytes(len(decided), "little")


def _packed(bits: bytes) -> bytes:
    """Bit k % 8 of byte k / 8 for each ``0`` or ``1``."""
    return int(bits[::-1] or b"0", 2).to_bytes((len(bits) + 7) // 8, "little")


def _joined_states(targets: Targets, parts: Sequence[Part], so_far: bytes) -> bytes:
    """The states of the targets, then those of names that did not resolve."""
    states = _joined(parts, [_states(part, so_far) for part in parts])
    return states + bytes([_core.PENDING]) * len(targets.unresolved)


def _states(part: Part, so_far: bytes) -> bytes:
    states = bytes(part.worker.states)
    return states if part.worker.finished else states.translate(so_far)


def _joined(parts: Sequence[Part], columns: Sequence[bytes]) -> bytes:
    """A byte for each target, merged from those of the parts."""
    if len(parts) == 1:
        return columns[0]
    joined = bytearray(sum(len(own) for part in parts for own in part.segment.own))
    _join(parts, columns, memoryview(joined))
    return bytes(joined)


def _join(parts: Iterable[Part], columns: Iterable[Any], joined: memoryview) -> None:
    """Copy each part's column to the indexes of its targets among all."""
    for part, values in zip(parts, columns, strict=True):
        column, begin = memoryview(values), part.segment.begin
        for own in part.segment.own:
            joined[own.start : own.stop] = column[own.start - begin : own.stop - begin]


def _why(owner: _Owner, place: int, state: int) -> str | None:
    if state not in (_core.UNREACHABLE, _core.PENDING):
        return None
    return _reason(owner, place) or ("interrupted" if state == _core.PENDING else None)


def _reason(owner: _Owner, place: int) -> str | None:
    reason: Any = owner.worker.reason(place)
    if reason is None or isinstance(reason, str):
        return reason
    return explain_refusal(reason) if isinstance(reason, int) else explain(owner.segment.family, reason)
