"""The addresses of a sweep's targets, and the order in which they are probed."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, chain
from operator import sub

from fastnet._pure.permute import Permutation
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Iterator, Sequence

_AT_ONCE = 4096
"""Number of targets that are put in order at a time."""


class Targets:
    """The addresses, as numbers, of a shard of ascending intervals: target k is the k-th of these."""

    def __init__(self, spans: Sequence[tuple[int, int]], shard: tuple[int, int], seed: int | None) -> None:
        self._first, self._step = shard
        self._firsts = [first for first, _ in spans]
        self._ends = [last + 1 for _, last in spans]
        self._starts: list[int] = list(accumulate(map(sub, self._ends, self._firsts), initial=0))
        # The difference between an address and its index.
        self._above: list[int] = list(map(sub, self._firsts, self._starts))
        self.size = len(range(self._first, self._starts[-1], self._step))
        self._order = None if seed is None else Permutation(max(1, self.size), seed)

    def number(self, target: int) -> int:
        """A target's address."""
        index = self._first + target * self._step
        return self._above[bisect_right(self._starts, index) - 1] + index

    def target(self, number: int) -> int | None:
        """The target with this address; None if there is none."""
        which = bisect_right(self._firsts, number) - 1
        if which < 0 or number >= self._ends[which]:
            return None
        index = number - self._above[which]
        if self._step == 1:
            return index
        target, beside = divmod(index - self._first, self._step)
        return None if beside or target < 0 else target

    def in_order(self) -> Iterator[tuple[int, int]]:
        """Every target and its address, in the order of sending."""
        if self._order is None:
            return enumerate(chain.from_iterable(map(self._of_shard, range(len(self._firsts)))))
        return chain.from_iterable(map(self._some_in_order, range(0, self.size, _AT_ONCE)))

    def _some_in_order(self, first: int) -> Iterator[tuple[int, int]]:
        assert self._order is not None
        targets = self._order.fill(first, 1, min(_AT_ONCE, self.size - first))
        whole = self._step == 1 and len(self._firsts) == 1
        number = self._firsts[0].__add__ if whole else self.number
        return zip(targets, map(number, targets), strict=True)

    def _of_shard(self, which: int) -> range:
        """The addresses of an interval that belong to the shard."""
        skipped = (self._first - self._starts[which]) % self._step
        return range(self._firsts[which] + skipped, self._ends[which], self._step)
