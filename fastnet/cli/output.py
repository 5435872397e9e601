"""What subcommands print: JSON Lines or aligned columns on stdout, remarks on stderr."""

import io
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO


def prepare_streams() -> None:
    """Let there be the three streams, which the shell's ``>&-`` takes away, and let them take any text.

    Interface names, arguments and lists may hold what an encoding does not.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream, errors in (sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace"):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=errors)


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON Lines record, written at once so that a reader downstream sees it when it happens."""
    import json  # only here: the table needs none of it

    print(json.dumps(record, separators=(", ", ": ")), flush=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Left-aligned columns under their headings."""
    lines = [tuple(headings), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        print(bold(text) if number == 0 else text)


def remark(text: str) -> None:
    """A line that is not a result: on stderr, so that results stay clean.

    Where that can't be written to, results count all the same, and there is nowhere to say so.
    """
    with suppress(OSError):
        print(one_line(text), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """The text with control characters written as escapes: what users give may hold line ends."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def colored(stream: TextIO) -> bool:
    """Whether colour belongs on this stream: a terminal, and NO_COLOR unset (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colored(sys.stdout) else text
