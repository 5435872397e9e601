"""Both ends of the connections that go through a forwarder, held by one test."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import cache

from forwarders import Find, Forwarder, Running

MIB = 1 << 20
IP_BIND_ADDRESS_NO_PORT = 24
BATCH = 500
"""Connections opened before they are accepted: fewer than a backlog holds."""
SOURCES = 8
"""Addresses of loopback that clients connect from, so that ports suffice."""

_BLOCK = random.Random(20_240_229).randbytes(2 * MIB)
_STREAM = memoryview(_BLOCK * 2)


def soon(condition: Callable[[], bool], patience: float, what: str) -> None:
    """The condition becomes true while others still work."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where the stream ends."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def reset(sock: socket.socket) -> None:
    """Close by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def sample(size: int, start: int = 0) -> memoryview:
    """A part of the endless stream that the tests send."""
    start %= len(_BLOCK)
    return _STREAM[start : start + size]


@cache
def digest(size: int, start: int = 0) -> str:
    """The hash of so many bytes of the stream."""
    total, end = hashlib.sha1(), start + size
    for position in range(start, end, MIB):
        total.update(sample(min(MIB, end - position), position))
    return total.hexdigest()


def sizes(total: int, seed: int) -> Iterator[int]:
    """Random sizes from one byte to a mebibyte, small ones as often as large ones, that make up ``total``."""
    chance = random.Random(seed)
    while total:
        size = min(total, int(2 ** chance.uniform(0, 20)))
        total -= size
        yield size


def send(sock: socket.socket, total: int, seed: int) -> None:
    """Send so many bytes of the stream in random sizes."""
    position = 0
    for size in sizes(total, seed):
        sock.sendall(sample(size, position))
        position += size


def receive(sock: socket.socket, seed: int, most: int = 1 << 62) -> tuple[int, str]:
    """Read so many bytes, or to the end, in random sizes; how many there were, and their hash."""
    count, total = 0, hashlib.sha1()
    for size in sizes(1 << 62, seed):
        data = sock.recv(min(size, most - count))
        count += len(data)
        total.update(data)
        if not data or count == most:
            break
    return count, total.hexdigest()


class Line:
    """A forwarder, the upstream behind it, and the connections between them, closed in the end."""

    def __init__(self, running: Running, upstream: socket.socket, patience: float) -> None:
        self.running = running
        self.upstream = upstream
        self.patience = patience
        self._open = contextlib.ExitStack()
        self._connected = 0

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close this socket with the others."""
        return self._open.enter_context(sock)

    def connect(self, wait: bool = True) -> socket.socket:
        """A new client; connected, or (not to ``wait``) about to be."""
        self._connected += 1
        source = f"127.0.0.{self._connected % SOURCES + 1}"
        sock = self.keep(socket.socket())
        sock.settimeout(self.patience if wait else 0)
        sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self.running.port))
        return sock

    def accept(self) -> socket.socket:
        """The upstream's next connection."""
        sock = self.keep(self.upstream.accept()[0])
        sock.settimeout(self.patience)
        return sock

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the upstream's end of its connection."""
        return self.connect(), self.accept()

    def pairs(self, count: int) -> list[tuple[socket.socket, socket.socket]]:
        """Many of them: each has passed a number, which identifies what belongs together."""
        found = []
        for start in range(0, count, BATCH):
            clients = [self.connect() for _ in range(start, min(count, start + BATCH))]
            for number, client in enumerate(clients):
                client.sendall(number.to_bytes(4, "big"))
            servers = {read_exactly(sock, 4): sock for sock in [self.accept() for _ in clients]}
            found += [(client, servers[number.to_bytes(4, "big")]) for number, client in enumerate(clients)]
        return found

    def close(self) -> None:
        """Close all connections that are still open."""
        self._open.close()


@contextlib.contextmanager
def line(forwarder: Forwarder, find: Find, **options: object) -> Iterator[Line]:
    """Run a forwarder in front of a new upstream; in the end it must have closed every connection."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as upstream,
        forwarder.run(find, upstream.getsockname()[1], **options) as running,
    ):
        upstream.settimeout(forwarder.patience)
        with contextlib.closing(Line(running, upstream, forwarder.patience)) as made:
            yield made
        soon(running.quiet, forwarder.patience, "it keeps connections open that have ended")
        assert not any("Traceback" in text for text in running.said()), running.said()
