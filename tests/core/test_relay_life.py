"""What ends while others go on: no other connection notices, whatever options and refusals meet."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from forwarding import assert_soon, read_all
from relays import Relay, Service, closed_port, reset, rewriting
from traffic import read_exactly

TOPIC = "relay"

Relays = Callable[..., Relay]
Services = Callable[..., Service]

LOOPBACK = (socket.AF_INET, socket.inet_aton("127.0.0.0"), 8)
GOOD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + bytes(2000)

OPTIONS: dict[str, Any] = {
    "rate": 100_000,
    "connection_rate": 50_000,
    "idle_timeout": 1000.0,
    "half_closed_timeout": 1000.0,
    "record": True,
    "max_per_source": 1000,
    "max_connections": 1000,
    "trust_proxy": [LOOPBACK],
    "send_proxy": 2,
    "allow": [LOOPBACK],
    "engine": "copy",
    "policy": "least-connections",
}
PAIRS = list(itertools.combinations(OPTIONS, 2))


def client_of(relay: Relay, names: tuple[str, ...]) -> socket.socket:
    client = relay.connect()
    if "trust_proxy" in names:
        client.sendall(b"PROXY TCP4 127.0.0.9 127.0.0.1 1000 80\r\n")
    return client


def read_request(server: socket.socket) -> None:
    """With its PROXY header, if there is one."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += server.recv(65536)
    assert b"Host: example.com\r\n" in data


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_refusals_beside_any_two_options(
    core: ModuleType, relays: Relays, service: Service, names: tuple[str, ...]
) -> None:
    options = {name: OPTIONS[name] for name in names}
    relay = relays(service, rewrite=rewriting(core), **options)
    with client_of(relay, names) as client, service.accept():
        client.sendall(BAD + BAD)
        assert read_all(client).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    with client_of(relay, names) as client, service.accept() as server:
        client.sendall(GOOD + BAD)
        read_request(server)
        server.sendall(ANSWER)
        answers = read_all(client)
        assert answers.startswith(ANSWER)
        assert answers[len(ANSWER) :].startswith(b"HTTP/1.1 400 Bad Request\r\n")
    late = relays(service, rewrite=rewriting(core), head_timeout=0.05, **options)
    with client_of(late, names) as client, service.accept():
        client.sendall(GOOD[:-1])
        assert read_all(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    nowhere = relays(closed_port(), rewrite=rewriting(core), **options)
    with client_of(nowhere, names) as client:
        client.sendall(GOOD)
        assert read_all(client).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    for one, refused in (relay, 2), (late, 1), (nowhere, 0):
        assert_soon(lambda one=one: one.counters.active == 0)
        assert one.counters.refused == refused


# Resets amid other transfers

BLOB = random.Random(9).randbytes(4 << 20)
DOWNLOADS = 8
"""Of each of so many clients, while as many others reset theirs at any time."""


@pytest.fixture
def downloads(services: Services) -> Service:
    """Sends the blob to whoever connects."""
    service = services()

    def send(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.sendall(BLOB)

    def serve() -> None:
        while True:
            try:
                sock = service.accept()
            except OSError:
                return
            threading.Thread(target=send, args=(sock,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return service


@pytest.mark.parametrize("record", [False, True])
def test_resets_amid_downloads_stop_no_other_download(
    relays: Relays, downloads: Service, record: bool
) -> None:
    relay = relays(downloads, record=record)
    over = threading.Event()

    def give_up_early(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            client = relay.connect()
            left = chance.randrange(1, len(BLOB))
            while left > 0 and (size := len(client.recv(1 << 18))):
                left -= size
            reset(client)

    def download(_: int) -> None:
        for _ in range(DOWNLOADS):
            with relay.connect() as client:
                assert read_all(client) == BLOB

    with ThreadPoolExecutor(2 * DOWNLOADS) as pool:
        others = [pool.submit(give_up_early, seed) for seed in range(DOWNLOADS)]
        try:
            list(pool.map(download, range(DOWNLOADS)))
        finally:
            over.set()
        for other in others:
            other.result()
    downloads.sock.shutdown(socket.SHUT_RD)
    assert_soon(lambda: relay.counters.active == 0)


# What a refusal leaves behind


def switches(thread: threading.Thread) -> int:
    """How often it has gone to sleep so far."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def test_a_stream_that_was_busy_is_not_polled_for_once_it_is_refused(
    core: ModuleType, service: Service
) -> None:
    """Busy streams are served at short intervals: one that only waits for its client to close is none."""
    relay = Relay(core, (service,), rewrite=rewriting(core))
    loop = threading.Thread(target=relay.loop.run)
    body = bytes(32 << 20)
    with contextlib.ExitStack() as stack:
        loop.start()
        stack.callback(loop.join)
        stack.callback(relay.loop.stop)
        client, server = stack.enter_context(relay.connect()), stack.enter_context(service.accept())
        pool = stack.enter_context(ThreadPoolExecutor(1))
        client.sendall(GOOD)
        read_request(server)
        sent = pool.submit(
            server.sendall, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        read_exactly(client, 1 << 20)
        client.sendall(BAD)
        answers = read_all(client)
        sent.result()
        assert b"HTTP/1.1 400 Bad Request\r\n" in answers[len(body) - (1 << 20) :]
        before = switches(loop)
        time.sleep(0.5)
        assert switches(loop) - before < 100
