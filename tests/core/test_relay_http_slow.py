"""A relay that rewrites the Host, and a client that reads late: what is kept for it comes whole."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import ModuleType

import pytest
from forwarding import PATIENCE, assert_soon, read_all
from relays import Relay, Service, reads_until_reset, rewriting
from traffic import read_exactly

TOPIC = "relay"

Relays = Callable[..., Relay]

SHORT = 0.2
"""A time-out that is waited for."""
LINGER = 2.0
"""Seconds that a client which was refused has to read why."""

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GOT = GET.replace(b"localhost", b"example.com")
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n" + b"x" * 12000
"""More than the kernel takes for ``small`` sockets, and one read of the relay's."""


def small(option: int) -> socket.socket:
    """A socket with the smallest buffer that there is; what it accepts has it, too."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.settimeout(PATIENCE)
    return sock


@pytest.fixture
def slow(
    core: ModuleType, relays: Relays, service: Service
) -> Callable[..., tuple[Relay, socket.socket, socket.socket]]:
    """``slow(sent, answer, option=...)``: a relay that keeps this answer's end, its client and server."""

    def make(sent: bytes, answer: bytes, **options: float) -> tuple[Relay, socket.socket, socket.socket]:
        listener, client = small(socket.SO_SNDBUF), small(socket.SO_RCVBUF)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        relay = relays(service, listener=listener, rewrite=rewriting(core), record=True, **options)
        client.connect(relay.address[1])
        server = service.accept()
        client.sendall(sent)
        got = GOT * sent.count(GET)
        assert read_exactly(server, len(got)) == got
        server.sendall(answer)
        assert_soon(lambda: relay.counters.sent_down > 0)
        return relay, client, server

    return make


Slow = Callable[..., tuple[Relay, socket.socket, socket.socket]]


def test_the_time_between_requests_begins_when_the_response_is_sent(slow: Slow) -> None:
    relay, client, server = slow(GET, RESPONSE, keep_alive_timeout=SHORT)
    with client, server:
        time.sleep(3 * SHORT)
        assert read_all(client) == RESPONSE
        assert read_all(server) == b""
    assert relay.ended() == "closed"


@pytest.mark.parametrize(
    ("sent", "behind", "status", "ended"),
    [
        (GET + b"nonsense\r\n\r\n", b"", b"HTTP/1.1 400 ", "refused"),
        (GET + GET[:20], b"", b"HTTP/1.1 408 ", "late head"),
        (GET * 2, b"SSH-2.0-x\r\n", b"HTTP/1.1 502 ", "bad response"),
    ],
)
def test_a_refusal_comes_behind_a_response_that_is_read_late(
    slow: Slow, sent: bytes, behind: bytes, status: bytes, ended: str
) -> None:
    relay, client, server = slow(sent, RESPONSE + behind, head_timeout=SHORT)
    with client, server:
        time.sleep(LINGER + 3 * SHORT)
        assert read_all(client).startswith(RESPONSE + status)
    assert relay.ended() == ended


@pytest.mark.parametrize("limit", ["idle_timeout", "half_closed_timeout"])
def test_a_refused_client_that_never_reads_is_reset(slow: Slow, limit: str) -> None:
    relay, client, server = slow(GET + b"nonsense\r\n\r\n", RESPONSE, **{limit: SHORT})
    with client, server:
        assert relay.ended() == "refused"
        assert RESPONSE.startswith(reads_until_reset(client))
