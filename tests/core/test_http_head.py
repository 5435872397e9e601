"""HTTP/1 heads: found at any split, the Host rewritten and nothing else, ambiguous framing refused."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import h11
import pytest

TOPIC = "http_head"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def exchange(core: ModuleType, always: bool = False, destination: str = "127.0.0.1"):
    names = ("localhost", "127.0.0.1", "::1")
    return core.Exchange(core.HostRewrite(names, 8080, "example.com", always), destination)


def passed_on(core: ModuleType, stream: bytes, cuts: tuple[int, ...] = (), **options: object) -> bytes:
    """What goes upstream for a stream that comes in pieces; it must not be refused."""
    one = exchange(core, **options)
    edges = [0, *sorted(cuts), len(stream)]
    out = b"".join(bytes(one.request(stream[a:b])) for a, b in pairwise(edges))
    assert one.refusal is None
    return out


def get(host: str, target: str = "/") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8080",
        "LOCALHOST:8080",
        "LocalHost",
        "localhost.:8080",
        "127.0.0.1:8080",
        "127.0.0.1",
        "[::1]:8080",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:8080",
        "10.1.2.3:8080",
    ],
)
def test_every_name_of_the_listener_is_replaced(core: ModuleType, host: str) -> None:
    assert passed_on(core, get(host), destination="10.1.2.3") == get("example.com")


@pytest.mark.parametrize(
    "host",
    ["localhost:8081", "localhost:80", "example.org", "notlocalhost:8080", "[::2]:8080"],
)
def test_another_host_is_left_alone(core: ModuleType, host: str) -> None:
    assert passed_on(core, get(host)) == get(host)


@pytest.mark.parametrize("host", ["localhost:8080", "example.org", "[::2]:99"])
def test_always_replaces_every_host(core: ModuleType, host: str) -> None:
    assert passed_on(core, get(host), always=True) == get("example.com")


def test_a_host_that_stays_keeps_its_very_bytes(core: ModuleType) -> None:
    stream = b"GET / HTTP/1.1\r\nhOST:\t other  \r\nX-Seen: localhost:8080\r\n\r\n"
    assert passed_on(core, stream) == stream


@pytest.mark.parametrize(
    ("target", "becomes"),
    [
        ("http://localhost:8080/a?b", "http://example.com/a?b"),
        ("HTTP://[::1]:8080", "HTTP://example.com"),
        ("http://LOCALHOST?q", "http://example.com?q"),
        ("/?to=http://localhost:8080/", "/?to=http://localhost:8080/"),
    ],
)
def test_the_authority_of_an_absolute_target_is_replaced(core: ModuleType, target: str, becomes: str) -> None:
    assert passed_on(core, get("localhost:8080", target)) == get("example.com", becomes)


@pytest.mark.parametrize("host", ["localhost:8080", "third", " other:99"])
@pytest.mark.parametrize("target", ["http://other:99/localhost:8080", "ftp://other:99?x"])
def test_beside_an_absolute_target_host_is_replaced_by_its_authority(
    core: ModuleType, target: str, host: str
) -> None:
    """RFC 9112, section 3.2.2: two names in one request, and the Host is not the one that counts."""
    assert passed_on(core, get(host, target)).split() == get("other:99", target).split()


def test_an_absolute_target_needs_no_host(core: ModuleType) -> None:
    stream = b"GET http://localhost:8080/ HTTP/1.0\r\n\r\n"
    assert passed_on(core, stream) == b"GET http://example.com/ HTTP/1.0\r\n\r\n"


CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b'5;name="a b"\r\nhello\r\n000A ; x\r\nlocalhost:\r\n0\r\nDigest: localhost:8080\r\nA: b\r\n\r\n'
)
COUNTED = (
    b"POST /l HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 33\r\n\r\n"
    b"GET / HTTP/1.1\r\nHost: localhost\r\n"
)
PIPELINED = (
    b"\r\n" + CHUNKED + COUNTED + get("127.0.0.1:8080") + b"\r\n\r\n" + get("elsewhere") + get("[::1]")
)
REWRITTEN = (
    CHUNKED.replace(b"localhost:8080", b"example.com", 1)
    + COUNTED.replace(b"localhost:8080", b"example.com", 1)
    + get("example.com")
    + get("elsewhere")
    + get("example.com")
)


def test_bodies_pass_untouched_and_the_next_head_is_found(core: ModuleType) -> None:
    assert passed_on(core, PIPELINED) == REWRITTEN


def test_every_split_in_two_gives_the_same(core: ModuleType) -> None:
    assert all(passed_on(core, PIPELINED, (cut,)) == REWRITTEN for cut in range(len(PIPELINED)))


def test_byte_by_byte_gives_the_same(core: ModuleType) -> None:
    assert passed_on(core, PIPELINED, tuple(range(len(PIPELINED)))) == REWRITTEN


def test_every_split_in_three_of_a_short_stream_gives_the_same(core: ModuleType) -> None:
    stream = get("localhost:8080")
    expected = get("example.com")
    for first in range(len(stream)):
        assert all(
            passed_on(core, stream, (first, second)) == expected for second in range(first, len(stream))
        )


def head(*fields: bytes, start: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: localhost", *fields)) + b"\r\n\r\n"


CL, TE = b"Content-Length: ", b"Transfer-Encoding: "
REFUSED = {
    "both Content-Length and Transfer-Encoding": [
        head(CL + b"3", TE + b"chunked"),
        head(TE + b"chunked", CL + b"0"),
    ],
    "more than one Content-Length": [
        head(CL + b"3", CL + b"4"),
        head(CL + b"3", CL + b"3"),
        head(CL + b"3, 3"),
        head(CL + b"3, 03"),
    ],
    "an invalid Content-Length": [
        head(CL + value) for value in (b"", b"+3", b"-3", b"0x3", b"3 3", b"\xb3", b"9" * 19, b"3;a")
    ],
    "more than one Host": [head(b"Host: localhost"), head(b"hoST: other")],
    "a line that ends in a bare LF": [
        head().replace(b"\r\n", b"\n"),
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    ],
    "a folded header line": [head(b" folded"), head(b"\tX: folded"), b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"],
    "a header line without a name": [
        head(b"no colon"),
        head(b": value"),
        head(b"Content-Length : 3"),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
        head(b"Bad\x00Name: x"),
        head(b"\x0bTransfer-Encoding: chunked"),
    ],
    "a control character in a header": [
        head(b"X: a\x00b"),
        head(b"X: a\rb"),
        head(TE + b"\x0bchunked"),
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    ],
    "a Transfer-Encoding other than chunked": [
        head(TE + b"x", TE + b"chunked"),
        *(
            head(TE + value)
            for value in (
                b"gzip, chunked",
                b"identity, chunked",
                b",chunked",
                b"identity",
                b"chunked, gzip",
                b"chunked,",
                b"xchunked",
                b'"chunked"',
                b"",
                b"chunked, chunked",
            )
        ),
    ],
    "a Transfer-Encoding in HTTP/1.0": [head(TE + b"chunked", start=b"POST / HTTP/1.0")],
    "a CONNECT with a body": [head(CL + b"3", start=b"CONNECT a:1 HTTP/1.1")],
    "an invalid request line": [
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
    "a control character in the target": [b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET /\t HTTP/1.1\r\n\r\n"],
    "a version other than HTTP/1.1 and HTTP/1.0": [
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / http/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    "a line or head that is too long": [
        b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\n\r\n",
        head(*[b"X: " + b"a" * 100] * 700),
        b"G" * 65537,
    ],
}


@pytest.mark.parametrize(
    ("reason", "stream"), [(reason, stream) for reason, streams in REFUSED.items() for stream in streams]
)
def test_an_ambiguous_head_is_refused_and_nothing_of_it_is_passed_on(
    core: ModuleType, reason: str, stream: bytes
) -> None:
    for step in (len(stream), 1) if len(stream) < 1000 else (len(stream), 4096):
        one = exchange(core)
        good = bytes(one.request(get("localhost")))
        out = b"".join(bytes(one.request(stream[at : at + step])) for at in range(0, len(stream), step))
        assert good == get("example.com")
        assert (out, one.refusal) == (b"", reason)
        assert one.held
        assert bytes(one.request(get("localhost"))) == b""


@pytest.mark.parametrize(
    ("reason", "body"),
    [
        ("an invalid chunk size", b"x\r\n"),
        ("an invalid chunk size", b"\r\n"),
        ("an invalid chunk size", b"-1\r\n"),
        ("an invalid chunk size", b"0x5\r\n"),
        ("an invalid chunk size", b"5 5\r\n"),
        ("an invalid chunk size", b"5\r\r\n"),
        ("an invalid chunk size", b"1" * 17 + b"\r\n"),
        ("a line that ends in a bare LF", b"5\n"),
        ("a control character in a chunk extension", b"5;a=\x01\r\n"),
        ("a control character in a chunk extension", b"5;a\r\r\n"),
        ("a line or head that is too long", b"5;" + b"a" * 4096),
        ("a line or head that is too long", b"2\r\nabX\r\n"),
        ("a line that ends in a bare LF", b"2\r\nab\n"),
        ("a line that ends in a bare LF", b"0\r\n\n"),
        ("a folded header line", b"0\r\nA: b\r\n c\r\n\r\n"),
        ("a header line without a name", b"0\r\nnonsense\r\n\r\n"),
        ("a line or head that is too long", b"0\r\n" + b"A: b\r\n" * 11000),
    ],
)
def test_bad_chunked_framing_is_refused(core: ModuleType, reason: str, body: bytes) -> None:
    one = exchange(core)
    one.request(head(TE + b"chunked") + b"3\r\nabc\r\n")
    assert not one.idle
    one.request(body)
    assert one.refusal == reason
    assert one.idle, "its response will never come: the refusal may be sent at once"


def test_a_refusal_waits_for_the_responses_before_it(core: ModuleType) -> None:
    one = exchange(core)
    one.request(get("localhost") * 2 + b"nonsense\r\n\r\n")
    assert one.refusal
    assert not one.idle
    one.response(OK + OK[:-1])
    assert not one.idle
    one.response(OK[-1:])
    assert one.idle


def test_a_head_is_pending_from_its_first_byte_to_its_last(core: ModuleType) -> None:
    one = exchange(core)
    stream = COUNTED
    end = stream.index(b"\r\n\r\n") + 4
    for at in range(len(stream)):
        assert one.head_pending == (0 < at < end)
        one.request(stream[at : at + 1])
    assert not one.head_pending


def test_a_blank_line_begins_no_head(core: ModuleType) -> None:
    one = exchange(core)
    for byte in b"\r\n\r":
        assert not one.request(bytes([byte]))
        assert one.awaits_request
        assert not one.head_pending
    assert not one.request(b"\nG")
    assert one.head_pending
    assert not one.awaits_request


UPGRADE = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
CONNECT = b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n"
NOT_HTTP = b"\x81\x05hello\n\nGET / HTTP/1.1\nHost: localhost\n\n"


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (UPGRADE, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Go\r\n\r\n"),
        (CONNECT, b"HTTP/1.1 200 Established\r\n\r\n"),
        (CONNECT, b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 Fine\r\n\r\n"),
    ],
)
def test_raw_bytes_pass_only_once_the_response_agrees(
    core: ModuleType, request_: bytes, response: bytes
) -> None:
    one = exchange(core)
    assert bytes(one.request(request_ + NOT_HTTP)) == request_.replace(b"localhost", b"example.com")
    assert one.held
    for at in range(len(response) - 1):
        one.response(response[at : at + 1])
        assert bytes(one.request()) == b""
    one.response(response[-1:] + NOT_HTTP)
    assert not one.held
    assert bytes(one.request()) == NOT_HTTP
    assert bytes(one.request(NOT_HTTP)) == NOT_HTTP
    one.response(NOT_HTTP)
    assert one.refusal is None


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (UPGRADE, OK),
        (UPGRADE, b"HTTP/1.1 426 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
        (UPGRADE.replace(b"GET", b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        (CONNECT, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"),
    ],
)
def test_http_goes_on_where_the_response_declines(core: ModuleType, request_: bytes, response: bytes) -> None:
    one = exchange(core)
    one.request(request_ + get("localhost"))
    assert one.held
    one.response(response)
    assert bytes(one.request()) == get("example.com")
    one.response(OK)
    assert one.idle


def test_an_upgrade_with_a_body_switches_behind_it(core: ModuleType) -> None:
    request = UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n")
    for early in (False, True):
        one = exchange(core)
        one.request(request + b"bo")
        if early:
            one.response(b"HTTP/1.1 101 Go\r\n\r\n")
            assert bytes(one.request(b"dy" + NOT_HTTP)) == b"dy" + NOT_HTTP
        else:
            assert bytes(one.request(b"dy" + NOT_HTTP)) == b"dy"
            one.response(b"HTTP/1.1 101 Go\r\n\r\n")
            assert bytes(one.request()) == NOT_HTTP


def test_an_upgrade_waits_for_the_responses_of_earlier_requests(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get("localhost") * 3 + UPGRADE + NOT_HTTP)
    one.response(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    one.response(b"HTTP/1.1 304 Same\r\nContent-Length: 1000\r\n\r\n")
    one.response(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Empty\r\n\r\n")
    one.response(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3;x\nabc\n0\nT: x\n\n")
    assert one.held
    one.response(b"HTTP/1.1 101 Go\r\n\r\n")
    assert bytes(one.request()) == NOT_HTTP


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 65537,
    ],
)
def test_a_response_that_cannot_be_followed_raises(core: ModuleType, response: bytes) -> None:
    one = exchange(core)
    one.request(get("localhost"))
    with pytest.raises(core.BadMessage):
        one.response(response)


def test_a_response_until_close_takes_all(core: ModuleType) -> None:
    one = exchange(core)
    one.request(get("localhost"))
    one.response(b"HTTP/1.0 200 OK\r\n\r\nabc" + NOT_HTTP)
    one.response(NOT_HTTP)
    assert not one.idle


def test_pipelining_is_bounded(core: ModuleType) -> None:
    one = exchange(core)
    out = bytes(one.request(get("a") * 300))
    assert one.held
    assert out == get("a") * 256
    one.response(OK)
    assert bytes(one.request()) == get("a")


def test_a_refusal_is_a_whole_response(core: ModuleType) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(core.refusal(400, "more than one Host"))
    response = client.next_event()
    assert (response.status_code, dict(response.headers)[b"connection"]) == (400, b"close")
    assert bytes(client.next_event().data) == b"more than one Host\n"
    assert isinstance(client.next_event(), h11.EndOfMessage)
