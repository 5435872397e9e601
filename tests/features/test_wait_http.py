"""What a wait asks for by HTTP, and which answers it takes."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from services import PATIENCE, RESET, Make

from fastnet._wait import Outcome, check_target, wait, wait_stream
from fastnet._wait.fault import Fault
from fastnet._wait.http import HEAD_LIMIT, INTERIM_LIMIT, Reply, build_request
from fastnet._wait.targets import parse_target
from fastnet.endpoints import Endpoint
from fastnet.errors import InvalidArgument

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LONG_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: <" + b"a" * 2000 + b">\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n"


def say(*pieces: bytes, then: str = "keep") -> Callable[[socket.socket], None]:
    """Read a request, send these pieces, and then ``keep``, ``close`` or ``reset`` the connection."""

    def handle(sock: socket.socket) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            data = sock.recv(4096)
            if not data:
                return
            asked += data
        for piece in pieces:
            sock.sendall(piece)
            time.sleep(0.005)
        if then == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if then != "keep":
            sock.close()

    return handle


# Answers


def head_of(size: int, status: int = 200) -> bytes:
    """A response without a body, of so many bytes."""
    beginning = b"HTTP/1.1 %d X\r\nA: " % status
    return beginning + b"a" * (size - len(beginning) - 4) + b"\r\n\r\n"


UP = {
    "200": OK,
    "no reason": b"HTTP/1.1 200\r\n\r\n",
    "an odd reason": b"HTTP/1.1 200 \xff\x00\xe9 \r\n\r\n",
    "1.0": b"HTTP/1.0 204 None\r\n\r\n",
    "redirect": b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n",
    "399": b"HTTP/1.1 399 X\r\n\r\n",
    "bare newlines": b"HTTP/1.1 200 OK\nA: b\n\n",
    "a body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "hints": HINTS + OK,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "many interim": HINTS * 500 + OK,
    "199": b"HTTP/1.1 199 X\r\n\r\n" + OK,
    "long hints": LONG_HINTS * 36 + OK,
    "a head as long as may be": head_of(HEAD_LIMIT),
    "interim responses as long as may be": head_of(HEAD_LIMIT, 103) * (INTERIM_LIMIT // HEAD_LIMIT) + OK,
}
DOWN = {
    "503": (b"HTTP/1.1 503 Later\r\n\r\n", "HTTP status 503"),
    "404": (b"HTTP/1.1 404 None\r\n\r\n", "HTTP status 404"),
    "400": (b"HTTP/1.1 400 X\r\n\r\n", "HTTP status 400"),
    "599": (b"HTTP/1.1 599 X\r\n\r\n", "HTTP status 599"),
    "101 is final": (b"HTTP/1.1 101 Switching\r\n\r\n" + OK, "HTTP status 101"),
    "hints, then 503": (HINTS + b"HTTP/1.1 503 Later\r\n\r\n", "HTTP status 503"),
}
NOT_KNOWN = {
    "hints, then another protocol": (HINTS + b"220 welcome\r\n", "not in HTTP/1"),
    "099": (b"HTTP/1.1 099 X\r\n\r\n", "not in HTTP/1"),
    "600": (b"HTTP/1.1 600 X\r\n\r\n", "not in HTTP/1"),
    "2000": (b"HTTP/1.1 2000 X\r\n\r\n", "not in HTTP/1"),
    "20": (b"HTTP/1.1 20 X\r\n\r\n", "not in HTTP/1"),
    "superscripts": ("HTTP/1.1 2\xb2\xb2 X\r\n\r\n".encode("latin-1"), "not in HTTP/1"),
    "arabic digits": ("HTTP/1.1 \u0662\u0660\u0660 X\r\n\r\n".encode(), "not in HTTP/1"),
    "plus": (b"HTTP/1.1 +20 X\r\n\r\n", "not in HTTP/1"),
    "no status": (b"HTTP/1.1\r\n\r\n", "not in HTTP/1"),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", "not in HTTP/1: HTTP/2 200"),
    "small letters": (b"http/1.1 200 OK\r\n\r\n", "not in HTTP/1: http/1.1 200 OK"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", r"not in HTTP/1: \x15\x03\x01\x00\x02\x02F"),
    "odd bytes": (bytes(range(256)), "not in HTTP/1"),
    "an endless line": (b"HTTP/1.1 200 " + b"a" * 9000, "not in HTTP/1"),
    "an endless head": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 12000, "its head is longer than 65536 bytes"),
    "a head too long by one": (head_of(HEAD_LIMIT + 1), "its head is longer than 65536 bytes"),
    "hints too long by one": (head_of(HEAD_LIMIT + 1, 103) + OK, "its head is longer than 65536 bytes"),
    "endless hints": (LONG_HINTS * 600, "its interim responses are longer than 1048576 bytes"),
}


@pytest.mark.parametrize("name", UP)
@pytest.mark.parametrize("size", [1 << 21, 16384, 1000], ids=["whole", "reads", "pieces"])
def test_what_is_up(name: str, size: int) -> None:
    data, reply = UP[name], Reply()
    statuses = [reply.take(data[start : start + size]) for start in range(0, len(data), size)]
    status = next(status for status in statuses if status)
    assert 200 <= status < 400


@pytest.mark.parametrize("name", DOWN)
@pytest.mark.parametrize("gone", [False, True], ids=["ready", "gone"])
def test_what_is_not_up_is_known(service: Make, name: str, gone: bool) -> None:
    data, reason = DOWN[name]
    target = f"http://{service(say(data)).target}/"
    seen: list[Outcome] = []
    (outcome,) = wait_stream([target], PATIENCE if gone else 0.5, seen.append, gone=gone)
    assert outcome.ready == gone
    assert {each.reason for each in (outcome, *seen)} <= {reason, f"no answer within {0.5:g} s"}


def read_to_the_end(data: bytes, size: int) -> None:
    reply = Reply()
    for start in range(0, len(data), size):
        assert reply.take(data[start : start + size]) is None


@pytest.mark.parametrize("name", NOT_KNOWN)
@pytest.mark.parametrize("size", [1 << 21, 16384, 1000], ids=["whole", "reads", "pieces"])
def test_what_is_no_response_establishes_nothing(name: str, size: int) -> None:
    data, reason = NOT_KNOWN[name]
    with pytest.raises(Fault) as fault:
        read_to_the_end(data, size)
    assert reason in fault.value.reason
    assert fault.value.reason.isprintable()
    assert not fault.value.is_known


@pytest.mark.parametrize("name", ["HTTP/2", "small letters", "a head too long by one", "endless hints"])
@pytest.mark.parametrize("gone", [False, True], ids=["ready", "gone"])
def test_a_server_that_answers_oddly_is_neither_up_nor_gone(service: Make, name: str, gone: bool) -> None:
    data, reason = NOT_KNOWN[name]
    one = service(say(data))
    (outcome,) = wait_stream([f"http://{one.target}/"], 1.0, gone=gone, attempt_timeout=PATIENCE)
    assert not outcome.ready
    assert reason in str(outcome.reason) or outcome.reason == "no answer within 1 s"


@pytest.mark.parametrize(
    ("pieces", "then", "reason"),
    [
        ((), "close", "accepts, then closes at once"),
        ((), "reset", "accepts, then closes at once"),
        ((HINTS,), "close", "closes before it answers"),
        ((HINTS[:30],), "close", "closes before it answers"),
        ((b"HTTP/1.1 20",), "close", "closes before it answers"),
        ((b"HT",), "close", "closes before it answers"),
        ((OK[:20],), "reset", "accepts, then closes at once"),
    ],
)
def test_a_server_that_ends_before_it_has_answered_is_not_up(
    service: Make, pieces: tuple[bytes, ...], then: str, reason: str
) -> None:
    one = service(say(*pieces, then=then))
    ready = wait(f"http://{one.target}/", PATIENCE, gone=True)
    assert ready.attempts == 1
    (outcome,) = wait_stream([f"http://{one.target}/"], 0.5)
    assert (outcome.ready, outcome.reason) == (False, reason)


@pytest.mark.parametrize("pieces", [(OK,), (HINTS, OK), (OK[:9], OK[9:]), (b"HTTP/1.1 200 OK\r\n",)])
def test_a_server_that_answers_and_closes_is_up(service: Make, pieces: tuple[bytes, ...]) -> None:
    assert wait(f"http://{service(say(*pieces, then='close')).target}/", PATIENCE).attempts == 1


@pytest.mark.parametrize("pieces", [(), (b"HTTP",), (HINTS,), (HINTS[:20],), (OK[:17],), (OK[:-2],)])
@pytest.mark.parametrize("gone", [False, True], ids=["ready", "gone"])
def test_an_answer_that_is_not_whole_is_not_known(
    service: Make, pieces: tuple[bytes, ...], gone: bool
) -> None:
    one = service(say(*pieces))
    (outcome,) = wait_stream([f"http://{one.target}/"], 0.6, gone=gone, attempt_timeout=0.2)
    assert (outcome.ready, outcome.reason) == (False, "no answer within 0.2 s")


@pytest.mark.parametrize("head", [OK[:-2], HINTS[:-2]], ids=["final", "interim"])
def test_a_head_that_drips_does_not_put_off_the_end(service: Make, head: bytes) -> None:
    def drip(sock: socket.socket) -> None:
        say(head)(sock)
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"X-A: b\r\n")
                time.sleep(0.01)

    (outcome,) = wait_stream(
        [f"http://{service(drip).target}/"], PATIENCE / 4, attempt_timeout=0.3, interval=PATIENCE
    )
    assert (outcome.ready, outcome.reason) == (False, "no answer within 0.3 s")


def test_an_answer_before_the_request_is_read_counts(service: Make) -> None:
    """As a full server's 503, or a proxy's redirect: closing with data unread resets the connection."""

    def refuse(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 503 Full\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)

    (outcome,) = wait_stream([f"http://{service(refuse).target}/"], 0.5)
    assert outcome.reason == "HTTP status 503"


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_are_an_answer_or_none(data: bytes, size: int) -> None:
    for beginning in (b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", HINTS):
        reply = Reply()
        pieces = beginning + data
        with contextlib.suppress(Fault):
            for start in range(0, len(pieces), size):
                if status := reply.take(pieces[start : start + size]):
                    assert re.search(rb"HTTP/1\.[0-9] +%d[ \r\n]" % status, pieces)
                    break
            else:
                assert 100 <= (reply.take(b"") or 0) <= 599


# The request

ASKED = {
    "": "/",
    "/": "/",
    "/a/b": "/a/b",
    "/a/": "/a/",
    "?x=1": "/?x=1",
    "#top": "/",
    "/#/login": "/",
    "/a?b=c#d": "/a?b=c",
    "/a?b?c#d#e": "/a?b?c",
    "/?": "/?",
    "?": "/?",
    "?#": "/?",
    "/a#b?c": "/a",
    "//x": "//x",
    "/a/../b/./c": "/b/c",
    "/a/..": "/",
    "/.": "/",
    "/../../x/": "/x/",
    "/a//../b": "/a/b",
    "/a/..b/.c/d.": "/a/..b/.c/d.",
    "/a?x=/../y": "/a?x=/../y",
    "/a%20b%2e%2e": "/a%20b%2e%2e",
    "/\\\"<>^`{|}'()*!$&,;=:@[]~": "/\\\"<>^`{|}'()*!$&,;=:@[]~",
    "/\xe9?\xe9": "/%C3%A9?%C3%A9",
}


@pytest.mark.parametrize("rest", ASKED)
def test_what_is_asked_for(rest: str) -> None:
    assert parse_target(f"http://example.com{rest}").get == ASKED[rest]
    assert parse_target(f"HTTP://example.com:8080{rest}").get == ASKED[rest]


HOSTS = {
    "example.com": ("example.com", 80, "example.com"),
    "Example.COM:80": ("Example.COM", 80, "Example.COM"),
    "example.com:": ("example.com", 80, "example.com"),
    "example.com:8080": ("example.com", 8080, "example.com:8080"),
    "127.0.0.1:81": ("127.0.0.1", 81, "127.0.0.1:81"),
    "[::1]": ("::1", 80, "[::1]"),
    "[::1]:8080": ("::1", 8080, "[::1]:8080"),
    "[fe80::1%25eth0]": ("fe80::1%eth0", 80, "[fe80::1]"),
    "[fe80::1%eth0]:8080": ("fe80::1%eth0", 8080, "[fe80::1]:8080"),
    "ex%61mple.com": ("example.com", 80, "example.com"),
    "m\xfcnchen.example": ("xn--mnchen-3ya.example", 80, "xn--mnchen-3ya.example"),
    "m%C3%BCnchen.example:81": ("xn--mnchen-3ya.example", 81, "xn--mnchen-3ya.example:81"),
}


@pytest.mark.parametrize("authority", HOSTS)
def test_who_is_asked(authority: str) -> None:
    host, port, header = HOSTS[authority]
    target = parse_target(f"http://{authority}/")
    assert target.endpoint == Endpoint(host, port)
    assert f"\r\nHost: {header}\r\n".encode() in build_request(target.endpoint, "/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.com/", "only http://"),
        ("ftp://example.com/", "only http://"),
        ("://example.com/", "only http://"),
        ("http://", "HOST:PORT"),
        ("http:///path", "HOST:PORT"),
        ("http://:80/", "HOST:PORT"),
        ("http://?x", "HOST:PORT"),
        ("http://a b/", "%XX"),
        ("http://example.com/a b", "%XX"),
        ("http://example.com/a\tb", "%XX"),
        ("http://example.com/a\nb", "%XX"),
        ("http://example.com/\r\nHost: x", "%XX"),
        ("http://exam\tple.com/", "%XX"),
        (" http://example.com/", "%XX"),
        ("http://example.com/\x7f", "%XX"),
        ("http://example.com/\udcff", "%XX"),
        ("http://example.com/\u200b", "%XX"),
        ("http://example.com:0/", "port 0"),
        ("http://example.com:65536/", "65535"),
        ("http://example.com:99999999999999999999/", "65535"),
        ("http://example.com:-1/", "HOST:PORT"),
        ("http://example.com:http/", "HOST:PORT"),
        ("http://example.com:\u0668\u0660/", "HOST:PORT"),
        ("http://a:80:80/", "HOST:PORT"),
        ("http://[::1/", "IPv6"),
        ("http://::1]/", "IPv6"),
        ("http://::1/", "HOST:PORT"),
        ("http://[::1]x/", "'http://"),
        ("http://x[::1]/", "'http://"),
        ("http://[]/", "'http://"),
        ("http://[example.com]/", "'http://"),
        ("http://[127.0.0.1]/", "'http://"),
        ("http://[v1.a]/", "'http://"),
        ("http://[::1%25]/", "'http://"),
        ("http://[1::2::3]/", "'http://"),
        ("http://user@example.com/", "a user or password is not sent"),
        ("http://user:secret@example.com/", "a user or password is not sent"),
        ("http://@example.com/", "a user or password is not sent"),
        ("http://a%40b/", "not a host name"),
        ("http://a%2Fb/", "not a host name"),
        ("http://a%00b/", "not a host name"),
        ("http://a%0d%0ab/", "not a host name"),
        ("http://a%zz/", "not a host name"),
        ("http://a\\b/", "not a host name"),
        ("http://a..b/", "not a host name"),
        ("http://\u2100.example/", "'http://"),
        ("http://010.0.0.1/", "192.0.2.1"),
        ("http://127%2e1/", "192.0.2.1"),
        ("http://stra\xdfe.example/", "xn--strae-oqa.example"),
    ],
)
def test_what_is_no_url_to_ask_for_is_refused(url: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as refused:
        check_target(url)
    assert "secret" not in str(refused.value)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_url_is_a_request_of_one_line_or_refused(rest: str) -> None:
    try:
        target = parse_target(f"http://{rest}")
    except InvalidArgument:
        return
    assert target.endpoint
    request = build_request(target.endpoint, target.get)
    assert re.fullmatch(rb"GET /[!-~]* HTTP/1\.1\r\n(?:[A-Z][a-zA-Z-]+: [ -~]+\r\n){4}\r\n", request)


@pytest.mark.parametrize(
    "rest", ["", "?x=1", "/a/../b/./c?d#e", "/?#", "//x/..", "/\xe9", "/%7e~", "/a/%2e%2e/b", "/\"'<>^`{|}\\"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_request_is_curl_s(service: Make, peer: Callable[[str], str], host: str, rest: str) -> None:
    seen: list[list[str]] = []

    def note(sock: socket.socket) -> None:
        lines = sock.recv(65536).decode("ascii").split("\r\n")
        seen.append([lines[0].lower(), *(line for line in lines if line.startswith(("Host:", "Accept:")))])
        sock.sendall(OK)

    url = f"http://{service(note, host).target}{rest}"
    subprocess.run(
        [peer("curl"), "-sS", "-g", "--noproxy", "*", "--max-time", "20", url],
        check=True,
        timeout=PATIENCE * 2,
    )
    wait(url, PATIENCE)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("interface", ["%lo", "%25lo"])
def test_an_interface_beside_any_address(service: Make, interface: str) -> None:
    """As curl takes it; the C library knows the names of interfaces beside link-local addresses only."""
    port = service(say(OK), "::1").sock.getsockname()[1]
    assert wait(f"http://[::1{interface}]:{port}/", PATIENCE).attempts == 1


def test_a_scope_is_for_connecting_only(namespace: Callable[[], Any], python: Callable[..., Any]) -> None:
    host = namespace()
    host.ip("link", "add", "some0", "type", "veth", "peer", "name", "other0")
    for name in ("some0", "other0"):
        host.ip("link", "set", name, "up")
    host.ip("-6", "address", "add", "fe80::7/64", "dev", "some0", "nodad")
    ran = python("-c", SCOPED, prefix=host.prefix)
    assert (ran.returncode, ran.stdout) == (0, "Host: [fe80::7]:8080\n"), ran.stderr


SCOPED = """
import socket, threading
from fastnet._wait import wait
server = socket.socket(socket.AF_INET6)
server.bind(("fe80::7", 8080, 0, socket.if_nametoindex("some0")))
server.listen()
def serve():
    sock, _ = server.accept()
    print(sock.recv(4096).decode().split("\\r\\n")[1])
    sock.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    sock.close()
thread = threading.Thread(target=serve)
thread.start()
wait("http://[fe80::7%25some0]:8080/", 20)
thread.join()
server.close()
"""
