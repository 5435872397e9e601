"""Calls of the system that fail for a while, wherever the relay makes them: what it does then, and later."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from faults import Failing, calls_that_fail
from forwarding import assert_soon, read_all
from relays import Relay, Service, running

TOPIC = "relay"
ANYBODY = [(socket.AF_INET, bytes(4), 0)]
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"


@pytest.fixture
def failing(core: ModuleType) -> Failing:
    return calls_that_fail(native="_native" in core.__name__)


@pytest.fixture
def unix_service(tmp_path: Path) -> Iterator[Service]:
    service = Service(socket.AF_UNIX, str(tmp_path / "upstream"))
    yield service
    service.close()


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_signals_lose_and_stop_nothing(
    core: ModuleType, service: Service, failing: Failing, size: int
) -> None:
    """Each call is interrupted twice before it is made: also one that takes a PROXY header, or sends it."""
    relay = Relay(core, (service,), trust_proxy=ANYBODY, send_proxy=1)
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    with running(relay.loop), failing("each", "EINTR", times=2), relay.connect() as client:
        client.sendall(HEADER + data)
        client.shutdown(socket.SHUT_WR)
        with service.accept() as server:
            assert read_all(server) == HEADER + data
            server.sendall(data)
        assert read_all(client) == data
    assert failing.count > 2


def test_without_memory_to_say_so_a_place_that_becomes_free_is_taken(
    core: ModuleType, service: Service, failing: Failing
) -> None:
    relay = Relay(core, (service,), max_connections=1)
    with running(relay.loop), relay.connect() as first, relay.connect() as second:
        with service.accept() as server:
            second.sendall(b"second")
            for sock, other in ((first, server), (server, first)):
                sock.sendall(b"x")  # The relay has found by then that it must wait.
                assert other.recv(1) == b"x"
            with failing("memory", "ENOMEM"):
                first.close()
                server.close()
                assert_soon(lambda: relay.counters.active == 0 or relay.counters.accepted == 2)
        with service.accept() as server:
            assert server.recv(6) == b"second"


@pytest.mark.parametrize("trusted", [False, True])
def test_a_side_is_watched_as_soon_as_epoll_has_room(
    core: ModuleType, unix_service: Service, failing: Failing, trusted: bool
) -> None:
    """Its upstream is connected to at once, so that it is watched for the first time when it is relayed."""
    relay = Relay(core, (unix_service,), trust_proxy=ANYBODY if trusted else ())
    with running(relay.loop), failing("epoll_ctl", "ENOSPC", after=1, times=3), relay.connect() as client:
        client.sendall(HEADER + b"x" if trusted else b"x")
        while True:
            with unix_service.accept() as server:
                if server.recv(1) == b"x":
                    server.sendall(b"y")
                    assert client.recv(1) == b"y"
                    break
                # An attempt that was given up.
    assert failing.count == 3


def test_who_can_not_be_watched_is_reset_and_recorded(
    core: ModuleType, service: Service, failing: Failing
) -> None:
    warnings: list[str] = []
    relay = Relay(core, (service,), warn=warnings.append, record=True)
    with running(relay.loop):
        with failing("epoll_ctl", "ENOMEM", times=1):
            relay.assert_rejects()
        assert relay.ended() == "unreachable"
        assert (relay.counters.accepted, relay.counters.active) == (1, 0)
        with relay.connect() as client, service.accept() as server:
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        assert relay.counters.accepted == 2
    assert len(warnings) == 1
