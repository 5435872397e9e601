"""Request smuggling: every published way to be read in two ways is refused, or has one reading only."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import pytest

TOPIC = "http_head"

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: inner\r\n\r\n"
OUTER = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = OUTER + b"Transfer-Encoding: chunked\r\n\r\n"


def head(*lines: bytes, start: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: a", *lines)) + b"\r\n\r\n"


def passed(core: ModuleType, stream: bytes, cuts: list[int]) -> tuple[bytes, str | None]:
    exchange = core.Exchange(core.HostRewrite(["localhost"], 80, "upstream"))
    edges = [0, *cuts, len(stream)]
    out = b"".join(bytes(exchange.request(stream[a:b])) for a, b in pairwise(edges))
    return out, exchange.refusal


BOTH = "both Content-Length and Transfer-Encoding"
NO_NAME = "a header line without a name"
CONTROL = "a control character in a header"
BARE_LF = "a line that ends in a bare LF"
NOT_CHUNKED = "a Transfer-Encoding other than chunked"
NO_NUMBER = "an invalid Content-Length"
SEVERAL = "more than one Content-Length"
FOLDED = "a folded header line"
NO_SIZE = "an invalid chunk size"
NO_LINE = "an invalid request line"
VERSION = "a version other than HTTP/1.1 and HTTP/1.0"
LONGER = "a chunk longer than its size"
TOO_LONG = "a line or head that is too long"

IN_THE_HEAD = {
    "CL.TE": (BOTH, head(b"Content-Length: 6", b"Transfer-Encoding: chunked") + b"0\r\n\r\nG"),
    "TE.CL": (BOTH, head(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"5c\r\nGPOST /\r\n"),
    "CL.TE, the length a list": (BOTH, head(b"Content-Length: 6, 6", b"Transfer-Encoding: chunked")),
    "CL.TE in HTTP/1.0": (
        BOTH,
        head(b"Content-Length: 6", b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"),
    ),
    "TE in HTTP/1.0": (
        "a Transfer-Encoding in HTTP/1.0",
        head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"),
    ),
    "TE.TE, x": (NOT_CHUNKED, head(b"Transfer-Encoding: xchunked")),
    "TE.TE, two": (NOT_CHUNKED, head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x")),
    "TE.TE, two cases": (NOT_CHUNKED, head(b"Transfer-Encoding: chunked", b"Transfer-encoding: cow")),
    "TE.TE, twice the same": (
        NOT_CHUNKED,
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    ),
    "TE.TE, identity first": (NOT_CHUNKED, head(b"Transfer-Encoding: identity, chunked")),
    "TE.TE, chunked first": (NOT_CHUNKED, head(b"Transfer-Encoding: chunked, identity")),
    "TE.TE, empty element": (NOT_CHUNKED, head(b"Transfer-Encoding: ,chunked")),
    "TE.TE, parameter": (NOT_CHUNKED, head(b"Transfer-Encoding: chunked;q=0.5")),
    "TE.TE, quoted": (NOT_CHUNKED, head(b'Transfer-Encoding: "chunked"')),
    "TE.TE, joined by a dash": (NOT_CHUNKED, head(b"Transfer-Encoding: -chunked")),
    "TE.TE, non-breaking space": (NOT_CHUNKED, head(b"Transfer-Encoding: \xa0chunked")),
    "TE.TE, no value": (NOT_CHUNKED, head(b"Transfer-Encoding:")),
    "TE.TE, space before the colon": (NO_NAME, head(b"Transfer-Encoding : chunked")),
    "TE.TE, tab before the colon": (NO_NAME, head(b"Transfer-Encoding\t: chunked")),
    "TE.TE, vertical tab": (CONTROL, head(b"Transfer-Encoding: \x0bchunked")),
    "TE.TE, form feed behind": (CONTROL, head(b"Transfer-Encoding: chunked\x0c")),
    "TE.TE, NUL": (CONTROL, head(b"Transfer-Encoding: \0chunked")),
    "TE.TE, DEL": (CONTROL, head(b"Transfer-Encoding: chunked\x7f")),
    "TE.TE, CR behind": (CONTROL, head(b"Transfer-Encoding: chunked\r")),
    "TE.TE, CR between": (CONTROL, head(b"X: x\rTransfer-Encoding: chunked")),
    "TE.TE, folded": (FOLDED, head(b"Transfer-Encoding:", b" chunked")),
    "TE.TE, folded by a tab": (FOLDED, head(b"Transfer-Encoding: x", b"\tchunked")),
    "TE.TE, space before the name": (FOLDED, head(b" Transfer-Encoding: chunked")),
    "TE.TE, colon in the next line": (NO_NAME, head(b"Transfer-Encoding", b" : chunked")),
    "TE.TE, behind a bare LF": (BARE_LF, head(b"X: x\nTransfer-Encoding: chunked")),
    "TE.TE, NUL in the name": (NO_NAME, head(b"Transfer-Encoding\0: chunked")),
    "TE.TE, high byte in the name": (NO_NAME, head(b"Transfer-Encod\xefng: chunked")),
    "TE.TE, quote before the name": (NO_NAME, head(b'"Transfer-Encoding: chunked')),
    "CL.CL, differing": (SEVERAL, head(b"Content-Length: 0", b"Content-Length: 44") + HIDDEN),
    "CL.CL, equal": (SEVERAL, head(b"Content-Length: 3", b"Content-Length: 3") + b"abc"),
    "CL.CL, in one line": (SEVERAL, head(b"Content-Length: 0, 44") + HIDDEN),
    "CL, plus": (NO_NUMBER, head(b"Content-Length: +3")),
    "CL, minus": (NO_NUMBER, head(b"Content-Length: -0")),
    "CL, hexadecimal": (NO_NUMBER, head(b"Content-Length: 0x3")),
    "CL, underscore": (NO_NUMBER, head(b"Content-Length: 1_0")),
    "CL, fraction": (NO_NUMBER, head(b"Content-Length: 3.0")),
    "CL, exponent": (NO_NUMBER, head(b"Content-Length: 3e0")),
    "CL, two words": (NO_NUMBER, head(b"Content-Length: 3 4")),
    "CL, empty": (NO_NUMBER, head(b"Content-Length: ")),
    "CL, quoted": (NO_NUMBER, head(b'Content-Length: "3"')),
    "CL, other digits": (NO_NUMBER, head("Content-Length: ٣".encode())),
    "CL, overflow of 64 bits": (NO_NUMBER, head(b"Content-Length: 18446744073709551619")),
    "CL, NUL": (CONTROL, head(b"Content-Length: 3\0")),
    "CL, space before the colon": (NO_NAME, head(b"Content-Length : 3")),
    "CL, folded": (FOLDED, head(b"Content-Length: 3", b" 4")),
    "CONNECT with a length": (
        "a CONNECT with a body",
        head(b"Content-Length: 44", start=b"CONNECT a:443 HTTP/1.1"),
    ),
    "CONNECT with chunks": (
        "a CONNECT with a body",
        head(b"Transfer-Encoding: chunked", start=b"CONNECT a:443 HTTP/1.1"),
    ),
    "more than one Host": ("more than one Host", head(b"Host: b")),
    "more than one Host, the same": ("more than one Host", head(b"HOST: a")),
    "Host, space before the colon": (NO_NAME, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    "Host, folded": (FOLDED, b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    "Host, folded at first": (FOLDED, b"GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n"),
    "Host, NUL": (CONTROL, b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
    "no host in the target": ("an absolute target without a host", head(start=b"GET http:///x HTTP/1.1")),
    "no host in the target, but a user": (
        "user information in a host",
        head(start=b"GET http://user@/x HTTP/1.1"),
    ),
    "no colon": (NO_NAME, head(b"GET /hidden HTTP/1.1")),
    "no name": (NO_NAME, head(b": x")),
    "bare LF": (BARE_LF, b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    "bare LF ends the head": (BARE_LF, b"GET / HTTP/1.1\r\nHost: a\r\n\n" + HIDDEN),
    "bare LF before the head": (BARE_LF, b"\n" + HIDDEN),
    "bare CR ends the head": (CONTROL, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    "bare CR for a line end": (CONTROL, b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    "CR LF turned round": (BARE_LF, b"GET / HTTP/1.1\r\nHost: a\n\r\n\r"),
    "HTTP/0.9": (NO_LINE, b"GET /\r\n\r\n"),
    "a space too many": (NO_LINE, b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two targets": (NO_LINE, b"GET / /hidden HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tabs for spaces": (NO_LINE, b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space first": (NO_LINE, b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a NUL first": (NO_LINE, b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a line end in the target": (BARE_LF, b"GET /\nX HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a CR in the target": (
        "a control character in the target",
        b"GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "HTTP/1.2": (VERSION, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "HTTP/01.1": (VERSION, b"GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
    "HTTP/1.1 and a CR": (VERSION, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    "HTTP/2's preface": (VERSION, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
}


@pytest.mark.parametrize("name", IN_THE_HEAD)
def test_an_ambiguous_head_never_passes(core: ModuleType, name: str) -> None:
    reason, stream = IN_THE_HEAD[name]
    assert passed(core, stream + HIDDEN, [*range(1, len(stream))]) == (b"", reason)
    for cut in range(1, len(stream)):
        assert passed(core, stream + HIDDEN, [cut]) == (b"", reason)


IN_THE_BODY = {
    # The names are those under which the ways to end a chunk's line were published.
    "TERM.EXT, LF": (BARE_LF, b"", b"2;\nxx\r\n47\r\n0\r\n\r\n"),
    "EXT.TERM, LF": (BARE_LF, b"", b"a\nb\r\n0\r\n\r\n"),
    "TERM.EXT, CR": ("a control character in a chunk extension", b"", b"2;\rxx\r\n0\r\n\r\n"),
    "EXT.TERM, CR": (NO_SIZE, b"", b"2\rxx\r\n0\r\n\r\n"),
    "TERM.SPILL, LF": (BARE_LF, b"", b"5\nAAAAA\r\n0\r\n\r\n"),
    "TERM.SPILL, behind the data": (TOO_LONG, b"5\r\nhello", b"0\r\n\r\n"),
    "SPILL.TERM": (TOO_LONG, b"5\r\nhello", b"AA\r\n0\r\n\r\n"),
    "ONE.TWO": (BARE_LF, b"5\r\nhello", b"\n0\r\n\r\n"),
    "TWO.ONE": (TOO_LONG, b"5\r\nhello", b"XY0\r\n\r\n"),
    "ZERO.TWO": (TOO_LONG, b"5\r\nhello", b"0\r\n\r\n"),
    "CR only behind the data": (TOO_LONG, b"5\r\nhello", b"\r0\r\n\r\n"),
    "a quoted line end": ("an unclosed quote in a chunk extension", b"", b'2;x="\r\nab"\r\n0\r\n\r\n'),
    "a quoted line end, escaped": (
        "an unclosed quote in a chunk extension",
        b"",
        b'2;x="\\"\r\nab\r\n0\r\n\r\n',
    ),
    "NUL in the extension": ("a control character in a chunk extension", b"", b"2;\0\r\nab\r\n0\r\n\r\n"),
    "long extension": (TOO_LONG, b"", b"2;" + b"x" * 4096 + b"\r\n"),
    "size, overflow of 64 bits": (NO_SIZE, b"", b"10000000000000002\r\nab\r\n"),
    "size, overflow of 63 bits": (NO_SIZE, b"", b"8000000000000002\r\nab\r\n"),
    "size, 0x": (NO_SIZE, b"", b"0x2\r\nab\r\n"),
    "size, plus": (NO_SIZE, b"", b"+2\r\nab\r\n"),
    "size, minus": (NO_SIZE, b"", b"-2\r\nab\r\n"),
    "size, underscore": (NO_SIZE, b"", b"0_2\r\nab\r\n"),
    "size, space before": (NO_SIZE, b"", b" 2\r\nab\r\n"),
    "size, none": (NO_SIZE, b"", b";x\r\n"),
    "size, empty line": (NO_SIZE, b"", b"\r\n2\r\nab\r\n"),
    "size, NUL behind": (NO_SIZE, b"", b"2\0\r\nab\r\n"),
    "size, two": (NO_SIZE, b"", b"2 4\r\nab\r\n"),
    "size, line end as text": (NO_SIZE, b"", b"2\\r\\nab\r\n"),
    "trailer, CL": ("a Host or framing field in the trailers", b"0\r\n", b"Content-Length: 44\r\n\r\n"),
    "trailer, TE": ("a Host or framing field in the trailers", b"0\r\n", b"transfer-encoding: x\r\n\r\n"),
    "trailer, Host": ("a Host or framing field in the trailers", b"0\r\n", b"HOST: b\r\n\r\n"),
    "trailer, folded": (FOLDED, b"0\r\nX: a\r\n", b" b\r\n\r\n"),
    "trailer, no name": (NO_NAME, b"0\r\n", b"GET /hidden HTTP/1.1\r\n\r\n"),
    "trailer, bare LF": (BARE_LF, b"0\r\n", b"X: a\n\r\n"),
    "trailer, bare LF ends it": (BARE_LF, b"0\r\n", b"\n"),
    "trailer, NUL": (CONTROL, b"0\r\n", b"X: \0\r\n\r\n"),
}


@pytest.mark.parametrize("name", IN_THE_BODY)
def test_an_ambiguous_body_passes_up_to_where_it_becomes_so(core: ModuleType, name: str) -> None:
    reason, good, bad = IN_THE_BODY[name]
    stream = CHUNKED + good + bad
    assert passed(core, stream + HIDDEN, [*range(1, min(len(stream), 300))]) == (CHUNKED + good, reason)
    for cut in range(1, min(len(stream), 300)):
        assert passed(core, stream + HIDDEN, [cut]) == (CHUNKED + good, reason)


UNAMBIGUOUS = {
    "CL.0: a GET's body is a body": OUTER.replace(b"POST", b"GET") + b"Content-Length: 37\r\n\r\n" + HIDDEN,
    "0.CL: leading zeros": OUTER + b"Content-Length: 0037\r\n\r\n" + HIDDEN,
    "a chunk holds a request": CHUNKED + b"25\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
    "any case of chunked": OUTER + b"tRANSFER-eNCODING:\t CHUNKED \t\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "a quoted semicolon": CHUNKED + b'2 ; a="; \\" ,"\r\nab\r\n0;z\r\n\r\n',
    "the largest chunk size": CHUNKED + b"fffffffffffffff\r\nabc",
    "names that only look alike": OUTER + b"Content_Length: 9\r\nTransfer_Encoding: chunked\r\n"
    b"X-Host: b\r\nContent-Length2: 9\r\n\r\n" + HIDDEN,
    "a Host beside an underscore": b"GET / HTTP/1.1\r\nHost: a\r\nX_Host: b\r\nForwarded: host=c\r\n\r\n",
    "a target that only looks like a network path": b"GET //b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.0\r\nX: a\r\n\r\n" + HIDDEN,
    "high bytes in a value": OUTER + b"X: \xff\x80\x85\xa0\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("name", UNAMBIGUOUS)
def test_what_has_one_reading_passes_as_it_came(core: ModuleType, name: str) -> None:
    stream = UNAMBIGUOUS[name]
    for cut in range(1, len(stream)):
        assert passed(core, stream, [cut]) == (stream, None)


def test_only_one_host_is_left_where_target_and_host_differ(core: ModuleType) -> None:
    assert passed(core, b"GET http://localhost/a HTTP/1.1\r\nHost: inner\r\n\r\n", []) == (
        b"GET http://upstream/a HTTP/1.1\r\nHost: upstream\r\n\r\n",
        None,
    )
    assert passed(core, b"GET http://inner/a HTTP/1.1\r\nHost: localhost\r\n\r\n", []) == (
        b"GET http://inner/a HTTP/1.1\r\nHost: inner\r\n\r\n",
        None,
    )


def test_a_request_behind_an_upgrade_waits_for_what_the_upstream_says(core: ModuleType) -> None:
    """Else an upgrade that is declined would let the rest pass unread (h2c and WebSocket smuggling)."""
    exchange = core.Exchange(core.HostRewrite(["localhost"], 80, "upstream"))
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    assert bytes(exchange.request(upgrade + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")) == upgrade
    exchange.response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (bytes(exchange.request()), exchange.refusal) == (b"", "more than one Host")
