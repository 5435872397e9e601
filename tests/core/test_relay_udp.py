"""UDP flows on real sockets: whose datagrams go where, which address answers, limits, errors and ends."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from datagrams import EchoServer, Served, ask, bound, closed_port
from forking import forked
from forwarding import PATIENCE, assert_soon

from fastnet._pure import relay as pure

TOPIC = "relay"
SHORT = 0.2
"""Seconds in which nothing is expected to come."""


Forwarding = Callable[..., "tuple[Any, Any, Served]"]


@pytest.fixture
def forwarding(core: ModuleType) -> Iterator[Forwarding]:
    """``address, rule, served = forwarding(upstream address, ..., listener=sock, option=...)``"""
    with contextlib.ExitStack() as stack:

        def serve(
            *upstreams: tuple[int, Any], listener: socket.socket | None = None, **options: Any
        ) -> tuple[Any, Any, Served]:
            rule = core.Rule([core.Upstream([address]) for address in upstreams], core.Options(**options))
            served = Served(core, rule, listener or bound())
            stack.callback(served.end)
            return served.addresses[0], rule, served

        yield serve


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with bound() as sock:
        yield sock


def ask_until_answered(client: socket.socket, address: Any) -> bytes:
    """As clients of UDP do: a datagram that met an error is lost."""
    client.settimeout(SHORT)
    for _ in range(int(PATIENCE / SHORT)):
        with contextlib.suppress(TimeoutError):
            return ask(client, address)
    pytest.fail("no answer")


def assert_silent(client: socket.socket) -> None:
    client.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        client.recv(65536)
    client.settimeout(PATIENCE)


def test_datagrams_pass_both_ways_and_are_counted(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, rule, served = forwarding(server.address)
    server.prefix = b"echo of "
    assert ask(client, address) == b"echo of hello"
    assert ask(client, address) == b"echo of hello"
    counters = rule.counters
    assert_soon(lambda: counters.sent_down == 26)
    assert (counters.accepted, counters.active, counters.sent_up) == (1, 1, 10)
    (record,) = served.loop.connections()
    assert (record.number, record.client) == (1, (client.family, client.getsockname()))
    assert (record.upstream, record.ended) == (server.address, "")
    assert (record.sent_up, record.sent_down) == (10, 26)


@pytest.mark.parametrize(("host", "longest"), [("127.0.0.1", 65507), ("::1", 65527)], ids=["IPv4", "IPv6"])
def test_a_datagram_of_any_size_passes_whole(forwarding: Forwarding, host: str, longest: int) -> None:
    with EchoServer(host) as server, bound(host) as client:
        address, _, _ = forwarding(server.address, listener=bound(host))
        for size in (0, 1, 1472, 1473, 9000, longest, 0):
            data = os.urandom(size)
            assert ask(client, address, data) == data


def test_clients_are_not_mixed_up(forwarding: Forwarding, server: EchoServer) -> None:
    address, rule, _ = forwarding(server.address)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(bound()) for _ in range(100)]
        for turn in range(20):
            for number, client in enumerate(clients):
                client.sendto(f"{number} {turn}".encode() * (1 + number % 50), address)
            for number, client in enumerate(clients):
                assert client.recv(65536) == f"{number} {turn}".encode() * (1 + number % 50)
    assert rule.counters.active == 100
    assert len(set(server.senders)) == 100


def test_many_datagrams_of_one_client_keep_their_order(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, _, _ = forwarding(server.address)
    for turn in range(20):
        sent = [f"{turn} {number}".encode() for number in range(50)]
        for data in sent:
            client.sendto(data, address)
        assert [client.recv(65536) for _ in sent] == sent


def test_a_stranger_cannot_answer(forwarding: Forwarding, server: EchoServer, client: socket.socket) -> None:
    address, _, _ = forwarding(server.address)
    ask(client, address)
    with bound() as stranger:
        stranger.sendto(b"forged", server.senders[0])
        assert_silent(client)
    assert ask(client, address) == b"hello"


@pytest.mark.parametrize(
    ("wildcard", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("::", "::1"), ("::", "127.0.0.2")],
)
def test_a_wildcard_listener_answers_from_the_asked_address(
    forwarding: Forwarding, server: EchoServer, wildcard: str, asked: str
) -> None:
    options = {"IPV6_V6ONLY": 0} if wildcard == "::" else {}
    (_, port, *_), _, _ = forwarding(server.address, listener=bound(wildcard, **options))
    with socket.socket(socket.AF_INET6 if ":" in asked else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((asked, port))  # It takes nothing from any other address.
        client.send(b"hello")
        assert client.recv(100) == b"hello"


def test_each_asked_address_is_a_flow_of_its_own(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    (_, port), rule, _ = forwarding(server.address, listener=bound("0.0.0.0"))
    for asked in ("127.0.0.3", "127.0.0.4", "127.0.0.3"):
        client.sendto(b"hello", (asked, port))
        assert client.recvfrom(100) == (b"hello", (asked, port))
    assert rule.counters.accepted == 2


def test_a_quiet_flow_ends_and_a_new_one_begins(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, rule, served = forwarding(server.address, idle_timeout=0.05, record=True)
    assert ask(client, address) == b"hello"
    assert_soon(lambda: rule.counters.active == 0)
    (record,) = served.loop.records()
    assert (record.number, record.ended, record.sent_up, record.sent_down) == (1, "idle", 5, 5)
    assert record.client == (client.family, client.getsockname())
    assert record.upstream == server.address
    assert rule.counters.timed_out == 1
    assert ask(client, address) == b"hello"
    assert rule.counters.accepted == 2


# Upstreams


def test_an_upstream_that_refuses_is_asked_again(forwarding: Forwarding, client: socket.socket) -> None:
    port = closed_port()
    address, rule, served = forwarding((socket.AF_INET, ("127.0.0.1", port)), record=True)
    client.sendto(b"hello", address)
    assert_soon(lambda: rule.counters.unreachable == 1 and rule.counters.active == 0)
    (record,) = served.loop.records()
    assert (record.ended, record.upstream) == ("unreachable", (socket.AF_INET, ("127.0.0.1", port)))
    with EchoServer(port=port):
        assert ask(client, address) == b"hello"


def test_a_flow_outlives_an_upstream_that_comes_back(forwarding: Forwarding, client: socket.socket) -> None:
    with EchoServer() as server:
        address, rule, served = forwarding(server.address, record=True)
        assert ask(client, address) == b"hello"
    (sender,) = server.senders
    client.sendto(b"lost", address)
    assert_soon(lambda: rule.counters.sent_up == 9)
    with EchoServer(port=server.address[1][1]) as server:
        assert ask_until_answered(client, address) == b"hello"
        assert set(server.senders) == {sender}
    assert rule.counters.accepted == 1
    assert served.loop.records() == []


def test_the_next_address_of_an_upstream_is_taken(
    core: ModuleType, server: EchoServer, client: socket.socket
) -> None:
    upstream = core.Upstream([(socket.AF_INET, ("127.0.0.1", closed_port())), server.address])
    rule = core.Rule([upstream])
    served = Served(core, rule, bound())
    try:
        assert ask_until_answered(client, served.addresses[0]) == b"hello"
        with bound() as other:  # From now on nothing is lost.
            assert ask(other, served.addresses[0]) == b"hello"
        assert upstream.active == 2
        assert upstream.failures == 0
    finally:
        served.end()
    assert upstream.active == 0


def test_the_next_upstream_is_taken(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    refusing = socket.AF_INET, ("127.0.0.1", closed_port())
    address, _, _ = forwarding(refusing, server.address, max_failures=1)
    assert ask_until_answered(client, address) == b"hello"


def test_new_upstreams_are_for_new_flows(
    core: ModuleType, forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, rule, _ = forwarding(server.address)
    assert ask(client, address) == b"hello"
    with EchoServer(prefix=b"new ") as other, bound() as late:
        rule.set_upstreams([core.Upstream([other.address])])
        assert ask(client, address) == b"hello"
        assert ask(late, address) == b"new hello"


def test_without_an_upstream_each_flow_is_unreachable(forwarding: Forwarding, client: socket.socket) -> None:
    address, rule, _ = forwarding(record=True)
    client.sendto(b"hello", address)
    assert_soon(lambda: (rule.counters.unreachable, rule.counters.active) == (1, 0))


def test_nothing_is_sent_round_in_circles(forwarding: Forwarding, client: socket.socket) -> None:
    listener = bound("0.0.0.0")
    port = listener.getsockname()[1]
    _, rule, _ = forwarding((socket.AF_INET, ("127.0.0.2", port)), listener=listener)
    client.sendto(b"hello", ("127.0.0.1", port))
    assert_soon(lambda: rule.counters.unreachable == 1)
    assert rule.counters.accepted == 2


# Limits


def test_the_quietest_flow_makes_room(forwarding: Forwarding, server: EchoServer) -> None:
    address, rule, served = forwarding(server.address, max_connections=2, record=True)
    with bound() as one, bound() as two, bound() as three:
        for client in (one, two, one, three, one, three):
            assert ask(client, address) == b"hello"
        assert (rule.counters.accepted, rule.counters.active) == (3, 2)
        (record,) = served.loop.records()
        assert (record.client, record.ended) == ((two.family, two.getsockname()), "idle")
        assert ask(two, address) == b"hello"
    assert rule.counters.denied == 0


def test_flows_of_one_source_are_limited(forwarding: Forwarding, server: EchoServer) -> None:
    address, rule, _ = forwarding(server.address, max_per_source=1, max_connections=2)
    with bound() as one, bound() as two, bound("127.0.0.2") as second, bound("127.0.0.3") as third:
        assert ask(one, address) == b"hello"
        two.sendto(b"hello", address)
        assert_soon(lambda: rule.counters.denied == 1)
        for elsewhere in (second, third):  # The flow of ``one`` makes room, and is counted no longer.
            assert ask(elsewhere, address) == b"hello"
        assert ask(two, address) == b"hello"
    assert (rule.counters.accepted, rule.counters.denied) == (4, 1)


@pytest.mark.parametrize("option", ["allow", "deny"])
def test_clients_are_allowed_and_denied_by_prefix(
    forwarding: Forwarding, server: EchoServer, option: str
) -> None:
    prefix = (socket.AF_INET, socket.inet_aton("127.0.0.2"), 32)
    address, rule, _ = forwarding(server.address, **{option: [prefix]})
    with bound() as one, bound("127.0.0.2") as two:
        inside, outside = (two, one) if option == "allow" else (one, two)
        assert ask(inside, address) == b"hello"
        outside.sendto(b"hello", address)
        assert_soon(lambda: rule.counters.denied == 1)
        assert_silent(outside)
    assert rule.counters.accepted == 1


@pytest.mark.parametrize("option", ["rate", "connection_rate"])
def test_what_a_rate_does_not_allow_is_dropped(
    forwarding: Forwarding, server: EchoServer, client: socket.socket, option: str
) -> None:
    address, rule, _ = forwarding(server.address, **{option: 10})
    for _ in range(100):
        client.sendto(bytes(100), address)
    assert_soon(lambda: rule.counters.sent_up > 0)
    assert rule.counters.sent_up < 5000


# Ends


def test_stopping_ends_the_flows(forwarding: Forwarding, server: EchoServer, client: socket.socket) -> None:
    address, rule, served = forwarding(server.address, record=True)
    assert ask(client, address) == b"hello"
    assert served.end() is False
    (record,) = served.loop.records()
    assert (record.ended, rule.counters.active, rule.counters.resets) == ("stopped", 0, 1)
    bound(port=address[1]).close()


def test_draining_lets_flows_finish_and_none_begin(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, rule, served = forwarding(server.address, record=True)
    assert ask(client, address) == b"hello"
    served.loop.drain(PATIENCE)
    assert ask(client, address) == b"hello"
    with bound() as late:
        late.sendto(b"hello", address)
        assert_silent(late)
    served.thread.join(PATIENCE)
    assert served.results == [True]
    assert [record.ended for record in served.loop.records()] == ["idle"]
    assert rule.counters.accepted == 1


def test_a_loop_without_flows_is_drained_at_once(forwarding: Forwarding, server: EchoServer) -> None:
    _, _, served = forwarding(server.address)
    assert served.end(timeout=PATIENCE) is True


def test_unlisten_ends_the_flows_and_frees_the_port(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, rule, served = forwarding(server.address, record=True)
    assert ask(client, address) == b"hello"
    served.loop.unlisten(rule)
    bound(port=address[1]).close()
    (record,) = served.loop.records()
    assert (record.ended, rule.counters.active, rule.counters.resets) == ("closed", 0, 0)


def test_a_forked_child_holds_no_port(
    forwarding: Forwarding, server: EchoServer, client: socket.socket
) -> None:
    address, _, served = forwarding(server.address)
    assert ask(client, address) == b"hello"
    ours, its = socket.socketpair()

    def stay() -> None:
        its.send(b"begun")
        ours.close()
        its.recv(1)  # until the parent closes its end

    with ours, its, forked(stay):
        assert ours.recv(5) == b"begun"
        assert ask(client, address) == b"hello"
        assert served.end() is False
        bound(port=address[1]).close()
        ours.close()


# Many at once


def test_tcp_and_udp_by_one_rule(core: ModuleType, client: socket.socket) -> None:
    """As DNS has it: one port, one rule, both kinds of listener."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EchoServer("127.0.0.9"))  # Whose ports are nobody else's by chance.
        upstream = stack.enter_context(socket.create_server(server.address[1]))
        rule = core.Rule([core.Upstream([server.address])])
        served = Served(core, rule, socket.create_server(("127.0.0.1", 0)), bound())
        stack.callback(served.end)
        assert ask(client, served.addresses[1]) == b"hello"
        connected = stack.enter_context(socket.create_connection(served.addresses[0], PATIENCE))
        accepted = stack.enter_context(upstream.accept()[0])
        accepted.sendall(b"by TCP")
        assert connected.recv(100) == b"by TCP"
        assert rule.counters.accepted == 2


def test_loops_share_a_port(core: ModuleType, server: EchoServer) -> None:
    rule = core.Rule([core.Upstream([server.address])])
    first = bound(SO_REUSEPORT=1)
    address = first.getsockname()
    loops = [Served(core, rule, sock) for sock in (first, bound(port=address[1], SO_REUSEPORT=1))]
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(bound()) for _ in range(40)]
            for turn in range(3):
                for number, client in enumerate(clients):
                    assert ask(client, address, f"{number} {turn}".encode()) == f"{number} {turn}".encode()
        assert (rule.counters.accepted, rule.counters.active) == (40, 40)
        assert all(served.loop.connections() for served in loops)
    finally:
        for served in loops:
            served.end()


def test_a_datagram_socket_of_another_family_is_refused(core: ModuleType) -> None:
    loop = core.Loop()
    with pytest.raises(OSError, match=os.strerror(errno.EAFNOSUPPORT)):
        loop.listen(core.Rule([]), [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)])
    loop.close()


def test_the_tap_is_shown_each_datagram(server: EchoServer, client: socket.socket) -> None:
    """Of the pure twin: the native one refuses a tap."""
    shown: list[tuple[int, bool, bytes]] = []
    rule = pure.Rule([pure.Upstream([server.address])], pure.Options(tap=lambda *what: shown.append(what)))
    served = Served(pure, rule, bound())
    try:
        ask(client, served.addresses[0], b"")
        ask(client, served.addresses[0], b"hello")
    finally:
        served.end()
    assert shown == [(1, True, b""), (1, False, b""), (1, True, b"hello"), (1, False, b"hello")]


# Jumbograms


def internet_checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total or 0xFFFF


def jumbogram(source: int, destination: int, payload: bytes) -> bytes:
    """A frame with a datagram from ``::1`` to itself too long for UDP's length field (RFC 2675)."""
    host = socket.inet_pton(socket.AF_INET6, "::1")
    length = 8 + len(payload)
    datagram = struct.pack(">4H", source, destination, 0, 0) + payload
    checksum = internet_checksum(host + host + struct.pack(">2I", length, socket.IPPROTO_UDP) + datagram)
    options = struct.pack(">4BI", socket.IPPROTO_UDP, 0, 0xC2, 4, 8 + length)
    header = struct.pack(">IHBB", 6 << 28, 0, 0, 64) + host + host
    return bytes(12) + b"\x86\xdd" + header + options + datagram[:6] + struct.pack(">H", checksum) + payload


def test_a_jumbogram_is_dropped_and_no_half_of_it_passes(
    core: ModuleType, namespace: Callable[[], Any]
) -> None:
    inside = namespace()
    inside.ip("link", "set", "lo", "mtu", "200000")

    def try_it() -> tuple[bytes, int]:
        with (
            EchoServer("::1") as server,
            bound("::1") as client,
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as frames,
        ):
            rule = core.Rule([core.Upstream([server.address])])
            served = Served(core, rule, bound("::1"))
            try:
                address = served.addresses[0]
                frames.bind(("lo", 0x86DD))
                frames.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                frames.send(jumbogram(client.getsockname()[1], address[1], bytes(100_000)))
                assert_soon(lambda: rule.counters.accepted == 1)
                return ask(client, address), rule.counters.sent_up
            finally:
                served.end()

    assert inside.call(try_it) == (b"hello", 5)
