"""Rates are shared: by the connections of a rule, and by the two directions of a connection."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from relays import Relay, Service, rewriting
from traffic import read_exactly

TOPIC = "relay"

Relays = Callable[..., Relay]

RATE = 200_000
IDLE = 0.2


@contextlib.contextmanager
def flooding(socks: list[socket.socket]) -> Iterator[None]:
    """Each of these sends as fast as it may."""

    def flood(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(bytes(65536))

    threads = [threading.Thread(target=flood, args=[sock]) for sock in socks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for sock in socks:
            sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def received(socks: list[socket.socket], total: int) -> list[int]:
    """Bytes of each, once there are so many of all."""
    counts = dict.fromkeys(socks, 0)
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
        while sum(counts.values()) < total:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                assert data
                counts[key.fileobj] += len(data)
    return list(counts.values())


@pytest.mark.parametrize("option", ["rate", "connection_rate"])
def test_the_directions_of_a_connection_take_turns(relays: Relays, service: Service, option: str) -> None:
    relay = relays(service, **{option: RATE})
    with relay.connect() as client, service.accept() as server, flooding([client, server]):
        counts = received([client, server], RATE)
    assert min(counts) > RATE / 10


def test_connections_that_share_a_rate_take_turns(relays: Relays, service: Service) -> None:
    relay = relays(service, rate=RATE)
    with contextlib.ExitStack() as stack:
        pairs = [
            (stack.enter_context(relay.connect()), stack.enter_context(service.accept())) for _ in range(5)
        ]
        stack.enter_context(flooding([server for _, server in pairs]))
        counts = received([client for client, _ in pairs], 2 * RATE)
    assert min(counts) > 2 * RATE / 5 / 5


def test_who_waits_for_a_rate_is_not_idle(relays: Relays, service: Service) -> None:
    rate = 2000
    relay = relays(service, rate=rate, idle_timeout=IDLE)
    with contextlib.ExitStack() as stack:
        pairs = [
            (stack.enter_context(relay.connect()), stack.enter_context(service.accept())) for _ in range(10)
        ]
        stack.enter_context(flooding([server for _, server in pairs]))
        received([client for client, _ in pairs], 2 * rate)
        assert relay.counters.timed_out == 0


@pytest.mark.parametrize("option", ["rate", "connection_rate"])
def test_a_response_that_the_rates_part_comes_whole(
    core: ModuleType, relays: Relays, service: Service, option: str
) -> None:
    """Rewritten, too: here the first burst ends with the response's head."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"y" * 500
    bursts = 20  # a second
    relay = relays(service, rewrite=rewriting(core), **{option: bursts * len(request + head)})
    with relay.connect() as client, service.accept() as server:
        client.sendall(request)
        rewritten = request.replace(b"localhost", b"example.com")
        assert read_exactly(server, len(rewritten)) == rewritten
        server.sendall(head + body)
        assert read_exactly(client, len(head + body)) == head + body
