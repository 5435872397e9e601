"""The results as a picture: one panel per case, one bar per contender, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench._harness import Result
from bench._report import ratio_text, value_text

OURS, THEIRS, INCORRECT = "tab:green", "tab:gray", "tab:red"


def draw_case(axes: Axes, result: Result) -> None:
    timed = [measurement for measurement in result.measurements if measurement.samples]
    bars = axes.barh(
        [measurement.name for measurement in timed],
        [measurement.median or 0.0 for measurement in timed],
        color=[
            INCORRECT if measurement.verdict != "right" else OURS if measurement is result.ours else THEIRS
            for measurement in timed
        ],
    )
    labels = [
        f"{value_text(item.median, result.quantity)} ({ratio_text(result.ratio(item))})" for item in timed
    ]
    axes.bar_label(bars, labels=labels, padding=3, fontsize=8)
    # A logarithm has no zero, and no axis without a bar.
    axes.set_xscale("log" if timed and all(item.median for item in timed) else "symlog")
    axes.margins(x=0.3)
    axes.invert_yaxis()
    axes.set_title(result.what, fontsize=10)
    better = "more" if result.quantity.more_is_better else "less"
    axes.set_xlabel(
        f"{result.quantity.unit}, {better} is better (how many times ours is better); red: wrong result",
        fontsize=8,
    )
    for goal in result.goals_of(result.ours):
        if bound := result.bound(goal):
            axes.axvline(bound, color=OURS, linestyle="--")


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the picture to a file; its name has the format."""
    figure = Figure(figsize=(9, sum(1.2 + 0.28 * len(result.measurements) for result in results)))
    panels = figure.subplots(
        len(results), squeeze=False, gridspec_kw={"height_ratios": [2 + len(r.measurements) for r in results]}
    )
    for axes, result in zip(panels[:, 0], results, strict=True):
        draw_case(axes, result)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
