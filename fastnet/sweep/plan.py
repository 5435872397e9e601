"""Which part of the targets is swept by what.

The targets in ascending order are cut into segments, each of which one worker sweeps: the addresses of one
family. They are swept one after the other, so that a rate and a window hold for all of them together.
"""

import socket
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from fastnet._backend import permute
from fastnet.targets import Span, Targets


class Segment(NamedTuple):
    """Those of ``spans``, a contiguous run of the targets, that belong to the shard."""

    targets: Targets
    family: int
    spans: tuple[Span, ...]
    start: int
    """Where the first address of the spans stands among all targets."""
    indices: range
    """Where each address that is to be probed stands among all targets."""

    @property
    def shard(self) -> tuple[int, int]:
        """The core's: which address of the spans is the first one, and how far the next one is."""
        return self.indices.start - self.start, self.indices.step

    def at(self, place: int) -> tuple[int, int]:
        """The family and the number of an address that is to be probed."""
        return self.targets.at(self.indices[place])

    def order(self, seed: int | None, decided: bytes | None) -> Iterator[int]:
        """The places in the order of a seed, or ascending, without those that are decided."""
        size = len(self.indices)
        numbers: Iterator[int] = iter(range(size))
        if seed is not None:
            numbers = map(permute.Permutation(size, seed).at, numbers)
        return (place for place in numbers if not (decided and decided[place >> 3] >> (place & 7) & 1))


class Worker(Protocol):
    """What sweeps a segment; the core's ``Sweeper`` says what each member means."""

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

    @property
    def size(self) -> int:
        return len(self.segment.indices)


class Options(NamedTuple):
    """What each worker is told."""

    timeout: float
    adaptive: bool
    """Whether the timeout follows the round-trip times, never above ``timeout``."""
    retries: int
    window: int
    rate: float | None
    seed: int | None


def shard_size(targets: Targets, shard: tuple[int, int]) -> int:
    """How many of the targets belong to shard i of n."""
    which, of = shard
    return (targets.size - which) // of + 1 if which <= targets.size else 0


def segments(targets: Targets, shard: tuple[int, int]) -> list[Segment]:
    """The targets of shard i of n (from 1): those at i - 1, i - 1 + n, ... of all, cut into segments."""
    which, of = shard
    found, start = [], 0
    for family in (socket.AF_INET, socket.AF_INET6):
        spans = targets.spans(family)
        end = start + sum(last - first + 1 for first, last in spans)
        indices = range(start + (which - 1 - start) % of, end, of)
        if indices:
            found.append(Segment(targets, family, spans, start, indices))
        start = end
    return found


def split_bits(bits: bytes | None, cut: list[Segment]) -> Iterator[bytes | None]:
    """What a bitmap over all targets of the shard says about those of each segment."""
    whole = int.from_bytes(bits, "little") if bits else 0
    for segment in cut:
        size = len(segment.indices)
        yield (whole & (1 << size) - 1).to_bytes((size + 7) // 8, "little") if bits else None
        whole >>= size
