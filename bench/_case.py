"""The parts of a page: cases, and in each case the contenders that do the same work.

A page is a module ``bench_NAME`` with a docstring, a function ``cases()``, and where these need other
network namespaces than this one, a context manager ``places()`` that makes them. A page whose contenders
are processes has a function ``measure(implementations, rounds)``: under a load (see bench._load), or each
doing its work and ending (see bench._programs).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Quantity(NamedTuple):
    """A measured quantity and its unit."""

    unit: str
    more_is_better: bool = False


NANOSECONDS = Quantity("ns")
RIGHT = "right"
"""The verdict on a contender whose results may be compared."""


class Goal(NamedTuple):
    """The goal of one of ours: an amount, or with ``of``, a multiple of the best of these peers."""

    bound: float
    of: Sequence[str] = ()
    by: str = ""
    """The name of ours; the first one by default."""


Answer = Mapping[str, float]
"""The numbers measured in a run, by name."""


class Reading(NamedTuple):
    """One quantity of a run."""

    what: str
    quantity: Quantity
    value: Callable[[Answer], float]
    goals: Sequence[Goal] = ()
    without: Sequence[str] = ()
    """Contenders for which it is not measured."""


class Contender(NamedTuple):
    """One way to do a case's work: an expression, the names in it, and statements to run before timing it."""

    code: str
    names: Mapping[str, Any]
    setup: str = "pass"


class Case(NamedTuple):
    """The same work for all contenders.

    A contender is a function, so that what it imports is imported only where it runs; a peer that is
    not installed is the ``ModuleNotFoundError`` that it raises. ``is_right`` judges its
    expression's value. Times are for one of ``units`` (the packets of a batch). ``goal_ns`` is
    GOALS.md's most for ours, where it gives one.
    """

    what: str
    ours: Callable[[], Contender]
    peers: Mapping[str, Callable[[], Contender]]
    is_right: Callable[[Any], bool]
    goal_ns: float | None = None
    units: int = 1


PAGE_SECONDS = 150.0
"""The time of a page: once it is used up, its remaining cases have one round each."""


class Rounds:
    """Divides the time of a page among its cases; what one leaves is for those after it."""

    def __init__(self, cases: int, most: int, seconds: float = PAGE_SECONDS) -> None:
        self._cases = cases
        self._most = most
        self._ends = time.monotonic() + seconds

    def of_next_case(self, least: int = 1) -> Iterator[int]:
        """The numbers of a case's rounds: no more than fit, but so many at least."""
        now = time.monotonic()
        ends = now + (self._ends - now) / self._cases
        self._cases -= 1
        for number in range(self._most):
            if number >= least and time.monotonic() > ends:
                return
            yield number


Place = tuple[str, ...]
"""A place where a page runs: the words before the command that enter it; none for this namespace."""
