"""What the forwarder reports of its connections: the access log, Prometheus metrics, and the live table."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forwarding import FORWARD, PATIENCE, Command, Server, assert_soon, connect, echo, read_all
from hypothesis import given
from hypothesis import strategies as st
from records import parse, untimed

from fastnet._forward import Record, Rule
from fastnet._forward.access_log import AccessLog, Format, as_json, as_text

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RULE = Rule("8080", "192.0.2.1:80", name="web")
ADDRESS = (socket.AF_INET, ("192.0.2.7", 4711))
RECORD = Record(
    RULE, 3, ADDRESS, (socket.AF_INET6, ("::1", 80, 0, 0)), 1763841600.0625, 1.5, 10, 20, "client reset"
)


def ask(port: int, data: bytes = b"hello") -> bytes:
    with connect(port) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


# The access log


def test_a_line_of_the_log() -> None:
    assert (
        as_text(RECORD) == "2025-11-22T20:00:00.062500Z web 192.0.2.7:4711 [::1]:80 1.500 10 20 client reset"
    )
    assert as_text(RECORD._replace(upstream_address=None, ended="unreachable")).split()[3] == "-"


def test_a_json_line_of_the_log() -> None:
    assert untimed(as_json(RECORD)) == {
        "kind": "connection",
        "opened": "2025-11-22T20:00:00.062500Z",
        "rule": "web",
        "number": 3,
        "client": "192.0.2.7:4711",
        "upstream": "[::1]:80",
        "lasted_s": 1.5,
        "sent_up_bytes": 10,
        "sent_down_bytes": 20,
        "ended": "client reset",
    }


@given(st.binary(max_size=100))
def test_a_client_can_not_forge_lines_or_columns(path: bytes) -> None:
    record = RECORD._replace(client_address=(socket.AF_UNIX, path), ended="closed")
    assert len(as_text(record).split(" ")) == 8
    assert as_text(record).isprintable() or not os.fsdecode(path).isprintable()
    for line in (as_text(record), as_json(record)):
        assert len(line.splitlines()) == 1


def test_the_log_says_what_became_of_each_connection(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    server = serve(echo)
    command = forward("127.0.0.1:0", f"127.0.0.1:{server.port}", "--log", str(log), "--threads", "2")
    with connect(command.port) as client:
        own = client.getsockname()[1]
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    assert_soon(lambda: log.read_text() != "")
    with connect(command.port) as client:
        client.sendall(b"again")
        assert client.recv(5) == b"again"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    first, second = log.read_text().splitlines()
    assert re.fullmatch(
        rf"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z 127\.0\.0\.1:0 127\.0\.0\.1:{own} "
        rf"127\.0\.0\.1:{server.port} \d+\.\d\d\d 5 5 closed",
        first,
    )
    assert second.endswith(" 5 5 client reset")
    assert log.stat().st_mode & 0o777 == 0o600


def test_the_log_on_stdout_comes_before_the_summary(forward: Callable[..., Command], free_port: int) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{free_port}", "--log", "-", "--json")
    with contextlib.suppress(ConnectionError):
        ask(command.port)
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    record, summary = map(parse, out.splitlines())
    assert (record["kind"], record["upstream"], record["ended"]) == ("connection", None, "unreachable")
    assert (summary["kind"], summary["unreachable"]) == ("forward_summary", 1)


def test_a_log_is_appended_to_and_reopened_on_sigusr1(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    log, moved = tmp_path / "log", tmp_path / "log.1"
    log.write_text("before\n")
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--log", str(log))
    assert ask(command.port) == b"hello"
    assert_soon(lambda: log.read_text().count("\n") == 2)
    log.rename(moved)
    command.process.send_signal(signal.SIGUSR1)
    assert_soon(log.exists)
    assert ask(command.port) == b"hello"
    assert_soon(lambda: log.read_text().count("\n") == 1)
    log.unlink()
    log.mkdir()
    command.process.send_signal(signal.SIGUSR1)
    assert command.process.stderr
    assert command.process.stderr.readline() == (
        f"fastnet forward: the log is not reopened, the old file stays in use: {log}: Is a directory\n"
    )
    assert command.finish()[0] == 0
    assert moved.read_text().startswith("before\n")
    assert moved.read_text().count("\n") == 2


def test_sigusr1_without_a_log_does_nothing(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}")
    command.process.send_signal(signal.SIGUSR1)
    assert ask(command.port) == b"hello"
    code, _, err = command.finish()
    assert (code, err) == (0, "")


def test_without_a_file_a_hangup_is_only_noted(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}")
    command.process.send_signal(signal.SIGHUP)
    assert command.process.stderr
    note = command.process.stderr.readline()
    assert note == "fastnet forward: SIGHUP reloads a file of rules (--rules): there is none\n"
    assert ask(command.port) == b"hello"
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert out


def test_a_log_that_can_not_be_opened(fastnet: Run, tmp_path: Path) -> None:
    ran = fastnet("forward", "127.0.0.1:0", "127.0.0.1:1", "--log", str(tmp_path / "nowhere" / "log"))
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == f"fastnet forward: {tmp_path}/nowhere/log: No such file or directory\n"


def test_a_full_disk_is_told_once_and_harms_no_connection(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--log", "/dev/full")
    for _ in range(2):
        assert ask(command.port) == b"hello"
    code, _, err = command.finish()
    assert code == 0
    assert err.splitlines() == [
        "fastnet forward: /dev/full: No space left on device: records are lost until it can be written",
        "fastnet forward: not in the log: 2 records",
    ]


class Source:
    """What a log reads of a forwarder."""

    def __init__(self) -> None:
        self.ended: list[Record] = []
        self.lost_records = 0

    def records(self) -> list[Record]:
        ended, self.ended = self.ended, []
        return ended


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_the_ring_lost_is_said_in_the_log(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "log"
    log = AccessLog(str(path), form, print)
    source = Source()
    source.lost_records = 7
    source.ended = [RECORD]
    log.start(source)  # type: ignore[arg-type]
    assert_soon(lambda: path.read_text().count("\n") == 2)
    log.close()
    line = path.read_text().splitlines()[1]
    if form == "text":
        assert line == "# 7 records lost"
    else:
        assert untimed(line) == {"kind": "lost", "records": 7}
    assert log.lost == 7


def test_a_line_that_was_cut_is_ended_before_the_next(tmp_path: Path) -> None:
    """A file that may not grow takes a part of a line; what comes later begins a line of its own."""
    path = tmp_path / "log"
    told: list[str] = []
    log = AccessLog(str(path), "text", told.append)
    source = Source()
    line = f"{as_text(RECORD)}\n"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(line) + 10, before[1]))
    try:
        source.ended = [RECORD] * 2
        log.start(source)  # type: ignore[arg-type]
        assert_soon(lambda: len(told) == 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    source.ended = [RECORD]
    log.close()
    assert path.read_text() == f"{line}{line[:10]}\n{line}# 1 record lost\n"
    assert told == [f"{path}: File too large: records are lost until it can be written"]


# Prometheus


@pytest.fixture
def metered(forward: Callable[..., Command]) -> Callable[..., tuple[Command, int]]:
    """``metered("0", "127.0.0.1:80")``: the command with ``--metrics``, and the port of these."""

    def start(*arguments: str, metrics: str = "127.0.0.1:0") -> tuple[Command, int]:
        command = forward(*arguments, "--metrics", metrics)
        assert command.process.stdout
        line = command.process.stdout.readline()
        found = re.fullmatch(r"metrics at (http://\S+:(\d+)/metrics(, )?)+\n", line)
        assert found, line
        return command, int(found[2])

    return start


def scrape(port: int, host: str = "127.0.0.1") -> dict[str, float]:
    """Each sample by its name and labels."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        lines = response.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_what_prometheus_scrapes(
    metered: Callable[..., tuple[Command, int]], serve: Callable[..., Server]
) -> None:
    prefix, rule = "fastnet_forward_", 'rule="127.0.0.1:0"'
    upstream = f"127.0.0.1:{serve(echo).port}"
    command, port = metered("127.0.0.1:0", upstream)
    assert ask(command.port) == b"hello"
    with connect(command.port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert_soon(lambda: scrape(port)[f"{prefix}active{{{rule}}}"] == 1)
        # What has arrived is counted behind its sending.
        assert_soon(lambda: scrape(port)[f'{prefix}sent_bytes_total{{direction="down",{rule}}}'] == 6)
        samples = scrape(port)
    assert samples[f"{prefix}accepted_total{{{rule}}}"] == 2
    assert samples[f'{prefix}sent_bytes_total{{direction="up",{rule}}}'] == 6
    assert samples[f'{prefix}sent_bytes_total{{direction="down",{rule}}}'] == 6
    for name in ("unreachable", "refused", "denied", "resets", "timed_out", "connects_retried"):
        assert samples[f"{prefix}{name}_total{{{rule}}}"] == 0
    assert samples[f'{prefix}upstream_healthy{{{rule},upstream="{upstream}"}}'] == 1
    assert samples[f'{prefix}upstream_active{{{rule},upstream="{upstream}"}}'] == 1
    assert samples[f"{prefix}lost_records_total"] == 0
    assert samples["process_open_fds"] > 3
    code, _, err = command.finish()
    assert (code, err) == (0, "")


def test_metrics_follow_a_reload(metered: Callable[..., tuple[Command, int]], tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    text = '[rule.{}]\nlisten = "127.0.0.1:0"\nupstreams = "127.0.0.1:1"\n'
    rules.write_text(text.format("one"))
    command, port = metered("-f", str(rules))
    assert 'fastnet_forward_active{rule="one"}' in scrape(port)
    rules.write_text(text.format("two"))
    command.process.send_signal(signal.SIGHUP)
    assert_soon(lambda: 'fastnet_forward_active{rule="two"}' in scrape(port))
    assert 'fastnet_forward_active{rule="one"}' not in scrape(port)


def test_metrics_are_on_loopback_unless_told(
    metered: Callable[..., tuple[Command, int]], peer: Callable[[str], str]
) -> None:
    _, port = metered("127.0.0.1:0", "127.0.0.1:1", metrics="0")
    listening = subprocess.run(
        [peer("ss"), "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True
    )
    assert {line.split()[3].rpartition(":")[0] for line in listening.stdout.splitlines()} == {
        "127.0.0.1",
        "[::1]",
    }
    assert scrape(port, "[::1]")


def test_who_asks_for_metrics_badly_or_leaves_harms_nothing(
    metered: Callable[..., tuple[Command, int]],
) -> None:
    command, port = metered("127.0.0.1:0", "127.0.0.1:1")
    for request in (b"", b"\x00\xff\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n"):
        client = connect(port)
        client.sendall(request)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert scrape(port)
    assert command.finish()[2] == ""


def test_metrics_at_a_port_that_is_taken(fastnet: Run, serve: Callable[..., Server]) -> None:
    taken = serve(echo).port
    ran = fastnet("forward", "127.0.0.1:0", "127.0.0.1:1", "--metrics", f"127.0.0.1:{taken}")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == f"fastnet forward: 127.0.0.1:{taken} is in use\n"


# The live table


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
"""Colours, and where the cursor goes (ECMA-48)."""


class Terminal:
    """A terminal on which the command runs, and what it has shown so far."""

    def __init__(self, *arguments: str) -> None:
        self._terminal, end = os.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 160, 0, 0))
        environment = {**os.environ, "PYTHONSAFEPATH": "1", "TERM": "xterm"}
        for name in ("COLUMNS", "LINES"):  # pytest's, which would outrank the terminal
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [*FORWARD, *arguments],
            stdout=end,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        os.close(end)
        self.shown = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, f"{pattern} is not in {self.shown!r}"
            data = self._read()
            assert data, f"{pattern} is not in {self.shown!r}"
            self.shown = _ESCAPES.sub("", self.shown + data)
        return found

    def read_all(self) -> str:
        while data := self._read():
            self.shown += data
        return self.shown

    def _read(self) -> str:
        ready, _, _ = select.select([self._terminal], [], [], PATIENCE)
        assert ready, f"nothing comes after {self.shown!r}"
        try:
            return os.read(self._terminal, 65536).decode()
        except OSError as error:
            if error.errno != errno.EIO:  # what reading a terminal returns at its end
                raise
            return ""

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._terminal)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Terminal:
            started = Terminal(*arguments)
            stack.callback(started.close)
            return started

        yield start


def test_the_busiest_connections_in_a_live_table(
    terminal: Callable[..., Terminal], serve: Callable[..., Server]
) -> None:
    server = serve(echo)
    shown = terminal("127.0.0.1:0", f"127.0.0.1:{server.port}", "--top")
    port = int(shown.read_until(r"forwarding 127\.0\.0\.1:(\d+) to ")[1])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(20)]
        clients[7].sendall(b"x" * 1500)
        clients[7].recv(1)
        own = clients[7].getsockname()[1]
        shown.read_until(rf"127\.0\.0\.1:{own} .*127\.0\.0\.1:{server.port} .* 1\.5 k .* 1\.5 k ")
        shown.read_until(r"20 open of 20 connections, 1\.5 kB up, 1\.5 kB down")
    shown.process.send_signal(signal.SIGINT)
    assert shown.process.wait(PATIENCE) == 130
    ending = r"20 connections.*, 1500 bytes up, 1500 bytes down in \d+\.\d s\r\n$"
    assert re.search(ending, shown.read_all())
    assert shown.process.stderr
    assert shown.process.stderr.read() == ""
