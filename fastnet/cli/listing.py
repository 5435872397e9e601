"""Target texts of the command line and of files, and the place of each."""

import sys
from _collections_abc import Iterable, Iterator, MutableSequence

from fastnet._typing import TextIO
from fastnet.errors import InvalidArgument, NameNotResolved
from fastnet.targets import Targets, words_of

_MAX_LINE = 1 << 20
_MAX_SIZE = 64 << 20
_OF_NUMBERS = {*"0123456789-"}
"""Of an octet's numbers, as ``1-3``."""


class Listing:
    """``texts`` are the words of the command line, then those of the files. ``-`` is stdin."""

    def __init__(self, words: Iterable[str], files: Iterable[str]) -> None:
        self.texts: list[str] = [*words]
        self._files: list[tuple[int, str]] = []
        """The index of each file's first text."""
        self._begin = len(self.texts)
        self._lines: MutableSequence[int] = []
        """The line number of each text of a file."""
        if names := [*files]:
            from array import array  # only here: it loads collections

            self._lines = array("L")
        for name in names:
            self._files.append((len(self.texts), name))
            with opened(name) as lines:
                for number, line in enumerate(_bounded(lines, name), 1):
                    found = words_of(line)
                    self.texts += found
                    self._lines.extend([number] * len(found))

    def where(self, text: str) -> str:
        """Of the first such text: ``hosts.txt:3: ``, or nothing for one of the command line."""
        index = self.texts.index(text)
        if index < self._begin:
            return ""
        name = next(name for begin, name in reversed(self._files) if begin <= index)
        return f"{'stdin' if name == '-' else name}:{self._lines[index - self._begin]}: "

    def check(self, family: int) -> None:
        """Parse each text. The exception of the first wrong one names its place."""
        for text in self.texts:
            try:
                Targets(text, family=family)
            except (InvalidArgument, NameNotResolved) as error:
                raise type(error)(f"{self.where(text)}{error}") from None


def separate(texts: Iterable[str]) -> Iterator[str]:
    """The targets of lists with commas, as nmap has them. A comma between an octet's numbers parts none."""
    for text in texts:
        first, *parts = text.split(",")
        for part in parts:
            if _is_whole(first) and not {*part} <= _OF_NUMBERS:
                yield first
                first = part
            else:
                first += f",{part}"
        yield first


def _is_whole(text: str) -> bool:
    return text.count(".") == 3 or not {*text} <= {*".,", *_OF_NUMBERS}


def _bounded(lines: TextIO, name: str) -> Iterator[str]:
    """The lines. Raises InvalidArgument for what has no end, as ``/dev/zero``."""
    left = _MAX_SIZE
    while line := lines.readline(_MAX_LINE + 1):
        left -= len(line)
        if len(line) > _MAX_LINE or left < 0:
            most, what = (_MAX_SIZE, "file") if left < 0 else (_MAX_LINE, "line")
            name = "stdin" if name == "-" else name
            raise InvalidArgument(f"{name}: a {what} of more than {most >> 20} MiB: expected targets")
        yield line


def opened(name: str) -> TextIO:
    """The lines of a file. Bytes that are not UTF-8 make a wrong target."""
    file = sys.stdin.fileno() if name == "-" else name
    return open(file, encoding="utf-8-sig", errors="surrogateescape", closefd=name != "-")
