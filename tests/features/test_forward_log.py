"""An access log that nobody reads, whose file moves, or in which stands what is no text."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import Child
from forwarding import FORWARD, PATIENCE, Command, Server, assert_soon, connect, echo
from records import parse

from fastnet._forward import Record, Rule
from fastnet._forward.access_log import AccessLog, as_json, as_text

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RECORD = Record(
    Rule("8080", "192.0.2.1:80", name="web"),
    3,
    (socket.AF_INET, ("192.0.2.7", 4711)),
    (socket.AF_INET, ("192.0.2.1", 80)),
    1763841600.0625,
    1.5,
    10,
    20,
    "closed",
)
LINE = f"{as_text(RECORD)}\n"


class Source:
    """What a log reads of a forwarder."""

    def __init__(self) -> None:
        self.ended: list[Record] = []
        self.lost_records = 0

    def records(self) -> list[Record]:
        ended, self.ended = self.ended, []
        return ended


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe, and a descriptor to read it by."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def read_lines(reader: int, count: int) -> list[str]:
    """So many lines, as soon as they are there."""
    shown = b""

    def read() -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(reader, 1 << 20)
        return shown.count(b"\n") >= count

    assert_soon(read)
    return shown.decode().splitlines(keepends=True)


def test_a_pipe_that_is_read_late_gets_every_line(pipe: tuple[Path, int]) -> None:
    path, reader = pipe
    told: list[str] = []
    log = AccessLog(str(path), "text", told.append)
    source = Source()
    source.ended = [RECORD] * 2000  # more than it holds
    log.start(source)  # type: ignore[arg-type]
    assert read_lines(reader, 2000) == [LINE] * 2000
    log.close()
    assert (told, log.lost) == ([], 0)


def test_a_pipe_that_nobody_reads_is_given_up_at_the_end(pipe: tuple[Path, int]) -> None:
    path, reader = pipe
    told: list[str] = []
    log = AccessLog(str(path), "text", told.append)
    source = Source()
    source.ended = [RECORD] * 2000
    log.start(source)  # type: ignore[arg-type]
    assert_soon(lambda: not source.ended)
    source.ended = [RECORD] * 10
    log.close()
    assert told == [f"{path}: nobody reads it: records are lost until it can be written"]
    lines = os.read(reader, 1 << 20).decode().splitlines(keepends=True)
    assert {*lines[:-1]} == {LINE}
    assert log.lost == 2010 - lines.count(LINE)


def test_a_stuck_log_is_opened_anew_elsewhere_with_all_that_is_left(pipe: tuple[Path, int]) -> None:
    path, reader = pipe
    log = AccessLog(str(path), "text", print)
    source = Source()
    records = [RECORD._replace(number=number, sent_up=number) for number in range(3000)]
    source.ended = [*records]
    log.start(source)  # type: ignore[arg-type]
    assert_soon(lambda: not source.ended)
    path.rename(path.with_name("old"))
    log.reopen()
    assert_soon(lambda: path.exists() and path.read_text().count("\n") > 0)
    log.close()
    before = os.read(reader, 1 << 20).decode()
    whole = before[: before.rfind("\n") + 1]
    assert whole + path.read_text() == "".join(f"{as_text(record)}\n" for record in records)
    assert log.lost == 0


def test_a_pipe_without_a_reader_is_refused_at_the_start(fastnet: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    ran = fastnet("forward", "127.0.0.1:0", "127.0.0.1:1", "--log", str(tmp_path / "pipe"))
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == f"fastnet forward: {tmp_path}/pipe: this pipe has no reader\n"


def ask(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


@pytest.mark.parametrize("reopened", [False, True])
def test_a_log_that_nobody_reads_keeps_no_signal_waiting(
    forward: Callable[..., Command], serve: Callable[..., Server], pipe: tuple[Path, int], reopened: bool
) -> None:
    path, reader = pipe
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--log", str(path), "--json")
    for _ in range(300):  # a record has 280 bytes
        ask(command.port)
    if reopened:
        command.process.send_signal(signal.SIGUSR1)
    ask(command.port)
    code, out, err = command.finish()
    assert code == 0
    assert parse(out.splitlines()[-1])["connections"] == 301
    shown = os.read(reader, 1 << 20).decode().splitlines()
    written = sum(line.startswith("{") and line.endswith("}") for line in shown)
    assert f"not in the log: {301 - written} records\n" in err


def test_the_log_on_a_standard_output_that_nobody_reads(serve: Callable[..., Server], free_port: int) -> None:
    upstream = f"127.0.0.1:{serve(echo).port}"
    reader, writer = os.pipe()
    words = [*FORWARD, f"127.0.0.1:{free_port}", upstream, "--log", "-", "--json"]
    with Child(words, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        try:
            assert os.read(reader, 1000).startswith(b'{"kind": "listening"')
            for _ in range(400):
                ask(free_port)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert process.returncode == 0
    assert "lines dropped" in said
    os.close(reader)


@pytest.mark.parametrize("engine", ["auto", "pure"])
def test_a_path_that_is_no_text(forward: Callable[..., Command], tmp_path: Path, engine: str) -> None:
    path = os.fsencode(tmp_path) + b"/gr\xfc\xdfe"
    log = tmp_path / "log"
    with socket.socket(socket.AF_UNIX) as upstream:
        upstream.bind(path)
        upstream.listen()
        command = forward("127.0.0.1:0", f"unix:{os.fsdecode(path)}", "--log", str(log), "--engine", engine)
        for number in (1, 2):
            with connect(command.port) as client:
                served, _ = upstream.accept()
                client.shutdown(socket.SHUT_WR)
                assert served.recv(1) == b""
                served.close()
                assert client.recv(1) == b""
            assert_soon(lambda number=number: log.read_text().count("\n") == number)
    assert command.finish()[0] == 0
    for line in log.read_text().splitlines():
        assert line.split()[3] == rf"unix:{tmp_path}/gr\xfc\xdfe"


def test_bytes_of_a_path_in_a_record() -> None:
    record = RECORD._replace(upstream_address=(socket.AF_UNIX, os.fsdecode(b"/\xff \n")))
    assert as_text(record).split()[3] == r"unix:/\xff\x20\n"
    assert parse(as_json(record))["upstream"] == "unix:/\udcff \n"
    as_json(record).encode()


def test_a_log_that_can_not_be_reopened_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    told: list[str] = []
    log = AccessLog(str(path), "text", told.append)
    moved = path.rename(tmp_path / "log.1")
    path.mkdir()
    source = Source()
    log.start(source)  # type: ignore[arg-type]
    log.reopen()
    assert_soon(lambda: bool(told))
    source.ended = [RECORD]
    log.close()
    assert told == [f"the log is not reopened, the old file stays in use: {path}: Is a directory"]
    assert moved.read_text() == LINE
