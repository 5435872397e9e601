"""A picture of a sweep: its targets by their state, along a Hilbert curve.

Such a curve keeps neighbours together: each prefix is a square, or two of them side by side.
"""

from _collections_abc import Iterator, Sequence
from itertools import accumulate
from math import ceil, log2
from socket import AF_INET, AF_INET6

from fastnet._plots.picture import BLUE, DARK, ORANGE, PURPLE, Picture
from fastnet._reference import reference
from fastnet._sweep.result import (
    ALIVE,
    DECIDED,
    INACTIVE,
    NOT_PROBED,
    STATES,
    UNREACHABLE,
    SweepResult,
)
from fastnet._typing import Any, NamedTuple
from fastnet.targets import Targets, address_text

__all__ = ["Map", "SweepPlot", "draw", "hilbert", "map_of", "size_of"]

MAX_CELL_BITS = 18
"""Of more targets than 2^18 several have a cell together, of at least two pixels by two."""
_SPARSE = 16
"""A space with more addresses for each target is not drawn, only the targets."""
_AT_ONCE = 1 << 20
"""Targets."""
_SHOWN = (
    ("no target", "#ffffff"),
    (DECIDED, "#808080"),
    (INACTIVE, "#cccccc"),
    (NOT_PROBED, PURPLE),
    (UNREACHABLE, ORANGE),
    (ALIVE, BLUE),
)
"""What a cell can be, and its colour: of several targets in a cell the last of these is shown."""
_BITS = {AF_INET: 32, AF_INET6: 128}
_BLOCK, _LABEL, _SIDE, _HEAD, _FOOT = 256, 18, 38, 70, 60
"""Pixels: of the squares that the map is divided into, of their labels, and around the map."""
_NARROWEST = 820
_CURVE_CELLS, _GRID_CELLS = 256, 1024
"""Cells up to which the curve itself is drawn, and up to which there are lines between them."""
_LONGEST_TITLE = 56
_LONG_LABEL = 20


class Map(NamedTuple):
    """The cells of a map, in the order of the curve."""

    cells: Any
    """An array: the index in ``_SHOWN`` of each."""
    together: int
    """The number of addresses or targets of a cell, a power of two."""
    base: int | None
    """The first address of the space; None where the map has the targets one after the other."""
    is_ipv6: bool


class SweepPlot:
    """Draws the results of a sweep as pictures of one file."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def begin(self) -> None:
        """Raises OSError where the picture can't be written."""
        self._picture.check()

    def write(self, result: SweepResult) -> None:
        """Replace the picture. Raises OSError."""
        drawn = map_of(result)
        self._picture.write(*size_of(drawn), lambda figure: draw(figure, result, drawn))


def map_of(result: SweepResult) -> Map:
    """The map of the smallest prefix of all targets, or where that is sparse of the targets alone."""
    numpy = reference("numpy")
    runs = [*result.runs()]
    count = sum(run.size for run in runs)
    families = {run.family for run in runs}
    base, slots = None, count
    if len(families) == 1:
        first, last = runs[0].first, max(run.first + (run.size - 1) * run.step for run in runs)
        bits = (first ^ last).bit_length()
        if 1 << bits <= count * _SPARSE:
            base, slots = first >> bits << bits, 1 << bits
    bits = ceil(log2(max(1, slots)))
    hidden_bits = max(0, bits - MAX_CELL_BITS)
    cells = numpy.zeros(1 << bits - hidden_bits, numpy.uint8)
    shown = numpy.array([[name for name, _ in _SHOWN].index(state) for state in STATES], numpy.uint8)
    states = numpy.frombuffer(result.states, numpy.uint8)
    for run in runs:
        start, step = (run.begin, 1) if base is None else (run.first - base, run.step)
        for done in range(0, run.size, _AT_ONCE):
            part = shown[states[run.begin + done : run.begin + min(run.size, done + _AT_ONCE)]]
            places = start + step * numpy.arange(done, done + len(part)) >> hidden_bits
            numpy.maximum.at(cells, places, part)
    return Map(cells, 1 << hidden_bits, base, AF_INET6 in families)


def hilbert(bits: int) -> tuple[Any, Any]:
    """The columns and rows of the cells of a curve of 2 to the power of ``bits``, from the upper left on.

    For an even number it fills a square, for an odd one the upper half of one.
    """
    numpy = reference("numpy")
    rest = numpy.arange(1 << bits)
    column, row = numpy.zeros_like(rest), numpy.zeros_like(rest)
    for level in range((bits + 1) // 2):
        side = 1 << level
        right, up = rest >> 1 & 1, (rest ^ rest >> 1) & 1
        flipped = (up == 0) & (right == 1)
        column, row = (
            numpy.where(flipped, side - 1 - column, column),
            numpy.where(flipped, side - 1 - row, row),
        )
        turned = up == 0
        column, row = numpy.where(turned, row, column), numpy.where(turned, column, row)
        column, row = column + side * right, row + side * up
        rest = rest >> 2
    return row, column


def _bits(drawn: Map) -> int:
    return len(drawn.cells).bit_length() - 1


def _blocks(drawn: Map) -> tuple[int, int]:
    """The columns and rows of squares, at most four by four, each with a label."""
    bits = min(_bits(drawn), 4 - _bits(drawn) % 2)
    return 1 << (bits + 1) // 2, 1 << bits // 2


def size_of(drawn: Map) -> tuple[int, int]:
    """The width and height of the picture, in pixels."""
    columns, rows = _blocks(drawn)
    return max(_NARROWEST, columns * _BLOCK + 2 * _SIDE), rows * (_BLOCK + _LABEL) + _HEAD + _FOOT


def draw(figure: Any, result: SweepResult, drawn: Map) -> None:
    """Draw the map, its title and its legend on a figure of ``size_of``."""
    columns, rows = _blocks(drawn)
    width, height = size_of(drawn)
    across, down = columns * _BLOCK, rows * (_BLOCK + _LABEL)
    axes = figure.add_axes((_SIDE / width, _FOOT / height, across / width, down / height))
    axes.set_xlim(0, across)
    axes.set_ylim(down, 0)
    axes.set_axis_off()
    _draw_blocks(axes, result, drawn)
    _draw_legend(figure, result, drawn, _SIDE / width)
    left, top = _SIDE / width, 1 - 12 / height
    count = len(result) - len(result.targets.unresolved)
    title = f"{_named([*_spans(result.targets)])}: {count:,} target{'s' * (count != 1)}"
    figure.text(left, top, title, va="top", fontsize=11)
    figure.text(left, top - 27 / height, _explained(drawn), va="top", fontsize=8)


def _named(names: Sequence[str]) -> str:
    """As many of the names as have room in a title, and the number of the others."""
    lengths = accumulate(len(name) + len(", ") for name in names)
    shown = max(1, sum(length <= _LONGEST_TITLE for length in lengths))
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest:,} more" if rest else "")


def _spans(targets: Targets) -> Iterator[str]:
    """The targets as prefixes, and as ranges where they are none."""
    for family in (AF_INET, AF_INET6):
        for span in targets.spans(family):
            size = span.last - span.first + 1
            first = address_text(family, span.first)
            if size == 1:
                yield first
            elif size & size - 1 or span.first % size:
                yield f"{first}-{address_text(family, span.last)}"
            else:
                yield f"{first}/{_BITS[family] - size.bit_length() + 1}"


def _explained(drawn: Map) -> str:
    if drawn.base is None:
        what, ones = "the targets one after the other", "targets"
    else:
        what, ones = "addresses", "addresses"
    text = f"{what} along a Hilbert curve from the upper left"
    if drawn.together > 1:
        text += f"; a cell is {drawn.together:,} {ones}, alive if one of them is"
    return text[0].upper() + text[1:]


def _draw_blocks(axes: Any, result: SweepResult, drawn: Map) -> None:
    colors = reference("matplotlib.colors").ListedColormap([color for _, color in _SHOWN])
    bits = _bits(drawn)
    across, down = hilbert(bits)
    columns, rows = _blocks(drawn)
    in_block = len(drawn.cells) // (columns * rows)
    side = 1 << (in_block.bit_length() - 1) // 2
    pixels = _BLOCK / side
    grid = reference("numpy").zeros((rows * side, columns * side), drawn.cells.dtype)
    grid[down, across] = drawn.cells
    for number, label in enumerate(_labels(result, drawn, columns * rows)):
        if not label:
            continue
        column, row = int(across[number * in_block]) // side, int(down[number * in_block]) // side
        left, top = column * _BLOCK, row * (_BLOCK + _LABEL) + _LABEL
        axes.imshow(
            grid[row * side : (row + 1) * side, column * side : (column + 1) * side],
            cmap=colors,
            vmin=0,
            vmax=len(_SHOWN) - 1,
            interpolation="nearest",
            aspect="auto",
            extent=(left, left + _BLOCK, top + _BLOCK, top),
        )
        frame = reference("matplotlib.patches").Rectangle((left, top), _BLOCK, _BLOCK, fill=False)
        frame.set(edgecolor=DARK, linewidth=0.6, clip_on=False, zorder=3)
        axes.add_patch(frame)
        if len(drawn.cells) <= _GRID_CELLS:
            lines = [pixels * line for line in range(1, side)]
            axes.hlines([top + line for line in lines], left, left + _BLOCK, color="white", linewidth=0.6)
            axes.vlines([left + line for line in lines], top, top + _BLOCK, color="white", linewidth=0.6)
        axes.text(left + 1, top - 4, label, fontsize=5.5 if len(label) > _LONG_LABEL else 7.5, va="baseline")
    if len(drawn.cells) <= _CURVE_CELLS:
        x = across * pixels + pixels / 2
        y = down * pixels + pixels / 2 + (down // side + 1) * _LABEL
        axes.plot(x, y, color=DARK, linewidth=1, alpha=0.35)


def _labels(result: SweepResult, drawn: Map, blocks: int) -> Iterator[str]:
    """The prefix of each block, or its first target."""
    size = len(drawn.cells) * drawn.together // blocks
    count = len(result) - len(result.targets.unresolved)
    for number in range(blocks):
        if drawn.base is None:
            yield result[number * size].address if number * size < count else ""
            continue
        family = AF_INET6 if drawn.is_ipv6 else AF_INET
        address = address_text(family, drawn.base + number * size)
        yield address if size == 1 else f"{address}/{_BITS[family] - size.bit_length() + 1}"


def _draw_legend(figure: Any, result: SweepResult, drawn: Map, left: float) -> None:
    counts = {**dict(zip((ALIVE, INACTIVE, UNREACHABLE, NOT_PROBED), result.counts, strict=True))}
    counts[NOT_PROBED] -= len(result.targets.unresolved)
    counts[DECIDED] = len(result.decided_before)
    patch = reference("matplotlib.patches").Patch
    handles = [
        patch(facecolor=color, edgecolor=DARK, linewidth=0.6, label=f"{name}: {counts[name]:,}")
        for name, color in reversed(_SHOWN)
        if counts.get(name)
    ]
    if not drawn.cells.all():
        handles.append(patch(facecolor="#ffffff", edgecolor=DARK, linewidth=0.6, label="no target"))
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(left, 0.0), ncols=6, frameon=False)
