"""Ends that vanish without a word: both sides are asked whether they are still there."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from types import ModuleType

import pytest
from environment import absent
from forwarding import assert_soon
from relays import Relay, Service, running, tcp_pair

TOPIC = "relay"

Relays = Callable[..., Relay]

TCP_REPAIR = 19
SILENT = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)


def end_of(other: socket.socket) -> socket.socket:
    """The end in this process of another end's connection, as a socket of its own."""
    names = other.getpeername(), other.getsockname()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as sock:
                    if (sock.getsockname(), sock.getpeername()) == names:
                        return sock.dup()
    raise AssertionError(f"nobody here has the other end of {names}")


def keepalive(other: socket.socket) -> tuple[int, ...] | None:
    """Idle time, interval and number of probes; None where it is off."""
    with end_of(other) as sock:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            return None
        return tuple(sock.getsockopt(socket.IPPROTO_TCP, option) for option in SILENT)


def user_timeout(other: socket.socket) -> int:
    with end_of(other) as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_both_sides_are_probed_unless_told_otherwise(
    relays: Relays, services: Callable[..., Service], family: int
) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    service = services(Service, family, host)
    for options, expected in (
        ({}, (60, 15, 4)),
        ({"keepalive": 8.0}, (8, 2, 4)),
        ({"keepalive": 0.5}, (1, 1, 4)),
        ({"keepalive": 0.0}, None),
    ):
        relay = relays(service, listener=socket.create_server((host, 0), family=family), **options)
        with relay.connect() as client, service.accept() as server:
            assert (keepalive(client), keepalive(server)) == (expected, expected)
            assert (user_timeout(client), user_timeout(server)) == (0, 0)


def test_a_time_for_acknowledgements_is_only_set_where_asked_for(relays: Relays, service: Service) -> None:
    relay = relays(service, user_timeout=1.5)
    with relay.connect() as client, service.accept() as server:
        assert (user_timeout(client), user_timeout(server)) == (1500, 1500)


def test_a_listener_keeps_nothing_of_the_rule_before(relays: Relays, service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = relays(service, listener=listener.dup(), keepalive=9.0, user_timeout=9.0)
        before.loop.unlisten(before.rule)
        relay = relays(service, listener=listener.dup(), keepalive=0.0)
        with relay.connect() as client, service.accept() as server:
            assert (keepalive(client), keepalive(server)) == (None, None)
            assert (user_timeout(client), user_timeout(server)) == (0, 0)


def test_sockets_that_are_joined_are_probed_too_by_their_own_times_if_they_have_any(core: ModuleType) -> None:
    loop = core.Loop()
    (client, down), (up, server) = tcp_pair(), tcp_pair()
    up.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    up.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 7)
    loop.join(down, up)
    with client, server, running(loop):
        assert keepalive(client) == (60, 15, 4)
        assert (keepalive(server) or ())[0] == 7


def vanish(sock: socket.socket) -> None:
    """Close it without a word to the other end, as one that lost its power does."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        absent("CAP_NET_ADMIN")
    sock.close()


def test_a_client_that_vanishes_is_noticed(relays: Relays, service: Service) -> None:
    relay = relays(service, keepalive=1.0, record=True)
    client = relay.connect()
    with service.accept() as server:
        vanish(client)
        with pytest.raises(ConnectionResetError):
            server.recv(1)
    assert relay.ended() == "client reset"


def test_an_upstream_that_vanishes_is_noticed(relays: Relays, service: Service) -> None:
    relay = relays(service, keepalive=1.0, record=True)
    with relay.connect() as client:
        vanish(service.accept())
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert relay.ended() == "upstream reset"
    assert_soon(lambda: relay.counters.active == 0)
