"""How directions and connections end: half-close, resets, time-outs; and what is held for a slow reader."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from forwarding import assert_soon, forever, read_all
from relays import (
    BlackHole,
    Relay,
    Service,
    closed_port,
    reads_until_reset,
    reset,
    rewriting,
    running,
    tcp_pair,
)

TOPIC = "relay"

Relays = Callable[..., Relay]
Services = Callable[..., Service]
Ends = tuple[socket.socket, socket.socket, Any]

SHORT = 0.2
"""A time-out that is waited for."""
LONG = 1000.0
"""One that never comes."""
BULK = 32 << 20


def held_at_most() -> int:
    """What the kernel's buffers of both connections may grow to, and the relay's own."""
    most = [int(Path(f"/proc/sys/net/ipv4/tcp_{name}").read_text().split()[2]) for name in ("rmem", "wmem")]
    return 2 * sum(most) + (1 << 20)


@pytest.fixture(params=[False, True], ids=["from the client", "from the upstream"])
def joined(core: ModuleType, request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Who speaks, who listens, and the counters: two connections' outer ends with a relay between them."""
    loop = core.Loop()
    (client, down), (up, server) = tcp_pair(), tcp_pair()
    counters = loop.join(down, up, core.Rule((), core.Options(record=True)))
    with client, server, running(loop):
        yield (server, client, counters) if request.param else (client, server, counters)


# Half-close


def test_half_close_is_kept_and_a_late_answer_arrives(joined: Ends) -> None:
    speaker, listener, _ = joined
    speaker.sendall(b"last words")
    speaker.shutdown(socket.SHUT_WR)
    assert read_all(listener) == b"last words"
    answer = os.urandom(1 << 20)
    listener.sendall(answer)
    listener.close()
    assert read_all(speaker) == answer


def test_an_end_without_a_byte_is_passed_on(joined: Ends) -> None:
    speaker, listener, counters = joined
    speaker.shutdown(socket.SHUT_WR)
    assert listener.recv(1) == b""
    listener.shutdown(socket.SHUT_WR)
    assert speaker.recv(1) == b""
    assert_soon(lambda: counters.active == 0)
    assert (counters.sent_up, counters.sent_down, counters.resets) == (0, 0, 0)


def test_an_end_waits_for_what_a_slow_reader_has_not_read(joined: Ends) -> None:
    speaker, listener, _ = joined
    data = os.urandom(BULK)
    sender = threading.Thread(target=lambda: (speaker.sendall(data), speaker.shutdown(socket.SHUT_WR)))
    sender.start()
    listener.sendall(b"meanwhile")
    assert speaker.recv(100) == b"meanwhile"
    assert hashlib.sha256(read_all(listener)).digest() == hashlib.sha256(data).digest()
    sender.join()


# Resets


@pytest.mark.parametrize("from_client", [True, False])
def test_a_reset_right_behind_an_end_is_passed_on(core: ModuleType, from_client: bool) -> None:
    """Where both are there before the relay reads, reading reports the end alone."""
    loop = core.Loop()
    (client, down), (up, server) = tcp_pair(), tcp_pair()
    speaker, listener = (client, server) if from_client else (server, client)
    speaker.sendall(b"before")
    speaker.shutdown(socket.SHUT_WR)
    reset(speaker)
    counters = loop.join(down, up)
    with listener, running(loop):
        assert reads_until_reset(listener) == b"before"
        assert_soon(lambda: (counters.resets, counters.active) == (1, 0))


def test_a_reset_is_passed_on_behind_what_was_sent_before(joined: Ends) -> None:
    speaker, listener, counters = joined
    speaker.sendall(b"before")
    assert listener.recv(6) == b"before"
    speaker.sendall(b"and more")
    reset(speaker)
    assert reads_until_reset(listener) == b"and more"
    assert_soon(lambda: (counters.resets, counters.active) == (1, 0))


def test_a_reset_after_a_half_close_is_passed_on(joined: Ends) -> None:
    speaker, listener, _ = joined
    speaker.shutdown(socket.SHUT_WR)
    assert listener.recv(1) == b""
    reset(speaker)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        forever(lambda: listener.sendall(b"x" * 65536))


def test_a_peer_that_is_gone_resets_the_sender(joined: Ends) -> None:
    speaker, listener, _ = joined
    listener.close()
    assert speaker.recv(1) == b""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        forever(lambda: speaker.sendall(b"x" * 65536))


def test_what_an_upstream_sends_before_its_reset_arrives(core: ModuleType, service: Service) -> None:
    """Also where it comes before the relay notices that it is connected."""
    relay = Relay(core, (service,))
    clients = [relay.connect() for _ in range(20)]  # They wait in the backlog: the loop begins only now.

    def say_and_reset() -> None:
        sock = service.accept()
        sock.sendall(b"last words")
        reset(sock)

    threads = [threading.Thread(target=say_and_reset) for _ in clients]
    for thread in threads:
        thread.start()
    with running(relay.loop):
        for client in clients:
            with client:
                assert reads_until_reset(client) == b"last words"
        assert (relay.counters.accepted, relay.counters.unreachable) == (20, 0)
    for thread in threads:
        thread.join()


# Bytes


def test_full_duplex_transfer_is_exact(joined: Ends) -> None:
    """50 MiB up and 50 MiB down at once, in random sizes."""
    client, server, counters = joined
    total = 50 << 20
    block = os.urandom(1 << 20)
    sums: dict[str, str] = {}

    def send(name: str, sock: socket.socket, seed: int) -> None:
        chance, digest, left = random.Random(seed), hashlib.blake2b(), total
        while left:
            size = min(left, chance.randrange(1, len(block)))
            sock.sendall(block[:size])
            digest.update(block[:size])
            left -= size
        sock.shutdown(socket.SHUT_WR)
        sums[f"{name} sent"] = digest.hexdigest()

    def receive(name: str, sock: socket.socket, seed: int) -> None:
        chance, digest = random.Random(seed), hashlib.blake2b()
        while data := sock.recv(chance.randrange(1, 1 << 20)):
            digest.update(data)
        sums[f"{name} received"] = digest.hexdigest()

    threads = [
        threading.Thread(target=function, args=arguments)
        for function, arguments in (
            (send, ("up", client, 1)),
            (receive, ("up", server, 2)),
            (send, ("down", server, 3)),
            (receive, ("down", client, 4)),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums["up sent"] == sums["up received"]
    assert sums["down sent"] == sums["down received"]
    assert (counters.sent_up, counters.sent_down) == (total, total)


def test_single_bytes_pass(joined: Ends) -> None:
    speaker, listener, _ = joined
    for number in range(300):
        speaker.sendall(bytes([number % 256]))
        assert listener.recv(2) == bytes([number % 256])


def test_a_stopped_reader_stops_the_sender(joined: Ends) -> None:
    """No more is taken than buffers have room for, and all of it arrives once it is read."""
    speaker, listener, _ = joined
    speaker.settimeout(1.0)
    sizes: list[int] = []
    with pytest.raises(TimeoutError):
        forever(lambda: sizes.append(speaker.send(b"x" * (1 << 20))))
    assert sum(sizes) < held_at_most()
    listener.sendall(b"the other direction goes on")
    assert speaker.recv(100) == b"the other direction goes on"
    speaker.shutdown(socket.SHUT_WR)
    assert len(read_all(listener)) == sum(sizes)


# Time-outs


def test_an_idle_connection_is_reset(relays: Relays, service: Service) -> None:
    relay = relays(service, idle_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept() as server:
        client.sendall(b"x")
        for sock in (server, client):
            assert reads_until_reset(sock) == (b"x" if sock is server else b"")
    assert relay.ended() == "idle"
    assert (relay.counters.timed_out, relay.counters.resets, relay.counters.active) == (1, 0, 0)


def test_bytes_either_way_keep_it_from_being_idle(relays: Relays, service: Service) -> None:
    relay = relays(service, idle_timeout=2.0, record=True)
    with relay.connect() as client, service.accept() as server:
        pause = threading.Event()
        for _ in range(11):
            server.sendall(b"x")
            assert client.recv(1) == b"x"
            pause.wait(0.2)
    assert relay.ended() == "closed"


def test_a_half_closed_connection_has_a_time_of_its_own(relays: Relays, service: Service) -> None:
    relay = relays(service, idle_timeout=LONG, half_closed_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept() as server:
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        server.sendall(b"still")
        assert reads_until_reset(client) == b"still"
    assert relay.ended() == "half-closed"
    assert relay.counters.timed_out == 1


def test_an_open_connection_knows_no_half_closed_timeout(relays: Relays, service: Service) -> None:
    relay = relays(service, half_closed_timeout=SHORT)
    with relay.connect() as client, service.accept() as server:
        threading.Event().wait(3 * SHORT)
        client.sendall(b"x")
        assert server.recv(1) == b"x"


def test_the_idle_timeout_holds_for_half_closed_ones(relays: Relays, service: Service) -> None:
    relay = relays(service, idle_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept() as server:
        server.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
        with pytest.raises(ConnectionResetError):
            server.recv(1)
    assert relay.ended() == "idle"


# Why they ended


@pytest.mark.parametrize(
    ("act", "ended"),
    [
        (lambda client, server: (client.close(), server.close()), "closed"),
        (lambda client, server: (server.shutdown(socket.SHUT_WR), client.close()), "closed"),
        (lambda client, server: reset(client), "client reset"),
        (lambda client, server: reset(server), "upstream reset"),
    ],
)
def test_why_it_ended_is_recorded(
    relays: Relays, service: Service, act: Callable[[socket.socket, socket.socket], object], ended: str
) -> None:
    relay = relays(service, record=True)
    with relay.connect() as client, service.accept() as server:
        act(client, server)
        assert relay.ended() == ended


def test_a_client_that_leaves_while_connecting(relays: Relays, services: Services) -> None:
    relay = relays(services(BlackHole), connect_timeout=LONG, record=True)
    with relay.connect() as client:
        assert_soon(lambda: relay.counters.active == 1)
        reset(client)
        assert relay.ended() == "client reset"
    assert (relay.counters.resets, relay.counters.unreachable) == (0, 0)


def test_a_unix_client_that_has_closed_is_still_heard(
    relays: Relays, services: Services, tmp_path: object
) -> None:
    """Its close looks like the end of both directions, before the upstream is connected."""
    upstream = services()
    bad = closed_port()
    relay = relays(bad, upstream, listener=Service(socket.AF_UNIX, f"{tmp_path}/down").sock)
    with relay.connect() as client:
        client.sendall(b"to whom it may concern")
    with upstream.accept() as server, contextlib.suppress(ConnectionResetError):
        assert server.recv(100) == b"to whom it may concern"


# Where heads are rewritten


def test_a_slow_head_is_answered_408(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service, rewrite=rewriting(core), head_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept() as server:
        client.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert read_all(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        with pytest.raises(ConnectionResetError):
            server.recv(1)
    assert relay.ended() == "late head"
    assert relay.counters.refused == 1


def test_a_head_that_is_refused_is_recorded(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client, service.accept():
        client.sendall(b"nonsense\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert relay.ended() == "refused"
    assert (relay.counters.refused, relay.counters.resets) == (1, 0)


def test_an_upstream_that_is_not_there_is_a_502(core: ModuleType, relays: Relays) -> None:
    relay = relays(closed_port(), rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert relay.ended() == "unreachable"
    assert (relay.counters.unreachable, relay.counters.refused) == (1, 0)
