"""What the relay's core tests share: both ends of what is relayed, and a loop in a thread between them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from forwarding import PATIENCE, assert_soon, forever

Address = tuple[int, Any]

RESET = struct.pack("ii", 1, 0)


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """Two ends of a real TCP connection."""
    with socket.create_server((host, 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    for sock in (client, accepted):
        sock.settimeout(PATIENCE)
    return client, accepted


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def reads_until_reset(sock: socket.socket) -> bytes:
    """What comes before the reset, with which it must end."""
    received: list[bytes] = []
    with pytest.raises(ConnectionResetError):
        forever(lambda: received.append(expect_data(sock)))
    return b"".join(received)


def expect_data(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 20)
    assert data, "an orderly end, where a reset was due"
    return data


class Service:
    """A listening socket, and what a test does with the connections that come through a relay."""

    def __init__(
        self, family: int = socket.AF_INET, host: str = "127.0.0.1", backlog: int = 2048, port: int = 0
    ) -> None:
        if family == socket.AF_UNIX:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(host)
            self.sock.listen(backlog)
        else:
            self.sock = socket.create_server((host, port), family=family, backlog=backlog)
        self.sock.settimeout(PATIENCE)
        self.address: Address = self.sock.family, self.sock.getsockname()

    def accept(self) -> socket.socket:
        accepted, _ = self.sock.accept()
        accepted.settimeout(PATIENCE)
        return accepted

    def has_a_caller(self) -> bool:
        """Whether a connection waits to be accepted."""
        self.sock.settimeout(0)
        try:
            self.sock.accept()[0].close()
        except BlockingIOError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)
        return True

    def close(self) -> None:
        self.sock.close()


class BlackHole(Service):
    """A listener whose backlog is full, so that SYNs to it are dropped."""

    def __init__(self) -> None:
        super().__init__(backlog=0)
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(self.address[1])

    def close(self) -> None:
        super().close()
        for filler in self._fillers:
            filler.close()


_taken: list[socket.socket] = []


def closed_port() -> Address:
    """An address at which nobody listens, nor will: it is bound as long as the tests run."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    _taken.append(sock)
    return socket.AF_INET, sock.getsockname()


@contextlib.contextmanager
def running(*loops: Any) -> Iterator[list[bool]]:
    """The loops in threads; what ``run`` returned is in the list afterwards."""
    results: list[bool] = []
    threads = [threading.Thread(target=lambda loop=loop: results.append(loop.run())) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        for loop in loops:
            loop.stop()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


class Relay:
    """A loop in a thread that forwards, by one rule, from a listener to upstreams."""

    def __init__(
        self,
        core: ModuleType,
        upstreams: tuple[Any, ...],
        listener: socket.socket | None = None,
        warn: Callable[[str], None] = lambda text: None,
        **options: Any,
    ) -> None:
        listener = listener or socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.address: Address = listener.family, listener.getsockname()
        self.upstreams = [as_upstream(core, each) for each in upstreams]
        self.rule = core.Rule(self.upstreams, core.Options(**options))
        self.counters = self.rule.counters
        self.loop = core.Loop(warn=warn)
        self.loop.listen(self.rule, [listener])

    def connect(self, source: str | None = None) -> socket.socket:
        """A client; from this address, where one is given."""
        sock = socket.socket(self.address[0])
        try:
            sock.settimeout(PATIENCE)
            if source:
                sock.bind((source, 0))
            sock.connect(self.address[1])
        except OSError:
            sock.close()
            raise
        return sock

    def listens(self) -> bool:
        """Whether anybody still does at its address, without connecting to it."""
        try:
            socket.create_server(self.address[1]).close()
        except OSError:
            return True
        return False

    def assert_rejects(self, source: str | None = None) -> None:
        """A client is reset: so soon, sometimes, that connecting already fails."""
        with pytest.raises(ConnectionResetError), self.connect(source) as client:
            client.recv(1)

    def records(self, count: int) -> list[Any]:
        """So many records, as soon as the connections have ended."""
        found: list[Any] = []
        assert_soon(lambda: found.extend(self.loop.records()) or len(found) >= count)  # type: ignore[func-returns-value]
        assert len(found) == count
        return found

    def ended(self) -> str:
        """Why the only connection that has ended did so."""
        [record] = self.records(1)
        return record.ended  # type: ignore[no-any-return]


def rewriting(core: ModuleType) -> Any:
    """A rule's ``rewrite`` of the same implementation: localhost becomes example.com."""
    http_head = import_module(core.__name__.replace(".relay", ".http_head"))
    return http_head.HostRewrite(["localhost"], 80, "example.com")


def as_upstream(core: ModuleType, place: Any) -> Any:
    """Of a Service, an address, a list of addresses, or an Upstream."""
    if isinstance(place, Service):
        place = place.address
    if isinstance(place, tuple):
        place = [place]
    return core.Upstream(place) if isinstance(place, list) else place
