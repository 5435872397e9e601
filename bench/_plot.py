"""The results as a picture: a panel a case, a bar a contender, times on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench._harness import Result
from bench._report import ratio_text, time_text

OURS, THEIRS, INCORRECT = "tab:green", "tab:gray", "tab:red"


def draw_case(axes: Axes, result: Result) -> None:
    timed = [measurement for measurement in result.measurements if measurement.samples_ns]
    bars = axes.barh(
        [measurement.name for measurement in timed],
        [measurement.median_ns or 0.0 for measurement in timed],
        color=[
            INCORRECT if measurement.verdict != "right" else OURS if measurement is result.ours else THEIRS
            for measurement in timed
        ],
    )
    labels = [f"{time_text(item.median_ns)} ({ratio_text(result.ratio(item))})" for item in timed]
    axes.bar_label(bars, labels=labels, padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.3)
    axes.invert_yaxis()
    axes.set_title(result.what, fontsize=10)
    axes.set_xlabel("nanoseconds (times ours); red: wrong result", fontsize=8)
    if result.goal_ns is not None:
        axes.axvline(result.goal_ns, color=OURS, linestyle="--")


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the picture to a file; its name says in which format."""
    figure = Figure(figsize=(9, sum(1.2 + 0.28 * len(result.measurements) for result in results)))
    panels = figure.subplots(
        len(results), squeeze=False, gridspec_kw={"height_ratios": [2 + len(r.measurements) for r in results]}
    )
    for axes, result in zip(panels[:, 0], results, strict=True):
        draw_case(axes, result)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
