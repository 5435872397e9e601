"""Parses message heads line by line and rewrites the names in them."""

from __future__ import annotations

import re

from fastnet._contract.http_head import BadMessage
from fastnet._pure.http_head._hosts import Authority, authority_end, cookie_domain
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.http_head._hosts import HostRewrite

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 502: "Bad Gateway"}
_REFUSAL_LIMIT = 512
_DIGITS_LIMIT = 18
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = bytes(code for code in (*range(32), 127) if code != 9)

# Kinds of requests that change the framing of the response.
HEAD, CONNECT, UPGRADE = 1, 2, 4
SWITCHES = CONNECT | UPGRADE


def refusal(status: int, reason: str) -> bytes:
    """The whole response that refuses a request (400, 408, 502) and announces that the connection closes.

    Raises ValueError for another status, or a reason that is too long or not ASCII.
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
    """The line without its line ending."""
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


class _Head:
    """Common code of both kinds of heads: the framing."""

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
        """The value of Content-Length (RFC 9112, section 6.3): one number, which may be repeated."""
        if not all(text.isdigit() and len(text) <= _DIGITS_LIMIT for text in self._lengths):
            raise BadMessage("an invalid Content-Length")
        numbers = {int(text) for text in self._lengths} or {0}
        if len(numbers) > 1:
            raise BadMessage("different Content-Lengths")
        return numbers.pop()


class RequestHead(_Head):
    """A request's head: each line is checked when it arrives."""

    __slots__ = ("_authority", "_hosts", "_lines", "_places", "_version", "asks")

    def __init__(self) -> None:
        super().__init__()
        self.asks = 0
        self._lines: list[bytes] = []
        self._hosts: list[int] = []
        self._places: dict[bytes, list[int]] = {b"origin": [], b"referer": []}
        self._version = b""
        self._authority: tuple[int, int] | None = None

    def add(self, line: bytes) -> None:
        """Add the next line, with its line ending. Raises BadMessage."""
        text = text_of(line)
        if not self._lines:
            self._begin(text)
        else:
            name, value = field_of(text)
            if name == b"host":
                self._hosts.append(len(self._lines))
            elif name in self._places:
                self._places[name].append(len(self._lines))
            elif name == b"upgrade" and self.asks != CONNECT:
                self.asks |= UPGRADE
            self._add(name, value)
        self._lines.append(line)

    def _begin(self, text: bytes) -> None:
        parts = text.split(b" ")
        if len(parts) != 3 or not is_token(parts[0]) or not parts[1]:
            raise BadMessage("an invalid request line")
        method, target, self._version = parts
        if has_control(target) or b"\t" in target:
            raise BadMessage("a control character in the target")
        if b"#" in target:
            raise BadMessage("a fragment in the target")
        if self._version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise BadMessage("a version other than HTTP/1.1 and HTTP/1.0")
        self.asks = {b"HEAD": HEAD, b"CONNECT": CONNECT}.get(method, 0)
        self._find_authority(method, target)

    def _find_authority(self, method: bytes, target: bytes) -> None:
        """Record the place of the authority, if the target has one (RFC 9112, section 3.2)."""
        at = len(method) + 1
        if self.asks == CONNECT:
            self._authority = (at, at + len(target))
        elif not (target.startswith(b"/") or (method, target) == (b"OPTIONS", b"*")):
            scheme, separator, rest = target.partition(b"://")
            if not (separator and _is_scheme(scheme)):
                raise BadMessage("an invalid request target")
            length = authority_end(rest)
            if not length:
                raise BadMessage("an absolute target without a host")
            at += len(scheme) + len(separator)
            self._authority = (at, at + length)

    def framing(self) -> tuple[int, bool]:
        """The body's length, or whether it is chunked. Raises BadMessage for an ambiguous framing."""
        if len(self._hosts) > 1:
            raise BadMessage("more than one Host")
        if self._codings and self._lengths:
            raise BadMessage("both Content-Length and Transfer-Encoding")
        if self._codings and self._version == b"HTTP/1.0":
            raise BadMessage("a Transfer-Encoding in HTTP/1.0")
        # A reader of only the first or the last element would frame the message differently.
        if self._codings and self._codings != [b"chunked"]:
            raise BadMessage("a Transfer-Encoding other than chunked")
        if len(self._lengths) > 1:
            raise BadMessage("more than one Content-Length")
        if self.asks == CONNECT and (self._codings or self._lengths):
            raise BadMessage("a CONNECT with a body")
        return self._length(), bool(self._codings)

    def rewritten(self, rewrite: HostRewrite, destination: bytes) -> tuple[bytes, bytes]:
        """The lines with the listener's name replaced by the upstream's, and that name (empty if absent).

        Raises BadMessage for ambiguous names.
        """
        lines = self._lines
        target = lines[0][slice(*self._authority)] if self._authority else b""
        before, host, after = _parted(lines[self._hosts[0]]) if self._hosts else (b"", b"", b"")
        authority = self._named(target, host)
        original_host = target or host
        ours = authority is not None and rewrite._replaces(authority, destination)
        upstream = rewrite._upstream_and_port if self.asks == CONNECT else rewrite.upstream
        named = upstream.encode("ascii") if ours else original_host
        if self._authority:
            first, last = self._authority
            lines[0] = lines[0][:first] + named + lines[0][last:]
        if self._hosts:
            # A target with a host replaces the Host field (RFC 9112, section 3.2.2).
            lines[self._hosts[0]] = before + named + after
        if authority and ours and rewrite.origin:
            for places in self._places.values():
                if len(places) == 1:  # With several, readers could choose different ones.
                    lines[places[0]] = _uri_rewritten(lines[places[0]], rewrite, authority, destination)
        return b"".join(lines), original_host if ours else b""

    def _named(self, target: bytes, host: bytes) -> Authority | None:
        """The effective authority: the target's, or else Host's; None without one. Raises BadMessage."""
        if not self._hosts and self._version == b"HTTP/1.1":
            raise BadMessage("no Host in HTTP/1.1")
        beside = Authority.read(host) if self._hosts else None
        if not target:
            return beside
        authority = Authority.read(target)
        if self.asks == CONNECT:
            if not authority.port:
                raise BadMessage("a CONNECT without a port")
            if beside and not authority.is_same_place(beside):
                raise BadMessage("a CONNECT target that differs from Host")
        return authority


def _uri_rewritten(line: bytes, rewrite: HostRewrite, original_host: Authority, destination: bytes) -> bytes:
    """A field line; if its value begins with a URI of the listener or that Host, the upstream replaces it."""
    before, value, after = _parted(line)
    scheme, separator, rest = value.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        end = authority_end(rest)
        if rewrite._is_client_side(scheme.lower(), rest[:end], original_host, destination):
            value = scheme + separator + rewrite.upstream.encode("ascii") + rest[end:]
    return before + value + after


class ResponseHead(_Head):
    """A response's head, parsed leniently, except for its status and its framing."""

    __slots__ = ("_in_framing", "_lines", "status")

    def __init__(self) -> None:
        super().__init__()
        self.status = 0
        self._lines: list[bytes] = []
        self._in_framing = False

    def add(self, line: bytes) -> None:
        """Add the next line, with its line ending. Raises BadMessage."""
        if not self._lines:
            self._begin(text_of(line))
        elif _is_folded(line):
            if self._in_framing:
                raise BadMessage("a folded Content-Length or Transfer-Encoding")
        else:
            self._add_field(text_of(line))
        self._lines.append(line)

    def _begin(self, text: bytes) -> None:
        """The status line (RFC 9112, section 4)."""
        if not (text.startswith(b"HTTP/1.") and text[7:8].isdigit() and text[8:9] == b" "):
            raise BadMessage("a response without a status line")
        digits = text[9:12]
        if len(digits) == 3 and digits.isdigit() and text[12:13] in (b"", b" "):
            self.status = int(digits)
        if not 100 <= self.status <= 599:
            raise BadMessage("a response status outside 100 to 599")

    def _add_field(self, text: bytes) -> None:
        name, colon, value = text.partition(b":")
        bare = name.strip(b" \t").lower()
        self._in_framing = bool(colon) and bare in (b"content-length", b"transfer-encoding")
        if self._in_framing:
            if name.lower() != bare:
                raise BadMessage("a space before the colon of Content-Length or Transfer-Encoding")
            self._add(bare, value.strip(b" \t"))

    def framing(self) -> tuple[int, bool] | None:
        """The body's length, or whether it is chunked; None if it lasts until the end (RFC 9112, 6.3)."""
        if self._codings and self._codings[-1] == b"chunked":
            return 0, True
        if self._codings or not self._lengths:
            return None
        return self._length(), False

    def rewritten(self, rewrite: HostRewrite, original_host: bytes) -> list[bytes]:
        """The lines with the upstream's names replaced by ``original_host``, unless that is empty.

        Content-Length is left out beside a Transfer-Encoding, which has precedence (RFC 9112, section 6.3).
        """
        lines = self._lines
        if self._codings and self._lengths:
            lines = [line for line in lines if _name_of(line) != b"content-length"]
        return (
            [self._line_rewritten(line, rewrite, original_host) for line in lines] if original_host else lines
        )

    def _line_rewritten(self, line: bytes, rewrite: HostRewrite, original_host: bytes) -> bytes:
        rewritten = _NAMING.get(_name_of(line))
        if rewritten is None:
            return line
        before, value, after = _parted(line)
        return before + rewritten(value, rewrite, original_host) + after


def _is_folded(line: bytes) -> bool:
    return line.startswith((b" ", b"\t"))


def _name_of(line: bytes) -> bytes:
    """The name of a response's field line; empty if it has none."""
    name, colon, _ = line.partition(b":")
    return b"" if _is_folded(line) or not colon else name.strip(b" \t").lower()


def _parted(line: bytes) -> tuple[bytes, bytes, bytes]:
    """A field line's text before its value, the value without surrounding white space, and the rest."""
    text = text_of(line)
    start = len(text) - len(text.partition(b":")[2].lstrip(b" \t"))
    value = text[start:].rstrip(b" \t")
    return line[:start], value, line[start + len(value) :]


def _uri(value: bytes, rewrite: HostRewrite, original_host: bytes) -> bytes:
    """Rewrite a URI with an authority, optionally with a scheme, ``http:``."""
    scheme, slashes, rest = value.partition(b"//")
    if not slashes or scheme.lower() not in (b"", b"http:"):
        return value
    last = authority_end(rest)
    first = rest.rfind(b"@", 0, last) + 1
    if not rewrite._is_upstream(rest[first:last]):
        return value
    return b"".join((scheme, slashes, rest[:first], original_host, rest[last:]))


def _origin(value: bytes, rewrite: HostRewrite, original_host: bytes) -> bytes:
    """Rewrite an origin; the one of a page served with TLS begins with ``https:``."""
    scheme, slashes, rest = value.partition(b"//")
    if scheme.lower() == b"https:":
        return scheme + _uri(slashes + rest, rewrite, original_host)
    return _uri(value, rewrite, original_host)


_REFRESH = re.compile(rb"[0-9.]*[ \t]*(?:[;,][ \t]*)?(?:url[ \t]*=[ \t]*)?([\"']?)", re.IGNORECASE)
_LINK = re.compile(rb'"(?:[^"\\]|\\.)*+"?|<([^>]*)', re.DOTALL)


def _refresh(value: bytes, rewrite: HostRewrite, original_host: bytes) -> bytes:
    """Rewrite ``5; url=URI``, also with a comma, in quotes, or without ``url=``."""
    match = _REFRESH.match(value)
    assert match
    start, quote = match.end(), match[1]
    end = value.find(quote, start) if quote else -1
    end = len(value) if end < 0 else end
    return value[:start] + _uri(value[start:end], rewrite, original_host) + value[end:]


def _links(value: bytes, rewrite: HostRewrite, original_host: bytes) -> bytes:
    """Rewrite each target in angle brackets, except in quoted parameters."""

    def replaced(match: re.Match[bytes]) -> bytes:
        return match[0] if match[1] is None else b"<" + _uri(match[1], rewrite, original_host)

    return _LINK.sub(replaced, value)


def _cookie(value: bytes, rewrite: HostRewrite, original_host: bytes) -> bytes:
    domain = cookie_domain(original_host)
    pair, *attributes = value.split(b";")
    return b"".join((pair, *(_attribute(text, rewrite, domain) for text in attributes)))


def _attribute(text: bytes, rewrite: HostRewrite, domain: bytes) -> bytes:
    """Rewrite an attribute of a cookie, after its semicolon; empty if it is removed."""
    name, _, value = text.partition(b"=")
    bare = value.strip(b" \t")
    if name.strip(b" \t").lower() != b"domain" or not rewrite._is_upstream_domain(bare):
        return b";" + text
    start = len(text) - len(value.lstrip(b" \t"))
    return b";" + text[:start] + domain + text[start + len(bare) :] if domain else b""


_NAMING = {
    b"location": _uri,
    b"content-location": _uri,
    b"refresh": _refresh,
    b"link": _links,
    b"access-control-allow-origin": _origin,
    b"set-cookie": _cookie,
}
"""The fields of a response that may name the upstream, and the functions that rewrite their values."""
