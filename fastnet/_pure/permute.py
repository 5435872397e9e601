"""A permutation of 0 ... size - 1 chosen by a seed, computed place by place: no table.

A Feistel network over the bits of ``size - 1`` whose results outside the range are sent through it again
(Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002). It scatters; it keeps no secrets.
"""

from __future__ import annotations

import sys
from array import array

from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Iterable, Iterator

MAX_SIZE = (1 << 64) - 1

_ROUNDS = 6
_WORD = (1 << 64) - 1
_GOLDEN_RATIO = 0x9E3779B97F4A7C15


def _mixed(x: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _WORD
    return x ^ x >> 31


def _bounded(name: str, value: int, low: int, high: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: expected {low} to {high}")
    return value


def _check_room(count: int) -> None:
    """Raise MemoryError at once, and not after the hours that it takes to fill all memory there is."""
    if 8 * count > sys.maxsize:
        raise MemoryError
    bytes(8 * count)


class Permutation:
    """The permutation of ``size`` numbers, 1 to 2^64 - 1, that belongs to a seed, 0 to 2^64 - 1.

    Raises ValueError for what is out of range.
    """

    __slots__ = ("_high_mask", "_keys", "_low_bits", "_low_mask", "_rounds", "seed", "size")

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = _bounded("size", size, 1, MAX_SIZE)
        self.seed = _bounded("seed", seed, 0, _WORD)
        bits = (size - 1).bit_length()
        self._low_bits = bits - bits // 2
        self._low_mask = (1 << self._low_bits) - 1
        self._high_mask = (1 << bits // 2) - 1
        keys = [_mixed(seed + number * _GOLDEN_RATIO & _WORD) for number in range(1, _ROUNDS + 1)]
        self._keys = tuple(zip(keys[::2], keys[1::2], strict=True))
        self._rounds: list[list[int]] = []

    def at(self, place: int) -> int:
        """The number at a place. Raises ValueError for a place that is not below ``size``."""
        return self._at(_bounded("place", place, 0, self.size - 1))

    def fill(self, first: int, step: int, count: int) -> array[int]:
        """The numbers at ``count`` places ``first``, ``first + step``, ..., as an array of type Q.

        Raises ValueError where one of them is not below ``size``, MemoryError where memory has
        no room for them.
        """
        _bounded("first", first, 0, self.size - 1)
        _bounded("step", step, 1, MAX_SIZE)
        _bounded("count", count, 0, (self.size - 1 - first) // step + 1)
        _check_room(count)
        places = range(first, first + count * step, step)
        # What a round mixes in depends on half of the bits: there are fewer halves than numbers asked for.
        if not self._rounds and count > self._low_mask:
            self._rounds = list(self._tables())
        return array("Q", self._looked_up(places) if self._rounds else map(self._at, places))

    def _tables(self) -> Iterator[list[int]]:
        """What each round mixes in, by the half that it depends on."""
        for high_key, low_key in self._keys:
            yield [_mixed(low ^ high_key) & self._high_mask for low in range(self._low_mask + 1)]
            yield [_mixed(high ^ low_key) & self._low_mask for high in range(self._high_mask + 1)]

    def _looked_up(self, places: Iterable[int]) -> Iterator[int]:
        """What ``_at`` returns for each place, several times as fast."""
        size, bits, mask = self.size, self._low_bits, self._low_mask
        first, second, third, fourth, fifth, sixth = self._rounds
        for number in places:
            while True:
                high, low = number >> bits, number & mask
                high ^= first[low]
                low ^= second[high]
                high ^= third[low]
                low ^= fourth[high]
                high ^= fifth[low]
                low ^= sixth[high]
                number = high << bits | low
                if number < size:
                    break
            yield number

    def _at(self, place: int) -> int:
        place = self._once(place)
        while place >= self.size:
            place = self._once(place)
        return place

    def _once(self, number: int) -> int:
        high, low = number >> self._low_bits, number & self._low_mask
        for high_key, low_key in self._keys:
            high ^= _mixed(low ^ high_key) & self._high_mask
            low ^= _mixed(high ^ low_key) & self._low_mask
        return high << self._low_bits | low
