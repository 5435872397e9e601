"""Two sessions compared: what got slower, or faster, beyond the noise of their samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

from bench._report import three_digits, time_text

HEADINGS = ("page", "what", "contender", "before", "after", "change", "")
SPREADS = 3
"""So many deviations of the medians are noise."""
LEAST = 0.02
"""And so large a part of a median."""


class Measured(NamedTuple):
    """One contender of one case in one session."""

    is_ours: bool
    unit: str
    more_is_better: bool
    median: float
    deviation: float


Session: TypeAlias = dict[tuple[str, str, str], Measured]
"""What was measured, by page, case and contender."""


class Change(NamedTuple):
    """One contender of one case in both sessions."""

    page: str
    what: str
    contender: str
    is_ours: bool
    unit: str
    before: float
    after: float
    worse: float
    """By which factor the later one is worse; below 1 where it is better."""
    noise: float
    """The part of a median that may be chance."""

    @property
    def verdict(self) -> str:
        if self.worse > 1 + self.noise:
            return "worse"
        return "better" if self.worse < 1 / (1 + self.noise) else ""


def deviation(samples: list[float]) -> float:
    """The median deviation from the median, as a part of that."""
    middle = median(samples)
    return median(abs(sample - middle) for sample in samples) / middle if middle else 0.0


def changes(before: Session, after: Session) -> Iterator[Change]:
    """What both sessions measured."""
    for key, now in after.items():
        then = before.get(key)
        if then is not None:
            yield Change(
                *(*key, now.is_ours, now.unit, then.median, now.median),
                then.median / now.median if now.more_is_better else now.median / then.median,
                max(LEAST, SPREADS * (then.deviation + now.deviation)),
            )


def read(path: Path) -> Session:
    """Raises OSError, or ValueError for what is no session."""
    try:
        return {
            (str(case["page"]), str(case["what"]), str(each["name"])): measured(case, number, each)
            for case in json.loads(path.read_bytes())["results"]
            for number, each in enumerate(case["contenders"])
            if (each["median"] or 0) > 0
        }
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path}: not the results of a session") from error


def measured(case: dict[str, Any], number: int, contender: dict[str, Any]) -> Measured:
    middle = float(contender["median"])
    if not isfinite(middle):
        raise ValueError
    return Measured(
        *(number == 0, str(case["unit"]), bool(case["more_is_better"])),
        *(middle, deviation(contender["samples"])),
    )


def row(change: Change) -> tuple[str, ...]:
    before, after = (
        time_text(value) if change.unit == "ns" else f"{three_digits(value)} {change.unit}"
        for value in (change.before, change.after)
    )
    return (
        *(change.page, change.what, change.contender, before, after),
        f"x {change.worse:.2f} (noise {change.noise:.0%})",
        change.verdict,
    )
