"""The numbers of a /16 in a random order: a shuffled list, numpy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from bench._case import Case, Contender
from fastnet._backend import permute

SIZE = 1 << 16


def ours() -> Contender:
    names = {"Permutation": permute.Permutation, "size": SIZE}
    return Contender("Permutation(size, 1).fill(0, 1, size)", names)


def shuffled() -> Contender:
    """What holds a table: eight bytes and an object a number, and no place to take up again."""
    return Contender("sample(range(size), size)", {"sample": random.Random(1).sample, "size": SIZE})


def numpy() -> Contender:
    from numpy.random import default_rng

    return Contender("permutation(size)", {"permutation": default_rng(1).permutation, "size": SIZE})


def is_right(numbers: Any) -> bool:
    return len(numbers) == SIZE and {*map(int, numbers)} == {*range(SIZE)}


def cases() -> Iterator[Case]:
    yield Case(
        "a /16 in random order, a number",
        ours,
        {"random.sample": shuffled, "numpy": numpy},
        is_right,
        units=SIZE,
    )
