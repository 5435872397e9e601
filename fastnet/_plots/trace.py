"""A picture of a trace: the round-trip times of each hop, and the probes that were not answered."""

from _collections_abc import Callable
from math import nan
from statistics import median

from fastnet._plots.picture import BLUE, DARK, GREY, VERMILION, Picture, ms_text, shortened
from fastnet._trace import Hop, TraceResult
from fastnet._typing import Any

__all__ = ["TracePlot", "draw", "label_of", "size_of"]

_WIDTH, _ROW, _HEAD, _FOOT, _RIGHT = 1200, 32, 84, 92, 215
"""Pixels: of a hop's row, of what is above and below them, and of the numbers on the right."""
_NUMBER, _LABEL, _GAP = 12, 46, 8
"""Pixels from the left edge to the columns of a hop's number and of its label, and from that to the axis."""
_MEDIAN, _MARK, _LOSS = 14, 122, 134
"""Pixels from the end of the axis to the columns of the median, of the mark of a loss, and of its number."""
_LONGEST_LABEL, _LONGEST_NAME = 56, 60
_FEWEST_ROWS = 3
_BEYOND = 1.05
"""Where the axis of times ends, in longest ones."""
_FAINT = "#666666"


class TracePlot:
    """Draws a trace; ``name_of`` returns a responder's name, if names are wanted."""

    def __init__(self, picture: Picture, name_of: Callable[[str], str | None] | None) -> None:
        self._picture, self._name_of = picture, name_of

    def begin(self) -> None:
        """Raises OSError where the picture can't be written."""
        self._picture.check()

    def write(self, result: TraceResult) -> None:
        """Write the picture. Raises OSError."""
        labels = [label_of(hop, self._name_of) for hop in result.hops]
        self._picture.write(*size_of(result), lambda figure: draw(figure, result, labels))


def size_of(result: TraceResult) -> tuple[int, int]:
    """The width and height of the picture, in pixels."""
    return _WIDTH, _ROW * max(_FEWEST_ROWS, len(result.hops)) + _HEAD + _FOOT


def label_of(hop: Hop, name_of: Callable[[str], str | None] | None) -> str:
    """``10.0.0.1 +1 !X``: the first responder, the number of others, and the errors."""
    text = "no answer"
    if hop.responders:
        first = hop.responders[0]
        name = name_of(first) if name_of else None
        text = shortened(f"{name} ({first})" if name else first, _LONGEST_LABEL)
        if len(hop.responders) > 1:
            text += f" +{len(hop.responders) - 1}"
    return " ".join((text, *dict.fromkeys(each.mark for each in hop.responses if each.mark)))


def draw(figure: Any, result: TraceResult, labels: list[str]) -> None:
    """Draw a row for each hop on a figure of ``size_of``: its label, its round-trip times, and its loss."""
    width, height = size_of(result)
    figure.text(_NUMBER / width, 1 - 14 / height, _title(result), va="top", fontsize=11)
    left = _write_labels(figure, result, labels)
    across = width - left - _RIGHT
    axes = figure.add_axes((left / width, _FOOT / height, across / width, 1 - (_FOOT + _HEAD) / height))
    axes.set_ylim(max(_FEWEST_ROWS, len(labels)) + 0.5, 0.5)
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    _draw_times(axes, result, across)
    _draw_losses(axes, result, across)
    if axes.get_legend_handles_labels()[0]:
        anchor = (_NUMBER / width, 6 / height)
        figure.legend(loc="lower left", bbox_to_anchor=anchor, ncols=3, frameon=False, borderaxespad=0)


def _write_labels(figure: Any, result: TraceResult, labels: list[str]) -> float:
    """Write the two columns on the left. Returns where the axis may begin, in pixels."""
    width, height = size_of(result)
    end = _LABEL / width
    for row, (hop, label) in enumerate(zip(result.hops, labels, strict=True)):
        y = 1 - (_HEAD + _ROW * (row + 0.5)) / height
        figure.text(_NUMBER / width, y, str(hop.ttl), va="center")
        text = figure.text(_LABEL / width, y, label, va="center")
        end = max(end, text.get_window_extent().x1 / figure.bbox.width)
    return end * width + _GAP


def _write(axes: Any, x: float, row: float, text: str, color: str = DARK) -> None:
    """Write in the row of a hop; ``x`` is 0 where the axis begins and 1 where it ends."""
    axes.text(x, row, text, transform=axes.get_yaxis_transform(), va="center", color=color)


def _title(result: TraceResult) -> str:
    name = shortened(result.host, _LONGEST_NAME)
    if result.address != result.host:
        name += f" ({result.address})"
    count = len(result.hops)
    title = f"{name}: {'reached' if result.reached else 'not reached'} in {count} hop{'s' * (count != 1)}"
    return f"{title}, MTU {result.mtu.mtu}" if result.mtu and result.mtu.mtu else title


def _draw_times(axes: Any, result: TraceResult, across: float) -> None:
    """Each round-trip time, and a line through the medians, which are written on the right."""
    by_hop = [
        (hop.ttl, [each.rtt_ms for each in hop.responses if each.rtt_ms is not None]) for hop in result.hops
    ]
    if not any(times for _, times in by_hop):
        axes.set_xticks([])
        return
    middles = [median(times) if times else nan for _, times in by_hop]
    axes.plot(middles, [ttl for ttl, _ in by_hop], color=GREY, linewidth=1.2, label="median")
    axes.plot(
        [rtt_ms for _, times in by_hop for rtt_ms in times],
        [ttl for ttl, times in by_hop for _ in times],
        linestyle="none",
        marker="o",
        markersize=5,
        color=BLUE,
        alpha=0.7,
        markeredgewidth=0,
        label="answer",
    )
    axes.set_xlim(0, _BEYOND * max(max(times) for _, times in by_hop if times))
    axes.set_xlabel("round-trip time (ms)")
    _write(axes, 1 + _MEDIAN / across, 0.1, "median", _FAINT)
    for (ttl, times), middle in zip(by_hop, middles, strict=True):
        if times:
            _write(axes, 1 + _MEDIAN / across, ttl, ms_text(middle))


def _draw_losses(axes: Any, result: TraceResult, across: float) -> None:
    """A mark in the row of each hop with a loss, and of how many probes, on the right."""
    lost = [(hop, sum(each.rtt_ms is None for each in hop.responses)) for hop in result.hops]
    lossy = [(hop, count) for hop, count in lost if count]
    if not lossy:
        return
    axes.plot(
        [1 + _MARK / across] * len(lossy),
        [hop.ttl for hop, _ in lossy],
        transform=axes.get_yaxis_transform(),
        linestyle="none",
        marker="X",
        markersize=6,
        color=VERMILION,
        markeredgewidth=0,
        clip_on=False,
        label="no answer",
    )
    for hop, count in lossy:
        _write(axes, 1 + _LOSS / across, hop.ttl, f"{count} of {len(hop.responses)}")
