"""HTTP/1 message heads found in a byte stream, and the Host in them rewritten (RFC 9112).

An ``Exchange`` follows one connection, both directions. Request heads are read as they come, at any
split, each byte once; bodies are only counted (Content-Length) or framed (chunked), so that the next
head is found. Responses pass untouched; they are followed as far as it takes to know which request they
answer, because after CONNECT or Upgrade the bytes are no longer HTTP once the answer says so.

Requests are read strictly: what two readers could frame differently is refused, since behind that hides
request smuggling. Responses are read leniently (a bare LF ends a line), except for their framing.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEAD_LIMIT = 65536
"""Bytes that a head, or a body's trailers, may have."""
CHUNK_LINE_LIMIT = 4096
"""Bytes that the line before a chunk may have, its extensions included."""
PIPELINE_LIMIT = 256
"""Requests that may wait for their response before no more are read."""

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 502: "Bad Gateway"}
_DIGITS_LIMIT = 18
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HEX = b"0123456789abcdefABCDEF"
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)

# What a request asks for, as far as its response's framing depends on it.
_HEAD, _CONNECT, _UPGRADE = 1, 2, 4
_SWITCHES = _CONNECT | _UPGRADE


class BadMessage(ValueError):
    """A head or a framing that must not be passed on; the message says what is wrong with it."""


def refusal(status: int, reason: str) -> bytes:
    """The whole response that refuses a request (400, 408, 502) and says that the connection closes."""
    body = f"{reason}\n"
    return (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")


def _is_token(text: bytes) -> bool:
    return bool(text) and not text.translate(None, _TOKEN)


def _name_and_port(authority: bytes) -> tuple[str, str]:
    """The host of ``host[:port]`` in one spelling (lower case, addresses shortest), and the port's text."""
    text = authority.decode("latin-1").lower()
    host, bracket, port = text.rpartition("]")
    if bracket:
        host, port = host.removeprefix("["), port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    return _canonical(host), port


def _canonical(host: str) -> str:
    if ":" not in host:
        return host.rstrip(".")
    try:
        return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
    except OSError:
        return host


class HostRewrite:
    """Which Host is replaced, and by what.

    A Host that is one of ``names`` (``localhost``, ``127.0.0.1``, ``::1``; any case), or the address at
    which the client reached us, with ``port`` or without a port, becomes ``upstream``; with ``always``
    every Host does.
    """

    __slots__ = ("always", "names", "port", "upstream")

    def __init__(self, names: Iterable[str], port: int, upstream: str, always: bool = False) -> None:
        self.names = frozenset(_canonical(name.lower()) for name in names)
        self.port = str(port)
        self.upstream = upstream.encode("ascii")
        self.always = always

    def replaces(self, authority: bytes, reached_at: str) -> bool:
        """Whether ``host[:port]`` names the local listener."""
        if self.always:
            return True
        host, port = _name_and_port(authority)
        ours = host in self.names or host == _canonical(reached_at)
        return bool(host) and ours and port in ("", self.port)


class _Request(NamedTuple):
    asks: int
    length: int
    chunked: bool


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The names, in lower case, and values of field lines without their line ends."""
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            raise BadMessage("a folded header line")
        if not colon or not _is_token(name):
            raise BadMessage("a header line without a name")
        if value.translate(None, _CONTROLS) != value:
            raise BadMessage("a control character in a header")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def _values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All elements of the comma-separated lists that the fields of this name hold."""
    return [item.strip(b" \t") for key, value in fields if key == name for item in value.split(b",")]


def _length(values: list[bytes]) -> int:
    """What Content-Length says (RFC 9112, section 6.3): one number, however often it is repeated."""
    if len(set(values)) > 1:
        raise BadMessage("differing Content-Lengths")
    text = values[0] if values else b"0"
    if not (text.isdigit() and len(text) <= _DIGITS_LIMIT):
        raise BadMessage("a Content-Length that is no number")
    return int(text)


def _read_request(lines: list[bytes]) -> _Request:
    """How the request with this head is framed. Raises BadMessage."""
    method, version = _request_line(lines[0])
    fields = _fields(lines[1:])
    if sum(name == b"host" for name, _ in fields) > 1:
        raise BadMessage("two Hosts")
    lengths = _values(fields, b"content-length")
    codings = [coding.lower() for coding in _values(fields, b"transfer-encoding")]
    if codings and lengths:
        raise BadMessage("both Content-Length and Transfer-Encoding")
    if codings and version == b"HTTP/1.0":
        raise BadMessage("a Transfer-Encoding in HTTP/1.0")
    # Whoever reads the first or the last element only would frame these otherwise.
    if codings and codings != [b"chunked"]:
        raise BadMessage("a Transfer-Encoding other than chunked")
    if len(lengths) > 1:
        raise BadMessage("several Content-Lengths")
    asks = {b"HEAD": _HEAD, b"CONNECT": _CONNECT}.get(method, 0)
    if asks == _CONNECT and (codings or lengths):
        raise BadMessage("a CONNECT with a body")
    if asks != _CONNECT and any(name == b"upgrade" for name, _ in fields):
        asks |= _UPGRADE
    return _Request(asks, _length(lengths), bool(codings))


def _request_line(line: bytes) -> tuple[bytes, bytes]:
    """The method and the version."""
    parts = line.split(b" ")
    if len(parts) != 3 or not _is_token(parts[0]) or not parts[1]:
        raise BadMessage("no request line")
    if parts[1].translate(None, _CONTROLS + b"\t") != parts[1]:
        raise BadMessage("a control character in the target")
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadMessage("a version other than HTTP/1.1 and HTTP/1.0")
    return parts[0], parts[2]


def _text(line: bytes) -> bytes:
    """The line without its end."""
    return line[:-2] if line.endswith(b"\r\n") else line[:-1]


class _Reader:
    """One direction of the stream: lines, counted bytes and chunks, each byte looked at once.

    ``feed`` runs the current state until its input is used up. A state takes the data and a position, and
    returns the position behind what it took; it may set the next state.
    """

    strict = True

    def __init__(self) -> None:
        self._state: Callable[[bytes, int], int] = self._head
        self._kept = bytearray()
        self._lines: list[bytes] = []
        self._size = 0
        self._left = 0
        self._chunked = False

    @property
    def at_start(self) -> bool:
        """Whether the next byte begins a new message."""
        return self._state == self._head and not self.in_head

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and not ended."""
        return self._state == self._head and bool(self._kept or self._lines)

    def _emit(self, data: bytes, start: int, end: int) -> None:
        """These bytes belong to the message and are not changed."""

    def _message(self, lines: list[bytes]) -> None:
        """A head is complete: say how its body is framed, by ``_body``, or begin another state."""
        raise NotImplementedError

    def _ended(self) -> None:
        """The message is complete, body and all."""
        self._state = self._head

    def _line(self, data: bytes, position: int, limit: int) -> tuple[bytes | None, int]:
        """The next line with its end, None while it has not come whole, and the position behind it."""
        newline = data.find(b"\n", position)
        end = newline + 1 or len(data)
        if len(self._kept) + end - position > limit:
            raise BadMessage("a line or a head that is too long")
        if self._kept or not newline + 1:
            self._kept += data[position:end]
        if not newline + 1:
            return None, end
        line = bytes(self._kept) or data[position:end]
        self._kept.clear()
        if self.strict and not line.endswith(b"\r\n"):
            raise BadMessage("a line that ends in a bare LF")
        return line, end

    def _head(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, HEAD_LIMIT - self._size)
        if line is None:
            return position
        if _text(line):
            self._lines.append(line)
            self._size += len(line)
        elif self._lines:  # Blank lines before a head mean nothing and are dropped (RFC 9112, section 2.2).
            lines, self._lines, self._size = self._lines, [], 0
            self._message([*lines, line])
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
        self._left -= end - position
        self._emit(data, position, end)
        if not self._left:
            if self._chunked:
                self._state = self._chunk_end
            else:
                self._ended()
        return end

    def _chunk_line(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, CHUNK_LINE_LIMIT)
        if line is None:
            return position
        text, _, extension = _text(line).partition(b";")
        digits = text.rstrip(b" \t")
        if not digits or digits.translate(None, _HEX) or len(digits) > _DIGITS_LIMIT - 3:
            raise BadMessage("a chunk size that is no number")
        if extension.translate(None, _CONTROLS) != extension:
            raise BadMessage("a control character in a chunk extension")
        self._left = int(digits, 16)
        self._state = self._counted if self._left else self._trailer
        self._emit(line, 0, len(line))
        return position

    def _chunk_end(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, 2)
        if line is not None:
            if _text(line):
                raise BadMessage("a chunk longer than its size")
            self._emit(line, 0, len(line))
            self._state = self._chunk_line
        return position

    def _trailer(self, data: bytes, position: int) -> int:
        line, position = self._line(data, position, HEAD_LIMIT - self._size)
        if line is None:
            return position
        self._size += len(line)
        text = _text(line)
        if text and self.strict:
            _fields([text])
        self._emit(line, 0, len(line))
        if not text:
            self._size = 0
            self._ended()
        return position

    def _raw(self, data: bytes, position: int) -> int:
        """No more HTTP from here on."""
        self._emit(data, position, len(data))
        return len(data)


class _Requests(_Reader):
    def __init__(self, rewrite: HostRewrite, reached_at: str, pending: deque[int]) -> None:
        super().__init__()
        self._rewrite = rewrite
        self._reached_at = reached_at
        self._pending = pending
        self._out: list[bytes | memoryview] = []
        self._backlog = b""
        self.switched: bool | None = False
        self.bad: str | None = None

    @property
    def held(self) -> bool:
        """Whether no more may be read now: a response must come first, or the client sent nonsense."""
        waits = self._state == self._head and (self.switched is None or len(self._pending) >= PIPELINE_LIMIT)
        return waits or self.bad is not None

    def feed(self, data: bytes) -> bytes | memoryview:
        data = self._backlog + data if self._backlog else data
        position = 0
        try:
            while position < len(data) and not self.held:
                position = self._state(data, position)
        except BadMessage as error:
            self.bad = str(error)
            if self._state != self._head and self._pending:
                # Its own response can't be waited for: the upstream has only a part of the request.
                self._pending.pop()
        self._backlog = b"" if self.bad else data[position:]
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def decide(self, switched: bool) -> None:
        """The response to CONNECT or Upgrade has come."""
        self.switched = switched
        if switched and self._state == self._head:
            self._state = self._raw

    def _emit(self, data: bytes, start: int, end: int) -> None:
        self._out.append(data if end - start == len(data) else memoryview(data)[start:end])

    def _message(self, lines: list[bytes]) -> None:
        request = _read_request([line[:-2] for line in lines[:-1]])
        self._out.append(b"".join(self._rewritten(lines)))
        self._pending.append(request.asks)
        self.switched = None if request.asks & _SWITCHES else False
        self._body(request.length, request.chunked)

    def _ended(self) -> None:
        self._state = self._raw if self.switched else self._head

    def _rewritten(self, lines: list[bytes]) -> list[bytes]:
        """The head with the Host value, and an absolute-form target's authority, replaced where it is due."""
        method, target, version = lines[0].split(b" ")
        scheme, separator, rest = target.partition(b"://")
        if separator and _is_token(scheme):
            end = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
            user, at_sign, authority = rest[:end].rpartition(b"@")
            if self._replaces(authority):
                target = b"".join((scheme, separator, user, at_sign, self._rewrite.upstream, rest[end:]))
                lines[0] = b" ".join((method, target, version))
        for number, line in enumerate(lines[1:-1], 1):
            if line[:5].lower() == b"host:" and self._replaces(line[5:].strip(b" \t\r\n")):
                lines[number] = line[:5] + b" " + self._rewrite.upstream + b"\r\n"
        return lines

    def _replaces(self, authority: bytes) -> bool:
        return self._rewrite.replaces(authority, self._reached_at)


class _Responses(_Reader):
    strict = False

    def __init__(self, pending: deque[int], decide: Callable[[bool], None]) -> None:
        super().__init__()
        self._pending = pending
        self._decide = decide

    def feed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            position = self._state(data, position)

    def _message(self, lines: list[bytes]) -> None:
        version, _, rest = lines[0].partition(b" ")
        code = rest[:3]
        if not (version.startswith(b"HTTP/1.") and len(code) == 3 and code.isdigit()):
            raise BadMessage("a response without a status line")
        status = int(code)
        asks = self._pending[0] if self._pending else 0
        switched = (asks & _UPGRADE and status == 101) or (asks & _CONNECT and 200 <= status < 300)
        if 100 <= status < 200 and not switched:
            return
        if self._pending:
            self._pending.popleft()
        if asks & _SWITCHES:
            self._decide(bool(switched))
        if switched:
            self._state = self._raw
        elif asks & _HEAD or status in (204, 304):
            self._ended()
        else:
            self._framed(lines[1:-1])

    def _framed(self, lines: list[bytes]) -> None:
        """How long the body is (RFC 9112, section 6.3)."""
        parted = [line.strip().partition(b":") for line in lines if line[:1] not in b" \t"]
        fields = [(name.strip().lower(), value.strip()) for name, _, value in parted]
        lengths = _values(fields, b"content-length")
        codings = _values(fields, b"transfer-encoding")
        if codings and codings[-1].lower() == b"chunked":
            self._body(0, True)
        elif codings or not lengths:
            self._state = self._raw
        else:
            self._body(_length(lengths), False)


class Exchange:
    """The requests and responses of one connection.

    ``rewrite`` says which Host is replaced; ``reached_at`` is the local address at which the client
    reached us, one more name of the listener.
    """

    __slots__ = ("_pending", "_requests", "_responses")

    def __init__(self, rewrite: HostRewrite, reached_at: str = "") -> None:
        self._pending: deque[int] = deque()
        self._requests = _Requests(rewrite, reached_at, self._pending)
        self._responses = _Responses(self._pending, self._requests.decide)

    def request(self, data: bytes = b"") -> bytes | memoryview:
        """What to send upstream for these bytes from the client: whole heads and whatever of bodies there is.

        What comes while ``held`` is kept, and goes out with a later call, as ``request()`` without data.
        Never raises: ``refusal`` tells.
        """
        return self._requests.feed(data)

    def response(self, data: bytes) -> None:
        """Follow these bytes from the upstream. Raises BadMessage where they can't be followed."""
        self._responses.feed(data)

    @property
    def held(self) -> bool:
        """Whether to read no more from the client before the next response."""
        return self._requests.held

    @property
    def head_pending(self) -> bool:
        """Whether a request's head has begun and not ended: the time for it is running."""
        return self._requests.in_head and not self._requests.held

    @property
    def refusal(self) -> str | None:
        """What is wrong with the client's last request, which was not passed on; None where nothing is."""
        return self._requests.bad

    @property
    def idle(self) -> bool:
        """Whether no response is due or under way: one of our own may be sent."""
        return not self._pending and self._responses.at_start
