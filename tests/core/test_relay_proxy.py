"""PROXY protocol headers as a relay sends and takes them, by their bytes (HAProxy's proxy-protocol.txt)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from forwarding import read_all
from relays import Relay, Service, closed_port
from traffic import read_exactly

TOPIC = "relay"

Relays = Callable[..., Relay]
Services = Callable[..., Service]

TRUSTED = [(socket.AF_INET, bytes([127, 0, 0, 0]), 8), (socket.AF_INET6, bytes(15) + b"\1", 128)]
TEN = (socket.AF_INET, bytes([10, 0, 0, 0]), 8)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SHORT, LONG = 0.2, 1000.0

V1 = b"PROXY TCP4 10.1.2.3 192.0.2.9 4711 443\r\n"
V2 = SIGNATURE + b"\x21\x11\0\x0c" + bytes([10, 1, 2, 3, 192, 0, 2, 9]) + struct.pack(">HH", 4711, 443)
V2_TLV = V2[:14] + b"\0\x11" + V2[16:] + b"\4\0\2\0\0"
V2_IPV6 = (
    SIGNATURE
    + b"\x21\x21\0\x24"
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack(">HH", 4711, 443)
)
CLIENT = (socket.AF_INET, ("10.1.2.3", 4711))
IPV6_CLIENT = (socket.AF_INET6, ("2001:db8::1", 4711, 0, 0))


def sent(relay: Relay, service: Service, data: bytes = b"data") -> bytes:
    """What comes out at the service, from a client that sends this and ends."""
    with relay.connect() as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        with service.accept() as server:
            return read_all(server)


def ports(relay: Relay) -> tuple[int, int]:
    """Those of the only connection's client and listener."""
    [record] = relay.records(1)
    return record.client[1][1], relay.address[1][1]


# Sent


def test_version_1_is_sent(relays: Relays, service: Service) -> None:
    relay = relays(service, send_proxy=1, record=True)
    header, _, rest = sent(relay, service).partition(b"\r\n")
    assert header == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d" % ports(relay)
    assert rest == b"data"


def test_version_1_is_sent_of_ipv6(relays: Relays, service: Service) -> None:
    relay = relays(service, listener=Service(socket.AF_INET6, "::1").sock, send_proxy=1, record=True)
    header, _, rest = sent(relay, service).partition(b"\r\n")
    assert header == b"PROXY TCP6 ::1 ::1 %d %d" % ports(relay)
    assert rest == b"data"


def test_version_2_is_sent(relays: Relays, service: Service) -> None:
    relay = relays(service, send_proxy=2, record=True)
    data = sent(relay, service)
    assert data[:16] == SIGNATURE + b"\x21\x11\0\x0c"
    assert data[16:24] == bytes([127, 0, 0, 1]) * 2
    assert struct.unpack(">HH", data[24:28]) == ports(relay)
    assert data[28:] == b"data"


def test_of_a_unix_client_no_address_is_sent(relays: Relays, service: Service, tmp_path: object) -> None:
    for version, header in ((1, b"PROXY UNKNOWN\r\n"), (2, SIGNATURE + b"\x20\0\0\0")):
        listener = Service(socket.AF_UNIX, f"{tmp_path}/{version}").sock
        assert sent(relays(service, listener=listener, send_proxy=version), service) == header + b"data"


def test_the_header_comes_first_and_is_not_counted(relays: Relays, service: Service) -> None:
    relay = relays(service, send_proxy=1, record=True)
    with relay.connect() as client, service.accept() as server:
        assert server.recv(100).startswith(b"PROXY ")
        server.sendall(b"who speaks first")
        assert client.recv(100) == b"who speaks first"
    [record] = relay.records(1)
    assert (record.sent_up, record.sent_down, relay.counters.sent_up) == (0, 16, 0)


def test_each_upstream_is_sent_one(relays: Relays, services: Services) -> None:
    service = services()
    relay = relays(closed_port(), service, send_proxy=2)
    assert sent(relay, service).count(SIGNATURE) == 1


# Taken


@pytest.mark.parametrize(
    ("header", "client"),
    [(V1, CLIENT), (V2, CLIENT), (V2_TLV, CLIENT), (V2_IPV6, IPV6_CLIENT)],
    ids=["1", "2", "2 with TLV", "2 of IPv6"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_header_of_a_trusted_peer_says_who_the_client_is(
    relays: Relays, service: Service, header: bytes, client: Any, at_once: bool
) -> None:
    relay = relays(service, trust_proxy=TRUSTED, record=True)
    with relay.connect() as sock:
        if at_once:
            sock.sendall(header + b"data")
        else:
            for byte in header:
                sock.sendall(bytes([byte]))
            sock.sendall(b"data")
        with service.accept() as server:
            assert server.recv(100) == b"data"
            assert relay.loop.connections()[0].client == client
    [record] = relay.records(1)
    assert (record.client, record.ended, record.sent_up) == (client, "closed", 4)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"])
def test_a_header_may_say_nothing(relays: Relays, service: Service, header: bytes) -> None:
    relay = relays(service, trust_proxy=TRUSTED, record=True)
    assert sent(relay, service, header + b"data") == b"data"
    [record] = relay.records(1)
    assert record.client[1][0] == "127.0.0.1"


def test_what_follows_a_header_may_be_long(relays: Relays, service: Service) -> None:
    data = os.urandom(1 << 20)
    assert sent(relays(service, trust_proxy=TRUSTED), service, V2 + data) == data


def test_what_was_taken_is_sent_on(relays: Relays, service: Service) -> None:
    relay = relays(service, trust_proxy=TRUSTED, send_proxy=1)
    assert sent(relay, service, V2 + b"data") == V1 + b"data"
    relay = relays(service, trust_proxy=TRUSTED, send_proxy=2)
    assert sent(relay, service, V1 + b"data") == V2 + b"data"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        V1.replace(b"TCP4", b"TCP5"),
        V1[:-2] + b"\n",
        SIGNATURE + b"\x31\x11\0\x0c",
        b"PROXY " * 20,
    ],
)
def test_a_wrong_header_is_denied(relays: Relays, service: Service, data: bytes) -> None:
    relay = relays(service, trust_proxy=TRUSTED, record=True)
    with relay.connect() as client:
        client.sendall(data)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    [record] = relay.records(1)
    assert (record.ended, record.upstream) == ("denied", None)
    assert (relay.counters.denied, relay.counters.active, relay.counters.resets) == (1, 0, 0)
    assert not service.has_a_caller()


@pytest.mark.parametrize("before", [b"", V1[:10]])
def test_urgent_data_within_a_header_is_denied(relays: Relays, service: Service, before: bytes) -> None:
    """Also where what precedes it has been read."""
    relay = relays(service, trust_proxy=TRUSTED, record=True)
    with relay.connect() as client:
        client.sendall(before)
        client.send(b"!", socket.MSG_OOB)
        assert relay.ended() == "denied"


def test_urgent_data_behind_a_header_is_dropped(relays: Relays, service: Service) -> None:
    relay = relays(service, trust_proxy=TRUSTED)
    with relay.connect() as client:
        client.sendall(V1)
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"hello")
        with service.accept() as server:
            assert read_exactly(server, 5) == b"hello"


def test_an_end_before_the_header_is_denied(relays: Relays, service: Service) -> None:
    relay = relays(service, trust_proxy=TRUSTED, record=True)
    with relay.connect() as client:
        client.sendall(V1[:10])
        client.shutdown(socket.SHUT_WR)
        assert relay.ended() == "denied"


def test_a_late_header_is_denied(relays: Relays, service: Service) -> None:
    relay = relays(service, trust_proxy=TRUSTED, head_timeout=SHORT, record=True)
    with relay.connect() as client:
        client.sendall(V1[:10])
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert relay.ended() == "late head"
    assert (relay.counters.denied, relay.counters.refused) == (1, 0)


def test_the_header_of_a_stranger_is_data(relays: Relays, service: Service) -> None:
    relay = relays(service, trust_proxy=[TEN], record=True)
    assert sent(relay, service, V1) == V1
    [record] = relay.records(1)
    assert record.client[1][0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("options", "second", "ended"),
    [
        ({}, "2001:db8:0:7:ffff::2", "denied"),
        ({}, "2001:db8:0:8::1", "closed"),
        ({"source_prefix": 128}, "2001:db8:0:7::2", "closed"),
        ({"source_prefix": 48}, "2001:db8:0:8::1", "denied"),
        ({"source_prefix": 1}, "192.0.2.1", "closed"),
    ],
)
def test_ipv6_addresses_of_one_prefix_are_one_source(
    relays: Relays, service: Service, options: dict[str, int], second: str, ended: str
) -> None:
    def header(address: str) -> bytes:
        family = "TCP6" if ":" in address else "TCP4"
        return f"PROXY {family} {address} {address} 1 2\r\n".encode()

    relay = relays(service, trust_proxy=TRUSTED, max_per_source=1, record=True, **options)
    with relay.connect() as first, relay.connect() as other:
        first.sendall(header("2001:db8:0:7::1"))
        with service.accept():
            other.sendall(header(second))
            if ended == "closed":
                service.accept().close()
                other.close()
            assert relay.ended() == ended
    [record] = relay.records(1)
    assert record.ended == "closed"
    # Once it has ended, it is counted no longer.
    assert sent(relay, service, header("2001:db8:0:7::3") + b"data") == b"data"


def test_it_is_the_client_who_is_judged(relays: Relays, service: Service) -> None:
    relay = relays(service, trust_proxy=TRUSTED, allow=[TEN], max_per_source=1, record=True)
    assert sent(relay, service, V2 + b"data") == b"data"
    assert relay.ended() == "closed"
    with relay.connect() as client:
        client.sendall(V2_IPV6)
        assert relay.ended() == "denied"
    with relay.connect() as client:
        client.sendall(V2)
        with service.accept(), relay.connect() as second:
            second.sendall(V1)
            assert relay.ended() == "denied"
