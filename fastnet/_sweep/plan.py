"""Divides the targets among workers.

The targets are cut into segments in ascending order. One worker sweeps each segment: the addresses of one
family that are on one link, or reached through one router (for ``turbo``), or neither. A segment extends
from its first address to its last one, without the addresses of other segments between them. So a shard has
the same targets on every machine.
"""

import _socket as socket
from _collections_abc import Iterable, Iterator
from itertools import pairwise

from fastnet._backend import permute
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from fastnet.targets import Span, Targets

if TYPE_CHECKING:
    from fastnet._system.routes import Route

_Way = tuple[int, str, str, str]
"""Family, interface, source, gateway."""


class Segment(NamedTuple):
    """The targets of one worker."""

    targets: Targets
    family: int
    interface: str
    """The interface for our own frames to them; empty if the kernel routes, or no interface is required."""
    source: str
    """This machine's address on that link."""
    gateway: str
    """The router that the frames are sent to; empty if the targets are on the link themselves."""
    own: tuple[range, ...]
    """Their indexes in the result, ascending and disjoint."""
    indices: range
    """The indexes among all targets of the addresses from the first to the last one."""

    @property
    def on_link(self) -> bool:
        return self.interface != "" and self.gateway == ""

    @property
    def begin(self) -> int:
        """The index in the result of the first address."""
        return self.own[0].start

    @property
    def shard(self) -> tuple[int, int]:
        """For the core: the index in the spans of the first address, and the step to the next."""
        return 0, self.indices.step

    @property
    def spans(self) -> list[Span]:
        """The intervals of the targets, from the first address to the last one."""
        (_, lowest), (_, highest) = self.at(0), self.at(-1)
        return [
            Span(max(first, lowest), min(last, highest))
            for first, last in self.targets.spans(self.family)
            if first <= highest and last >= lowest
        ]

    def at(self, place: int) -> tuple[int, int]:
        """The family and the integer of an address."""
        return self.targets.at(self.indices[place])

    def left_out(self, decided: bytes | None) -> bytes | None:
        """A bit for each address not to probe: in another segment, or set in a bitmap of all targets."""
        if decided is None and len(self.own) == 1:
            return None
        size = len(self.indices)
        bits = int.from_bytes(decided or b"", "little") >> self.begin & (1 << size) - 1
        for before, after in pairwise(self.own):
            bits |= (1 << after.start - self.begin) - (1 << before.stop - self.begin)
        return bits.to_bytes((size + 7) // 8, "little")

    def order(self, seed: int | None, left_out: bytes | None) -> Iterator[int]:
        """The indexes of the addresses in the order of a seed, or ascending, without the excluded ones."""
        size = len(self.indices)
        numbers: Iterator[int] = iter(range(size))
        if seed is not None:
            numbers = map(permute.Permutation(size, seed).at, numbers)
        return (place for place in numbers if not (left_out and left_out[place >> 3] >> (place & 7) & 1))


class Worker(Protocol):
    """The protocol of a worker that sweeps a segment; the core's ``Sweeper`` documents each member."""

    @property
    def states(self) -> Any: ...
    @property
    def rtts_ms(self) -> Any: ...
    @property
    def sent(self) -> int: ...
    @property
    def finished(self) -> bool: ...

    def reason(self, index: int) -> Any: ...
    def run(self, seconds: float) -> bool: ...
    def close(self) -> None: ...


class Part(NamedTuple):
    segment: Segment
    worker: Worker


class Options(NamedTuple):
    """The options of each worker."""

    timeout: float
    adaptive: bool
    """Whether the timeout follows the round-trip times, never above ``timeout``."""
    retries: int
    window: int
    rate: float | None
    seed: int | None


def shard_size(targets: Targets, shard: tuple[int, int]) -> int:
    """The number of targets in shard i of n."""
    which, of = shard
    return (targets.size - which) // of + 1 if which <= targets.size else 0


def segments(
    targets: Targets, shard: tuple[int, int], routes: "Iterable[tuple[int, Route]]" = ()
) -> list[Segment]:
    """The targets of shard i of n (from 1), at the indexes i - 1, i - 1 + n, ... of all, cut into segments.

    ``routes``, each with its family, are the routes whose targets form segments of their own.
    """
    owned: dict[_Way, list[range]] = {}
    for family, route in routes:
        begin, end = targets.before(family, route.first), targets.before(family, route.last + 1)
        if places := _of_shard(begin, end, shard):
            owned.setdefault((family, route.interface, route.source, route.gateway), []).append(places)
    v4 = targets.before(socket.AF_INET6, 0)
    for family, begin, end in ((socket.AF_INET, 0, v4), (socket.AF_INET6, v4, targets.size)):
        taken = sorted((places for key in owned if key[0] == family for places in owned[key]), key=_start)
        owned[family, "", "", ""] = [*_gaps(_of_shard(begin, end, shard), taken)]
    return [_segment(targets, shard, key, ranges) for key, ranges in owned.items() if ranges]


def _segment(targets: Targets, shard: tuple[int, int], key: _Way, places: list[range]) -> Segment:
    own, first, step = tuple(sorted(places, key=_start)), shard[0] - 1, shard[1]
    indices = range(first + own[0].start * step, first + own[-1].stop * step, step)
    return Segment(targets, *key, own, indices)


def _start(places: range) -> int:
    return places.start


def _of_shard(begin: int, end: int, shard: tuple[int, int]) -> range:
    """The indexes in the shard's result of the targets in an interval of all."""
    first, step = shard[0] - 1, shard[1]
    return range(-((first - begin) // step), -((first - end) // step))


def _gaps(places: range, taken: Iterable[range]) -> Iterator[range]:
    """A range without some ascending, disjoint ranges within it."""
    begin = places.start
    for own in taken:
        if own.start > begin:
            yield range(begin, own.start)
        begin = own.stop
    if places.stop > begin:
        yield range(begin, places.stop)
