"""Which upstream is connected to: policies, retries, happy eyeballs, health; options of the sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from forwarding import PATIENCE, assert_soon
from relays import RESET, BlackHole, Relay, Service, as_upstream, closed_port, reset, running

TOPIC = "relay"

Relays = Callable[..., Relay]
Services = Callable[..., Service]

LONG = 1000.0
"""A time-out that never comes."""


def greeted(relay: Relay, service: Service) -> tuple[socket.socket, socket.socket]:
    """A client whose connection comes out at this service."""
    client = relay.connect()
    server = service.accept()
    server.sendall(b"welcome")
    assert client.recv(100) == b"welcome"
    return client, server


def served_by(relay: Relay, services: list[Service]) -> Service:
    """Where one connection more comes out; it is closed again."""
    active = relay.counters.active
    with relay.connect():
        assert_soon(lambda: relay.counters.active == active + 1)
        found: list[Service] = []
        assert_soon(lambda: found.extend(each for each in services if each.has_a_caller()) or bool(found))  # type: ignore[func-returns-value]
    assert_soon(lambda: relay.counters.active == active)
    return found[0]


# The order


def test_upstreams_take_turns(relays: Relays, services: Services) -> None:
    places = [services() for _ in range(3)]
    relay = relays(*places)
    assert [served_by(relay, places) for _ in range(7)] == [places[turn % 3] for turn in range(7)]


def test_the_upstream_with_the_fewest_connections_is_next(relays: Relays, services: Services) -> None:
    first, second = places = [services(), services()]
    relay = relays(*places, policy="least-connections")
    with contextlib.ExitStack() as stack:

        def hold(service: Service) -> tuple[socket.socket, socket.socket]:
            client, server = greeted(relay, service)
            stack.enter_context(client)
            stack.enter_context(server)
            return client, server

        hold(first)
        held = [hold(second)]
        hold(first)
        held.append(hold(second))
        assert [upstream.active for upstream in relay.upstreams] == [2, 2]
        for sock in (sock for pair in held for sock in pair):
            sock.close()
        assert_soon(lambda: [upstream.active for upstream in relay.upstreams] == [2, 0])
        hold(second)
        hold(second)
        assert [upstream.active for upstream in relay.upstreams] == [2, 2]
    assert_soon(lambda: [upstream.active for upstream in relay.upstreams] == [0, 0])


# Where one fails


def test_every_address_of_an_upstream_is_tried(relays: Relays, core: ModuleType, service: Service) -> None:
    missing_family = (socket.AF_APPLETALK, ("x", 1))
    upstream = core.Upstream([missing_family, closed_port(), service.address])
    relay = relays(upstream, record=True)
    client, server = greeted(relay, service)
    with client, server:
        assert relay.loop.connections()[0].upstream == service.address
    counters = relay.counters
    assert (counters.accepted, counters.connects_retried, counters.unreachable) == (1, 2, 0)
    assert (upstream.failures, relay.ended()) == (0, "closed")


def test_upstreams_are_tried_in_their_order(relays: Relays, service: Service) -> None:
    relay = relays(closed_port(), closed_port(), service)
    for _ in range(3):
        client, server = greeted(relay, service)
        client.close()
        server.close()
    # The first connection met both that fail, the second one of them, the third none.
    assert [upstream.failures for upstream in relay.upstreams] == [1, 2, 0]
    assert relay.counters.connects_retried == 3


def test_the_address_that_was_connected_to_is_tried_first_next_time(
    core: ModuleType, relays: Relays, services: Services
) -> None:
    first, second = services(), services()
    upstream = core.Upstream([closed_port(), first.address, second.address])
    relay = relays(upstream)
    for _ in range(3):
        assert served_by(relay, [first]) is first
    assert relay.counters.connects_retried == 1  # Of the first connection only.
    first.close()
    for _ in range(3):
        assert served_by(relay, [second]) is second
    assert relay.counters.connects_retried == 3  # The first one, that was preferred, and the closed port.
    assert relay.counters.unreachable == 0


def test_a_failed_connect_is_reported_once(relays: Relays, service: Service) -> None:
    relay = relays(closed_port(), service)
    reported: list[int] = []
    for count in (1, 2):
        relay.rule.watch(lambda: reported.append(0))
        relay.rule.watch(lambda count=count: reported.append(count))  # It replaces the other.
        for _ in range(4):
            served_by(relay, [service])
        assert_soon(lambda count=count: reported == [*range(1, count + 1)])


def test_what_connects_is_not_reported(relays: Relays, service: Service) -> None:
    relay = relays(service)
    reported: list[bool] = []
    relay.rule.watch(lambda: reported.append(True))
    for _ in range(4):
        served_by(relay, [service])
    assert reported == []


@pytest.mark.parametrize("upstream", [BlackHole, closed_port])
def test_every_failure_to_connect_is_reported(
    relays: Relays, services: Services, upstream: Callable[[], Any]
) -> None:
    place = services(BlackHole) if upstream is BlackHole else upstream()
    relay = relays(place, connect_timeout=0.05)
    reported = threading.Event()
    relay.rule.watch(reported.set)
    relay.assert_rejects()
    assert reported.wait(PATIENCE)


def test_where_all_fail_the_client_is_reset(relays: Relays) -> None:
    relay = relays(closed_port(), closed_port(), record=True)
    relay.assert_rejects()
    [record] = relay.records(1)
    assert (record.ended, record.upstream, record.sent_up) == ("unreachable", None, 0)
    assert (relay.counters.unreachable, relay.counters.connects_retried) == (1, 1)
    assert (relay.counters.resets, relay.counters.active) == (0, 0)


def test_an_upstream_that_does_not_answer_has_its_time(relays: Relays, services: Services) -> None:
    good = services()
    relay = relays(services(BlackHole), good, connect_timeout=0.2)
    client, server = greeted(relay, good)
    with client, server:
        assert relay.counters.connects_retried == 1
        assert [upstream.failures for upstream in relay.upstreams] == [1, 0]


def test_where_none_answers_the_client_is_reset(relays: Relays, services: Services) -> None:
    relay = relays(services(BlackHole), connect_timeout=0.1, record=True)
    relay.assert_rejects()
    assert relay.ended() == "unreachable"


def test_an_address_that_does_not_answer_is_not_waited_for(
    relays: Relays, core: ModuleType, services: Services
) -> None:
    """Happy eyeballs: the next one is connected to beside it."""
    good, holes = services(), [services(BlackHole) for _ in range(2)]
    addresses = [*[hole.address for hole in holes], good.address]
    relay = relays(core.Upstream(addresses), connect_timeout=LONG)
    client, server = greeted(relay, good)
    with client, server:
        assert relay.loop.connections()[0].upstream == good.address
        assert relay.upstreams[0].failures == 0


def test_the_families_of_an_upstream_take_turns(relays: Relays, core: ModuleType, services: Services) -> None:
    """So that one family without a way out costs one attempt, not all of its addresses."""
    good, late = services(), services()
    relay = relays(core.Upstream([(socket.AF_INET6, ("::1", 1)), late.address, good.address]))
    client, server = greeted(relay, late)
    with client, server:
        assert relay.counters.connects_retried == 1
    ipv6 = services(Service, socket.AF_INET6, "::1")
    relay.rule.set_upstreams([core.Upstream([closed_port(), good.address, ipv6.address])])
    client, server = greeted(relay, ipv6)
    with client, server:
        assert not good.has_a_caller()


@pytest.mark.parametrize(
    ("family", "host", "upstream"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "0.0.0.0"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::1", "::"),
        (socket.AF_INET6, "::1", "::ffff:127.0.0.1"),
    ],
)
def test_a_port_without_a_listener_does_not_connect_to_itself(
    core: ModuleType, namespace: Callable[[], Any], family: int, host: str, upstream: str
) -> None:
    """Where the only free port is the one that is connected to, the kernel would (RFC 9293, section 3.5)."""
    inside = namespace()
    inside.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40000")

    def try_it() -> tuple[int, str]:
        with socket.socket(family) as sock:  # The kernel does, indeed.
            sock.connect((upstream, 40000))
            assert sock.getsockname() == sock.getpeername()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        listener = socket.create_server((host, 30001), family=family)
        relay = Relay(core, ((family, (upstream, 40000)),), listener, record=True)
        client = socket.create_connection((host, 30001), PATIENCE, source_address=(host, 30000))
        with running(relay.loop), client, pytest.raises(ConnectionResetError):
            client.recv(1)
        return relay.counters.unreachable, relay.ended()

    # The loop's thread belongs to the namespace of the one that starts it.
    assert inside.call(try_it) == (1, "unreachable")


def relay_client(relay: Relay, port: int) -> socket.socket:
    """A client that takes no port of those for connecting."""
    return socket.create_connection(relay.address[1], 20, source_address=("127.0.0.1", port))


def test_a_lack_of_ports_is_waited_for(core: ModuleType, namespace: Callable[[], Any]) -> None:
    host = namespace()
    host.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40001")

    def try_it() -> None:
        service = Service(port=20000)
        warnings: list[str] = []
        sock = socket.create_server(("127.0.0.1", 30000))
        relay = Relay(core, (service,), sock, warnings.append, connect_timeout=LONG)
        with contextlib.closing(service), running(relay.loop), contextlib.ExitStack() as stack:
            clients = [stack.enter_context(relay_client(relay, port)) for port in range(30001, 30004)]
            servers = [stack.enter_context(service.accept()) for _ in range(2)]
            assert_soon(lambda: bool(warnings))
            assert "Cannot assign requested address" in warnings[0]
            reset(servers.pop())  # An orderly end would leave the port in TIME_WAIT.
            servers.append(stack.enter_context(service.accept()))
            clients[2].sendall(b"third")
            assert servers[-1].recv(100) == b"third"
            assert (relay.counters.unreachable, len(warnings)) == (0, 1)

    host.call(try_it)


def test_a_full_unix_backlog_is_waited_for(relays: Relays, services: Services, tmp_path: object) -> None:
    service = services(Service, socket.AF_UNIX, f"{tmp_path}/up", 0)
    relay = relays(service, connect_timeout=LONG)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(relay.connect()) for _ in range(4)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        for _ in clients:  # In the order in which they got in.
            with service.accept() as server:
                server.sendall(server.recv(9))
        assert [client.recv(9) for client in clients] == [b"0", b"1", b"2", b"3"]
    assert relay.counters.unreachable == 0


# Health


def test_who_fails_too_often_rests(relays: Relays, service: Service) -> None:
    relay = relays(closed_port(), service, max_failures=2, failure_pause=LONG)
    for _ in range(8):
        client, server = greeted(relay, service)
        client.close()
        server.close()
    assert [upstream.failures for upstream in relay.upstreams] == [2, 0]
    assert relay.counters.connects_retried == 2


def test_who_has_rested_is_tried_again(relays: Relays, service: Service) -> None:
    relay = relays(closed_port(), service, max_failures=1, failure_pause=0.05)

    def failures() -> int:
        client, server = greeted(relay, service)
        client.close()
        server.close()
        return int(relay.upstreams[0].failures)

    assert_soon(lambda: failures() >= 3)


def test_the_only_one_does_not_rest(core: ModuleType, relays: Relays) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    relay = relays((socket.AF_INET, address), max_failures=1, failure_pause=LONG)
    for _ in range(3):
        relay.assert_rejects()
    assert_soon(lambda: relay.upstreams[0].failures == 3)
    service = Service()
    with contextlib.closing(service):
        relay.rule.set_upstreams([as_upstream(core, service)])
        client, server = greeted(relay, service)
        client.close()
        server.close()


def test_a_success_ends_the_count(relays: Relays, services: Services) -> None:
    service = services()
    address = service.address
    relay = relays(service, max_failures=100)
    service.close()
    for _ in range(2):
        relay.assert_rejects()
    assert_soon(lambda: relay.upstreams[0].failures == 2)
    with socket.create_server(address[1]) as again, relay.connect():
        again.settimeout(20)
        again.accept()[0].close()
        assert_soon(lambda: relay.upstreams[0].failures == 0)


def test_an_unhealthy_one_is_not_chosen(relays: Relays, services: Services) -> None:
    places = [services() for _ in range(3)]
    relay = relays(*places)
    relay.upstreams[1].healthy = False
    assert {served_by(relay, places) for _ in range(4)} == {places[0], places[2]}
    relay.upstreams[0].healthy = relay.upstreams[2].healthy = False
    assert {served_by(relay, places) for _ in range(3)} == {*places}, "where none is healthy, all are tried"
    relay.upstreams[1].healthy = True
    assert {served_by(relay, places) for _ in range(3)} == {places[1]}


# Options of the sockets


def test_the_congestion_control_of_both_sides(relays: Relays, service: Service) -> None:
    """Only ``ss`` shows the upstream's side; this test checks that it connects."""
    relay = relays(service, congestion="reno")
    client, server = greeted(relay, service)
    client.close()
    server.close()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_transparent_relay_connects_from_the_clients_address(
    root: None, relays: Relays, services: Services, family: int, host: str
) -> None:
    service = services(Service, family, host)
    relay = relays(service, listener=Service(family, host).sock, transparent=True)
    source = "127.0.0.7" if family == socket.AF_INET else "::1"
    with relay.connect(source), service.accept() as server:
        assert server.getpeername()[0] == source


def test_a_transparent_relay_needs_the_clients_family(root: None, relays: Relays, services: Services) -> None:
    relay = relays(services(Service, socket.AF_INET6, "::1"), transparent=True, record=True)
    relay.assert_rejects()
    assert relay.ended() == "unreachable"
