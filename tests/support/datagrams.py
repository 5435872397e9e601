"""What tests of datagrams share: sockets, a server that echoes, and a loop that forwards between them."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import ModuleType
from typing import Any

from forwarding import PATIENCE


def bound(host: str = "127.0.0.1", port: int = 0, **options: int) -> socket.socket:
    """A datagram socket of this address; ``options`` by their names, set before it is bound."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    for name, value in options.items():
        level = socket.IPPROTO_IPV6 if name.startswith("IPV6") else socket.SOL_SOCKET
        sock.setsockopt(level, getattr(socket, name), value)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.settimeout(PATIENCE)
    return sock


def closed_port() -> int:
    """A port that nobody listens on."""
    with bound() as sock:
        return int(sock.getsockname()[1])


class EchoServer:
    """Answers each datagram with the same, behind ``prefix``, and notes whom it came from."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, prefix: bytes = b"") -> None:
        self.sock = bound(host, port)
        self.sock.settimeout(0.05)
        self.address = (self.sock.family, self.sock.getsockname())
        self.prefix = prefix
        self.senders: list[Any] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                data, sender = self.sock.recvfrom(65536)
                self.senders.append(sender)
                self.sock.sendto(self.prefix + data, sender)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.sock.close()

    def __enter__(self) -> EchoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Served:
    """A loop in a thread that serves one rule's listeners."""

    def __init__(self, core: ModuleType, rule: Any, *listeners: socket.socket, **options: Any) -> None:
        self.addresses = [sock.getsockname() for sock in listeners]
        self.loop = core.Loop(**options)
        self.loop.listen(rule, listeners)
        self.results: list[bool] = []
        self.thread = threading.Thread(target=lambda: self.results.append(self.loop.run()))
        self.thread.start()

    def end(self, timeout: float | None = None) -> bool:
        """Stop, or drain; what ``run`` returned."""
        self.loop.stop() if timeout is None else self.loop.drain(timeout)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.results[0]


def ask(client: socket.socket, address: Any, data: bytes = b"hello") -> bytes:
    client.sendto(data, address)
    return client.recv(65536)
