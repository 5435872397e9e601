"""epoll that takes no more descriptors for a while: in the pure relay, whose epoll a test can replace."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from forwarding import PATIENCE, assert_soon
from relays import Relay, Service, running

from fastnet._pure import relay as pure
from fastnet._pure.relay.loop import Poller


class Full:
    """While it is full, epoll_ctl(2) fails with ENOSPC."""

    is_full = False
    refused = 0


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    full = Full()
    watch = Poller.watch

    def refuse(poller: Poller, fd: int, *given: Any) -> None:
        if full.is_full:
            full.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        watch(poller, fd, *given)

    monkeypatch.setattr(Poller, "watch", refuse)
    return full


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


def pass_one(relay: Relay, service: Service) -> None:
    with relay.connect() as client, service.accept() as server:
        client.sendall(b"x")
        assert server.recv(1) == b"x"


def test_the_loop_goes_on_and_accepts_again_when_epoll_has_room(full: Full, service: Service) -> None:
    warnings: list[str] = []
    relay = Relay(pure, (service,), warn=warnings.append)
    with running(relay.loop), relay.connect() as client, service.accept() as server:
        client.sendall(b"before")
        assert server.recv(6) == b"before"
        full.is_full = True
        relay.assert_rejects()
        assert_soon(lambda: full.refused > 2)
        server.sendall(b"during")
        assert client.recv(6) == b"during"
        full.is_full = False
        pass_one(relay, service)
    (warning,) = warnings
    assert warning.startswith("accepting pauses at ")
    assert warning.endswith(os.strerror(errno.ENOSPC))


def test_a_flow_is_begun_again_when_epoll_has_room(full: Full) -> None:
    with ExitStack() as stack:
        upstream, client, listener = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        )
        for sock in (upstream, client, listener):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(0.2)
        address = listener.getsockname()
        loop = pure.Loop()
        rule = pure.Rule([pure.Upstream([(socket.AF_INET, upstream.getsockname())])])
        loop.listen(rule, [listener])
        stack.enter_context(running(loop))
        full.is_full = True
        client.sendto(b"lost", address)
        assert_soon(lambda: rule.counters.unreachable == 1)
        full.is_full = False
        assert_soon(lambda: _passes(client, address, upstream))


def _passes(client: socket.socket, address: Any, upstream: socket.socket) -> bool:
    client.sendto(b"x", address)
    try:
        return upstream.recv(10) == b"x"
    except TimeoutError:
        return False


def test_a_flow_that_makes_room_is_not_told_what_came_for_it_in_that_turn() -> None:
    with ExitStack() as stack:
        upstream, first, second, listener = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(4)
        )
        for sock in (upstream, first, second, listener):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(PATIENCE)
        address = listener.getsockname()
        place = (socket.AF_INET, upstream.getsockname())
        rule = pure.Rule([pure.Upstream([place])], pure.Options(max_connections=1, record=True))
        loop = pure.Loop()
        stack.callback(loop.close)
        loop.listen(rule, [listener])
        first.sendto(b"first", address)
        loop._turn()
        data, flow = upstream.recvfrom(10)
        # Both are there when it looks, the new client first.
        second.sendto(b"second", address)
        upstream.sendto(data, flow)
        loop._turn()
        assert upstream.recv(10) == b"second"
        assert [record.ended for record in loop.records()] == ["idle"]
        assert rule.counters.active == 1
