"""Output of the subcommands: JSON Lines or aligned columns on stdout, notes on stderr."""

import errno
import io
import os
import stat
import sys
from _collections_abc import Iterable, Sequence

from fastnet._escape import escaped, escaped_word
from fastnet._typing import TYPE_CHECKING, Any, ClassVar, TextIO

if TYPE_CHECKING:
    from fastnet._records import Record

__all__ = [
    "bold",
    "clear_drawn",
    "colored",
    "columns_of",
    "cut",
    "discard",
    "discard_unread",
    "draw",
    "escaped",
    "escaped_word",
    "is_discarded",
    "padded",
    "prepare_streams",
    "print_heading",
    "print_json",
    "print_line",
    "print_lines",
    "print_table",
    "remark",
    "terminal_columns",
]

_FILE_BYTES = 1 << 18
"""Maximum bytes of one write to a file."""
_CLEAR_LINE = "\r\x1b[K"
_USUAL_COLUMNS = 80
_READER_SECONDS = 0.1
"""Time without a read after which the reader of a full pipe counts as stopped."""
_MOST_DIGITS = 6
_HANGUL_PARTS = frozenset(map(chr, range(0x1160, 0x1200)))
"""Vowels and final consonants, which a terminal joins with the consonant before them."""


def prepare_streams() -> None:
    """Open standard streams that the shell's ``>&-`` has closed, and make all three accept any text.

    To read such an input, or to write a result to such an output, fails with EBADF. Interface names,
    arguments and lists may have characters that are not in the encoding.
    """
    sys.stdin = sys.stdin or open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream, errors in (sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace"):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def print_json(record: "Record", at_once: bool = True) -> None:
    """Print one JSON Lines record, flushed at once."""
    from json import dumps  # only here: a table needs none of it

    print(dumps(record), flush=at_once)


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
    from select import PIPE_BUF  # only here: other commands print no such blocks

    raw = getattr(binary, "raw", binary)
    begin, most = 0, _FILE_BYTES if _is_file(raw) else PIPE_BUF
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


def discard_unread() -> None:
    """Discard the output from now on if its reader has stopped: after Ctrl-C, nothing waits for that."""
    from select import select  # only here: after Ctrl-C

    for stream in sys.stdout, sys.stderr:
        try:
            if not select([], [stream], [], _READER_SECONDS)[1]:
                discard(stream)
                _Discarded.streams.append(stream)
        except (OSError, ValueError):  # no descriptor
            continue


def discard(stream: TextIO) -> None:
    """Discard what is in the stream, and what is written to it or its descriptor from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def is_discarded(stream: TextIO) -> bool:
    """Whether ``discard_unread`` has discarded the rest of this stream."""
    return stream in _Discarded.streams


class _Discarded:
    streams: ClassVar[list[TextIO]] = []


def print_heading(text: str, note: str) -> None:
    """Print a heading, in bold on a terminal, and a note after it."""
    print(f"{bold(escaped(text))}  {escaped(note)}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Left-aligned columns under their headings."""
    lines = [tuple(escaped(str(cell)) for cell in row) for row in (headings, *rows)]
    widths = [max(map(columns_of, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(map(padded, line, widths)).rstrip()
        print(bold(text) if number == 0 else text)
    sys.stdout.flush()


def padded(text: str, width: int) -> str:
    """The text, with spaces up to this number of columns."""
    return text + " " * (width - columns_of(text))


def columns_of(text: str) -> int:
    """The columns of a text on a terminal: two for a wide character (UAX #11), none for a combining one."""
    return len(text) if text.isascii() else sum(map(_columns_of_character, text))


def cut(text: str, columns: int) -> str:
    """As much of the beginning as fits into these columns of a terminal."""
    if text.isascii():
        return text[: max(0, columns)]
    for place, character in enumerate(text):
        columns -= _columns_of_character(character)
        if columns < 0:
            return text[:place]
    return text


def _columns_of_character(character: str) -> int:
    import unicodedata  # only here: hardly any text needs it

    if unicodedata.category(character) in ("Mn", "Me") or character in _HANGUL_PARTS:
        return 0
    return 1 + (unicodedata.east_asian_width(character) in "WF")


def remark(text: str) -> None:
    """Print a line that is not a result, on stderr.

    A failed write is ignored: the results are still valid, and there is nowhere to report it.
    """
    clear_drawn()
    _try_print(f"{escaped(text)}\n")


def _try_print(text: str) -> None:
    try:
        print(end=text, file=sys.stderr, flush=True)
    except OSError:
        return


def colored(stream: TextIO) -> bool:
    """Whether to use colour on this stream: a terminal that has it, and NO_COLOR is unset (no-color.org)."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colored(sys.stdout) else text


def draw(text: str, green: int = 0) -> None:
    """Print a line on stderr that the next one overwrites, unless stderr is not a terminal.

    It is cut to the width that the terminal has now. Its first ``green`` characters are green. A failed
    write is ignored.
    """
    if not _is_terminal(sys.stderr):
        return
    # Some terminals go on to the next line after the last column.
    line = cut(escaped(text), terminal_columns(sys.stderr) - 1)
    begin, end = ("\x1b[32m", "\x1b[0m") if green and colored(sys.stderr) else ("", "")
    _try_print(f"{_CLEAR_LINE}{begin}{line[:green]}{end}{line[green:]}")
    _Drawn.line = line


def clear_drawn() -> None:
    """Erase the line that was drawn, if there is one."""
    if _Drawn.line:
        draw("")


class _Drawn:
    line = ""
    """What is drawn now."""


def terminal_columns(stream: TextIO) -> int:
    """The present width of the terminal; COLUMNS can make it smaller. It is 80 if nothing is known."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        width = 0
    word = os.environ.get("COLUMNS", "")
    wanted = int(word) if word.isascii() and word.isdigit() and len(word) < _MOST_DIGITS else 0
    return min(filter(None, (width, wanted)), default=_USUAL_COLUMNS)


def _is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that obeys control characters."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
