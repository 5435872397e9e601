"""What a terminal shows: a screen that wraps its lines, and a command that runs on one."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from children import Child
from rich.cells import cell_len

_PART = re.compile(r"\x1b\[(?P<numbers>[0-9;]*)(?P<letter>[A-Za-z])|\r|\n|[^\x1b\r\n]")
DRAWN = b"\r\x1b[K"
"""The beginning of a line that the next one overwrites."""


class Screen:
    """The rows of a terminal of so many columns, from the first that was written to."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._rows: list[list[str]] = [[]]
        self._column = 0

    @property
    def rows(self) -> list[str]:
        return ["".join(row) for row in self._rows]

    def feed(self, text: str) -> Screen:
        end = 0
        for part in _PART.finditer(text):
            assert part.start() == end, f"what is {text[end:][:20]!r}?"
            end = part.end()
            if part["letter"]:
                self._obey(part["letter"], part["numbers"])
            elif part[0] == "\r":
                self._column = 0
            elif part[0] == "\n":
                self._rows.append([])
            else:
                self._write(part[0])
        assert end == len(text), f"what is {text[end:][:20]!r}?"
        return self

    def _obey(self, letter: str, numbers: str) -> None:
        assert (letter == "K" and numbers in ("", "0")) or letter == "m", f"ESC [ {numbers} {letter}"
        if letter == "K":
            del self._rows[-1][self._column :]

    def _write(self, character: str) -> None:
        width = cell_len(character)
        if self._column + width > self._columns:
            self._rows.append([])
            self._column = 0
        row = self._rows[-1]
        if width:
            row += [" "] * (self._column - len(row))
            row[self._column : self._column + width] = [character, *[""] * (width - 1)]
            self._column += width
        elif self._column:
            row[self._column - 1] += character


class OnTerminal:
    """A command with stderr, and stdout too unless it is given, on a terminal of this size."""

    def __init__(self, primary: int, process: subprocess.Popen[bytes]) -> None:
        self._primary = primary
        self.process = process
        self._read = bytearray()

    def resize(self, columns: int) -> None:
        """Give the terminal this width; what was written before is forgotten."""
        resize(self._primary, columns)
        while select.select([self._primary], [], [], 0)[0]:
            os.read(self._primary, 1 << 16)
        self._read.clear()
        self.drawn(2)  # the rest of a line, and one that may have been cut to the former width

    def drawn(self, number: int) -> list[str]:
        """The next whole lines that were drawn, and no other text among them."""
        self._read_until(lambda read: read.count(DRAWN) > number)
        *lines, rest = bytes(self._read).split(DRAWN)
        self._read[:] = DRAWN + rest
        return [line.decode() for line in lines if line]

    def rest(self) -> str:
        """Everything that is written up to the end."""
        self._read_until(lambda _: False)
        return self._read.decode()

    def _read_until(self, enough: Callable[[bytearray], bool]) -> None:
        while not enough(self._read):
            try:
                self._read += os.read(self._primary, 4096)
            except OSError:  # the other end is closed
                return


def resize(terminal: int, columns: int, lines: int = 24) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def on_terminal(columns: int, *words: str, **environment: str) -> Iterator[OnTerminal]:
    """The command runs on a terminal. It is killed at the end if it still runs."""
    primary, end = os.openpty()
    resize(primary, columns)
    command = [sys.executable, "-m", "fastnet", *words]
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    try:
        with Child(
            command, stdout=end, stderr=end, env={**inherited, "TERM": "xterm", **environment}
        ) as process:
            os.close(end)
            try:
                yield OnTerminal(primary, process)
            finally:
                process.kill()
    finally:
        os.close(primary)
