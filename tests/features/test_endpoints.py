"""HOST:PORT texts, and the socket addresses they resolve to."""

from __future__ import annotations

import contextlib
import select
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet.endpoints import (
    Endpoint,
    InheritedEndpoint,
    Place,
    UnixEndpoint,
    listen,
    listen_beside,
    parse_endpoint,
    parse_place,
    parse_port,
    place_of,
    resolve,
)
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("example.com:80", "example.com", 80),
        ("example.com:http", "example.com", 80),
        ("10.0.0.1:0", "10.0.0.1", 0),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
        ("*:8080", "*", 8080),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    assert parse_endpoint(text) == Endpoint(host, port)


@pytest.mark.parametrize("text", ["8080", ":8080", "localhost:8080"])
def test_a_port_alone_takes_the_default_host(text: str) -> None:
    assert parse_endpoint(text, "localhost") == Endpoint("localhost", 8080)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected HOST:PORT"),
        ("example.com", "expected HOST:PORT"),
        ("80", "expected HOST:PORT"),
        (":80", "expected HOST:PORT"),
        ("example.com:", "expected HOST:PORT"),
        ("[]:80", "expected HOST:PORT"),
        ("::1:80", "write an IPv6 address in brackets"),
        ("::1", "write an IPv6 address in brackets"),
        ("[::1]80", "write an IPv6 address in brackets"),
        ("host:65536", "port 65536: expected 0 to 65535"),
        ("host:" + "9" * 5000, "expected 0 to 65535"),
        ("host:-1", "port '-1': expected a number or a service name"),
        ("host:80.0", "expected a number or a service name"),
        ("host:\u0663", "expected a number or a service name"),
        ("host:no-such-service", "expected a number or a service name"),
        ("host:a\0b", "expected a number or a service name"),
        ("host:\udcff", "expected a number or a service name"),
    ],
)
def test_what_is_no_endpoint_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words.replace("[", r"\[")):
        parse_endpoint(text)


@given(
    host=st.from_regex(r"[a-z][a-z0-9.]{0,19}|[0-9a-f:]{1,19}:", fullmatch=True), port=st.integers(0, 65535)
)
def test_an_endpoint_reads_back(host: str, port: int) -> None:
    assert parse_endpoint(str(Endpoint(host, port))) == Endpoint(host, port)


def test_a_port_by_number_or_service() -> None:
    assert [parse_port(text) for text in ("0", "080", "65535", "ssh")] == [0, 80, 65535, 22]


def test_addresses_resolve_to_themselves() -> None:
    (v4,) = resolve("127.0.0.1", 80)
    assert (v4.family, v4.address, v4.host) == (socket.AF_INET, ("127.0.0.1", 80), "127.0.0.1")
    (v6,) = resolve("::1", 80)
    assert (v6.family, v6.address, v6.host) == (socket.AF_INET6, ("::1", 80, 0, 0), "::1")


def test_a_scope_is_kept() -> None:
    (scoped,) = resolve("fe80::1%lo")
    assert scoped.address[3] == socket.if_nametoindex("lo")
    assert scoped.host == "fe80::1%lo"


def test_an_interface_is_known_by_name_beside_any_address() -> None:
    """The C library knows it beside link-local ones only; curl beside all."""
    assert resolve("::1%lo") == resolve(f"::1%{socket.if_nametoindex('lo')}")
    with pytest.raises(NameNotResolved, match="::1%nosuch: Name or service not known"):
        resolve("::1%nosuch")


def test_no_address_comes_twice() -> None:
    answers = resolve("localhost")
    assert len(answers) == len(set(answers)) >= 1


def test_a_family_can_be_asked_for() -> None:
    assert {answer.family for answer in resolve("localhost", family=socket.AF_INET)} == {socket.AF_INET}
    with pytest.raises(NameNotResolved, match=r"127\.0\.0\.1: "):
        resolve("127.0.0.1", family=socket.AF_INET6)


def test_the_wildcard_is_every_local_address() -> None:
    answers = resolve("*", 80, passive=True)
    assert ("0.0.0.0", 80) in [answer.address[:2] for answer in answers]


def test_localhost_listens_on_both_loopbacks() -> None:
    hosts = {answer.host for answer in resolve("localhost", 80, passive=True)}
    assert hosts == {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    "host", ["", "no-such-host.invalid", "x" * 300, "a..b", "a\0b", "127.0.0.1\0", "\udcff", "1.2.3.4.5"]
)
def test_what_is_no_host_is_refused_by_name(host: str) -> None:
    with pytest.raises(NameNotResolved) as refused:
        resolve(host)
    assert str(refused.value).startswith(f"{host or repr(host)}: ")


def test_everywhere_is_no_place_to_connect_to() -> None:
    with pytest.raises(NameNotResolved, match="not a host name"):
        resolve("*", 80)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8080", Endpoint("localhost", 8080)),
        ("[::1]:80", Endpoint("::1", 80)),
        ("unix:/run/x.sock", UnixEndpoint("/run/x.sock")),
        ("unix:@name", UnixEndpoint("@name")),
        ("systemd:web", InheritedEndpoint("web")),
        ("systemd:", InheritedEndpoint("")),
    ],
)
def test_places_read_back(text: str, place: Place) -> None:
    assert parse_place(text, "localhost") == place
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    ("text", "words"),
    [("unix:", "unix:/path"), ("unix:@", "unix:@name"), ("unix:" + "x" * 108, "at most 107")],
)
def test_what_is_no_unix_address_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_place(text)


def test_where_a_socket_is_can_be_written(tmp_path: Path) -> None:
    for address, text in (
        (str(tmp_path / "s"), f"unix:{tmp_path}/s"),
        ("\0fastnet-test", "unix:@fastnet-test"),
    ):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(address)
            assert str(place_of(sock.family, sock.getsockname())) == text
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert place_of(server.family, server.getsockname()) == Endpoint("127.0.0.1", port)


@pytest.mark.parametrize("type_", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_listeners_share_a_port_that_stays_closed_to_others(type_: int) -> None:
    with contextlib.ExitStack() as stack:
        first = listen(Endpoint("localhost", 0), type=type_)
        more = [*listen_beside(first), *listen_beside(first)]
        listeners = [stack.enter_context(sock) for sock in (*first, *more)]
        (port,) = {sock.getsockname()[1] for sock in listeners}
        with pytest.raises(AddressInUse):
            listen(Endpoint("127.0.0.1", port), type=type_)
        clients = [stack.enter_context(socket.socket(type=type_)) for _ in range(200)]
        for client in clients:
            client.connect(("127.0.0.1", port))
            client.send(b"x")
        took = [sock for sock in listeners if select.select([sock], [], [], 0)[0]]
        assert len(took) == 3


def test_a_port_is_shared_with_who_asks_for_it_too() -> None:
    with contextlib.ExitStack() as stack:
        first = listen(Endpoint("127.0.0.1", 0), reuse_port=True)
        stack.callback(first[0].close)
        again = listen(Endpoint("127.0.0.1", first[0].getsockname()[1]), reuse_port=True)
        stack.callback(again[0].close)
        assert first[0].getsockname() == again[0].getsockname()
