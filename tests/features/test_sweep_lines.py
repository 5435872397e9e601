"""The lines of a sweep: what the core formats by the thousand is what one verdict's line is."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import socket
import sys
import threading
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet._sweep import Sweep
from fastnet._sweep.plan import Part, segments
from fastnet._sweep.result import STATES, UNDECIDED, Found, SweepResult
from fastnet.cli.output import print_lines
from fastnet.cli.sweep.outputs import Csv, Json, Table, Xml
from fastnet.cli.sweep.printing import print_verdicts
from fastnet.targets import Targets

FORMS = {
    "table": lambda targets: Table(targets, None),
    "addresses": lambda targets: Table(targets, "alive"),
    "json": lambda targets: Json(),
    "csv": lambda targets: Csv(),
    "xml": lambda targets: Xml(targets, "raw"),
}
TIME = re.compile(r'"time": "[^"]*"')
targets = st.sampled_from(
    [
        Targets("10.0.0.0/28"),
        Targets("10.0.0.250-10.0.1.9", "fd00::fffe-fd00::1:5"),
        Targets("::1", "1.2.3.4"),
    ]
)


def made(targets: Targets, draw: Any) -> SweepResult:
    """A result with any states, reasons, MACs and responders."""
    parts = []
    finished = draw(st.booleans())
    for segment in segments(targets, (draw(st.integers(1, 2)), 2)):
        size = len(segment.indices)
        states = bytes(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
        ms = [draw(st.sampled_from([0.25, 1.5, 12.125, 0.0, math.nan])) for _ in range(size)]
        reasons = dict.fromkeys(range(0, size, 3), 'no route, "or" <one>')
        macs = {place: bytes([2, 0, 0, 0, 0xAB, place]) for place in range(size)}
        responders = {1: "fe80::1"} if segment.family == socket.AF_INET6 else {}
        if draw(st.booleans()):
            segment = segment._replace(interface="eth0")
        found = Found(states, array("f", ms).tobytes(), finished, reasons, macs, responders)
        parts.append(Part(segment, found))
    return SweepResult(targets, parts, "raw")


def printed(result: SweepResult, states: bytes, output: Any) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_verdicts(result, states, output, 7)
    return TIME.sub("", out.getvalue())


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_each_verdict_has_its_line(form: str, data: st.DataObject) -> None:
    result = made(data.draw(targets), data.draw)
    with contextlib.redirect_stdout(io.StringIO()):
        output = FORMS[form](result.targets)
    lines = [TIME.sub("", output.line(verdict, 7)) for verdict in result.known]
    assert printed(result, result.known_states(), output).splitlines() == lines


def test_runs_are_all_addresses_in_order() -> None:
    targets = Targets("10.0.0.250-10.0.1.9", "fd00::fffe-fd00::1:5", "1.1.1.1")
    for which in (1, 2, 3):
        indices = range(which - 1, targets.size, 3)
        found = [
            (family, first + 3 * number)
            for family, first, count in targets.stretches(indices)
            for number in range(count)
        ]
        assert found == [targets.at(index) for index in indices]


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (["127.0.0.1-4", "224.0.0.0/30", "239.0.0.0"], {"rate": 0.01}),
        (["127.0.0.0/17", "224.0.0.0/18"], {"rate": 20_000, "seed": 3}),
    ],
)
def test_of_an_interrupted_sweep_only_what_is_known_has_a_line(
    root: None, targets: list[str], options: dict[str, Any]
) -> None:
    with Sweep(targets, **options) as running:
        running.run(0.05)
        result = running.result()
        states = result.known_states()
        known = [verdict for verdict in result if verdict.reason != "interrupted"]
        assert [*result.known] == known
        assert states.count(UNDECIDED) == len(result) - len(known)


def test_a_sweep_of_millions_of_targets_is_interrupted_at_once(
    root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done target by target."""
    with Sweep("127.0.0.0/8", rate=0.01) as running:
        running.run(0.01)
        result = running.result()
        monkeypatch.setattr(SweepResult, "__getitem__", lambda *_: pytest.fail("a verdict"))
        assert printed(result, result.known_states(), Table(result.targets, None)).count("alive") <= 1
        assert result.counts.not_probed >= (1 << 24) - 1


def test_only_alive_targets_are_looked_up() -> None:
    targets, asked = Targets("fd00::/112"), []
    [segment] = segments(targets, (1, 1))
    states = bytearray(len(segment.indices))
    states[7] = states[40_000] = STATES.index("alive")
    found = Found(bytes(states), bytes(4 * len(states)), False, {}, {}, {})
    found.responder = asked.append
    result = SweepResult(targets, [Part(segment._replace(interface="eth0"), found)], "raw")
    assert printed(result, result.known_states(), Table(targets, None)).count("alive") == 2
    assert asked == [7, 40_000]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "utf-16", "latin-1"])
def test_lines_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    stream = io.TextIOWrapper(file, encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    print("before")
    print_lines("größe\n".encode())
    print_lines(b"plain\n")
    stream.flush()
    words = file.getvalue().decode(encoding).split()
    assert words == ["before", "größe" if encoding != "ascii" else "gr\\xf6\\xdfe", "plain"]


def test_lines_in_a_pipe_are_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees only whole lines, up to the longest that a pipe takes at once."""
    reader, writer = os.pipe()
    pieces = []

    def read() -> None:
        while piece := os.read(reader, 1 << 20):
            pieces.append(piece)

    lines = b"".join(b"%d %s\n" % (number, b"x" * (number % 900)) for number in range(2000))
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        thread = threading.Thread(target=read)
        thread.start()
        print_lines(lines)
        print_lines(b"y" * 100_000 + b"\n")
    thread.join()
    os.close(reader)
    assert b"".join(pieces) == lines + b"y" * 100_000 + b"\n"
