"""A relay that rewrites the Host: the answers that it gives itself, and when."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from forwarding import read_all
from relays import Relay, Service, reads_until_reset, reset, rewriting
from traffic import read_exactly

TOPIC = "relay"

Relays = Callable[..., Relay]

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GOT = GET.replace(b"localhost", b"example.com")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\n"


# A response that is none


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", b"a response status outside 100 to 599"),
        (b"HTTP/1.1 20 OK\r\n", b"a response status outside 100 to 599"),
        (b"SSH-2.0-x\r\n", b"a response without a status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", b"different Content-Lengths"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65536, b"a line or head that is too long"),
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", b"a bare CR or a NUL in a response"),
        (b"HTTP/1.1 101 Go\r\n\r\n", b"a 101 without an upgrade request"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", OK])
def test_a_response_that_is_none_is_answered_502(
    core: ModuleType, relays: Relays, service: Service, before: bytes, response: bytes, reason: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    requests = 2 if before == OK else 1
    with relay.connect() as client, service.accept() as server:
        client.sendall(GET * requests)
        assert read_exactly(server, len(GOT) * requests) == GOT * requests
        server.sendall(before + response)
        answer = read_all(client)
        assert answer.startswith(before + BAD_GATEWAY)
        assert answer.endswith(b"Connection: close\r\n\r\n" + reason + b"\n")
        with pytest.raises(ConnectionResetError):
            server.recv(1)
    assert relay.ended() == "bad response"
    assert (relay.counters.refused, relay.counters.resets) == (1, 0)


def test_a_502_comes_amid_the_request_that_it_answers(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client, service.accept() as server:
        put = GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\nbegun")
        got = put.replace(b"localhost", b"example.com")
        client.sendall(put)
        assert read_exactly(server, len(got)) == got
        server.sendall(b"HTTP/3 200\r\n")
        assert read_all(client).startswith(BAD_GATEWAY)
    assert relay.ended() == "bad response"


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 OK\r\n", OK.removesuffix(b"\r\nhi")])
def test_a_head_that_ends_early_is_answered_502(
    core: ModuleType, relays: Relays, service: Service, part: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        with service.accept() as server:
            client.sendall(GET * 2)
            assert read_exactly(server, len(GOT) * 2) == GOT * 2
            server.sendall(OK + part)
        answer = read_all(client)
        assert answer.startswith(OK + BAD_GATEWAY)
        assert answer.endswith(b"a response that ends within its head\n")
    assert relay.ended() == "bad response"


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("request_", [GET, GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nbegun")])
def test_an_upstream_that_ends_without_a_response_is_answered_502(
    core: ModuleType, relays: Relays, service: Service, request_: bytes, before: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        with service.accept() as server:
            client.sendall(request_)
            got = request_.replace(b"localhost", b"example.com")
            assert read_exactly(server, len(got)) == got
            server.sendall(before)
        answer = read_all(client)
        assert answer.startswith(before + BAD_GATEWAY)
        assert answer.endswith(b"the upstream ended without a response\n")
    assert relay.ended() == "bad response"
    assert (relay.counters.refused, relay.counters.resets) == (1, 0)


def test_a_reset_without_a_response_is_answered_502(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    """So ends who closes without having read the request."""
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        server = service.accept()
        client.sendall(GET)
        assert read_exactly(server, len(GOT)) == GOT
        reset(server)
        assert read_all(client).startswith(BAD_GATEWAY)
    assert relay.ended() == "bad response"
    assert (relay.counters.refused, relay.counters.resets) == (1, 0)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_reset_within_the_first_head_is_answered_502(
    core: ModuleType, relays: Relays, service: Service, before: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        server = service.accept()
        client.sendall(GET)
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(before + OK[:-10])
        assert read_exactly(client, len(before)) == before
        reset(server)
        assert read_all(client).startswith(BAD_GATEWAY)
    assert relay.ended() == "bad response"
    assert (relay.counters.refused, relay.counters.resets) == (1, 0)


@pytest.mark.parametrize("sent", [b"", GET[:9]])
def test_an_upstream_that_ends_before_a_request_is_passed_on(
    core: ModuleType, relays: Relays, service: Service, sent: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        client.sendall(sent)
        service.accept().close()
        assert read_all(client) == b""
    assert relay.ended() == "closed"


def test_an_upstream_that_ends_behind_a_response_is_passed_on(
    core: ModuleType, relays: Relays, service: Service
) -> None:
    """A client that used the connection before will try again, as it can't with a 502."""
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        with service.accept() as server:
            client.sendall(GET * 2)
            assert read_exactly(server, len(GOT) * 2) == GOT * 2
            server.sendall(OK)
        assert read_all(client) == OK
    assert relay.ended() == "closed"


def test_a_reset_within_a_later_head_is_passed_on(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client:
        with service.accept() as server:
            client.sendall(GET * 2)
            assert read_exactly(server, len(GOT) * 2) == GOT * 2
            server.sendall(OK + OK[:-10])
            assert read_exactly(client, len(OK)) == OK
            reset(server)
        assert reads_until_reset(client) == b""
    assert relay.ended() == "upstream reset"


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_body_that_becomes_bad_is_whole_up_to_there_and_reset(
    core: ModuleType, relays: Relays, service: Service, size: int
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    good = CHUNKED + b"%x\r\n%s\r\n" % (size, b"a" * size)
    with relay.connect() as client, service.accept() as server:
        client.sendall(GET)
        assert read_exactly(server, len(GOT)) == GOT
        server.sendall(good + b"x\r\n")
        assert read_exactly(client, len(good)) == good
        assert reads_until_reset(client) == b""
    assert relay.ended() == "bad response"
    assert (relay.counters.refused, relay.counters.resets) == (0, 1)


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"])
def test_what_nobody_asked_for_is_a_reset(
    core: ModuleType, relays: Relays, service: Service, data: bytes
) -> None:
    relay = relays(service, rewrite=rewriting(core), record=True)
    with relay.connect() as client, service.accept() as server:
        server.sendall(data)
        assert reads_until_reset(client) == b""
    assert relay.ended() == "bad response"
