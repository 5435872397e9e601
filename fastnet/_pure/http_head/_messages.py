"""What a head says of its message, gathered line by line, and the names in it rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnet._pure.http_head._hosts import authority_span, cookie_domain

if TYPE_CHECKING:
    from fastnet._pure.http_head._hosts import HostRewrite

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 502: "Bad Gateway"}
_REFUSAL_LIMIT = 512
_DIGITS_LIMIT = 18
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)

# What a request asks for, as far as its response's framing depends on it.
HEAD, CONNECT, UPGRADE = 1, 2, 4
SWITCHES = CONNECT | UPGRADE


class BadMessage(ValueError):
    """A head or a framing that must not be passed on; the message says what is wrong with it."""


def refusal(status: int, reason: str) -> bytes:
    """The whole response that refuses a request (400, 408, 502) and says that the connection closes.

    Raises ValueError for another status, or a reason that is not a few words.
    """
    body = f"{reason}\n"
    text = (
        f"HTTP/1.1 {status} {_PHRASES.get(status)}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")
    if status not in _PHRASES or len(text) >= _REFUSAL_LIMIT:
        raise ValueError(f"{status} {reason!r}: expected 400, 408 or 502, and a few words")
    return text


def is_token(text: bytes) -> bool:
    return bool(text) and not text.translate(None, _TOKEN)


def _is_scheme(text: bytes) -> bool:
    """RFC 3986, section 3.1."""
    return text[:1].isalpha() and not text.translate(None, _LETTERS + b"0123456789+-.")


def has_control(text: bytes) -> bool:
    """Whether there is a control character other than a tab."""
    return text.translate(None, _CONTROLS) != text


def text_of(line: bytes) -> bytes:
    """The line without its end."""
    return line[:-2] if line.endswith(b"\r\n") else line[:-1]


def field_of(text: bytes) -> tuple[bytes, bytes]:
    """The name, in lower case, and the value of a request's field line. Raises BadMessage."""
    name, colon, value = text.partition(b":")
    if text[:1] in (b" ", b"\t"):
        raise BadMessage("a folded header line")
    if not colon or not is_token(name):
        raise BadMessage("a header line without a name")
    if has_control(value):
        raise BadMessage("a control character in a header")
    return name.lower(), value.strip(b" \t")


class _Facts:
    """Both kinds of heads: the framing."""

    __slots__ = ("_codings", "_lengths")

    def __init__(self) -> None:
        self._lengths: list[bytes] = []
        self._codings: list[bytes] = []

    def _add(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._lengths += [item.strip(b" \t") for item in value.split(b",")]
        elif name == b"transfer-encoding":
            self._codings += [item.strip(b" \t").lower() for item in value.split(b",")]

    def _length(self) -> int:
        """What Content-Length says (RFC 9112, section 6.3): one number, however often it is repeated."""
        if not all(text.isdigit() and len(text) <= _DIGITS_LIMIT for text in self._lengths):
            raise BadMessage("a Content-Length that is no number")
        numbers = {int(text) for text in self._lengths} or {0}
        if len(numbers) > 1:
            raise BadMessage("differing Content-Lengths")
        return numbers.pop()


class RequestHead(_Facts):
    """A request's head: each line is checked as it comes."""

    __slots__ = ("_authority", "_hosts", "_lines", "_version", "asks")

    def __init__(self) -> None:
        super().__init__()
        self.asks = 0
        self._lines: list[bytes] = []
        self._hosts: list[int] = []
        self._version = b""
        self._authority: tuple[int, int] | None = None

    def add(self, line: bytes) -> None:
        """The next line, with its end. Raises BadMessage."""
        text = text_of(line)
        if not self._lines:
            self._begin(text)
        else:
            name, value = field_of(text)
            if name == b"host":
                self._hosts.append(len(self._lines))
            elif name == b"upgrade" and self.asks != CONNECT:
                self.asks |= UPGRADE
            self._add(name, value)
        self._lines.append(line)

    def _begin(self, text: bytes) -> None:
        parts = text.split(b" ")
        if len(parts) != 3 or not is_token(parts[0]) or not parts[1]:
            raise BadMessage("no request line")
        method, target, self._version = parts
        if has_control(target) or b"\t" in target:
            raise BadMessage("a control character in the target")
        if self._version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise BadMessage("a version other than HTTP/1.1 and HTTP/1.0")
        self.asks = {b"HEAD": HEAD, b"CONNECT": CONNECT}.get(method, 0)
        self._find_authority(target, len(method) + 1)

    def _find_authority(self, target: bytes, at: int) -> None:
        """Note where in the first line an absolute target's authority stands (RFC 9112, section 3.2.2)."""
        scheme, separator, rest = target.partition(b"://")
        if separator and _is_scheme(scheme):
            first, last = authority_span(rest)
            if first == last:
                raise BadMessage("an absolute target without a host")
            at += len(scheme) + len(separator)
            self._authority = (at + first, at + last)

    def framing(self) -> tuple[int, bool]:
        """The body's length, or whether it is chunked. Raises BadMessage for what has two readings."""
        if len(self._hosts) > 1:
            raise BadMessage("two Hosts")
        if self._codings and self._lengths:
            raise BadMessage("both Content-Length and Transfer-Encoding")
        if self._codings and self._version == b"HTTP/1.0":
            raise BadMessage("a Transfer-Encoding in HTTP/1.0")
        # Whoever reads the first or the last element only would frame these otherwise.
        if self._codings and self._codings != [b"chunked"]:
            raise BadMessage("a Transfer-Encoding other than chunked")
        if len(self._lengths) > 1:
            raise BadMessage("several Content-Lengths")
        if self.asks == CONNECT and (self._codings or self._lengths):
            raise BadMessage("a CONNECT with a body")
        return self._length(), bool(self._codings)

    def rewritten(self, rewrite: HostRewrite, reached_at: bytes) -> tuple[bytes, bytes]:
        """The lines with the upstream where the listener is named, and that name (empty where it is not)."""
        lines = self._lines
        target = lines[0][slice(*self._authority)] if self._authority else b""
        before, host, after = _parted(lines[self._hosts[0]]) if self._hosts else (b"", b"", b"")
        asked = target or host
        ours = bool(target or self._hosts) and rewrite._replaces(asked, reached_at)
        named = rewrite.upstream.encode("ascii") if ours else asked
        if self._authority:
            first, last = self._authority
            lines[0] = lines[0][:first] + named + lines[0][last:]
        if self._hosts:
            # Beside an absolute target, Host is to be ignored and replaced by the target's (RFC 9112, 3.2.2).
            lines[self._hosts[0]] = before + named + after
        return b"".join(lines), asked if ours else b""


class ResponseHead(_Facts):
    """A response's head, read leniently."""

    __slots__ = ("lines", "status")

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self.lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        """The next line, with its end. Raises BadMessage where it is no status line, but should be."""
        if not self.lines:
            version, _, rest = text_of(line).partition(b" ")
            code = rest[:3]
            if not (version.startswith(b"HTTP/1.") and len(code) == 3 and code.isdigit()):
                raise BadMessage("a response without a status line")
            self.status = int(code)
        elif field := _lenient_field(line):
            self._add(*field)
        self.lines.append(line)

    def framing(self) -> tuple[int, bool] | None:
        """The body's length, or whether it is chunked; None: until the end (RFC 9112, section 6.3)."""
        if self._codings and self._codings[-1] == b"chunked":
            return 0, True
        if self._codings or not self._lengths:
            return None
        return self._length(), False

    def rewritten(self, rewrite: HostRewrite, asked: bytes) -> list[bytes]:
        """The lines with the upstream's names replaced by those that the client asked for."""
        return [self._line_rewritten(line, rewrite, asked) for line in self.lines]

    def _line_rewritten(self, line: bytes, rewrite: HostRewrite, asked: bytes) -> bytes:
        name, _ = _lenient_field(line) or (b"", b"")
        if name not in (b"location", b"set-cookie"):
            return line
        before, value, after = _parted(line)
        if name == b"location":
            value = _location(value, rewrite, asked)
        else:
            value = _cookie(value, rewrite, cookie_domain(asked))
        return before + value + after


def _lenient_field(line: bytes) -> tuple[bytes, bytes] | None:
    """The name and the value of a response's field line, None where it has none."""
    name, colon, value = line.partition(b":")
    return (name.strip().lower(), value.strip()) if colon and line[:1] not in (b" ", b"\t") else None


def _parted(line: bytes) -> tuple[bytes, bytes, bytes]:
    """A field line's value, without white space around it, between what stands before and behind it."""
    text = text_of(line)
    start = len(text) - len(text.partition(b":")[2].lstrip())
    value = text[start:].rstrip()
    return line[:start], value, line[start + len(value) :]


def _location(value: bytes, rewrite: HostRewrite, asked: bytes) -> bytes:
    scheme, slashes, rest = value.partition(b"//")
    if not slashes or scheme.lower() not in (b"", b"http:"):
        return value
    first, last = authority_span(rest)
    if not rewrite._is_upstream(rest[first:last]):
        return value
    return b"".join((scheme, slashes, rest[:first], asked, rest[last:]))


def _cookie(value: bytes, rewrite: HostRewrite, domain: bytes) -> bytes:
    pair, *attributes = value.split(b";")
    return b"".join((pair, *(_attribute(text, rewrite, domain) for text in attributes)))


def _attribute(text: bytes, rewrite: HostRewrite, domain: bytes) -> bytes:
    """A cookie's attribute behind its semicolon, or nothing."""
    name, _, value = text.partition(b"=")
    if name.strip().lower() != b"domain" or not rewrite._is_upstream_domain(value.strip()):
        return b";" + text
    start = len(text) - len(value.lstrip())
    return b";" + text[:start] + domain + text[start + len(value.strip()) :] if domain else b""
