"""A picture of a ping: the round-trip times of each host over time, their percentiles, and the losses."""

import time
from _collections_abc import Sequence
from array import array
from bisect import bisect_right

from fastnet._contract.values import counted
from fastnet._ping.lookup import Destination
from fastnet._ping.results import PingResult, Reply
from fastnet._plots.picture import BLUE, DARK, PURPLE, VERMILION, Picture, ms_text, shortened
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.errors import InvalidArgument

__all__ = ["MAX_HOSTS", "MAX_POINTS", "PingPlot", "draw"]

MAX_HOSTS = 16
"""Each has a panel of its own."""
MAX_POINTS = 1_000_000
"""Maximum requests in a picture, of all hosts together: its memory does not grow any more."""
_WIDTH, _PANEL, _LOWER_PANEL, _MARGIN = 1200, 360, 260, 90
"""Pixels."""
_HIGH_PANELS = 3
"""Of more hosts the panels are lower."""
_FEW = 100
"""Replies that are drawn larger, and losses that have a mark each."""
_MAX_BARS, _REQUESTS_OF_BAR = 200, 20
"""Maximum bars of losses, and requests of each at least: the share of fewer varies by chance."""
_BAR, _LEAST_BAR = 0.1, 0.015
"""The height of bars in shares of a panel's: where all is lost, and of any loss."""
_SHARP = 5000
"""Points of a panel that an SVG has as shapes; more are one image."""
_LOGARITHMIC = 50
"""Ratio of the longest to the shortest round-trip time above which the scale is logarithmic."""
_UNITS = ((172_800, 86_400, "days"), (7200, 3600, "h"), (300, 60, "min"), (0, 1, "s"))
_LONGEST_NAME = 50
_PERCENTILES = ((50, "-"), (90, "--"), (99, ":"))


class Series:
    """The requests of one host: when each was sent, in seconds since the start, and its round-trip time."""

    __slots__ = ("lost", "not_sent", "rtts_ms", "times")

    def __init__(self) -> None:
        self.times, self.rtts_ms = array("d"), array("d")
        self.lost, self.not_sent = array("d"), array("d")


class PingPlot:
    """Gathers the replies for a picture; ``interval`` is the seconds between two requests to a host."""

    def __init__(self, picture: Picture, interval: float) -> None:
        self._picture, self._interval = picture, interval

    def begin(self, destinations: Sequence[Destination]) -> None:
        """Raises InvalidArgument for too many hosts, OSError where the picture can't be written."""
        keys = [(each.host, each.address) for each in destinations]
        if len(keys) > MAX_HOSTS:
            raise InvalidArgument(
                f"--plot: {counted(len(keys), 'host')}: at most {MAX_HOSTS} have room in a picture"
            )
        self._picture.check()
        self._series = {key: Series() for key in keys}
        self._points = 0
        self._begun = time.monotonic()
        self._answered, self._delays = array("q"), array("d")

    def add(self, reply: Reply) -> None:
        """Note a reply that has just come, or the end of a request without one."""
        if reply.duplicate or self._points == MAX_POINTS:
            return
        self._points += 1
        series = self._series[reply.host, reply.address]
        now = time.monotonic() - self._begun
        planned = reply.seq * self._interval
        if reply.rtt_ms is not None:
            sent = max(0.0, now - reply.rtt_ms / 1000)
            self._note_delay(reply.seq, sent - planned)
            series.times.append(sent)
            series.rtts_ms.append(reply.rtt_ms)
        else:
            # When it was sent is not known, but how late the schedule was.
            sent = max(0.0, min(now, planned + self._delay(reply.seq))) if self._interval else now
            (series.lost if reply.tries else series.not_sent).append(sent)

    def _note_delay(self, seq: int, delay: float) -> None:
        """Of the schedule, at an answered request: the first of each number, in ascending order."""
        if not self._answered or seq > self._answered[-1]:
            self._answered.append(seq)
            self._delays.append(delay)

    def _delay(self, seq: int) -> float:
        """Of the schedule, at the last answered request up to this one."""
        return self._delays[max(0, bisect_right(self._answered, seq) - 1)] if self._delays else 0.0

    def write(self, results: Sequence[PingResult]) -> str:
        """Write the picture. Returns a remark on what it lacks, or nothing. Raises OSError."""
        all_series = [self._series[each.host, each.address] for each in results]
        height = (_PANEL if len(results) <= _HIGH_PANELS else _LOWER_PANEL) * len(results) + _MARGIN
        self._picture.write(_WIDTH, height, lambda figure: draw(figure, results, all_series))
        return f"the picture has the first {MAX_POINTS:,} requests only" if self._points == MAX_POINTS else ""


def draw(figure: Any, results: Sequence[PingResult], all_series: Sequence[Series]) -> None:
    """Draw a panel for each host."""
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(results), sharex=True, squeeze=False)[:, 0]
    last = max((max(times, default=0.0) for series in all_series for times in _times(series)), default=0.0)
    _, scale, unit = next(each for each in _UNITS if last >= each[0])
    for axes, result, series in zip(panels, results, all_series, strict=True):
        many = max(len(series.lost), len(series.not_sent)) > _FEW
        axes.set_title(_title(result), loc="left", fontsize=9, pad=24 if many else 9)
        axes.grid(True, color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        _draw_replies(axes, result, series, scale)
        if many:
            _draw_shares(axes, series, scale, last or 1.0)
        else:
            _draw_losses(axes, series, scale)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False)
    span = last / scale or 1.0
    panels[-1].set_xlim(-0.02 * span, 1.02 * span)
    panels[-1].set_xlabel(f"time since the start ({unit})")


def _times(series: Series) -> "tuple[array[float], ...]":
    return series.times, series.lost, series.not_sent


def _title(result: PingResult) -> str:
    name = shortened(result.host, _LONGEST_NAME)
    if result.address not in ("", result.host):
        name += f" ({result.address})"
    if not result.address:
        return f"{name}: {result.error}"
    text = f"{name}: {result.sent:,} sent, {result.received:,} received"
    if result.loss_percent is not None:
        text += f", {result.loss_percent:g}% loss"
    return f"{text}, {counted(result.duplicates, 'duplicate', ',')}" if result.duplicates else text


def _draw_replies(axes: Any, result: PingResult, series: Series, scale: float) -> None:
    if not series.rtts_ms:
        axes.set_yticks([])
        text = "no reply" if result.sent else "nothing was sent"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=12)
        return
    few, many = len(series.times) <= _FEW, len(series.times) > _SHARP
    axes.plot(
        [each / scale for each in series.times],
        series.rtts_ms,
        linestyle="none",
        marker="o",
        markersize=5 if few else 2 if many else 3.5,
        color=BLUE,
        alpha=0.5 if many else 0.8,
        markeredgewidth=0,
        zorder=3 if few else 2,
        rasterized=many,
        label="reply",
    )
    for percent, dashes in _PERCENTILES:
        value = getattr(result, f"rtt_p{percent}_ms")
        label = f"{percent}% within {ms_text(value)}"
        axes.axhline(value, color=DARK, linestyle=dashes, linewidth=1, zorder=2.5, label=label)
    if max(series.rtts_ms) > _LOGARITHMIC * min(series.rtts_ms):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(reference("matplotlib.ticker").LogLocator(subs=(1, 2, 5), numticks=30))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylabel("round-trip time (ms, logarithmic)")
    else:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("round-trip time (ms)")


def _draw_losses(axes: Any, series: Series, scale: float) -> None:
    """A mark for each at the upper and the lower edge, whatever the scale."""
    for times, edge, marker, color, what in (
        (series.lost, 1.0, "v", VERMILION, "no reply"),
        (series.not_sent, 0.0, "^", PURPLE, "not sent"),
    ):
        if times:
            axes.plot(
                [each / scale for each in times],
                [edge] * len(times),
                transform=axes.get_xaxis_transform(),
                linestyle="none",
                marker=marker,
                markersize=6,
                color=color,
                markeredgewidth=0,
                clip_on=False,
                zorder=4,
                label=f"{what} ({len(times):,})",
            )


def _draw_shares(axes: Any, series: Series, scale: float, last: float) -> None:
    """Many losses as bars above the panel, by their share of the requests of a moment."""
    numpy = reference("numpy")
    bars = min(_MAX_BARS, sum(map(len, _times(series))) // _REQUESTS_OF_BAR)
    counts = [numpy.histogram(times, bars, (0, last))[0] for times in _times(series)]
    asked = numpy.maximum(1, sum(counts))
    width = last / scale / bars
    below = numpy.ones(bars)
    for times, count, color, what in (
        (series.lost, counts[1], VERMILION, "no reply"),
        (series.not_sent, counts[2], PURPLE, "not sent"),
    ):
        if not times:
            continue
        heights = numpy.where(count, numpy.maximum(_LEAST_BAR, _BAR * count / asked), 0)
        axes.bar(
            (numpy.arange(bars) + 0.5) * width,
            heights,
            width,
            below,
            transform=axes.get_xaxis_transform(),
            color=color,
            linewidth=0,
            clip_on=False,
            label=f"{what} ({len(times):,})",
        )
        below = below + heights
