"""The keyed permutation: every number once, in any size, the same from both implementations."""

from __future__ import annotations

from array import array
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

TOPIC = "permute"

sizes = st.integers(1, 3000)
seeds = st.integers(0, (1 << 64) - 1)


@given(size=sizes, seed=seeds)
def test_every_number_comes_once(core: ModuleType, size: int, seed: int) -> None:
    order = core.Permutation(size, seed).fill(0, 1, size)
    assert sorted(order) == list(range(size))


@given(size=sizes, seed=seeds, shards=st.integers(1, 40))
def test_shards_are_disjoint_and_cover(core: ModuleType, size: int, seed: int, shards: int) -> None:
    permutation = core.Permutation(size, seed)
    numbers: list[int] = []
    for shard in range(min(shards, size)):
        numbers += permutation.fill(shard, shards, (size - 1 - shard) // shards + 1)
    assert sorted(numbers) == list(range(size))


@given(size=st.integers(1, (1 << 64) - 1), seed=seeds, data=st.data())
def test_both_agree(twins: tuple[ModuleType, ModuleType], size: int, seed: int, data: st.DataObject) -> None:
    native, pure = (module.Permutation(size, seed) for module in twins)
    place = data.draw(st.integers(0, size - 1))
    number = native.at(place)
    assert number == pure.at(place)
    assert number < size
    count = min(5, size - place)
    assert native.fill(place, 1, count) == pure.fill(place, 1, count)


def test_order_is_kept_between_versions(core: ModuleType) -> None:
    """A sweep that was broken off is taken up by a later version: its places mean the same."""
    assert core.Permutation(10, 1).fill(0, 1, 10).tolist() == [3, 9, 4, 0, 7, 8, 1, 2, 5, 6]


def test_seeds_give_different_orders(core: ModuleType) -> None:
    orders = {tuple(core.Permutation(100, seed).fill(0, 1, 100)) for seed in range(50)}
    assert len(orders) == 50


def test_neighbours_part(core: ModuleType) -> None:
    """The first 256 of a /16 lie in many of its /24: as random ones do, in 162 of 256 in the mean."""
    order = core.Permutation(65536, 0).fill(0, 1, 256)
    assert 130 < len({number >> 8 for number in order}) < 195


def test_it_says_what_it_is(core: ModuleType) -> None:
    permutation = core.Permutation(12, 5)
    assert (permutation.size, permutation.seed) == (12, 5)
    assert isinstance(permutation.fill(0, 1, 0), array)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "size 0: expected 1 to 18446744073709551615"),
        ((1 << 64,), "size 18446744073709551616: expected 1 to 18446744073709551615"),
        ((1, -1), "seed -1: expected 0 to 18446744073709551615"),
    ],
)
def test_nonsense_is_refused(core: ModuleType, arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        core.Permutation(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 1, 1), "first 10: expected 0 to 9"),
        ((0, 0, 1), "step 0: expected 1 to 18446744073709551615"),
        ((0, 3, 5), "count 5: expected 0 to 4"),
        ((0, 1, -1), "count -1: expected 0 to 10"),
    ],
)
def test_places_outside_are_refused(core: ModuleType, arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        core.Permutation(10).fill(*arguments)
    with pytest.raises(ValueError, match=r"^place 10: expected 0 to 9$"):
        core.Permutation(10).at(10)


def test_a_size_is_an_int(core: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"^size must be an int, not float$"):
        core.Permutation(1.5)


@pytest.mark.parametrize("count", [1 << 44, 1 << 60, (1 << 61) + 1, (1 << 64) - 1])
def test_more_than_memory_has_room_for_is_refused_at_once(core: ModuleType, count: int) -> None:
    with pytest.raises(MemoryError):
        core.Permutation((1 << 64) - 1).fill(0, 1, count)


@pytest.mark.parametrize(
    ("size", "seed", "numbers"),
    [
        (2, 1, [1, 0]),
        (10, 0, [7, 5, 1, 8, 6, 3]),
        (1000, 7, [752, 163, 995, 631, 552, 18]),
        (1 << 32, 42, [1552710310, 442007083, 604110225, 2502500644, 3701502491, 2056348599]),
        ((1 << 64) - 1, (1 << 64) - 1, [12928289434243651231, 7236160710442923418, 7108084999692272252]),
    ],
)
def test_the_order_of_a_seed_stays(core: ModuleType, size: int, seed: int, numbers: list[int]) -> None:
    """Shards that are swept from several machines, and a sweep that goes on, rely on it."""
    assert core.Permutation(size, seed).fill(0, 1, len(numbers)).tolist() == numbers
