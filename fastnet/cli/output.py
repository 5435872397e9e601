"""Output of the subcommands: JSON Lines or aligned columns on stdout, notes on stderr."""

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache

from fastnet._escape import escaped, escaped_word
from fastnet._typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from fastnet._records import Record

__all__ = [
    "bold",
    "clear_drawn",
    "colored",
    "draw",
    "escaped",
    "escaped_word",
    "prepare_streams",
    "print_heading",
    "print_json",
    "print_line",
    "print_lines",
    "print_table",
    "remark",
]

_FILE_BYTES = 1 << 18
"""Maximum bytes of one write to a file."""
_CLEAR_LINE = "\r\x1b[K"


def prepare_streams() -> None:
    """Open standard streams that the shell's ``>&-`` has closed, and make all three accept any text.

    Interface names, arguments and lists may have characters that are not in the encoding.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream, errors in (sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace"):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def print_json(record: "Record", at_once: bool = True) -> None:
    """Print one JSON Lines record, flushed at once."""
    print(_encoder()(record), flush=at_once)


@lru_cache(maxsize=1)
def _encoder() -> "Callable[[Record], str]":
    import json  # only here: the table needs none of it

    return json.JSONEncoder().encode


def print_line(text: str, at_once: bool = True) -> None:
    """Print a line of a result; text from peers, the kernel and files is escaped and can't add a line."""
    sys.stdout.write(f"{escaped(text)}\n")
    if at_once:
        sys.stdout.flush()


def print_lines(lines: bytes) -> None:
    """Print many whole lines of results in UTF-8, already escaped, past the text layer.

    A write that a pipe accepts whole is never cut: Ctrl-C takes effect before or after a line.
    """
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None or lines.decode().encode(sys.stdout.encoding, "backslashreplace") != lines:
        sys.stdout.write(lines.decode())
        return
    raw = getattr(binary, "raw", binary)
    begin, most = 0, _FILE_BYTES if _is_file(raw) else select.PIPE_BUF
    while begin < len(lines):
        end = lines.rfind(b"\n", begin, begin + most) + 1 or lines.index(b"\n", begin) + 1
        while begin < end:
            written = raw.write(lines[begin:end])
            if written is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            begin += written


def _is_file(raw: Any) -> bool:
    try:
        return stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
    except (OSError, ValueError):  # no descriptor
        return True


def print_heading(text: str, note: str) -> None:
    """Print a heading, in bold on a terminal, and a note after it."""
    print(f"{bold(escaped(text))}  {escaped(note)}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Left-aligned columns under their headings."""
    lines = [tuple(escaped(str(cell)) for cell in row) for row in (headings, *rows)]
    widths = [max(map(columns_of, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - columns_of(cell)) for cell, width in zip(line, widths, strict=True))
        text = "  ".join(cells).rstrip()
        print(bold(text) if number == 0 else text)


def columns_of(text: str) -> int:
    """The columns of a text on a terminal: two for a wide character (UAX #11), none for a combining one."""
    if text.isascii():
        return len(text)
    import unicodedata  # only here: hardly any text needs it

    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


def remark(text: str) -> None:
    """Print a line that is not a result, on stderr.

    A failed write is ignored: the results are still valid, and there is nowhere to report it.
    """
    with suppress(OSError):
        print(escaped(text), file=sys.stderr, flush=True)


def colored(stream: TextIO) -> bool:
    """Whether to use colour on this stream: it is a terminal, and NO_COLOR is unset (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colored(sys.stdout) else text


def draw(text: str) -> None:
    """A line on stderr that the next one overwrites; nothing if stderr is not a terminal."""
    if sys.stderr.isatty():
        print(end=f"{_CLEAR_LINE}{escaped(text)}", file=sys.stderr, flush=True)


def clear_drawn() -> None:
    """Erase the line, before something else is printed."""
    draw("")
