"""The responses' side: bytes that pass unread, and names that become what the client asked for."""

from __future__ import annotations

from types import ModuleType

import pytest

TOPIC = "http_head"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def exchange(core: ModuleType, upstream: str = "example.com", **options: bool):
    rewrite = core.HostRewrite(("localhost", "127.0.0.1", "dev.test"), 8080, upstream, **options)
    return core.Exchange(rewrite, "::1")


def asking(core: ModuleType, host: bytes, upstream: str = "example.com", **options: bool):
    one = exchange(core, upstream, responses=True, **options)
    one.request(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    return one


def answer(*fields: bytes, status: bytes = b"302 Found") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *fields, b"Content-Length: 2", b"", b"hi"))


# Bytes that pass unread


def test_a_counted_body_passes_unread(core: ModuleType) -> None:
    one = exchange(core)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
    assert one.request_passes == 0
    assert bytes(one.request(head + b"abc")) == head + b"abc"
    assert one.request_passes == 7
    one.request_passed(3)
    assert bytes(one.request(b"de")) == b"de"
    assert one.request_passes == 2
    one.request_passed(2)
    assert one.request_passes == 0
    assert bytes(one.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).endswith(b"example.com\r\n\r\n")


def test_a_chunk_passes_unread_but_not_the_line_behind_it(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n")
    assert one.request_passes == 255
    one.request_passed(255)
    assert one.request_passes == 0
    one.request(b"no end of the chunk")
    assert one.refusal == "a line or head that is too long"
    assert one.request_passes == 0


def test_a_response_passes_unread_and_is_complete_by_that(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    one.response(OK[:-2])
    assert one.response_passes == 2
    one.response_passed(1)
    assert not one.idle
    one.response_passed(1)
    assert one.response_passes == 0
    assert one.idle


def test_a_response_until_the_end_passes_for_ever(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"GET / HTTP/1.0\r\n\r\n")
    one.response(b"HTTP/1.0 200 OK\r\n\r\nabc")
    assert one.response_passes == core.ALL > 1 << 60
    one.response_passed(1 << 40)
    assert one.response_passes == core.ALL
    assert not one.idle


def test_after_an_upgrade_everything_passes_once_what_was_kept_has_gone(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nearly")
    one.response(b"HTTP/1.1 101 Go\r\n\r\n")
    assert one.response_passes == core.ALL
    assert one.request_passes == 0
    assert bytes(one.request()) == b"early"
    assert one.request_passes == core.ALL
    one.request_passed(1 << 40)
    assert one.request_passes == core.ALL


def test_an_upgrade_with_a_body_that_passed_unread_is_raw_behind_it(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n")
    one.response(b"HTTP/1.1 101 Go\r\n\r\n")
    assert one.request_passes == 4
    one.request_passed(4)
    assert one.request_passes == core.ALL


@pytest.mark.parametrize("n", [-1, 11, 1 << 40])
def test_no_more_may_pass_than_was_said(core: ModuleType, n: int) -> None:
    one = exchange(core)
    one.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    with pytest.raises(ValueError, match="bytes passed: expected 0 to 10"):
        one.request_passed(n)
    with pytest.raises(ValueError, match="1 byte passed: expected 0 to 0"):
        one.response_passed(1)


def test_what_could_not_be_followed_once_never_can(core: ModuleType) -> None:
    one = exchange(core)
    for data in (b"SSH-2.0\r\n", OK, b""):
        with pytest.raises(core.BadMessage, match="a response without a status line"):
            one.response(data)
    assert one.response_passes == 0


# Location


@pytest.mark.parametrize("host", [b"localhost:8080", b"LOCALHOST", b"[::1]:8080", b"dev.test:8080"])
@pytest.mark.parametrize(
    "location",
    [
        b"http://example.com/a?b#c",
        b"HTTP://Example.COM",
        b"http://example.com:80/",
        b"http://example.com.:/",
        b"//example.com/x",
        b"http://me@example.com/",
    ],
)
def test_a_location_at_the_upstream_is_where_the_client_asked(
    core: ModuleType, host: bytes, location: bytes
) -> None:
    before, _, behind = location.lower().partition(b"example.com")
    behind = behind.removeprefix(b".").removeprefix(b":80" if b":80" in behind else b":")
    given = bytes(asking(core, host).response(answer(b"Location: " + location)))
    assert given.lower() == answer(b"Location: " + before + host + behind).lower()
    assert host in given


@pytest.mark.parametrize(
    "location",
    [
        b"/a",
        b"a",
        b"",
        b"https://example.com/",
        b"http://example.com:8080/",
        b"http://www.example.com/",
        b"http://other/http://example.com/",
        b"/?http://example.com/",
        b"http:/example.com/",
        b"http://example.com@other/",
        b"http://[example.com]/",
        b"http://",
    ],
)
def test_another_location_is_left_alone(core: ModuleType, location: bytes) -> None:
    response = answer(b"Location: " + location)
    assert bytes(asking(core, b"localhost:8080").response(response)) == response


@pytest.mark.parametrize(
    ("upstream", "location", "ours"),
    [
        ("10.0.0.1:8000", b"http://10.0.0.1:8000/", True),
        ("10.0.0.1:8000", b"http://10.0.0.1/", False),
        ("[2001:db8::1]:8000", b"http://[2001:DB8:0::1]:8000/", True),
        ("10.0.0.1", b"http://[::ffff:10.0.0.1]:80/", True),
    ],
)
def test_an_upstream_by_address_is_known_in_any_spelling(
    core: ModuleType, upstream: str, location: bytes, ours: bool
) -> None:
    given = bytes(asking(core, b"localhost", upstream).response(answer(b"Location: " + location)))
    assert given == answer(b"Location: " + (b"http://localhost/" if ours else location))


# Set-Cookie


@pytest.mark.parametrize(
    ("before", "behind"),
    [(b"a=b; Domain=", b"; Path=/"), (b"a=b;domain = ", b""), (b"a=b; Secure;DOMAIN=.", b" ;x")],
)
def test_a_cookie_of_the_upstream_is_the_clients(core: ModuleType, before: bytes, behind: bytes) -> None:
    response = answer(b"Set-Cookie: " + before + b"Example.com" + behind)
    given = bytes(asking(core, b"dev.test:8080").response(response))
    assert given == answer(b"Set-Cookie: " + before.removesuffix(b".") + b"dev.test" + behind)


@pytest.mark.parametrize("host", [b"localhost:8080", b"127.0.0.1:8080", b"[::1]:8080"])
def test_a_cookie_for_a_host_that_is_no_domain_is_that_hosts_alone(core: ModuleType, host: bytes) -> None:
    response = answer(
        b"Set-Cookie: a=b; Domain=example.com; Path=/",
        b"Location: http://example.com/",
        b"Set-Cookie: c=d;domain=EXAMPLE.COM ",
    )
    given = bytes(asking(core, host).response(response))
    expected = answer(b"Set-Cookie: a=b; Path=/", b"Location: http://" + host + b"/", b"Set-Cookie: c=d")
    assert given.replace(b"c=d \r\n", b"c=d\r\n") == expected


@pytest.mark.parametrize("domain", [b"example.com", b"com", b".example.com"])
def test_a_domain_above_the_upstream_is_the_clients_too(core: ModuleType, domain: bytes) -> None:
    one = asking(core, b"dev.test", "www.example.com")
    given = bytes(one.response(answer(b"Set-Cookie: a=b; Domain=" + domain)))
    assert given == answer(b"Set-Cookie: a=b; Domain=dev.test")


@pytest.mark.parametrize(
    "cookie",
    [
        b"a=b",
        b"a=b; Path=/",
        b"a=b; Domain=other.com",
        b"a=b; Domain=ample.com",
        b"a=b; Domain=www.example.com",
        b"a=b; Domain=",
        b"a=b; Domain",
        b"domain=example.com",
        b"a=Domain=example.com",
    ],
)
def test_another_cookie_is_left_alone(core: ModuleType, cookie: bytes) -> None:
    response = answer(b"Set-Cookie: " + cookie)
    assert bytes(asking(core, b"localhost:8080").response(response)) == response


def test_part_of_an_address_is_no_domain(core: ModuleType) -> None:
    response = answer(b"Set-Cookie: a=b; Domain=0.0.1")
    assert bytes(asking(core, b"dev.test", "10.0.0.1").response(response)) == response


# Whose response it is

MOVED = answer(b"Location: http://example.com/", status=b"301 Moved")


def test_each_response_gets_the_name_that_its_own_request_used(core: ModuleType) -> None:
    one = exchange(core, responses=True)
    hosts = [b"localhost:8080", b"dev.test", b"elsewhere", b"dev.test", b"127.0.0.1"] * 30
    one.request(b"".join(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n" for host in hosts))
    for host in hosts:
        asked = b"example.com" if host == b"elsewhere" else host
        assert bytes(one.response(MOVED)) == MOVED.replace(b"example.com", asked)
    assert one.idle


def test_an_absolute_target_is_what_was_asked_for(core: ModuleType) -> None:
    one = exchange(core, responses=True)
    one.request(b"GET http://dev.test:8080/ HTTP/1.1\r\nHost: localhost:8080\r\n\r\n")
    assert bytes(one.response(MOVED)) == MOVED.replace(b"example.com", b"dev.test:8080")


def test_interim_responses_are_rewritten_too(core: ModuleType) -> None:
    one = asking(core, b"localhost")
    hints = b"HTTP/1.1 103 Hints\r\nLocation: http://example.com/\r\n\r\n"
    expected = (hints + MOVED).replace(b"example.com", b"localhost")
    assert bytes(one.response(hints + MOVED)) == expected


def test_nothing_is_rewritten_unless_it_is_asked_for(core: ModuleType) -> None:
    one = exchange(core)
    one.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert bytes(one.response(MOVED)) == MOVED


STREAM = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 OK\nlocation:http://example.com/1\nTransfer-Encoding: chunked\n\n"
    b"1c\r\nLocation: http://example.com\r\n0\r\nSet-Cookie: a=b; Domain=example.com\r\n\r\n"
    + answer(b"Set-Cookie: a; Domain=example.com; x", b" folded; Domain=example.com", b"Location:")
    + answer(b"Set-Cookie: a=b;Domain=example.com;Domain=other;domain=example.com")
)
REWRITTEN = (
    STREAM.replace(b"example.com/1", b"dev.test:8080/1")
    .replace(b"a; Domain=example.com; x", b"a; Domain=dev.test; x")
    .replace(
        b"b;Domain=example.com;Domain=other;domain=example.com",
        b"b;Domain=dev.test;Domain=other;domain=dev.test",
    )
)


def test_every_split_of_responses_gives_the_same(core: ModuleType) -> None:
    request = b"GET / HTTP/1.1\r\nHost: dev.test:8080\r\n\r\n"
    for cut in range(len(STREAM)):
        one = exchange(core, responses=True)
        one.request(request * 3)
        assert bytes(one.response(STREAM[:cut])) + bytes(one.response(STREAM[cut:])) == REWRITTEN
        assert one.idle
    one = exchange(core, responses=True)
    one.request(request * 3)
    assert b"".join(bytes(one.response(STREAM[at : at + 1])) for at in range(len(STREAM))) == REWRITTEN
    assert one.idle


def test_a_head_that_is_to_be_rewritten_waits_for_its_end(core: ModuleType) -> None:
    one = asking(core, b"localhost")
    assert bytes(one.response(MOVED[:20])) == b""
    assert not one.idle


# The rewrite as a value


def test_a_rewrite_tells_what_it_was_made_of(core: ModuleType) -> None:
    one = core.HostRewrite(["A", "::1"], 80, "b:1", True)
    assert (one.names, one.port, one.upstream, one.always, one.responses) == (
        ("A", "::1"),
        80,
        "b:1",
        True,
        False,
    )


@pytest.mark.parametrize(
    ("names", "destination", "host"),
    [
        ((), "::ffff:10.1.2.3", b"10.1.2.3"),
        ((), "10.1.2.3", b"[::ffff:10.1.2.3]"),
        ((), "fe80::1%lo", b"[fe80::1%25lo]"),
        (("A" * 255,), "", b"a" * 255),
    ],
)
def test_unusual_names_of_the_listener(
    core: ModuleType, names: tuple[str, ...], destination: str, host: bytes
) -> None:
    one = core.Exchange(core.HostRewrite(names, 80, "upstream"), destination)
    assert b"Host: upstream\r\n" in bytes(one.request(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"))


@pytest.mark.parametrize(("status", "reason"), [(404, "x"), (400, "x" * 600)])
def test_a_refusal_has_one_of_three_statuses_and_few_words(
    core: ModuleType, status: int, reason: str
) -> None:
    with pytest.raises(ValueError, match="expected 400, 408 or 502, and a few words"):
        core.refusal(status, reason)


def test_the_twins_refuse_alike(twins: tuple[ModuleType, ModuleType]) -> None:
    native, pure = twins
    for status in (400, 408, 502):
        assert native.refusal(status, "a reason") == pure.refusal(status, "a reason")
