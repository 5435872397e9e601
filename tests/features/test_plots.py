"""Pictures: what their artists show, in which size and form, and what can't be drawn."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fastnet._ping import Destination, PingResult, Reply, Summary
from fastnet._plots import ping as ping_plot
from fastnet._plots import sweep as sweep_plot
from fastnet._plots import trace as trace_plot
from fastnet._plots.picture import _STYLE, Picture, ms_text, shortened
from fastnet._sweep import STATES
from fastnet._sweep.result import Counts, Run
from fastnet._trace import Hop, Response, TraceResult
from fastnet.errors import InvalidArgument
from fastnet.targets import Targets

PNG = b"\x89PNG\r\n\x1a\n"
ADDRESS = "192.0.2.1"

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("matplotlib")]


@pytest.fixture(scope="module")
def matplotlib(reference: Callable[[str], ModuleType]) -> ModuleType:
    return reference("matplotlib.figure")


@pytest.fixture
def figure(matplotlib: ModuleType) -> Iterator[Any]:
    with import_module("matplotlib").rc_context(_STYLE):
        yield matplotlib.Figure()


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == PNG
    assert data.endswith(b"IEND\xaeB`\x82")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def svg_points(path: Path) -> tuple[float, float]:
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return float(root.attrib["width"].removesuffix("pt")), float(root.attrib["height"].removesuffix("pt"))


def lines_of(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    """The data of each labelled line, whose labels are those of the legend."""
    lines = {line.get_label(): line for line in axes.get_lines()}
    if axes.get_legend():
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [*lines]
    return {label: (list(line.get_xdata()), list(line.get_ydata())) for label, line in lines.items()}


def assert_apart(figure: Any, *others: Any) -> None:
    """No two texts of a figure overlap, or one of the other artists, and all are within the picture."""
    figure.set_dpi(120)
    figure.canvas.draw()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    artists = [*texts, *figure.legends, *others]
    boxes = [each.get_window_extent() for each in artists]
    overlapping = [
        (artists[one], artists[other])
        for one, other in itertools.combinations(range(len(boxes)), 2)
        if boxes[one].overlaps(boxes[other])
    ]
    assert overlapping == []
    width, height = figure.get_size_inches() * 120
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
    assert all(box.x1 <= width and box.y1 <= height for box in boxes)


class TestPicture:
    @pytest.mark.parametrize("name", ["x", "x.pdf", "x.png.gz", ".png", "png", ""])
    def test_a_wrong_name(self, name: str) -> None:
        with pytest.raises(InvalidArgument, match=r"expected a name that ends with \.png or \.svg$"):
            Picture(name)

    def test_a_size(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.svg", "c.PNG"):
            Picture(str(tmp_path / name)).write(1200, 450, lambda figure: figure.text(0.5, 0.5, "text"))
        assert png_size(tmp_path / "a.png") == png_size(tmp_path / "c.PNG") == (1200, 450)
        assert svg_points(tmp_path / "b.svg") == (720, 270)
        assert len([*tmp_path.iterdir()]) == 3

    @pytest.mark.parametrize("name", ["x.png", "x.svg"])
    def test_the_same_picture_has_the_same_bytes(self, tmp_path: Path, name: str) -> None:
        picture = Picture(str(tmp_path / name))
        written = []
        for _ in range(2):
            picture.write(300, 200, lambda figure: figure.subplots().plot([1, 2], [3, 4], "o-"))
            written.append((tmp_path / name).read_bytes())
        assert written[0] == written[1]

    def test_a_failure_leaves_the_old_picture(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        path.write_text("old")

        def fail(figure: Any) -> None:
            raise MemoryError

        with pytest.raises(MemoryError):
            Picture(str(path)).write(300, 200, fail)
        assert path.read_text() == "old"
        assert [*tmp_path.iterdir()] == [path]

    def test_any_text(self, tmp_path: Path) -> None:
        text = "$x^$ \N{CJK UNIFIED IDEOGRAPH-4E2D} \\frac{1}"
        Picture(str(tmp_path / "x.png")).write(300, 200, lambda figure: figure.text(0, 0, text))

    def test_words(self) -> None:
        assert [ms_text(ms) for ms in (0.04123, 41.23, 999.4, 4123.4)] == [
            "0.0412 ms",
            "41.2 ms",
            "999 ms",
            "4,123 ms",
        ]
        assert shortened("a" * 10 + "b" * 10, 9) == "aaaa…bbbb"
        assert shortened("short\n", 9) == "short\\n"


class TestPing:
    Made = tuple[PingResult, ping_plot.Series]

    @staticmethod
    def made(*rtts_ms: float | None, apart: float = 1.0, not_sent: int = 0, host: str = ADDRESS) -> Made:
        """Requests: the round-trip time of each, or None if it was lost; then some that were not sent."""
        summary, series = Summary(host, ADDRESS, "raw"), ping_plot.Series()
        for seq, rtt_ms in enumerate(rtts_ms):
            summary.add(Reply(host, ADDRESS, seq, rtt_ms, 64, None if rtt_ms else "no answer"))
            if rtt_ms:
                series.times.append(seq * apart)
                series.rtts_ms.append(rtt_ms)
            else:
                series.lost.append(seq * apart)
        for seq in range(len(rtts_ms), len(rtts_ms) + not_sent):
            summary.add(Reply(host, ADDRESS, seq, None, None, "not sent: No", tries=0))
            series.not_sent.append(seq * apart)
        return summary.result(), series

    def test_replies_losses_and_percentiles(self, figure: Any) -> None:
        result, series = self.made(1.0, None, 3.0, 2.0, not_sent=1)
        ping_plot.draw(figure, [result], [series])
        (axes,) = figure.axes
        assert lines_of(axes) == {
            "reply": ([0, 2, 3], [1, 3, 2]),
            "50% within 2 ms": ([0, 1], [2, 2]),
            "90% within 3 ms": ([0, 1], [3, 3]),
            "99% within 3 ms": ([0, 1], [3, 3]),
            "no reply (1)": ([1], [1]),
            "not sent (1)": ([4], [0]),
        }
        assert axes.get_title(loc="left") == f"{ADDRESS}: 4 sent, 3 received, 25% loss"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("time since the start (s)", "round-trip time (ms)")
        assert axes.get_ylim()[0] == 0
        assert axes.get_xlim()[0] < 0 < 4 < axes.get_xlim()[1]

    def test_all_lost(self, figure: Any) -> None:
        result, series = self.made(None, None, host="a.example")
        ping_plot.draw(figure, [result], [series])
        (axes,) = figure.axes
        assert lines_of(axes) == {"no reply (2)": ([0, 1], [1, 1])}
        assert [text.get_text() for text in axes.texts] == ["no reply"]
        assert axes.get_title(loc="left") == f"a.example ({ADDRESS}): 2 sent, 0 received, 100% loss"

    def test_nothing_sent(self, figure: Any) -> None:
        result, series = self.made(not_sent=1)
        ping_plot.draw(figure, [result], [series])
        (axes,) = figure.axes
        assert [text.get_text() for text in axes.texts] == ["nothing was sent"]
        assert axes.get_title(loc="left") == f"{ADDRESS}: 0 sent, 0 received"

    def test_many_losses_are_bars_of_their_share(self, figure: Any) -> None:
        """All are lost in the first half, then one of three: a bar for each of 200 moments of 30 requests."""
        rtts = [None, None, None] * 1000 + [1.0, None, 1.0] * 1000
        result, series = self.made(*rtts, not_sent=1)
        ping_plot.draw(figure, [result], [series])
        (axes,) = figure.axes
        assert [text.get_text() for text in axes.get_legend().get_texts()][-2:] == [
            "no reply (4,000)",
            "not sent (1)",
        ]
        lost, not_sent = axes.containers
        assert [bar.get_y() for bar in lost] == [1] * 200
        heights = [bar.get_height() for bar in lost]
        assert heights[:99] == pytest.approx([0.1] * 99)
        assert heights[101:] == pytest.approx([0.1 / 3] * 99, rel=0.05)
        assert [bar.get_height() > 0 for bar in not_sent] == [False] * 199 + [True]
        assert not_sent[199].get_y() == pytest.approx(1 + heights[199])

    @pytest.mark.parametrize(("requests", "bars"), [(202, 10), (300, 15), (399, 19), (8000, 200)])
    def test_a_bar_is_of_twenty_requests_or_more(self, figure: Any, requests: int, bars: int) -> None:
        """Every second one is lost: the bars are of about the same height."""
        result, series = self.made(*[1.0 if seq % 2 else None for seq in range(requests)])
        ping_plot.draw(figure, [result], [series])
        (lost,) = figure.axes[0].containers
        heights = [bar.get_height() for bar in lost]
        assert heights == pytest.approx([0.05] * bars, rel=0.1)

    def test_one_reply(self, figure: Any) -> None:
        result, series = self.made(0.5)
        ping_plot.draw(figure, [result], [series])
        assert lines_of(figure.axes[0])["reply"] == ([0], [0.5])
        assert figure.axes[0].get_xlim() == (-0.02, 1.02)

    @pytest.mark.parametrize(
        ("apart", "unit", "last"), [(29, "s", 290), (30, "min", 5), (720, "h", 2), (17280, "days", 2)]
    )
    def test_units_of_time(self, figure: Any, apart: float, unit: str, last: float) -> None:
        result, series = self.made(*[1.0] * 11, apart=apart)
        ping_plot.draw(figure, [result], [series])
        assert figure.axes[0].get_xlabel() == f"time since the start ({unit})"
        assert lines_of(figure.axes[0])["reply"][0][-1] == pytest.approx(last)

    def test_a_wide_range_is_logarithmic(self, figure: Any) -> None:
        result, series = self.made(1.0, 100.0)
        ping_plot.draw(figure, [result], [series])
        assert figure.axes[0].get_yscale() == "log"
        assert figure.axes[0].get_ylabel() == "round-trip time (ms, logarithmic)"

    def test_hosts_have_panels(self, figure: Any) -> None:
        made = [self.made(1.0, host="a"), self.made(2.0, 3.0, host="b")]
        ping_plot.draw(figure, [result for result, _ in made], [series for _, series in made])
        first, second = figure.axes
        assert lines_of(first)["reply"] == ([0], [1])
        assert lines_of(second)["reply"] == ([0, 1], [2, 3])
        assert first.get_xlim() == second.get_xlim()

    def test_when_requests_were_sent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reply's time is when it came less its round-trip time; a loss is as late as the schedule."""
        clock = iter((100.0, 100.25, 112.5, 113.0, 113.5))
        monkeypatch.setattr(ping_plot.time, "monotonic", lambda: next(clock))
        plot = ping_plot.PingPlot(Picture(str(tmp_path / "x.png")), 1.0)
        plot.begin([Destination("h", ADDRESS, "raw", None)])
        plot.add(Reply("h", ADDRESS, 0, 250.0, 64, None))
        plot.add(Reply("h", ADDRESS, 1, 500.0, 64, None))  # after a pause of 11 seconds
        plot.add(Reply("h", ADDRESS, 1, 600.0, 64, None, duplicate=True))
        plot.add(Reply("h", ADDRESS, 2, None, None, "no answer"))
        plot.add(Reply("h", ADDRESS, 3, None, None, "not sent: No", tries=0))
        (series,) = plot._series.values()
        assert [*series.times] == [0, 12]
        assert [*series.lost] == [13]
        assert [*series.not_sent] == [13.5]

    def test_a_loss_is_as_late_as_the_schedule_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is reported a second later, when the schedule is later still."""
        clock = iter((100.0, 100.5, 101.5, 102.75, 103.0, 104.0))
        monkeypatch.setattr(ping_plot.time, "monotonic", lambda: next(clock))
        plot = ping_plot.PingPlot(Picture(str(tmp_path / "x.png")), 1.0)
        plot.begin([Destination("a", ADDRESS, "raw", None), Destination("b", ADDRESS, "raw", None)])
        plot.add(Reply("b", ADDRESS, 0, None, None, "not sent: No", tries=0))
        plot.add(Reply("a", ADDRESS, 1, 250.0, 64, None))
        plot.add(Reply("a", ADDRESS, 2, 250.0, 64, None))
        plot.add(Reply("b", ADDRESS, 1, None, None, "no answer"))
        plot.add(Reply("b", ADDRESS, 2, None, None, "no answer"))
        a, b = plot._series.values()
        assert [*a.times] == [1.25, 2.5]
        assert ([*b.not_sent], [*b.lost]) == ([0], [1.25, 2.5])

    def test_its_memory_is_limited_and_the_limit_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ping_plot, "MAX_POINTS", 3)
        plot = ping_plot.PingPlot(Picture(str(tmp_path / "x.png")), 1.0)
        plot.begin([Destination("h", ADDRESS, "raw", None)])
        for seq in range(5):
            plot.add(Reply("h", ADDRESS, seq, 1.0, 64, None))
        result, _ = self.made(*[1.0] * 5, host="h")
        assert plot.write([result]) == "the picture has the first 3 requests only"
        assert len(plot._series["h", ADDRESS].times) == 3

    def test_too_many_hosts(self, tmp_path: Path) -> None:
        plot = ping_plot.PingPlot(Picture(str(tmp_path / "x.png")), 1.0)
        hosts = [Destination(f"h{number}", ADDRESS, "raw", None) for number in range(17)]
        plot.begin(hosts[:16])
        with pytest.raises(InvalidArgument, match=r"^--plot: 17 hosts: at most 16 have room in a picture$"):
            plot.begin(hosts)

    def test_many_requests_are_an_image_in_an_svg(self, tmp_path: Path) -> None:
        result, series = self.made(*[1.0] * 6000)
        path = tmp_path / "x.svg"
        Picture(str(path)).write(1200, 450, lambda figure: ping_plot.draw(figure, [result], [series]))
        assert path.stat().st_size < 200_000
        assert b"<image" in path.read_bytes()


class Swept:
    """What a picture needs of a sweep's result: the states are by the address's index."""

    def __init__(self, *texts: str, states: Callable[[int], str], shard: tuple[int, int] = (1, 1)) -> None:
        self.targets = Targets(*texts, strict=False)
        self._indices = range(shard[0] - 1, self.targets.size, shard[1])
        codes = bytes(STATES.index(states(index)) for index in self._indices)
        self.states = codes + bytes(len(self.targets.unresolved))
        self.counts = Counts(*(self.states.count(STATES.index(name)) for name in COUNTED))
        self.decided_before = ["x"] * self.states.count(STATES.index("decided before"))

    def runs(self) -> list[Run]:
        made: list[Run] = []
        for family, first, count in self.targets.stretches(self._indices):
            begin = made[-1].begin + made[-1].size if made else 0
            made.append(Run(begin, count, family, first, self._indices.step, memoryview(b""), None, None))
        return made

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> Any:
        return Destination("", self.targets[self._indices[index]], "", None)  # whose address is asked for


COUNTED = ("alive", "inactive", "unreachable", "not probed")
NO_TARGET, DECIDED, INACTIVE, NOT_PROBED, UNREACHABLE, ALIVE = range(6)


class TestSweep:
    def drawn(self, figure: Any, result: Any) -> tuple[sweep_plot.Map, dict[str, list[list[int]]]]:
        """The map, and the cells of each square under its label."""
        drawn = sweep_plot.map_of(result)
        sweep_plot.draw(figure, result, drawn)
        (axes,) = figure.axes
        labels = [text.get_text() for text in axes.texts]
        return drawn, dict(zip(labels, (image.get_array().tolist() for image in axes.images), strict=True))

    @pytest.mark.parametrize("bits", range(9))
    def test_the_curve_goes_from_cell_to_neighbour_and_fills_the_space(self, bits: int) -> None:
        columns, rows = (array.tolist() for array in sweep_plot.hilbert(bits))
        places = [*zip(columns, rows, strict=True)]
        assert places[0] == (0, 0)
        assert {*places} == {(x, y) for x in range(1 << (bits + 1) // 2) for y in range(1 << bits // 2)}
        steps = {abs(a - c) + abs(b - d) for (a, b), (c, d) in itertools.pairwise(places)}
        assert steps <= {1}

    def test_a_prefix(self, figure: Any) -> None:
        states = ("alive", "inactive", "unreachable", "not probed")
        drawn, squares = self.drawn(figure, Swept("10.0.0.4/30", states=lambda index: states[index]))
        assert squares == {
            "10.0.0.4": [[ALIVE]],
            "10.0.0.5": [[INACTIVE]],
            "10.0.0.6": [[UNREACHABLE]],
            "10.0.0.7": [[NOT_PROBED]],
        }
        assert (drawn.together, drawn.base) == (1, 0x0A000004)
        title, note = (text.get_text() for text in figure.texts)
        assert title == "10.0.0.4/30: 4 targets"
        assert note == "Addresses along a Hilbert curve from the upper left"
        words = [text.get_text() for text in figure.legends[0].get_texts()]
        assert words == ["alive: 1", "unreachable: 1", "not probed: 1", "inactive: 1"]
        (curve,) = figure.axes[0].get_lines()
        assert curve.get_xdata().tolist() == [128, 384, 384, 128]

    def test_each_address_is_in_the_square_of_its_prefix(self, figure: Any) -> None:
        result = Swept("10.0.0.0/24", states=lambda index: "alive" if 32 <= index < 48 else "inactive")
        _, squares = self.drawn(figure, result)
        assert len(squares) == 16
        for label, cells in squares.items():
            assert {cell for row in cells for cell in row} == {ALIVE if label == "10.0.0.32/28" else INACTIVE}

    @pytest.mark.parametrize(
        ("length", "squares", "size"), [(25, 8, (1100, 678)), (29, 8, (1100, 678)), (31, 2, (820, 404))]
    )
    def test_an_odd_length_is_half_a_square(
        self, figure: Any, length: int, squares: int, size: tuple[int, int]
    ) -> None:
        drawn, found = self.drawn(figure, Swept(f"10.0.0.0/{length}", states=lambda _: "alive"))
        assert len(found) == squares
        assert sweep_plot.size_of(drawn) == size

    def test_a_large_space_has_cells_of_several(self, figure: Any) -> None:
        rare = {7: "alive", 9: "unreachable"}
        result = Swept("10.0.0.0/13", states=lambda index: rare.get(index, "inactive"))
        drawn, squares = self.drawn(figure, result)
        assert (len(drawn.cells), drawn.together) == (1 << 18, 2)
        assert drawn.cells[:6].tolist() == [INACTIVE, INACTIVE, INACTIVE, ALIVE, UNREACHABLE, INACTIVE]
        assert {*drawn.cells[6:].tolist()} == {INACTIVE}
        assert [*squares][1] == "10.0.128.0/17"
        assert figure.texts[1].get_text().endswith("; a cell is 2 addresses, alive if one of them is")

    def test_gaps_are_no_targets(self, figure: Any) -> None:
        drawn, _ = self.drawn(figure, Swept("10.0.0.0/30", "10.0.0.12/30", states=lambda _: "inactive"))
        assert drawn.cells.tolist() == [INACTIVE] * 4 + [NO_TARGET] * 8 + [INACTIVE] * 4
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["inactive: 8", "no target"]

    def test_a_list_has_the_targets_one_after_the_other(self, figure: Any) -> None:
        texts = ("10.0.0.1-3", "192.168.0.0/31", "fd00::1", "no..name")
        result = Swept(*texts, states=lambda index: "alive" if index == 5 else "inactive")
        drawn, squares = self.drawn(figure, result)
        assert drawn.base is None
        assert drawn.cells.tolist() == [INACTIVE] * 5 + [ALIVE, NO_TARGET, NO_TARGET]
        first = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "192.168.0.0", "192.168.0.1", "fd00::1")
        assert (*squares,) == first
        title, note = (text.get_text() for text in figure.texts)
        assert title == "10.0.0.1-10.0.0.3, 192.168.0.0/31, fd00::1: 6 targets"
        assert note == "The targets one after the other along a Hilbert curve from the upper left"
        words = [text.get_text() for text in figure.legends[0].get_texts()]
        assert words == ["alive: 1", "inactive: 5", "no target"]

    @pytest.mark.parametrize(("others", "end"), [(3, ": 11 targets"), (6, " and 3 more: 14 targets")])
    def test_a_title_ends_between_names(self, figure: Any, others: int, end: str) -> None:
        addresses = [f"10.{78 + number}.0.1" for number in range(others)]
        self.drawn(figure, Swept("10.77.0.0/29", *addresses, states=lambda _: "alive"))
        assert figure.texts[0].get_text() == f"10.77.0.0/29, 10.78.0.1, 10.79.0.1, 10.80.0.1{end}"

    def test_a_title_has_room(self, figure: Any) -> None:
        """Of many addresses, all as long as can be."""
        texts = [f"2001:db8:1111:2222:3333:4444:{number:x}:6666" for number in range(0x5551, 0x5561, 3)]
        result = Swept(*texts, states=lambda _: "alive")
        figure.set_size_inches(*(pixels / 120 for pixels in sweep_plot.size_of(sweep_plot.map_of(result))))
        self.drawn(figure, result)
        assert figure.texts[0].get_text() == f"{texts[0]} and 5 more: 6 targets"
        assert_apart(figure)

    def test_a_shard_and_targets_decided_before(self, figure: Any) -> None:
        result = Swept("fd00::/124", states=lambda index: "decided before", shard=(2, 4))
        drawn, squares = self.drawn(figure, result)
        assert drawn.cells.tolist() == [NO_TARGET, DECIDED, NO_TARGET, NO_TARGET] * 4
        assert [*squares][1] == "fd00::1"
        words = [text.get_text() for text in figure.legends[0].get_texts()]
        assert words == ["decided before: 4", "no target"]

    def test_one(self, figure: Any) -> None:
        _, squares = self.drawn(figure, Swept("::1", states=lambda _: "alive"))
        assert squares == {"::1": [[ALIVE]]}
        assert figure.texts[0].get_text() == "::1: 1 target"

    @pytest.mark.parametrize("targets", ["2001:db8:1111:2222:3333:4444:5555:6000/120", "255.255.255.252/30"])
    def test_texts_do_not_overlap(self, figure: Any, targets: str) -> None:
        result = Swept(targets, states=lambda index: COUNTED[index % 4])
        figure.set_size_inches(*(pixels / 120 for pixels in sweep_plot.size_of(sweep_plot.map_of(result))))
        self.drawn(figure, result)
        assert_apart(figure)

    def test_colours_differ_in_brightness(self) -> None:
        """By Rec. 709: also in print without colours, no two states look the same."""
        lights = []
        for _, color in sweep_plot._SHOWN:
            red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
            lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
        assert all(abs(one - other) > 10 for one, other in itertools.combinations(lights, 2)), lights


class TestTrace:
    @staticmethod
    def answered(
        *rtts_ms: float | None, responder: str = "10.0.0.1", mark: str | None = None
    ) -> tuple[Response, ...]:
        return tuple(
            Response(None, None, "no answer") if rtt_ms is None else Response(responder, rtt_ms, None, mark)
            for rtt_ms in rtts_ms
        )

    def drawn(self, figure: Any, *hops: tuple[Response, ...], reached: bool = True) -> Any:
        """The axes of a picture of these hops."""
        found = tuple(Hop(ttl, responses) for ttl, responses in enumerate(hops, 1))
        result = TraceResult("a.example", ADDRESS, "udp", found, reached, None)
        figure.set_size_inches(*(pixels / 120 for pixels in trace_plot.size_of(result)))
        trace_plot.draw(figure, result, [trace_plot.label_of(hop, None) for hop in found])
        (axes,) = figure.axes
        return axes

    def test_times_medians_and_losses(self, figure: Any) -> None:
        axes = self.drawn(
            figure,
            self.answered(1.0, 3.0, 2.0),
            self.answered(None, None, None),
            self.answered(5.0, None, 7.0, responder=ADDRESS),
        )
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert [*lines["answer"].get_xdata()] == [1, 3, 2, 5, 7]
        assert [*lines["answer"].get_ydata()] == [1, 1, 1, 3, 3]
        assert [*lines["median"].get_xdata()] == [2, pytest.approx(float("nan"), nan_ok=True), 6]
        assert [*lines["median"].get_ydata()] == [1, 2, 3]
        assert [*lines["no answer"].get_ydata()] == [2, 3]
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [
            "median",
            "answer",
            "no answer",
        ]
        rows: dict[float, list[str]] = {}
        for text in axes.texts:
            rows.setdefault(text.get_position()[1], []).append(text.get_text())
        assert (rows[1], rows[2], rows[3]) == (["2 ms"], ["3 of 3"], ["6 ms", "1 of 3"])
        title, *labels = (text.get_text() for text in figure.texts)
        assert title == f"a.example ({ADDRESS}): reached in 3 hops"
        assert labels == ["1", "10.0.0.1", "2", "no answer", "3", ADDRESS]
        assert axes.get_xlim()[0] == 0
        assert axes.get_xlabel() == "round-trip time (ms)"

    def test_equal_times_are_not_at_the_edge(self, figure: Any) -> None:
        axes = self.drawn(figure, self.answered(None), self.answered(1840.6, 1840.6, 1840.7))
        assert axes.get_xlim() == (0, pytest.approx(1.05 * 1840.7))

    def test_nothing_answers(self, figure: Any) -> None:
        axes = self.drawn(figure, self.answered(None), reached=False)
        assert [line.get_label() for line in axes.get_lines()] == ["no answer"]
        assert figure.texts[0].get_text() == f"a.example ({ADDRESS}): not reached in 1 hop"

    def test_no_hops(self, figure: Any) -> None:
        axes = self.drawn(figure, reached=False)
        assert (len(axes.texts), len(figure.legends)) == (0, 0)

    def test_labels(self) -> None:
        hop = Hop(3, (*self.answered(1.0), *self.answered(1.0, 2.0, responder="10.0.0.2", mark="!X")))
        assert trace_plot.label_of(hop, None) == "10.0.0.1 +1 !X"
        assert trace_plot.label_of(hop, lambda _: None) == "10.0.0.1 +1 !X"
        assert trace_plot.label_of(hop, lambda address: "router") == "router (10.0.0.1) +1 !X"
        assert len(trace_plot.label_of(hop, lambda _: "r" * 200)) < 65

    @pytest.mark.parametrize("hops", [3, 30])
    def test_texts_do_not_overlap(self, figure: Any, hops: int) -> None:
        """Of each row and of all rows, at the widest."""
        address = "2001:db8:1111:2222:3333:4444:5555:6666"
        wide = [self.answered(*[9999.0] * 9, None, responder=address, mark="!F-1400") for _ in range(hops)]
        axes = self.drawn(figure, *wide)
        assert_apart(figure, axes)
