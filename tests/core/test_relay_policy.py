"""What a relay decides by: PROXY headers, compared with HAProxy's and with the C's, and address prefixes."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fastnet._pure.relay import proxy
from fastnet._pure.relay.prefixes import Prefixes

TOPIC = "relay"
ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOOPBACKS = ("127.0.0.1", "::1")


def address(host: str, port: int = 0) -> tuple[int, Any]:
    if ":" in host:
        return socket.AF_INET6, (host, port, 0, 0)
    return socket.AF_INET, (host, port)


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


PORTS = st.integers(0, 65535)
IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = (
    st.ip_addresses(v=6)
    .filter(lambda ip: not ip.ipv4_mapped)
    .map(lambda ip: socket.inet_ntop(socket.AF_INET6, ip.packed))
)
PAIRS = st.one_of(
    *(st.tuples(st.builds(address, hosts, PORTS), st.builds(address, hosts, PORTS)) for hosts in (IPV4, IPV6))
)
VERSIONS = st.sampled_from([1, 2])

# PROXY headers


@settings(deadline=None)
@given(VERSIONS, PAIRS, st.binary(max_size=20))
def test_a_header_that_is_built_is_parsed_whatever_follows(
    version: int, pair: tuple[Any, Any], follows: bytes
) -> None:
    header = proxy.build(version, *pair)
    assert proxy.parse(header + follows) == (len(header), version, *pair)
    for size in range(len(header)):
        assert proxy.parse(header[:size]) is None


def test_the_forms_of_a_header() -> None:
    ipv4 = address("192.0.2.1", 50000), address("255.255.255.255", 80)
    assert proxy.build(1, *ipv4) == b"PROXY TCP4 192.0.2.1 255.255.255.255 50000 80\r\n"
    ipv6 = address("2001:db8::1", 50000), address("::1", 80)
    assert proxy.build(1, *ipv6) == b"PROXY TCP6 2001:db8::1 ::1 50000 80\r\n"
    mapped = address("::ffff:10.0.0.1", 50000), address("::ffff:10.0.0.2", 80)
    assert proxy.build(1, *mapped) == b"PROXY TCP4 10.0.0.1 10.0.0.2 50000 80\r\n"
    assert proxy.build(1, mapped[0], ipv6[1]) == b"PROXY TCP6 ::ffff:10.0.0.1 ::1 50000 80\r\n"
    expected = SIGNATURE + bytes.fromhex("2111000c0a0000010a000002c3500050")
    assert proxy.build(2, *mapped) == expected


@pytest.mark.parametrize("source", [None, (socket.AF_UNIX, ""), (socket.AF_UNIX, b"\0name")])
def test_what_has_no_ip_address_is_unknown(source: tuple[int, Any] | None) -> None:
    for pair in ((source, address("10.0.0.1")), (address("10.0.0.1"), source)):
        assert proxy.build(1, *pair) == b"PROXY UNKNOWN\r\n"
        assert proxy.build(2, *pair) == binary(0x20, 0, b"")


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 anything \r goes\r\n",
        b"PROXY UNKNOWN".ljust(105) + b"\r\n",
        binary(0x20, 0x11, bytes(12)),
        binary(0x20, 0xFF, b"abc"),
        binary(0x21, 0x00, b"abc"),
        binary(0x21, 0x31, bytes(216)),
        binary(0x21, 0x32, bytes(220)),
    ],
)
def test_a_header_without_addresses(header: bytes) -> None:
    assert proxy.parse(header + b"GET") == (len(header), 1 if header.startswith(b"PROXY") else 2, None, None)


def test_extensions_are_skipped_up_to_the_longest_header() -> None:
    addresses = bytes.fromhex("c0000201c63364ffc3500050")
    expected = address("192.0.2.1", 50000), address("198.51.100.255", 80)
    for family in (0x11, 0x12):
        for rest in (addresses, addresses + b"\3\0\4crc!", addresses.ljust(4080, b"x")):
            assert proxy.parse(binary(0x21, family, rest)) == (16 + len(rest), 2, *expected)
    with pytest.raises(proxy.BadHeader, match="4097 bytes: expected at most 4096"):
        proxy.parse(binary(0x21, 0x11, addresses.ljust(4081)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"PROXY \r\n",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN".ljust(107),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 010.0.0.1 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 0x7f000001 1 2\r\n",
        b"PROXY TCP4 127.1 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 ::ffff:010.0.0.1 ::1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 ::1%lo ::1 1 2\r\n",
        binary(0x11, 0x11, bytes(12)),
        binary(0x22, 0x11, bytes(12)),
        binary(0x21, 0x10, bytes(12)),
        binary(0x21, 0x41, bytes(99)),
        binary(0x21, 0x11, bytes(11)),
        binary(0x21, 0x21, bytes(35)),
        binary(0x21, 0x31, bytes(215)),
    ],
)
def test_a_wrong_header_is_refused(data: bytes) -> None:
    with pytest.raises(proxy.BadHeader):
        proxy.parse(data)


class _CHeader(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("known", ctypes.c_bool),
        ("padding", ctypes.c_int),
        ("source", ctypes.c_char * 128),
        ("destination", ctypes.c_char * 128),
    )


def c_address(raw: bytes) -> tuple[int, Any]:
    family, port = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:4], "big")
    ip = raw[4:8] if family == socket.AF_INET else raw[8:24]
    return address(socket.inet_ntop(family, ip), port)


@pytest.fixture(scope="module")
def c_parse(
    peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bytes], object]:
    """The C's ``fn_proxy_parse``, which gives what ``proxy.parse`` does."""
    path = tmp_path_factory.mktemp("proxy") / "proxy.so"
    sources = ("csrc/relay/proxy.c", "csrc/relay/prefixes.c")
    options = ("-std=c11", "-shared", "-fPIC", "-Icsrc", "-o", str(path))
    subprocess.run((peer("cc"), *options, *sources), cwd=ROOT, check=True)
    library = ctypes.CDLL(str(path))
    library.fn_proxy_parse.restype = ctypes.c_ssize_t

    def parse(data: bytes) -> object:
        header = _CHeader()
        size = library.fn_proxy_parse(data, ctypes.c_size_t(len(data)), ctypes.byref(header))
        if size <= 0:
            return None if size == 0 else proxy.BadHeader
        raw = bytes(header)
        ends = (c_address(raw[8:136]), c_address(raw[136:264])) if header.known else (None, None)
        return (size, header.version, *ends)

    return parse


def mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    return bytes(changed)


WORDS = st.sampled_from(
    [
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "1.2.3.4",
        "::1",
        "::ffff:1.2.3.4",
        "0",
        "00",
        "65535",
        "65536",
        "",
        "\0",
        "\n",
        "\r\n",
    ]
)
HEADERS = st.one_of(
    st.builds(
        mutated,
        st.builds(lambda version, pair: proxy.build(version, *pair), VERSIONS, PAIRS),
        st.lists(st.tuples(PORTS, st.integers(0, 255)), max_size=3),
    ),
    st.lists(WORDS, max_size=12).map(lambda words: ("PROXY " + " ".join(words)).encode()),
    st.builds(binary, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=240)),
    st.binary(max_size=40),
)


@settings(max_examples=200, deadline=None)
@given(data=HEADERS)
@example(data=b"PROXY TCP4 010.0.0.1 1.2.3.4 1 2\r\n")
@example(data=b"PROXY TCP4 1.2.3.4 0x7f000001 1 2\r\n")
@example(data=b"PROXY TCP4 127.1 1.2.3.4 1 2\r\n")
@example(data=b"PROXY TCP6 ::ffff:010.0.0.1 ::1 1 2\r\n")
def test_native_and_pure_agree_on_every_header(c_parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        expected: object = proxy.parse(data)
    except proxy.BadHeader as error:
        expected = type(error)
    assert c_parse(data) == expected


# HAProxy

CONFIGURATION = """
defaults
  mode tcp
  timeout connect 20s
  timeout client 20s
  timeout server 20s
listen v1
  bind fd@{0}
  bind fd@{1}
  server here {server} send-proxy
listen v2
  bind fd@{2}
  bind fd@{3}
  server here {server} send-proxy-v2 proxy-v2-options crc32c
frontend returns
  mode http
  bind fd@{4} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
"""


class HAProxy(NamedTuple):
    """Where it listens, and who it connects to with a PROXY header."""

    senders: dict[tuple[int, str], tuple[Any, ...]]
    """By the version that it sends, and the loopback address that it listens on."""
    receiver: tuple[Any, ...]
    server: socket.socket


@pytest.fixture
def haproxy(peer: Callable[[str], str], tmp_path: Path) -> Iterator[HAProxy]:
    program = peer("haproxy")
    with ExitStack() as stack:
        server, receiver, *listeners = (
            stack.enter_context(socket.create_server(address(host)[1], family=address(host)[0]))
            for host in ("127.0.0.1", "127.0.0.1", *LOOPBACKS, *LOOPBACKS)
        )
        inherited = [sock.fileno() for sock in (*listeners, receiver)]
        host, port = server.getsockname()
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(CONFIGURATION.format(*inherited, server=f"{host}:{port}"))
        server.settimeout(PATIENCE)
        process = stack.enter_context(
            subprocess.Popen([program, "-q", "-db", "-f", str(configuration)], pass_fds=inherited)
        )
        stack.callback(process.terminate)
        keys = [(version, host) for version in (1, 2) for host in LOOPBACKS]
        senders = dict(zip(keys, (sock.getsockname() for sock in listeners), strict=True))
        yield HAProxy(senders, receiver.getsockname(), server)


def connect(where: tuple[Any, ...]) -> socket.socket:
    return socket.create_connection(where[:2], timeout=PATIENCE)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("version", [1, 2])
def test_haproxys_header_is_parsed(haproxy: HAProxy, version: int, host: str) -> None:
    with connect(haproxy.senders[version, host]) as client:
        ends = [(client.family, name) for name in (client.getsockname(), client.getpeername())]
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        upstream, _ = haproxy.server.accept()
        with upstream:
            upstream.settimeout(PATIENCE)
            data = read_all(upstream)
        header = proxy.parse(data)
        assert header == (len(data) - len(b"hello"), version, *ends)
        assert data[header.size :] == b"hello"


def ask_haproxy(sock: socket.socket) -> str:
    """Who it thinks is there: both addresses and ports."""
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return read_all(sock).decode().partition("\r\n\r\n")[2]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("192.0.2.1", "198.51.100.255"),
        ("2001:db8::1", "2001:db8:0:1:2:3:4:5"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2"),
    ],
)
def test_haproxy_takes_our_header(haproxy: HAProxy, version: int, source: str, destination: str) -> None:
    with connect(haproxy.receiver) as client:
        client.sendall(proxy.build(version, address(source, 50000), address(destination, 80)))
        seen = f"{source} 50000 {destination} 80".replace("::ffff:", "")
        assert ask_haproxy(client) == seen


@pytest.mark.parametrize("version", [1, 2])
def test_haproxy_takes_our_header_that_knows_nobody(haproxy: HAProxy, version: int) -> None:
    with connect(haproxy.receiver) as client:
        client.sendall(proxy.build(version, (socket.AF_UNIX, ""), None))
        mine, its = client.getsockname(), client.getpeername()
        assert ask_haproxy(client) == f"{mine[0]} {mine[1]} {its[0]} {its[1]}"


# Prefixes

MAPPED = ipaddress.ip_network("::ffff:0:0/96")


def prefix(text: str) -> tuple[int, bytes, int]:
    network = ipaddress.ip_network(text)
    return address(str(network.network_address))[0], network.network_address.packed, network.prefixlen


@settings(deadline=None)
@given(st.lists(st.ip_addresses(), min_size=1, max_size=5), st.data())
def test_prefixes_agree_with_ipaddress(ips: list[Any], data: st.DataObject) -> None:
    networks = [
        ipaddress.ip_network((ip, data.draw(st.integers(0, ip.max_prefixlen))), strict=False) for ip in ips
    ]
    assume(not any(network.version == 6 and network.subnet_of(MAPPED) for network in networks))
    prefixes = Prefixes(prefix(str(network)) for network in networks)
    asked = data.draw(st.one_of(st.ip_addresses(), st.sampled_from(ips)))
    real = getattr(asked, "ipv4_mapped", None) or asked
    assert (address(str(asked), 1) in prefixes) == any(real in network for network in networks)


@pytest.mark.parametrize(
    ("host", "network", "held"),
    [
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "::ffff:10.0.0.0/104", True),
        ("10.1.2.3", "::ffff:0:0/96", True),
        ("10.1.2.3", "::/0", False),
        ("::ffff:10.1.2.3", "::/0", False),
        ("::1", "0.0.0.0/0", False),
        ("fe80::1%lo", "fe80::/10", True),
    ],
)
def test_a_mapped_ipv4_address_is_an_ipv4_address(host: str, network: str, held: bool) -> None:
    assert (address(host) in Prefixes([prefix(network)])) == held


def test_no_prefix_holds_what_is_no_ip_address() -> None:
    assert (socket.AF_UNIX, "/path") not in Prefixes([prefix("0.0.0.0/0"), prefix("::/0")])
    assert not Prefixes([])
    assert address("10.0.0.1") not in Prefixes([])
