"""What subcommands print: JSON Lines or aligned columns on stdout, remarks on stderr."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from fastnet._escape import escaped

if TYPE_CHECKING:
    from fastnet._records import Record

__all__ = [
    "bold",
    "clear_drawn",
    "colored",
    "draw",
    "escaped",
    "prepare_streams",
    "print_heading",
    "print_json",
    "print_line",
    "print_table",
    "remark",
]

_CLEAR_LINE = "\r\x1b[K"


def prepare_streams() -> None:
    """Let there be the three streams, which the shell's ``>&-`` takes away, and let them take any text.

    Interface names, arguments and lists may hold what an encoding does not.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream, errors in (sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace"):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def print_json(record: "Record", at_once: bool = True) -> None:
    """One JSON Lines record, written at once so that a reader downstream sees it when it happens."""
    print(_encoder()(record), flush=at_once)


@lru_cache(maxsize=1)
def _encoder() -> "Callable[[Record], str]":
    import json  # only here: the table needs none of it

    return json.JSONEncoder().encode


def print_line(text: str, at_once: bool = True) -> None:
    """A line of a result: what peers, the kernel and files put into it can't add another."""
    sys.stdout.write(f"{escaped(text)}\n")
    if at_once:
        sys.stdout.flush()


def print_heading(text: str, note: str) -> None:
    """A line that begins a part, in bold on a terminal, and a note behind it."""
    print(f"{bold(escaped(text))}  {escaped(note)}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Left-aligned columns under their headings."""
    lines = [tuple(headings), *(tuple(escaped(str(cell)) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        print(bold(text) if number == 0 else text)


def remark(text: str) -> None:
    """A line that is not a result: on stderr, so that results stay clean.

    Where that can't be written to, results count all the same, and there is nowhere to report it.
    """
    with suppress(OSError):
        print(escaped(text), file=sys.stderr, flush=True)


def colored(stream: TextIO) -> bool:
    """Whether colour belongs on this stream: a terminal, and NO_COLOR unset (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colored(sys.stdout) else text


def draw(text: str) -> None:
    """A line on stderr that the next one takes the place of; nothing where that is no terminal."""
    if sys.stderr.isatty():
        print(end=f"{_CLEAR_LINE}{escaped(text)}", file=sys.stderr, flush=True)


def clear_drawn() -> None:
    """Take away what was drawn, before something else is printed."""
    draw("")
