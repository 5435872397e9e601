"""The results as pictures, one for each page: a panel for each case, a bar for each contender, best first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench._case import RIGHT
from bench._harness import Measurement, Result
from bench._report import ratio_text, value_text

OURS, THEIRS, INCORRECT = "tab:green", "tab:gray", "tab:red"
LEGEND = {OURS: "fastnet", THEIRS: "others", INCORRECT: "wrong or incomplete"}
COLUMNS = 2
WIDEST = 50
"""The ratio of the longest bar to the shortest beyond which the axis is logarithmic."""


def is_ours(measurement: Measurement) -> bool:
    return measurement.name.startswith("fastnet")


def color(measurement: Measurement) -> str:
    if measurement.verdict != RIGHT:
        return INCORRECT
    return OURS if is_ours(measurement) else THEIRS


def label(result: Result, measurement: Measurement) -> str:
    """The amount; of another one than ours how many times ours is as good; what was not right."""
    text = value_text(measurement.median, result.quantity)
    if measurement is not result.ours and (ratio := result.ratio(measurement)):
        text += f" ({ratio_text(ratio)} x)"
    return text if measurement.verdict == RIGHT else f"{text}, {measurement.verdict}"


def order(result: Result) -> list[Measurement]:
    """Those with an amount, the best first."""
    timed = [measurement for measurement in result.measurements if measurement.samples]
    return sorted(timed, key=lambda item: item.median or 0.0, reverse=result.quantity.more_is_better)


def draw_case(axes: Axes, result: Result) -> None:
    found = order(result)
    amounts = [measurement.median or 0.0 for measurement in found]
    bars = axes.barh([measurement.name for measurement in found], amounts, color=list(map(color, found)))
    axes.bar_label(bars, labels=[label(result, item) for item in found], padding=3, fontsize=7)
    # A logarithm has no zero.
    is_wide = bool(amounts) and min(amounts) > 0 and max(amounts) > WIDEST * min(amounts)
    axes.set_xscale("log" if is_wide else "linear")
    # Room for the labels, which begin where the bars end.
    begin, end = axes.get_xlim()
    axes.set_xlim(begin, end * (end / begin) ** 0.6 if is_wide else end * 1.6 or 1.0)
    axes.tick_params(labelsize=7)
    axes.invert_yaxis()
    axes.set_title(result.what, fontsize=9)
    better = "more" if result.quantity.more_is_better else "less"
    scale = ", logarithmic" if is_wide else ""
    axes.set_xlabel(f"{result.quantity.unit}, {better} is better{scale}", fontsize=7)
    for goal in result.goals_of(result.ours):
        if (bound := result.bound(goal)) and axes.get_xlim()[0] < bound < axes.get_xlim()[1]:
            axes.axvline(bound, color=OURS, linestyle="--")


def draw(page: str, results: Sequence[Result], path: Path) -> None:
    """Write a page's picture to a file; its name has the format."""
    lines = [list(results[at : at + COLUMNS]) for at in range(0, len(results), COLUMNS)]
    heights = [2 + max(len(order(result)) for result in line) for line in lines]
    figure = Figure(figsize=(6.5 * COLUMNS, 0.8 + 0.24 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(lines), COLUMNS, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes in panels.flat[len(results) :]:
        axes.set_visible(False)
    for axes, result in zip(panels.flat, results, strict=False):
        draw_case(axes, result)
    ours = results[0].ours.name
    title = f"python -m bench {page}: medians; (2 x): half as good as {ours}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.legend(
        handles=[
            *(Patch(color=each, label=text) for each, text in LEGEND.items()),
            Line2D([], [], color=OURS, linestyle="--", label="goal"),
        ],
        loc="outside upper right",
        ncols=1 + len(LEGEND),
        fontsize=8,
    )
    figure.savefig(path, dpi=110)


def draw_pages(results: Sequence[Result], path: Path) -> list[Path]:
    """Write a picture of each page; their names are the path's, with the page's before the suffix."""
    paths = []
    for page, found in groupby(results, lambda result: result.page):
        paths.append(path.with_stem(f"{path.stem}-{page}"))
        draw(page, list(found), paths[-1])
    return paths
