"""Lines that the next one overwrites: cut to the terminal's width, and on nothing but a terminal."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest
from environment import IN_CI
from hypothesis import example, given
from hypothesis import strategies as st

from fastnet._contract.values import counted
from fastnet.cli import output

if not IN_CI:  # which must have it
    pytest.importorskip("rich")

from screen import OnTerminal, Screen, on_terminal, resize

pytestmark = pytest.mark.once

WIDE = "ネットワーク"
TEXTS = st.text(st.sampled_from("a1 .%" + WIDE + "e\u0301" + "\x1b\n\r\x00\u202e"), max_size=80).map(
    "x{}".format
)
END = "\x05"
WIDTHS = (20, 60, 200)


class Terminal:
    """Standard error on a terminal, in this process."""

    def __init__(self) -> None:
        self._primary, end = os.openpty()
        self.stream = os.fdopen(end, "w", encoding="utf-8")

    def resize(self, columns: int) -> None:
        resize(self._primary, columns)

    def written(self) -> str:
        self.stream.write(END)
        self.stream.flush()
        text = b""
        while not text.endswith(END.encode()):
            text += os.read(self._primary, 1 << 16)
        return text.decode().removesuffix(END)

    def close(self) -> None:
        self.stream.close()
        os.close(self._primary)


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TERM", "xterm")
        for name in ("COLUMNS", "NO_COLOR"):
            environment.delenv(name, raising=False)
        yield made
    made.close()


@given(st.lists(st.tuples(TEXTS, st.integers(9, 100), st.integers(0, 30)), min_size=1, max_size=4))
@example([("a" * 79 + WIDE, 80, 0)])
def test_a_drawn_line_stays_in_its_row(terminal: Terminal, lines: list[tuple[str, int, int]]) -> None:
    with patch.object(sys, "stderr", terminal.stream):
        for text, columns, green in lines:
            terminal.resize(columns)
            output.draw(text, green)
            (row,) = Screen(columns).feed(terminal.written()).rows
            whole = output.escaped(text)
            assert whole.startswith(row)
            assert output.columns_of(row) >= min(output.columns_of(whole), columns - 2)
        output.remark("a remark")
        assert Screen(columns).feed(terminal.written()).rows[-2:] == ["a remark", ""]
        output.clear_drawn()
        assert terminal.written() == ""


@pytest.mark.parametrize(
    ("has", "told", "expected"),
    [
        *((50, None, 50), (50, "30", 30), (50, "90", 50), (0, "90", 90), (0, None, 80)),
        *((50, "wide", 50), (50, "0", 50), (50, "9" * 5000, 50)),
    ],
)
def test_the_width_of_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, has: int, told: str | None, expected: int
) -> None:
    terminal.resize(has)
    if told is not None:
        monkeypatch.setenv("COLUMNS", told)
    assert output.terminal_columns(terminal.stream) == expected


def test_a_terminal_that_obeys_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with patch.object(sys, "stderr", terminal.stream):
        output.draw("text")
        output.clear_drawn()
    assert terminal.written() == ""


def silent_url() -> tuple[socket.socket, str]:
    """A server that never answers, and a long address of it with wide characters."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/{WIDE}{'/long' * 30}"


def check_rows(running: OnTerminal, columns: int) -> None:
    for line in running.drawn(2):
        assert len(Screen(columns).feed(line).rows) == 1, line


COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "sweep": lambda _: ["sweep", "--engine=tcp", "--rate=3", "127.0.0.0/16"],
    "wait": lambda url: [
        "wait",
        "--timeout=none",
        "--attempt-timeout=50ms",
        *(f"{url}{each}" for each in range(6)),
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_draws_in_one_row(root: None, name: str) -> None:
    listener, url = silent_url()
    with listener, on_terminal(WIDTHS[-1], *COMMANDS[name](url)) as running:
        for columns in (*reversed(WIDTHS), WIDTHS[-1]):
            running.resize(columns)
            check_rows(running, columns)
        running.process.send_signal(signal.SIGINT)
        rows = [row for row in Screen(1000).feed(running.rest()).rows if row]
        assert running.process.wait() == 130
        assert rows[0].startswith("interrupted"), rows  # and nothing of a drawn line before it


@pytest.mark.parametrize("name", COMMANDS)
def test_columns_narrow_a_terminal(root: None, name: str) -> None:
    listener, url = silent_url()
    with listener, on_terminal(WIDTHS[-1], *COMMANDS[name](url), COLUMNS="20") as running:
        check_rows(running, 20)


def test_nothing_is_drawn_off_a_terminal(root: None, fastnet: Callable[..., CompletedProcess[str]]) -> None:
    listener, url = silent_url()
    with listener:
        waited = fastnet("wait", "--timeout=1.5s", "--attempt-timeout=100ms", url)
    swept = fastnet("sweep", "--engine=tcp", "--rate=10", "127.0.0.1-15")
    for done in (waited, swept):
        assert len(done.stderr.splitlines()) == 1
        assert not {"\r", "\x1b"} & {*done.stdout, *done.stderr}


@pytest.mark.parametrize(
    ("number", "noun", "form", "text"),
    [
        (0, "host", "", "0 hosts"),
        (1, "host", "", "1 host"),
        (2, "address", "", "2 addresses"),
        (3, "try", "", "3 tries"),
        (4096, "shard", ",", "4,096 shards"),
    ],
)
def test_a_number_and_its_noun(number: int, noun: str, form: str, text: str) -> None:
    assert counted(number, noun, form) == text
