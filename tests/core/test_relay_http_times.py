"""The times of a relay that rewrites the Host: for a request's head, and between requests."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from types import ModuleType

import pytest
from forwarding import assert_soon, read_all
from relays import BlackHole, Relay, Service, rewriting
from traffic import read_exactly

TOPIC = "relay"

Relays = Callable[..., Relay]

SHORT = 0.2
"""A time-out that is waited for."""
LONGER = 3 * SHORT
LONG = 1000.0
"""One that never comes."""

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GOT = GET.replace(b"localhost", b"example.com")
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
POSTED = POST.replace(b"localhost", b"example.com")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
BLANK_LINES = [b"\r\n"]
BLANK_HALVES = [b"\r", b"\n"]
LATE = b"HTTP/1.1 408 Request Timeout\r\n"


def exchange(client: socket.socket, server: socket.socket) -> None:
    """A request and its response."""
    client.sendall(GET)
    assert read_exactly(server, len(GOT)) == GOT
    server.sendall(OK)
    assert read_exactly(client, len(OK)) == OK


def counted(relay: Relay) -> tuple[int, int, int]:
    counters = relay.counters
    return counters.refused, counters.timed_out, counters.resets


# The first head


def test_a_client_that_sends_nothing_is_closed_without_a_word(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    relay = relays(service, rewrite=rewriting(core), head_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept() as server:
        assert read_all(client) == b""
        assert read_all(server) == b""
    assert relay.ended() == "late head"
    assert counted(relay) == (0, 1, 0)


@pytest.mark.parametrize("data", [b"\r\n", b"\r", b"\r\n\r\n\r\n", b"G", GET[:-1]])
def test_a_client_that_sends_no_whole_head_is_answered_408(
    core: ModuleType, relays: Relays, service: Service, data: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), head_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept():
        client.sendall(data)
        assert read_all(client).startswith(LATE)
    assert relay.ended() == "late head"
    assert counted(relay) == (1, 0, 0)


@contextlib.contextmanager
def dripping(client: socket.socket, drops: list[bytes]) -> Iterator[None]:
    """Send these again and again."""
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for drop in cycle(drops):
                client.sendall(drop)
                if over.wait(SHORT / 10):
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("before", "drops"),
    [(False, BLANK_LINES), (False, BLANK_HALVES), (False, [b"X"]), (True, [b"X"])],
)
def test_bytes_now_and_then_give_a_head_no_more_time(
    core: ModuleType, relays: Relays, service: Service, before: bool, drops: list[bytes]
) -> None:
    relay = relays(service, rewrite=rewriting(core), head_timeout=SHORT, keep_alive_timeout=LONG)
    with relay.connect() as client, service.accept() as server:
        if before:
            exchange(client, server)
        with dripping(client, drops):
            assert read_exactly(client, len(LATE)) == LATE


def test_a_head_that_came_while_the_upstream_was_connected_to_is_in_time(
    core: ModuleType, relays: Relays, services: Callable[..., Service]
) -> None:
    black_hole, upstream = services(BlackHole), services()
    times = {"connect_timeout": LONGER, "head_timeout": SHORT}
    relay = relays(black_hole, upstream, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client:
        client.sendall(GET)
        with upstream.accept() as server:
            assert read_exactly(server, len(GOT)) == GOT
            server.sendall(OK)
            assert read_exactly(client, len(OK)) == OK
    assert relay.ended() == "closed"


def test_a_head_that_the_rates_hold_up_is_in_time(core: ModuleType, relays: Relays, service: Service) -> None:
    rewrite = rewriting(core)
    relay = relays(service, rewrite=rewrite, head_timeout=SHORT, connection_rate=20_000, record=True)
    field = b"X: " + b"y" * 15_000 + b"\r\n\r\n"
    with relay.connect() as client, service.accept() as server:
        client.sendall(GET.removesuffix(b"\r\n") + field)
        expected = GOT.removesuffix(b"\r\n") + field
        assert read_exactly(server, len(expected)) == expected
        server.sendall(OK)
        assert read_exactly(client, len(OK)) == OK
    assert relay.ended() == "closed"


@pytest.mark.parametrize(
    ("bad", "status", "ended"),
    [(GET[:20], LATE, "late head"), (b"nonsense\r\n\r\n", b"HTTP/1.1 400 ", "refused")],
)
@pytest.mark.parametrize("early", [b"", OK[:-1]])
def test_what_is_refused_waits_for_the_response_before(
    core: ModuleType, relays: Relays, service: Service, early: bytes, bad: bytes, status: bytes, ended: str
) -> None:
    relay = relays(service, rewrite=rewriting(core), head_timeout=SHORT, record=True)
    with relay.connect() as client, service.accept() as server:
        client.sendall(GET + bad)
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(early)
        assert read_exactly(client, len(early)) == early
        time.sleep(LONGER)
        server.sendall(OK[len(early) :])
        assert read_all(client).startswith(OK[len(early) :] + status)
    assert relay.ended() == ended
    assert counted(relay) == (1, 0, 0)


# Between requests


def test_a_connection_without_a_next_request_is_closed_without_a_word(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    times = {"head_timeout": LONG, "keep_alive_timeout": SHORT}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        exchange(client, server)
        assert read_all(client) == b""
        assert read_all(server) == b""
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


@pytest.mark.parametrize("data", [b"\r\n", b"\r", b"\r\n\r\n\r"])
def test_a_blank_line_between_requests_begins_no_head(
    core: ModuleType, relays: Relays, service: Service, data: bytes
) -> None:
    times = {"head_timeout": SHORT, "keep_alive_timeout": LONGER}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        client.sendall(data)
        assert read_all(client) == b""
        assert read_all(server) == b""
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


@pytest.mark.parametrize("drops", [BLANK_LINES, BLANK_HALVES])
def test_blank_lines_now_and_then_prolong_no_keep_alive(
    core: ModuleType, relays: Relays, service: Service, drops: list[bytes]
) -> None:
    times = {"head_timeout": LONG, "keep_alive_timeout": SHORT}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        with dripping(client, drops):
            assert read_all(server) == b""
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


def test_the_request_behind_a_blank_line_has_its_own_time(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    times = {"head_timeout": SHORT, "keep_alive_timeout": LONG}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        client.sendall(b"\r\n\r")
        time.sleep(LONGER)
        client.sendall(b"\n" + GET)
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(OK)
        assert read_exactly(client, len(OK)) == OK
        client.sendall(b"\r\n" + GET[:1])
        assert read_all(client).startswith(LATE)
    assert relay.ended() == "late head"


def test_a_line_end_behind_a_body_begins_no_head(core: ModuleType, relays: Relays, service: Service) -> None:
    """Some send one that belongs to nothing (RFC 9112, section 2.2)."""
    times = {"head_timeout": SHORT, "keep_alive_timeout": LONGER}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        client.sendall(POST + b"ab\r")
        assert read_exactly(server, len(POSTED) + 2) == POSTED + b"ab"
        client.sendall(b"\n")
        time.sleep(LONGER)
        server.sendall(OK)
        assert read_all(client) == OK
    assert relay.ended() == "closed"


@pytest.mark.parametrize("times", [{"keep_alive_timeout": LONG}, {"keep_alive_timeout": 0.0}])
def test_the_time_of_a_head_does_not_run_between_requests(
    core: ModuleType, relays: Relays, service: Service, times: dict[str, float]
) -> None:
    relay = relays(service, rewrite=rewriting(core), head_timeout=SHORT, record=True, **times)
    with relay.connect() as client, service.accept() as server:
        for _ in range(2):
            exchange(client, server)
            time.sleep(LONGER)
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


def test_a_head_that_has_begun_has_its_own_time(core: ModuleType, relays: Relays, service: Service) -> None:
    times = {"head_timeout": LONG, "keep_alive_timeout": SHORT}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        client.sendall(GET[:1])
        time.sleep(LONGER)
        client.sendall(GET[1:])
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(OK)
        assert read_all(client) == OK
    assert relay.ended() == "closed"


@pytest.mark.parametrize(
    "where", ["before the response", "in its body", "in the request's", "in both", "raw"]
)
def test_no_time_runs_while_the_client_owes_nothing(
    core: ModuleType, relays: Relays, service: Service, where: str
) -> None:
    times = {"head_timeout": SHORT, "keep_alive_timeout": SHORT}
    relay = relays(service, rewrite=rewriting(core), record=True, **times)
    with relay.connect() as client, service.accept() as server:
        if where == "raw":
            upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n"
            client.sendall(upgrade)
            assert read_exactly(server, len(upgrade)) == upgrade
            server.sendall(b"HTTP/1.1 101 \r\n\r\n")
            assert read_exactly(client, 17) == b"HTTP/1.1 101 \r\n\r\n"
            time.sleep(LONGER)
            client.sendall(b"raw")
            assert read_exactly(server, 3) == b"raw"
            client.shutdown(socket.SHUT_WR)
            assert read_all(server) == b""
            return
        client.sendall(POST)
        assert read_exactly(server, len(POSTED)) == POSTED
        early = {"in its body": OK[:-1], "in the request's": OK, "in both": OK[:-1]}.get(where, b"")
        if where in ("before the response", "in its body"):
            client.sendall(b"ab")
            assert read_exactly(server, 2) == b"ab"
        server.sendall(early)
        assert read_exactly(client, len(early)) == early
        time.sleep(LONGER)
        if where in ("in the request's", "in both"):
            client.sendall(b"ab")
            assert read_exactly(server, 2) == b"ab"
        server.sendall(OK[len(early) :])
        assert read_all(client) == OK[len(early) :], "then it is closed"
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


# While it drains


@pytest.mark.parametrize("seconds", [LONG, 0.0])
def test_a_drain_ends_what_is_between_requests(
    core: ModuleType, relays: Relays, service: Service, seconds: float
) -> None:
    relay = relays(service, rewrite=rewriting(core), keep_alive_timeout=seconds, record=True)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        relay.loop.drain(LONG)
        assert (read_all(client), read_all(server)) == (b"", b"")
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


def test_a_drain_waits_for_responses(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service, rewrite=rewriting(core), keep_alive_timeout=LONG, record=True)
    with relay.connect() as client, service.accept() as server:
        client.sendall(GET + GET)
        assert read_exactly(server, 2 * len(GOT)) == 2 * GOT
        relay.loop.drain(LONG)
        assert_soon(lambda: not relay.listens())
        server.sendall(OK)
        assert read_exactly(client, len(OK)) == OK
        server.sendall(OK)
        assert (read_all(client), read_all(server)) == (OK, b"")
    assert relay.ended() == "closed"


def test_a_drain_lets_the_client_read_the_last_response(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    """Also one that sends its next request meanwhile: a reset would destroy what it has not received yet."""
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300000)
    relay = relays(service, rewrite=rewriting(core), keep_alive_timeout=LONG, record=True)
    with relay.connect() as client, service.accept() as server:
        client.sendall(GET)
        assert read_exactly(server, len(GOT)) == GOT
        relay.loop.drain(LONG)
        assert_soon(lambda: not relay.listens())
        server.sendall(response)
        assert read_all(server) == b"", "the relay needs it no more"
        client.sendall(GET)
        assert read_all(client) == response
    assert relay.ended() == "closed"
    assert counted(relay) == (0, 0, 0)


def test_a_drain_waits_for_a_request_that_has_begun(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    relay = relays(service, rewrite=rewriting(core), keep_alive_timeout=LONG)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        client.sendall(GET + GET[:9])
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(OK)
        assert read_exactly(client, len(OK)) == OK
        relay.loop.drain(LONG)
        assert_soon(lambda: not relay.listens())
        client.sendall(GET[9:])
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(OK)
        assert (read_all(client), read_all(server)) == (OK, b"")
