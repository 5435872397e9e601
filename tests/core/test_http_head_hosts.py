"""The host that a request is for: one reading of it, in the target and in Host, or a refusal."""

from __future__ import annotations

from itertools import product
from random import Random
from types import ModuleType

import pytest

TOPIC = "http_head"

NO_HOST = "an invalid host"
EMPTY = "an empty host"
USER = "user information in a host"
PORT = "an invalid port"
NO_FORM = "an invalid request target"
FRAGMENT = "a fragment in the target"
CONTROL = "a control character in the target"
NO_AUTHORITY = "an absolute target without a host"


def exchange(core: ModuleType, upstream: str = "example.com", always: bool = False):
    rewrite = core.HostRewrite(("localhost", "127.0.0.1", "::1"), 8080, upstream, always)
    return core.Exchange(rewrite, "10.1.2.3")


def head(method: str, target: str, host: str | None, version: str = "1.1") -> bytes:
    """``latin-1``: each character is a byte."""
    field = "" if host is None else f"Host: {host}\r\n"
    return f"{method} {target} HTTP/{version}\r\n{field}X: y\r\n\r\n".encode("latin-1")


def passed(core: ModuleType, stream: bytes, **options: object) -> tuple[bytes, str | None]:
    """What goes on of a request, whole and byte by byte, and why it does not."""
    whole, split = exchange(core, **options), exchange(core, **options)
    out = bytes(whole.request(stream))
    assert out == b"".join(bytes(split.request(bytes([byte]))) for byte in stream)
    assert whole.refusal == split.refusal
    return out, whole.refusal


REFUSED_AUTHORITIES = {
    EMPTY: ["", ":", ":80", "::1", "::1:80"],
    USER: ["u@a", "u:p@a", "@a", "a@", "u@a:80", "u\\@a", "@"],
    PORT: [
        *(
            "a:0",
            "a:00",
            "a:080",
            "a:65536",
            "a:99999",
            "a:100000",
            "a:99999999999999999999",
            "a:-1",
            "a:+80",
        ),
        *(
            "a:8x",
            "a:80:80",
            "a:80:",
            "a: 80",
            "a:8 0",
            "a:80,",
            "a:\xb2",
            "a::",
            "[::1]:x",
            "[::1]:0",
            "1:2:3",
        ),
    ],
    NO_HOST: [
        *(
            "a b",
            "a\tb",
            "a, b",
            "a,b",
            ",a",
            "a,",
            "a\\b",
            "\\a",
            "a\\",
            "a\xa0b",
            "\x80",
            "\xff",
            "b\xfccher",
        ),
        *(
            "%61",
            "a%2eb",
            "a%",
            "a%zz",
            'a"b',
            '"a"',
            "<a>",
            "a|b",
            "a^b",
            "a`b",
            "{a}",
            "a]",
            "a[b",
            "a[::1]",
        ),
        *(".", "..", ".a", "a..", "a..b", "..a", "a" * 256, "[", "[]", "[]:80", "[::1", "[::1]x", "[::1]80"),
        *(
            "[::1]]",
            "[[::1]]",
            "[::g]",
            "[1:2:3:4:5:6:7:8:9]",
            "[1]",
            "[a]",
            "[localhost]",
            "[127.0.0.1]",
            "[v1.a]",
        ),
        *("[::1%]", "[::1%a b]", "[::1%a/b]", "[%lo]", "[:]", "[::1 ]", "[ ::1]", "[0::0::1]", "[::1%a%b]"),
    ],
}
BESIDE_A_PATH = {
    NO_HOST: ["a/b", "/a", "//a", "a?b", "a#b"],
    PORT: ["http://a", "http:// a", "https://a:80/", "a:80/", "a:80?", "a:80#"],
    USER: ["http://u@a/"],
}
PASSED_AUTHORITIES = [
    *(
        "a",
        "A.B",
        "a.",
        "a.b.",
        "a-b_c~d",
        "-",
        "_",
        "*",
        "a!$&'()*+;=b",
        "a:",
        "a:1",
        "a:80",
        "a:65535",
        "a.:80",
    ),
    *("1.2.3.4", "0x7f.1", "2130706433", "xn--bcher-kva.test", "a" * 255, "[::2]", "[::2]:", "[::2]:65535"),
    *("[::ffff:1.2.3.4]", "[fe80::1%25eth0.1]", "[fe80::1%eth0]:80", "[1:2:3:4:5:6:7:8]"),
]
REFUSED = [(reason, text) for reason, texts in REFUSED_AUTHORITIES.items() for text in texts]
REFUSED_HOSTS = REFUSED + [(reason, text) for reason, texts in BESIDE_A_PATH.items() for text in texts]


@pytest.mark.parametrize(("reason", "host"), REFUSED_HOSTS)
def test_a_host_that_some_read_otherwise_is_refused(core: ModuleType, reason: str, host: str) -> None:
    for version, always in product(("1.0", "1.1"), (False, True)):
        assert passed(core, head("GET", "/", host, version), always=always) == (b"", reason)
        assert passed(core, head("GET", "http://b/", host, version), always=always) == (b"", reason)
        assert passed(core, head("OPTIONS", "*", host, version), always=always) == (b"", reason)
    assert passed(core, head("CONNECT", "b:80", host)) == (b"", reason)


@pytest.mark.parametrize(
    ("reason", "authority"),
    [
        (reason, text)
        for reason, text in REFUSED
        if text and " " not in text and "/" not in text and "\t" not in text
    ],
)
def test_a_target_is_held_to_the_same(core: ModuleType, reason: str, authority: str) -> None:
    for behind in ("", "/", "/x", "?q"):
        assert passed(core, head("GET", f"http://{authority}{behind}", "b")) == (b"", reason)
    for host in ("b", authority, None):
        assert passed(core, head("CONNECT", authority, host, "1.0"))[0] == b""


@pytest.mark.parametrize("host", PASSED_AUTHORITIES)
def test_a_host_that_all_read_alike_passes_as_it_came(core: ModuleType, host: str) -> None:
    for stream in (head("GET", "/", host), head("GET", f"http://{host}/", host)):
        assert passed(core, stream) == (stream, None)
        upstream = stream.replace(host.encode("latin-1"), b"example.com") if len(host) > 1 else None
        if upstream:
            assert passed(core, stream, always=True) == (upstream, None)


@pytest.mark.parametrize(
    ("reason", "method", "target"),
    [
        *(
            (NO_FORM, "GET", target)
            for target in ("*", "**", "*/", "a", "a/b", "a?b", "a:80", "a:80/x", "localhost")
        ),
        *(
            (NO_FORM, "GET", target)
            for target in ("http:/x", "http:x", "http:", "http", "http//a/", ":", "://a/")
        ),
        *(
            (NO_FORM, "GET", target)
            for target in ("1http://a/", "+http://a/", "!http://a/", "h_t://a/", "\xe9://a/")
        ),
        *(
            (NO_FORM, "GET", target)
            for target in ("urn:a:b", "mailto:a@b", "\\", "\\\\a", "http:\\\\a/", "http:/\\a/")
        ),
        *((NO_FORM, "GET", target) for target in ("?q", "%2f", "[::1]", '"/"', "./a", "../a", ";", "@a")),
        *((NO_FORM, method, "*") for method in ("HEAD", "POST", "options", "OPTION", "OPTIONSX", "M")),
        *((NO_FORM, "OPTIONS", target) for target in ("*a", "**", "a", "a:80", "%2a")),
        *((NO_FORM, method, "a:80") for method in ("connect", "Connect", "CONNECTX", "PUT")),
        *((NO_AUTHORITY, "GET", target) for target in ("http://", "http:///x", "http://?q", "x://")),
        *(
            (FRAGMENT, "GET", target)
            for target in ("#", "/#", "/a#b", "/?a#b", "http://a#b", "http://a/#", "*#")
        ),
        *((FRAGMENT, "CONNECT", target) for target in ("a:80#", "#a:80")),
        *((CONTROL, "GET", target) for target in ("/\t", "/\0", "/\x7f", "http://a\tb/", "/\x1f#")),
        *((EMPTY, "CONNECT", target) for target in (":80", "::1:80", ":")),
        *((NO_HOST, "CONNECT", target) for target in ("/", "//a:80", "a/b", "a?b:80", "[::1", "a,b:80")),
        *(
            (PORT, "CONNECT", target)
            for target in ("http://a:80", "a:80/", "a:80?x", "a:0", "a:65536", "a:080")
        ),
        *((USER, "CONNECT", target) for target in ("u@a:80", "http://u@a/")),
        *(("a CONNECT without a port", "CONNECT", target) for target in ("a", "*", "a:", "[::1]", "[::1]:")),
    ],
)
def test_a_target_of_no_form_is_refused(core: ModuleType, reason: str, method: str, target: str) -> None:
    for always in (False, True):
        assert passed(core, head(method, target, "a"), always=always) == (b"", reason)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(
            ("GET", target)
            for target in ("/", "//a/b", "///", "/\\a", "/a:80", "/@", "/*", "/a://b", "/%", "/%00")
        ),
        *(("GET", target) for target in ('/"<>[]{}|^`', "/\x80\xff", "/a?b?c", "/?u@a", "/?\\\\a")),
        *(
            ("GET", target)
            for target in ("http://a/\\b", "http://a/u@b", "http://a?u@b", "https://a/", "ws://a:80/")
        ),
        *(("OPTIONS", target) for target in ("*", "/", "http://a")),
        ("M-SEARCH", "/*"),
        ("options", "/"),
    ],
)
def test_a_target_of_a_form_passes_as_it_came(core: ModuleType, method: str, target: str) -> None:
    stream = head(method, target, "a:80" if "a:80/" in target and "://a:" in target else "a")
    assert passed(core, stream) == (stream, None)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "http://a/"), ("OPTIONS", "*"), ("CONNECT", "a:1")]
)
def test_only_http_1_0_does_without_a_host(core: ModuleType, version: str, method: str, target: str) -> None:
    stream = head(method, target, None, version)
    assert passed(core, stream) == ((b"", "no Host in HTTP/1.1") if version == "1.1" else (stream, None))


# CONNECT


@pytest.mark.parametrize(
    ("upstream", "named"),
    [
        ("example.com", b"example.com:80"),
        ("example.com:99", b"example.com:99"),
        ("[::2]", b"[::2]:80"),
    ],
)
@pytest.mark.parametrize(
    "target", ["localhost:8080", "LOCALHOST:8080", "[::1]:8080", "[0::1]:8080", "10.1.2.3:8080"]
)
def test_the_target_and_the_host_of_connect_change_together(
    core: ModuleType, upstream: str, named: bytes, target: str
) -> None:
    expected = b"CONNECT %s HTTP/1.1\r\nHost: %s\r\nX: y\r\n\r\n" % (named, named)
    assert passed(core, head("CONNECT", target, target), upstream=upstream) == (expected, None)
    without = b"CONNECT %s HTTP/1.0\r\nX: y\r\n\r\n" % named
    assert passed(core, head("CONNECT", target, None, "1.0"), upstream=upstream) == (without, None)


def test_always_replaces_the_target_of_connect_too(core: ModuleType) -> None:
    expected = head("CONNECT", "example.com:80", "example.com:80")
    assert passed(core, head("CONNECT", "other:443", "other:443"), always=True) == (expected, None)


@pytest.mark.parametrize(
    ("target", "host", "same"),
    [
        ("other:443", "other:443", True),
        ("other:443", "OTHER.:443", True),
        ("other:443", "other", True),
        ("other:80", "other:", True),
        ("[0::2]:80", "[::2]:80", True),
        ("other:443", "other:80", False),
        ("other:8443", "other", False),
        ("other:443", "another:443", False),
        ("other:443", "localhost:8080", False),
        ("localhost:8080", "other:8080", False),
        ("localhost:8080", "localhost", False),
        ("localhost:8080", "127.0.0.1:8080", False),
    ],
)
@pytest.mark.parametrize("always", [False, True])
def test_the_host_of_connect_is_its_target_or_it_is_refused(
    core: ModuleType, target: str, host: str, same: bool, always: bool
) -> None:
    named = "example.com:80" if always else target
    expected = (head("CONNECT", named, named), None)
    refused = (b"", "a CONNECT target that differs from Host")
    assert passed(core, head("CONNECT", target, host), always=always) == (expected if same else refused)


# Both implementations, at random

PIECES = [
    "a",
    "localhost",
    "127.0.0.1",
    ".",
    ":",
    "8080",
    "80",
    "0",
    "65536",
    "[",
    "]",
    "::1",
    "%25",
    "%",
    "@",
    "/",
]
PIECES += [
    "//",
    "http:",
    "\\",
    ",",
    " ",
    "\t",
    "?",
    "#",
    "*",
    "\x80",
    "\xff",
    "\0",
    "",
    "fe80::1",
    "1.2.3.4",
    "_",
    ";",
]


def test_the_twins_see_the_same_hosts(twins: tuple[ModuleType, ModuleType]) -> None:
    random = Random(9112)
    for _ in range(20_000):
        target, host = ("".join(random.choices(PIECES, k=random.randint(1, 5))) for _ in range(2))
        if random.random() < 0.5:
            host = target
        method = random.choice(["GET", "CONNECT", "OPTIONS"])
        form = random.choice(["/", "*", "{}", "http://{}", "http://{}/x"]).format(target)
        stream = head(method, form, random.choice([host, None]), random.choice(["1.0", "1.1"]))
        always = random.random() < 0.2
        native, pure = (exchange(core, always=always) for core in twins)
        assert (bytes(native.request(stream)), native.refusal) == (bytes(pure.request(stream)), pure.refusal)
