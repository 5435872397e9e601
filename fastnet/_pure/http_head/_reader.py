"""One direction: lines, counted bytes and chunks."""

from __future__ import annotations

from fastnet._contract.http_head import ALL, CHUNK_LINE_LIMIT, HEAD_LIMIT, BadMessage
from fastnet._contract.values import counted
from fastnet._pure.http_head._messages import field_of, has_control, text_of
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Callable

_CHUNK_DIGITS_LIMIT = 15
_HEX = b"0123456789abcdefABCDEF"
_IN_THE_HEAD = (b"content-length", b"transfer-encoding", b"host")


class Reader:
    """Reads one direction of the stream, each byte once.

    A state is a method that takes the data and a position, and returns the position after the bytes that it
    read. It may set the next state.
    """

    strict = True

    def __init__(self) -> None:
        self._state: Callable[[bytes, int], int] = self._head
        self._kept = bytearray()
        self._out: list[bytes | memoryview] = []
        self._size = 0
        self._left = 0
        self._chunked = False
        self.bad: str | None = None

    @property
    def at_start(self) -> bool:
        """Whether the next byte begins a new message."""
        return self._state == self._head and not self.in_head

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and not ended."""
        # A CR alone is half of a blank line.
        come = self._size + len(self._kept)
        return self._state == self._head and come > 0 and not (come == 1 and self._kept == b"\r")

    @property
    def passes(self) -> int:
        """The number of next bytes that may be relayed without being read; ALL if all may."""
        if self.bad:
            return 0
        if self._state == self._counted:
            return self._left
        return ALL if self._state == self._raw else 0

    def passed(self, n: int) -> None:
        """Record that n bytes of ``passes`` were relayed."""
        if not 0 <= n <= self.passes:
            raise ValueError(f"{counted(n, 'byte')} passed: expected 0 to {self.passes}")
        if self._state == self._counted:
            self._count(n)

    def _add(self, line: bytes) -> None:
        """Handle a line of a head."""
        raise NotImplementedError

    def _message(self, end: bytes) -> None:
        """Handle the blank line that completes a head: set the framing of the body (``_body``) or a state."""
        raise NotImplementedError

    def _ended(self) -> None:
        """Handle the end of a message, body included."""
        self._state = self._head

    def _emit(self, data: bytes, start: int, end: int) -> None:
        """Forward these bytes unchanged."""
        self._out.append(data if end - start == len(data) else memoryview(data)[start:end])

    def _taken_out(self) -> bytes | memoryview:
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def _line(self, data: bytes, position: int, limit: int) -> tuple[bytes | None, int]:
        """The next line with its line ending, None if it is incomplete, and the position after it."""
        newline = data.find(b"\n", position)
        end = newline + 1 or len(data)
        if len(self._kept) + end - position > limit:
            raise BadMessage("a line or head that is too long")
        if self._kept or not newline + 1:
            self._kept += data[position:end]
        if not newline + 1:
            return None, end
        line = bytes(self._kept) or data[position:end]
        self._kept.clear()
        if self.strict and not line.endswith(b"\r\n"):
            raise BadMessage("a line that ends in a bare LF")
        # RequestHead refuses them in a request's line. Some readers end a line there (RFC 9112, section 2.2).
        if not self.strict and (b"\r" in text_of(line) or b"\0" in line):
            raise BadMessage("a bare CR or a NUL in a response")
        return line, end

    def _head(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, HEAD_LIMIT - self._size)
        if line is None:
            return position
        if text_of(line):
            self._add(line)
            self._size += len(line)
        elif self._size:  # Blank lines before a head are dropped (RFC 9112, section 2.2).
            self._size = 0
            self._message(line)
        return position

    def _body(self, length: int, chunked: bool) -> None:
        self._left, self._chunked = length, chunked
        if chunked:
            self._state = self._chunk_line
        elif length:
            self._state = self._counted
        else:
            self._ended()

    def _counted(self, data: bytes, position: int) -> int:
        end = min(len(data), position + self._left)
        self._emit(data, position, end)
        self._count(end - position)
        return end

    def _count(self, n: int) -> None:
        self._left -= n
        if not self._left:
            if self._chunked:
                self._state = self._chunk_end
            else:
                self._ended()

    def _chunk_line(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, CHUNK_LINE_LIMIT)
        if line is None:
            return position
        text, _, extension = text_of(line).partition(b";")
        digits = text.rstrip(b" \t")
        if not digits or digits.translate(None, _HEX) or len(digits) > _CHUNK_DIGITS_LIMIT:
            raise BadMessage("an invalid chunk size")
        if has_control(extension):
            raise BadMessage("a control character in a chunk extension")
        if self.strict and _open_quote(extension):
            raise BadMessage("an unclosed quote in a chunk extension")
        self._left = int(digits, 16)
        self._state = self._counted if self._left else self._trailer
        self._emit(line, 0, len(line))
        return position

    def _chunk_end(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, 2)
        if line is not None:
            if text_of(line):
                raise BadMessage("a chunk longer than its size")
            self._emit(line, 0, len(line))
            self._state = self._chunk_line
        return position

    def _trailer(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, HEAD_LIMIT - self._size)
        if line is None:
            return position
        self._size += len(line)
        text = text_of(line)
        # A reader that merges trailers into the head would frame or route it differently (RFC 9110, 6.5.1).
        if text and self.strict and field_of(text)[0] in _IN_THE_HEAD:
            raise BadMessage("a Host or framing field in the trailers")
        self._emit(line, 0, len(line))
        if not text:
            self._size = 0
            self._ended()
        return position

    def _raw(self, data: bytes, position: int) -> int:
        """Forward all bytes from here on: they are no longer HTTP."""
        self._emit(data, position, len(data))
        return len(data)


def _open_quote(extension: bytes) -> bool:
    """Whether a quoted string has not ended: some readers would look for its end in the next lines."""
    quoted = escaped = False
    for byte in extension:
        if escaped:
            escaped = False
        elif byte == 0x22:
            quoted = not quoted
        else:
            escaped = quoted and byte == 0x5C
    return quoted
