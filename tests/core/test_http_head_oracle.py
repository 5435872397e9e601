"""Thousands of connections compared with h11, another implementation, and the twins with each other."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from random import Random
from types import ModuleType

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TOPIC = "http_head"

BATCHES, BATCH = 10, 1000
OURS = {b"localhost:8080", b"LOCALHOST", b"[::1]:8080", b"127.0.0.1"}
HOSTS = [*sorted(OURS), b"elsewhere", b"localhost:80", b"a.b:8080"]
VALUE = bytes(range(33, 127)) + b"    "
DAMAGE = [b"", b"\n", b"\r", b"\r\n", b" ", b"\0", b"1", b";", b":", b"chunked", b"Host: b\r\n", b'"']


def words(random: Random, alphabet: bytes, most: int) -> bytes:
    return bytes(random.choices(alphabet, k=random.randint(1, most)))


def request(random: Random) -> tuple[bytes, bool]:
    """Any valid request, and whether it is a HEAD."""
    method = random.choice([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS"])
    host = random.choice(HOSTS)
    target = b"/" + words(random, b"abc/?=&%20;", 12)
    if random.random() < 0.1:
        target = b"http://" + host + target
    fields = [
        b"X-" + words(random, b"aB9_!", 6) + b": " + words(random, VALUE, 20).strip()
        for _ in range(random.randrange(4))
    ]
    fields.append(random.choice([b"Host: ", b"hOST:", b"HOST:\t "]) + host)
    body = b""
    framing = random.randrange(3)
    if framing == 1:
        body = random.randbytes(random.choice([0, 1, 30, 200]))
        fields.append(b"Content-Length: %d" % len(body))
    elif framing == 2:
        fields.append(b"Transfer-Encoding: " + random.choice([b"chunked", b"Chunked"]))
        body = chunks(random)
    random.shuffle(fields)
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *fields, b"", b""]) + body, method == b"HEAD"


def chunks(random: Random) -> bytes:
    parts = []
    for _ in range(random.randrange(4)):
        data = random.randbytes(random.choice([1, 9, 10, 100]))
        extension = random.choice([b"", b"", b";a", b';a="b;c"'])
        parts.append(b"%x" % len(data) + extension + b"\r\n" + data + b"\r\n")
    trailers = b"".join(b"T-" + words(random, b"xyz", 5) + b": v\r\n" for _ in range(random.randrange(2)))
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


def response(random: Random, to_head: bool) -> bytes:
    """Any valid response that leaves the connection open, with interim ones before it."""
    interim = b"".join(
        random.choice([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n"])
        for _ in range(random.randrange(2))
    )
    status, body = random.choice([200, 204, 304, 404]), random.randbytes(random.choice([0, 1, 50]))
    line = b"HTTP/1.1 %d \r\n" % status
    if random.random() < 0.5:
        framing, body = b"Content-Length: %d\r\n\r\n" % len(body), body
    else:
        framing, body = b"Transfer-Encoding: chunked\r\n\r\n", chunks(random)
    return interim + line + framing + (b"" if to_head or status in (204, 304) else body)


@lru_cache(maxsize=4096)
def heard(stream: bytes) -> list[tuple[object, ...]]:
    """What h11 reads, up to where it refuses: each request's line and fields, then its body and trailers."""
    connection = h11.Connection(h11.SERVER)
    seen: list[tuple[object, ...]] = []
    body = b""
    try:
        if stream:  # To h11, no bytes are the end of the connection.
            connection.receive_data(stream)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                seen.append((event.method, event.target, tuple(event.headers)))
                body = b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                seen.append((body, tuple(event.headers)))
                connection.send(h11.Response(status_code=204, headers=[]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
    except h11.RemoteProtocolError:
        pass
    return seen


def rewritten(seen: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """The same as it is expected to go upstream, by h11's reading of it."""
    return [_with_host_replaced(*event) if len(event) == 3 else event for event in seen]  # type: ignore[arg-type]


def _with_host_replaced(method: bytes, target: bytes, fields: tuple[tuple[bytes, bytes], ...]):
    scheme, slashes, rest = target.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    absolute = re.fullmatch(rb"[A-Za-z][A-Za-z0-9+.-]*", scheme) and slashes
    asked = authority if absolute else dict(fields).get(b"host")
    named = b"example.com" if asked in OURS else asked
    if absolute and named:
        target = scheme + slashes + named + slash + path
    return method, target, tuple((name, named if name == b"host" else value) for name, value in fields)


def in_pieces(random: Random, stream: bytes) -> list[bytes]:
    cuts = sorted(random.choices(range(len(stream) + 1), k=random.choice([0, 1, 1, 4, 16])))
    return [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]


def exchange(core: ModuleType, **options: bool):
    names = ("localhost", "127.0.0.1", "::1")
    return core.Exchange(core.HostRewrite(names, 8080, "example.com", **options))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_ten_thousand_connections_are_read_as_h11_reads_them(core: ModuleType, batch: int) -> None:
    for number in range(BATCH):
        random = Random(batch * BATCH + number)
        sent, heads = zip(*(request(random) for _ in range(random.choice([1, 1, 2, 4]))), strict=True)
        stream = b"".join(sent)
        if number % 2:
            compare_damaged(core, random, stream)
        else:
            compare_conversation(core, random, stream, heads)


def compare_conversation(core: ModuleType, random: Random, stream: bytes, heads: tuple[bool, ...]) -> None:
    one = exchange(core)
    out = b"".join(bytes(one.request(piece)) for piece in in_pieces(random, stream))
    assert one.refusal is None
    assert not one.held
    assert not one.head_pending
    assert heard(out) == rewritten(heard(stream))
    for to_head in heads:
        answer = response(random, to_head)
        told = [bytes(one.response(piece)) for piece in in_pieces(random, answer[:-1])]
        assert not one.idle
        assert b"".join([*told, bytes(one.response(answer[-1:]))]) == answer
    assert one.idle


def compare_damaged(core: ModuleType, random: Random, stream: bytes) -> None:
    """Whatever passes has the reading of the original, up to where one of us refuses."""
    damaged = bytearray(stream)
    for _ in range(random.choice([1, 1, 3])):
        at = random.randrange(len(damaged))
        damaged[at : at + random.randrange(4)] = random.choice(DAMAGE)
    one = exchange(core)
    out = b"".join(bytes(one.request(piece)) for piece in in_pieces(random, bytes(damaged)))
    ours, theirs = heard(out), rewritten(heard(bytes(damaged)))
    shorter = min(len(ours), len(theirs))
    assert ours[:shorter] == theirs[:shorter]


# The twins, action by action.

PIECES = [
    b"GET / HTTP/1.1\r\n",
    b"HEAD http://localhost:8080/a HTTP/1.0\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"POST http://me@other HTTP/1.1\r\n",
    b"Host: localhost:8080\r\n",
    b"hOst:\t[::1] \r\n",
    b"Host: [::ffff:127.0.0.1]:8080\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5, x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: x\r\n",
    b"\r\n",
    b"\r\nhello",
    b"5;a=b\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 Go\r\n\r\n",
    b"HTTP/1.1 204 \n\n",
    b"HTTP/1.0 302 Found\r\n",
    b"Location: http://example.com/x\r\n",
    b"Location : //u@EXAMPLE.com:80?y\n",
    b"Set-Cookie: a=b; Domain=.example.com; Path=/ \r\n",
    b"Set-Cookie: a=b;domain = com;Domain=EXAMPLE.COM\r\n",
    b"Set-Cookie: a=b; domain\r\n folded; domain=example.com\r\n",
    b"Content-Length :5\n",
    b"Origin: http://localhost:8080\r\n",
    b"ORIGIN:https://[0::1]:8080/x \r\n",
    b"Referer: http://a:1/?http://localhost:8080\r\n",
    b"Refresh: 5;URL='//example.com/x'\r\n",
    b"refresh: .1 http://example.com\n",
    b'Link: <http://example.com>; a="\\"<//example.com>", <//example.com\r\n',
    b"Content-Location: //example.com\r\n",
    b"Access-Control-Allow-Origin: https://example.com\r\n",
    b"HTTP/1.1 99\r\n",
    b"HTTP/1.9 599\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT localhost:8080 HTTP/1.1\r\n",
    b"Host: a:1\r\n",
    b" \t\r\n",
    b"\0",
    b"\n",
    b"x",
]
streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=8).map(b"".join)
actions = st.lists(st.tuples(st.sampled_from(["request", "response", "passed"]), streams), max_size=14)


def told(one: object, action: str, data: bytes) -> tuple[object, ...]:
    """What the action gives, and everything that may be asked afterwards."""
    try:
        if action == "passed":
            one.request_passed(min(len(data), one.request_passes))  # type: ignore[attr-defined]
            one.response_passed(min(2, one.response_passes))  # type: ignore[attr-defined]
            given: object = None
        else:
            given = bytes(getattr(one, action)(data))
    except ValueError as error:
        given = (type(error), str(error), bytes(getattr(error, "before", b"")))
    asked = ("held", "head_pending", "refusal", "unfollowed", "idle", "unanswered", "in_answer")
    asked += ("has_answered", "awaits_request", "request_passes", "response_passes")
    return given, *(getattr(one, name) for name in asked)


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=actions, responses=st.booleans(), always=st.booleans(), origin=st.booleans())
def test_the_twins_agree_at_every_step(
    twins: tuple[ModuleType, ModuleType],
    actions: list[tuple[str, bytes]],
    responses: bool,
    always: bool,
    origin: bool,
) -> None:
    native, pure = (exchange(core, responses=responses, always=always, origin=origin) for core in twins)
    for action, data in actions:
        assert told(native, action, data) == told(pure, action, data)
