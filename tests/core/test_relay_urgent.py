"""Urgent data in a stream (RFC 6093): what is before and behind a mark arrives, however bytes are moved."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from forwarding import read_all
from relays import Relay, Service, reads_until_reset, reset, rewriting, running, tcp_pair
from traffic import read_exactly

TOPIC = "relay"

Streams = Iterator[tuple[socket.socket, socket.socket]]

BEFORE = [0, 1000, 5 << 20]
"""Bytes before the first mark: after the last of these a stream is spliced, and served at intervals."""
BEHIND = os.urandom(100_000)


def engines(core: ModuleType) -> list[str]:
    return [name for name in core.ENGINES if name != "splice" or "native" in core.__name__]


@pytest.fixture(params=[False, True], ids=["from the client", "from the upstream"])
def streams(core: ModuleType, request: pytest.FixtureRequest) -> Callable[[], Streams]:
    """``streams()``: who speaks and who listens, with a relay of each engine between them."""

    def each() -> Streams:
        for engine in engines(core):
            loop = core.Loop()
            (client, down), (up, server) = tcp_pair(), tcp_pair()
            loop.join(down, up, core.Rule((), core.Options(engine=engine)))
            with client, server, running(loop):
                yield (server, client) if request.param else (client, server)

    return each


def pass_on(speaker: socket.socket, listener: socket.socket, data: bytes) -> None:
    """All of it arrives, so that what is sent next is read by itself."""
    thread = threading.Thread(target=speaker.sendall, args=(data,))
    thread.start()
    assert read_exactly(listener, len(data)) == data
    thread.join()


def mark(sock: socket.socket) -> None:
    assert sock.send(b"!", socket.MSG_OOB) == 1


@pytest.mark.parametrize("before", BEFORE)
def test_what_is_behind_a_mark_arrives_before_the_end(streams: Callable[[], Streams], before: int) -> None:
    for speaker, listener in streams():
        pass_on(speaker, listener, os.urandom(before))
        mark(speaker)
        speaker.sendall(BEHIND)
        speaker.shutdown(socket.SHUT_WR)
        assert read_all(listener) == BEHIND


@pytest.mark.parametrize("before", BEFORE)
def test_a_stream_goes_on_behind_each_of_many_marks(streams: Callable[[], Streams], before: int) -> None:
    for speaker, listener in streams():
        pass_on(speaker, listener, os.urandom(before))
        for _ in range(5):
            mark(speaker)
            pass_on(speaker, listener, BEHIND)
        pass_on(listener, speaker, BEHIND)


@pytest.mark.parametrize("before", BEFORE)
def test_a_mark_amid_bytes_that_nobody_has_read_yet(streams: Callable[[], Streams], before: int) -> None:
    for speaker, listener in streams():
        pass_on(speaker, listener, os.urandom(before))
        speaker.sendall(BEHIND)
        mark(speaker)
        speaker.sendall(BEHIND[::-1])
        assert read_exactly(listener, 2 * len(BEHIND)) == BEHIND + BEHIND[::-1]


@pytest.mark.parametrize("before", [b"", b"before", bytes(100_000)])
def test_a_mark_amid_bytes_that_came_before_the_relay(core: ModuleType, before: bytes) -> None:
    """One event is all that there is for them."""
    for engine in engines(core):
        loop = core.Loop()
        (client, down), (up, server) = tcp_pair(), tcp_pair()
        client.sendall(before)
        mark(client)
        client.sendall(b"behind")
        loop.join(down, up, core.Rule((), core.Options(engine=engine)))
        with client, server, running(loop):
            assert read_exactly(server, len(before) + 6) == before + b"behind"


def test_a_mark_and_the_end_may_come_while_the_relay_reads(core: ModuleType) -> None:
    """No event reports the mark before splice(2) stops there: which turn they come in is chance, so often."""
    before = bytes(400_000)

    def speak(sock: socket.socket) -> None:
        sock.sendall(before)
        mark(sock)
        sock.sendall(b"behind")
        sock.shutdown(socket.SHUT_WR)

    for engine in engines(core) * 40:
        loop = core.Loop()
        (client, down), (up, server) = tcp_pair(), tcp_pair()
        loop.join(down, up, core.Rule((), core.Options(engine=engine)))
        thread = threading.Thread(target=speak, args=(client,))
        with client, server, running(loop):
            thread.start()
            assert len(read_all(server)) == len(before) + 6
            thread.join()


@pytest.mark.parametrize("before", BEFORE)
def test_a_mark_may_be_the_last_byte(streams: Callable[[], Streams], before: int) -> None:
    for speaker, listener in streams():
        pass_on(speaker, listener, os.urandom(before))
        mark(speaker)
        speaker.shutdown(socket.SHUT_WR)
        assert listener.recv(1) == b""
        pass_on(listener, speaker, BEHIND)


@pytest.mark.parametrize("before", BEFORE)
def test_a_reset_comes_behind_what_is_behind_a_mark(streams: Callable[[], Streams], before: int) -> None:
    for speaker, listener in streams():
        pass_on(speaker, listener, os.urandom(before))
        mark(speaker)
        speaker.sendall(b"and more")
        reset(speaker)
        assert reads_until_reset(listener) == b"and more"


def test_a_mark_in_an_http_body(core: ModuleType, relays: Callable[..., Relay], service: Service) -> None:
    """Its byte is not counted as one of the body's, so that the next response is found."""
    relay = relays(service, rewrite=rewriting(core))
    first, second = b"one" * 1_500_000, b"another"
    with relay.connect() as client, service.accept() as server:
        for body in first, second:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"Host: example.com\r\n" in server.recv(1 << 16)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            pass_on(server, client, head + body[:-5])
            mark(server)
            pass_on(server, client, body[-5:])
