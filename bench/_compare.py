"""Two sessions compared: what got slower, or faster, beyond the noise of their samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench._report import three_digits, time_text

HEADINGS = ("page", "what", "contender", "before", "after", "change", "")
SPREADS = 3
"""So many deviations of the medians are noise."""
LEAST = 0.02
"""And so large a part of a median."""


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


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    """What both sessions measured."""
    known = {
        (case["page"], case["what"], each["name"]): each
        for case in before["results"]
        for each in case["contenders"]
    }
    for case in after["results"]:
        for number, now in enumerate(case["contenders"]):
            then = known.get((case["page"], case["what"], now["name"]))
            if then is None or not (then["median"] and now["median"]):
                continue
            grown = now["median"] / then["median"]
            yield Change(
                *(case["page"], case["what"], now["name"], number == 0, case["unit"]),
                *(then["median"], now["median"], 1 / grown if case["more_is_better"] else grown),
                max(LEAST, SPREADS * (deviation(then["samples"]) + deviation(now["samples"]))),
            )


def read(path: Path) -> dict[str, Any]:
    """Raises OSError, or ValueError for what is no session."""
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or "results" not in found:
        raise ValueError(f"{path}: not the results of a session")
    return found


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
