"""The streams of a command that serves: what is written, in which order, and what is dropped."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from forwarding import PATIENCE

from fastnet.cli import streams
from fastnet.cli.streams import QueuedStream, queued_streams

LIMIT = 100_000


class Pipe:
    """A queued stream into a pipe, and what it warned of."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self._file = open(writer, "w", encoding="utf-8")  # noqa: SIM115
        self.warnings: list[str] = []
        self.stream = QueuedStream(self._file, "output", self.warnings.append)

    def read_line(self) -> bytes:
        return b"".join(iter(lambda: os.read(self.reader, 1), b"\n")) + b"\n"

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.reader)
        self.stream.finish(PATIENCE)  # Its thread must not write to what the number means next.
        self._file.close()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    monkeypatch.setattr(streams, "_LIMIT", LIMIT)
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_are_written_as_they_end_and_the_rest_when_it_is_flushed(pipe: Pipe) -> None:
    print("one", "two", sep="\n", end="", file=pipe.stream)
    assert pipe.read_line() == b"one\n"
    pipe.stream.flush()
    assert os.read(pipe.reader, 10) == b"two"
    print("Gr\xfc\xdfe \udcff\x1b", file=pipe.stream)
    assert pipe.read_line() == "Gr\xfc\xdfe \\udcff\x1b\n".encode()
    assert pipe.stream.fileno() > 2
    assert not pipe.stream.isatty()


def test_lines_of_several_threads_are_not_mixed(pipe: Pipe) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(lambda number=number: [print(number, number, file=pipe.stream) for _ in range(100)])
        lines = [pipe.read_line() for _ in range(800)]
    assert sorted(lines) == sorted(b"%d %d\n" % (number, number) for number in range(8) for _ in range(100))


def test_what_there_is_no_room_for_is_dropped_in_whole_lines_and_said_once(pipe: Pipe) -> None:
    line = b"x" * 99 + b"\n"
    printed = 0
    while not pipe.warnings:
        print(line.decode(), end="", file=pipe.stream)
        printed += 1
    assert printed * len(line) < LIMIT + 300_000  # also what the pipe holds, and what is being written
    for _ in range(100):
        print(line.decode(), end="", file=pipe.stream)
    lines = [pipe.read_line()]
    while pipe.stream._waiting:
        lines.append(pipe.read_line())
    print("last", file=pipe.stream)
    lines += iter(pipe.read_line, b"last\n")
    assert set(lines) == {line}
    pipe.stream.finish(PATIENCE)
    assert pipe.warnings == [
        "output: nobody reads it: lines are dropped",
        f"output: {printed + 100 - len(lines)} lines dropped",
    ]


def test_the_end_does_not_wait_for_a_reader(pipe: Pipe) -> None:
    for _ in range(200):
        print("x" * 999, file=pipe.stream)
    pipe.stream.finish(0.01)
    assert len(pipe.warnings) in (1, 2)
    assert int(pipe.warnings[-1].split()[1]) > 100


def test_both_streams_are_queues_for_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with queued_streams("fastnet test"):
        assert isinstance(sys.stdout, QueuedStream)
        assert isinstance(sys.stderr, QueuedStream)
        print("result")
        print("remark", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert capfd.readouterr() == ("result\n", "remark\n")


def test_a_stream_without_a_descriptor_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    with queued_streams("fastnet test"):
        assert sys.stdout is text
        assert "fastnet-output" in {thread.name for thread in threading.enumerate()}
