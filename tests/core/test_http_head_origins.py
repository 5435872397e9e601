"""Origin and Referer where they name the listener, and the fields of responses that may name the upstream."""

from __future__ import annotations

from itertools import permutations
from types import ModuleType

import pytest

TOPIC = "http_head"

UPSTREAM = "example.com:8000"
NAMED = UPSTREAM.encode()


def exchange(core: ModuleType, port: int = 8080, upstream: str = UPSTREAM, **options: bool):
    rewrite = core.HostRewrite(("localhost", "127.0.0.1", "::1"), port, upstream, **options)
    return core.Exchange(rewrite, "10.1.2.3")


def sent(
    core: ModuleType, host: bytes, *fields: bytes, target: bytes = b"/", **options: object
) -> list[bytes]:
    """The fields of a request, behind its Host, as they arrive, the same at every split."""
    stream = b"\r\n".join((b"GET " + target + b" HTTP/1.1", b"Host: " + host, *fields, b"", b""))
    expected = None
    for cut in range(len(stream)):
        one = exchange(core, **{"origin": True, **options})
        out = bytes(one.request(stream[:cut])) + bytes(one.request(stream[cut:]))
        assert one.refusal is None
        assert expected in (None, out)
        expected = out
    assert expected
    return expected.split(b"\r\n")[2:-2]


@pytest.mark.parametrize("name", [b"Origin", b"Referer", b"oRIGIN", b"REFERER"])
@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (b"http://localhost:8080", b"http://" + NAMED),
        (b"https://LOCALHOST.:8080", b"https://" + NAMED),
        (b"HTTP://127.0.0.1:8080", b"HTTP://" + NAMED),
        (b"http://[0::1]:8080", b"http://" + NAMED),
        (b"http://[::ffff:10.1.2.3]:8080", b"http://" + NAMED),
        (
            b"http://localhost:8080/a?b#http://localhost:8080",
            b"http://" + NAMED + b"/a?b#http://localhost:8080",
        ),
        (b"http://localhost:8080?x", b"http://" + NAMED + b"?x"),
    ],
)
def test_an_origin_at_the_listener_becomes_the_upstream(
    core: ModuleType, name: bytes, value: bytes, becomes: bytes
) -> None:
    assert sent(core, b"localhost:8080", name + b": \t" + value + b" ") == [name + b": \t" + becomes + b" "]


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"null",
            b"",
            b"localhost:8080",
            b"//localhost:8080",
            b"/a",
            b"http:",
            b"http://",
            b"http:///a",
            b"*",
        ),
        *(
            b"http://localhost",
            b"http://localhost:",
            b"http://localhost:80",
            b"https://localhost",
            b"http://localhost:8081",
        ),
        *(
            b"ftp://localhost:8080",
            b"ws://localhost:8080",
            b"http:/localhost:8080",
            b"http:localhost:8080",
            b"xhttp://localhost:8080",
        ),
        *(
            b"http://me@localhost:8080/",
            b"http://localhost:8080@evil/",
            b"http://localhost:8080\\@evil/",
            b"http://evil/localhost:8080",
        ),
        *(
            b"http://localhost:8080.evil",
            b"http://localhost:8080, http://evil",
            b"http://localhost:8080 http://evil",
            b"http://localhost:08080",
        ),
        *(
            b"http://notlocalhost:8080",
            b"http://localhost.evil:8080",
            b"http://%6cocalhost:8080",
            b"http://example.com:8000",
        ),
    ],
)
def test_another_origin_is_left_alone(core: ModuleType, value: bytes) -> None:
    for name in (b"Origin: ", b"Referer: "):
        assert sent(core, b"localhost:8080", name + value) == [name + value]


@pytest.mark.parametrize(
    ("port", "host", "origin", "same"),
    [
        (80, b"localhost", b"http://localhost", True),
        (80, b"localhost:80", b"http://127.0.0.1:80", True),
        (80, b"localhost", b"https://localhost:80", True),
        (443, b"localhost", b"https://127.0.0.1", True),
        (443, b"localhost:443", b"http://localhost", False),
        (8080, b"localhost", b"http://localhost", True),
        (8080, b"localhost", b"https://localhost", True),
        (8080, b"localhost", b"http://localhost:80", True),
        (8080, b"localhost", b"http://127.0.0.1", False),
    ],
)
def test_the_port_counts_as_the_scheme_has_it(
    core: ModuleType, port: int, host: bytes, origin: bytes, same: bool
) -> None:
    """A port that was left out in Host is one before us: a browser's Origin leaves it out as well."""
    scheme = origin.partition(b"//")[0]
    expected = scheme + b"//" + NAMED if same else origin
    assert sent(core, host, b"Origin: " + origin, port=port) == [b"Origin: " + expected]


@pytest.mark.parametrize("origin", [b"http://dev.test:99", b"http://DEV.test.:99", b"http://localhost:8080"])
def test_where_every_host_is_replaced_so_is_an_origin_that_is_that_host(
    core: ModuleType, origin: bytes
) -> None:
    assert sent(core, b"dev.test:99", b"Origin: " + origin, always=True) == [b"Origin: http://" + NAMED]


@pytest.mark.parametrize("origin", [b"http://evil.test", b"http://dev.test", b"http://a.dev.test:99"])
def test_another_origin_than_the_host_that_is_replaced_stays(core: ModuleType, origin: bytes) -> None:
    """Otherwise a server could not recognise another site's request."""
    assert sent(core, b"dev.test:99", b"Origin: " + origin, always=True) == [b"Origin: " + origin]


def test_without_a_host_that_is_replaced_the_origin_stays(core: ModuleType) -> None:
    field = b"Origin: http://localhost:8080"
    assert sent(core, b"elsewhere", field) == [field]
    assert sent(core, b"localhost:8080", field, origin=False) == [field]
    assert sent(core, b"localhost:8080", field, target=b"http://elsewhere/") == [field]


def test_beside_an_absolute_target_that_is_what_the_origin_is_compared_with(core: ModuleType) -> None:
    fields = (b"Origin: http://a.test", b"Referer: http://b.test/")
    expected = [b"Origin: http://" + NAMED, b"Referer: http://b.test/"]
    assert sent(core, b"b.test", *fields, target=b"http://a.test/", always=True) == expected


def test_of_several_none_is_changed(core: ModuleType) -> None:
    """Each reader could take another one of them."""
    fields = (
        b"Origin: http://localhost:8080",
        b"Origin: http://localhost:8080",
        b"Referer: http://localhost:8080/",
    )
    assert sent(core, b"localhost:8080", *fields) == [*fields[:2], b"Referer: http://" + NAMED + b"/"]


def test_all_of_them_change_in_any_order(core: ModuleType) -> None:
    lines = {
        b"Host: localhost:8080": b"Host: " + NAMED,
        b"Origin: http://127.0.0.1:8080": b"Origin: http://" + NAMED,
        b"Referer: http://[::1]:8080/x": b"Referer: http://" + NAMED + b"/x",
        b"X-Host: localhost:8080": b"X-Host: localhost:8080",
    }
    for order in permutations(lines):
        one = exchange(core, origin=True)
        stream = b"\r\n".join((b"GET http://localhost:8080/ HTTP/1.1", *order, b"", b""))
        expected = (b"GET http://" + NAMED + b"/ HTTP/1.1", *(lines[line] for line in order), b"", b"")
        assert bytes(one.request(stream + stream)) == b"\r\n".join(expected) * 2


# Responses


def given(core: ModuleType, name: bytes, value: bytes, upstream: str = "example.com") -> bytes:
    """A field's value for a client that asked for dev.test:8080, the same at every split of the response."""
    response = b"HTTP/1.1 200 OK\r\n" + name + b": " + value + b"\r\nContent-Length: 0\r\n\r\n"
    expected = None
    for cut in range(len(response)):
        one = core.Exchange(core.HostRewrite(("dev.test",), 8080, upstream, responses=True))
        one.request(b"GET / HTTP/1.1\r\nHost: dev.test:8080\r\n\r\n")
        out = bytes(one.response(response[:cut])) + bytes(one.response(response[cut:]))
        assert expected in (None, out)
        expected = out
    assert expected
    start, end = b"HTTP/1.1 200 OK\r\n" + name + b": ", b"\r\nContent-Length: 0\r\n\r\n"
    assert expected.startswith(start)
    assert expected.endswith(end)
    return expected[len(start) : -len(end)]


URIS = [
    (b"http://example.com/a?b#c", b"http://dev.test:8080/a?b#c"),
    (b"HTTP://EXAMPLE.com:80", b"HTTP://dev.test:8080"),
    (b"//example.com/", b"//dev.test:8080/"),
    (b"http://me@example.com/", b"http://me@dev.test:8080/"),
    *(
        (same, same)
        for same in (
            b"/a",
            b"a",
            b"",
            b"https://example.com/",
            b"http://example.com:81/",
            b"http://a.example.com",
        )
    ),
    *(
        (same, same)
        for same in (
            b"/?http://example.com/",
            b"http://other/?//example.com/",
            b"x//example.com",
            b"*",
            b"null",
        )
    ),
]


@pytest.mark.parametrize(("uri", "becomes"), URIS)
def test_uris_at_the_upstream_are_where_the_client_asked(
    core: ModuleType, uri: bytes, becomes: bytes
) -> None:
    for name in (b"Location", b"content-LOCATION"):
        assert given(core, name, uri) == becomes
    for before, behind in (
        *(
            (b"5; url=", b""),
            (b"0;URL=", b""),
            (b"5.5 ,\tUrl =\t", b""),
            (b"5;", b""),
            (b"5; ", b""),
            (b"", b""),
        ),
        *((b"5; url='", b"'"), (b'5; url="', b'"; x'), (b'5; "', b'"'), (b"5;url='", b""), (b". url=", b"")),
    ):
        if uri or not behind:
            assert (
                given(core, b"Refresh", before + uri + behind).rstrip()
                == (before + becomes + behind).rstrip()
            )
    for before, behind in (
        (b"<", b">"),
        (b"<", b">; rel=next"),
        (b'</x>; title="<a>, \\"<b>", <', b">"),
        (b"x,<", b""),
    ):
        assert given(core, b"Link", before + uri + behind) == before + becomes + behind


def test_each_of_several_links(core: ModuleType) -> None:
    links = b'<http://example.com/1>; rel="next", </2>, <//example.com/3>;title="<http://example.com/4>", <http://other/5>'
    expected = links.replace(b"example.com/1", b"dev.test:8080/1").replace(
        b"example.com/3", b"dev.test:8080/3"
    )
    assert given(core, b"Link", links) == expected
    unclosed = b'</2>; title="<http://example.com/>'
    assert given(core, b"Link", unclosed) == unclosed


@pytest.mark.parametrize(
    ("origin", "becomes"),
    [
        (b"http://example.com", b"http://dev.test:8080"),
        (b"https://example.com", b"https://dev.test:8080"),
        *(
            (same, same)
            for same in (
                b"*",
                b"null",
                b"http://other",
                b"http://example.com:81",
                b"example.com",
                b"ftp://example.com",
            )
        ),
    ],
)
def test_an_origin_that_is_allowed(core: ModuleType, origin: bytes, becomes: bytes) -> None:
    assert given(core, b"Access-Control-Allow-Origin", origin) == becomes


@pytest.mark.parametrize(
    "name", [b"Access-Control-Allow-Headers", b"X-Location", b"Links", b"Refresh-X", b"Origin"]
)
def test_other_fields_are_left_alone(core: ModuleType, name: bytes) -> None:
    assert (
        given(core, name, b"<http://example.com/>, http://example.com")
        == b"<http://example.com/>, http://example.com"
    )


@pytest.mark.parametrize(
    "value",
    [
        b"url",
        b"5; url",
        b"5 url",
        b"url=",
        b"5;",
        b"5, 'x",
        b"=http://example.com/",
        b"5;;http://example.com",
    ],
)
def test_a_refresh_that_leads_nowhere_is_left_alone(core: ModuleType, value: bytes) -> None:
    assert given(core, b"Refresh", value) == value
