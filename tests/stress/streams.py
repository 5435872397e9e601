"""What one end of a connection sends, and the check of what the other receives: bytes encode their position.

A stream is a list of segments. Most are *bulk*: a slice of one random pattern, at a phase of the stream's.
Others are *literals*, of which other bytes may be due than were sent: of a request whose Host is rewritten.
An *optional* byte may arrive or not: TCP's urgent data. It is MARK, which occurs nowhere else.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

MARK = b"\xff"
PERIOD = 1_048_583
LONGEST = 1 << 20
_ONCE = random.Random(1).randbytes(PERIOD).replace(MARK, b"\0")
PATTERN = memoryview(_ONCE + _ONCE + _ONCE[:64])
NAME = re.compile(rb"[#/]([0-9a-f]{8})[ .\r]")
"""How a stream names itself in its first bytes."""
NAME_WITHIN = 400


class Segment(NamedTuple):
    """Bytes to send, and those that are to arrive."""

    sent: bytes = b""
    due: bytes = b""
    bulk: int = 0
    """So many bytes of the pattern, instead of both."""
    optional: bool = False

    @property
    def size(self) -> int:
        """How many bytes are due for certain."""
        return 0 if self.optional else self.bulk or len(self.due)


def literal(data: bytes, due: bytes | None = None) -> Segment:
    return Segment(data, data if due is None else due)


class Stream:
    """One direction: what was, or is about to be, sent, and how that ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.segments: list[Segment] = []
        self.due = 0
        """Bytes that were handed to the kernel whole, and must arrive."""
        self.ended = ""
        """``fin``, ``reset``, or ``closed`` (by close(2) with an end not yet read)."""
        self.phase = number * 7919 % PERIOD

    @property
    def name(self) -> bytes:
        return b"%08x" % self.number

    def greeting(self) -> Segment:
        """What a raw stream begins with."""
        return literal(b"#" + self.name + b"\r")

    def bulk(self, at: int, size: int) -> memoryview:
        """The bytes of bulk from this one on: up to one period, and up to LONGEST."""
        start = (self.phase + at) % PERIOD
        return PATTERN[start : start + min(size, LONGEST)]


class Wrong(Exception):
    """What arrived is not what was sent."""


class Receiver:
    """Checks what arrives against the stream that it names."""

    def __init__(self, streams: dict[int, Stream]) -> None:
        self._streams = streams
        self.stream: Stream | None = None
        self.unnamed = b""
        """What came before the stream was known."""
        self.count = 0
        """Bytes that came and were due."""
        self.total = 0
        self.ended = ""
        """``eof`` or ``reset``."""
        self.answer = b""
        """What the forwarder itself sent after all that was due, or instead of it."""
        self._segment = self._within = self._bulk = 0

    def feed(self, data: bytes) -> bool:
        """Check these bytes; True where by them the stream became known. Raises Wrong."""
        self.total += len(data)
        if self.stream:
            self._check(data)
            return False
        self.unnamed += data
        if not (match := NAME.search(self.unnamed[:NAME_WITHIN])):
            if len(self.unnamed) > 4096:
                raise Wrong(f"no name of a stream in {self.unnamed[:80]!r}")
            return False
        number = int(match[1], 16)
        if number not in self._streams:
            raise Wrong(f"names stream {number}, which nobody sent: {self.unnamed[:80]!r}")
        self.stream = self._streams[number]
        data, self.unnamed = self.unnamed, b""
        self._check(data)
        return True

    def _check(self, data: bytes) -> None:
        stream = self.stream
        assert stream
        at = 0
        while at < len(data):
            if self._segment == len(stream.segments):
                self._note_answer(data[at:])
                return
            segment = stream.segments[self._segment]
            if segment.optional:
                at += data[at : at + 1] == MARK
                self._segment += 1
                continue
            size = segment.size - self._within
            if segment.bulk:
                # Bytes are compared far faster than views.
                due = bytes(stream.bulk(self._bulk, min(size, len(data) - at)))
            else:
                due = segment.due[self._within : self._within + len(data) - at]
            came = data[at : at + len(due)]
            if came != due:
                if not segment.bulk and self._within == 0 and b"HTTP/1.1 ".startswith(came[:9]):
                    self._note_answer(data[at:])
                    return
                raise Wrong(self._described(came, due))
            at += len(due)
            self.count += len(due)
            if segment.bulk:
                self._bulk += len(due)
            self._within += len(due)
            if self._within == segment.size:
                self._segment += 1
                self._within = 0

    def _note_answer(self, data: bytes) -> None:
        self.answer += data
        if not b"HTTP/1.1 ".startswith(self.answer[:9]):
            raise Wrong(f"{len(self.answer)} bytes behind the end: {self.answer[:80]!r}")

    def _described(self, came: bytes, due: bytes) -> str:
        assert self.stream
        first = next(i for i, (a, b) in enumerate(zip(came, due, strict=False)) if a != b)
        shown = came[first : first + 24]
        wanted = due[first : first + 24]
        text = f"stream {self.stream.number}: byte {self.count + first} is {shown!r}, due {wanted!r}"
        found = _ONCE.find(shown) if len(shown) >= 8 else -1
        if found >= 0:
            skipped = (found - self.stream.phase - self._bulk - first) % PERIOD
            text += f": {skipped} bytes of it are missing, or {PERIOD - skipped} came twice"
        return text
