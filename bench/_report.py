"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench._harness import Measurement, Result

HEADINGS = ("what", "peer", "peer's time", "ours", "ratio", "goal")
UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))


def time_text(nanoseconds: float | None) -> str:
    """Three significant digits and a unit; a dash where there is no time."""
    if nanoseconds is None:
        return "-"
    unit, scale = next(((unit, scale) for unit, scale in UNITS if nanoseconds >= scale), UNITS[-1])
    value = nanoseconds / scale
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"


def ratio_text(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def goal_text(result: Result) -> str:
    """The goal, and where it is not met the best sample: a busy machine's median may hide how near it is."""
    if result.goal_ns is None:
        return ""
    outcome = "met" if result.goal_met else f"not met (best {time_text(result.ours.min_ns)})"
    return f"at most {time_text(result.goal_ns)}: {outcome}"


def remark(measurement: Measurement) -> str:
    """What has to be said beside the numbers: that they are for wrong work, or why there are none."""
    if measurement.verdict != "right":
        return f"  {measurement.verdict.upper() if measurement.verdict == 'wrong' else measurement.verdict}"
    return "  (one sample)" if len(measurement.samples_ns) == 1 else ""


def rows(result: Result) -> Iterator[tuple[str, ...]]:
    """A line for each contender, ours first and with the goal."""
    for number, measurement in enumerate(result.measurements):
        yield (
            result.what,
            measurement.name + remark(measurement),
            f"{time_text(measurement.median_ns):>11}",
            f"{time_text(result.ours.median_ns):>8}",
            f"{ratio_text(result.ratio(measurement)):>8}",
            "" if number else goal_text(result),
        )


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(models, os.uname().machine)


def machine() -> dict[str, Any]:
    """Where the numbers come from, and how busy it was."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
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
        "goal_ns": result.goal_ns,
        "goal_met": result.goal_met,
        "contenders": [
            {
                "name": measurement.name,
                "code": measurement.code,
                "verdict": measurement.verdict,
                "median_ns": measurement.median_ns,
                "min_ns": measurement.min_ns,
                "samples_ns": list(measurement.samples_ns),
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
