"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import _peers
from bench._case import NANOSECONDS, Goal, Quantity
from bench._harness import Measurement, Result

HEADINGS = ("what", "peer", "peer's", "ours", "ratio", "goal")
UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))


def time_text(nanoseconds: float | None) -> str:
    """Three significant digits and a unit; a dash without a time."""
    if nanoseconds is None:
        return "-"
    unit, scale = next(((unit, scale) for unit, scale in UNITS if nanoseconds >= scale), UNITS[-1])
    return f"{three_digits(nanoseconds / scale)} {unit}"


def three_digits(value: float) -> str:
    """Three significant digits at least, none of a zero."""
    places = next((places for places, least in ((0, 99.95), (1, 9.995), (2, 0.9995)) if value >= least), 3)
    return f"{value:,.{places}f}" if value else "0"


def value_text(value: float | None, quantity: Quantity) -> str:
    if quantity == NANOSECONDS or value is None:
        return time_text(value)
    return f"{three_digits(value)} {quantity.unit}"


def ratio_text(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def goal_text(result: Result, goal: Goal, measurement: Measurement) -> str:
    """The goal, and if it is not met the best sample: on a busy machine the median may be far from it."""
    bound = value_text(result.bound(goal), result.quantity)
    if goal.of:
        bound = f"{goal.bound:g} x {' or '.join(goal.of)}, {bound}"
    best = value_text(result.best(measurement), result.quantity)
    outcome = {True: "met", False: f"not met (best {best})", None: "nothing to compare with"}
    return (
        f"at {'least' if result.quantity.more_is_better else 'most'} {bound}: {outcome[result.is_met(goal)]}"
    )


def remark(measurement: Measurement) -> str:
    """The remark beside the numbers: that the work was wrong, or why there are none."""
    if measurement.verdict != "right":
        return f"  {measurement.verdict.upper() if measurement.verdict == 'wrong' else measurement.verdict}"
    return "  (one sample)" if len(measurement.samples) == 1 else ""


def rows(result: Result) -> Iterator[tuple[str, ...]]:
    """A line for each contender, ours first, and each goal beside the one that should reach it."""
    for measurement in result.measurements:
        yield (
            result.what,
            measurement.name + remark(measurement),
            f"{value_text(measurement.median, result.quantity):>11}",
            f"{value_text(result.ours.median, result.quantity):>8}",
            f"{ratio_text(result.ratio(measurement)):>8}",
            "; ".join(goal_text(result, goal, measurement) for goal in result.goals_of(measurement)),
        )


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(models, os.uname().machine)


def machine() -> dict[str, Any]:
    """The machine of the measurements, and its load."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "peers": str(_peers.root()),
        "kernel": os.uname().release,
        "python": sys.version.partition(" ")[0],
        "load_average": os.getloadavg()[0],
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each contender that is a distribution of that name."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except (PackageNotFoundError, ValueError):
            continue
    return found


def result_record(result: Result) -> dict[str, Any]:
    return {
        "page": result.page,
        "what": result.what,
        "unit": result.quantity.unit,
        "more_is_better": result.quantity.more_is_better,
        "goals": [
            {
                "by": goal.by or result.ours.name,
                "times": list(goal.of),
                "factor": goal.bound if goal.of else None,
                "bound": result.bound(goal),
                "met": result.is_met(goal),
            }
            for goal in result.goals
        ],
        "contenders": [
            {
                "name": measurement.name,
                "code": measurement.code,
                "verdict": measurement.verdict,
                "median": measurement.median,
                "best": result.best(measurement),
                "samples": list(measurement.samples),
                "ratio": result.ratio(measurement),
            }
            for measurement in result.measurements
        ],
    }


def record(results: Sequence[Result]) -> dict[str, Any]:
    """The whole session, ready for JSON."""
    names = {measurement.name for result in results for measurement in result.measurements}
    return {
        "machine": machine(),
        "versions": versions(sorted({"fastnet-toolkit", *names})),
        "results": [result_record(result) for result in results],
    }
