"""Services to wait for: servers that do the same, or what is next on a list, with each connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

PATIENCE = 20.0
RESET = struct.pack("ii", 1, 0)


class Service:
    """A server that does the same with each connection, from the moment it is started."""

    def __init__(self, handle: Callable[[socket.socket], object], address: object, family: int) -> None:
        self.accepted = 0
        self._handle = handle
        self._held: list[socket.socket] = []
        self.sock = socket.socket(family)
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(address)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> None:
        self.sock.listen()
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.sock.accept()
                self.accepted += 1
                self._held.append(accepted)
                with contextlib.suppress(OSError):
                    self._handle(accepted)

    def held_is_closed(self) -> bool:
        """Whether the client has closed the last connection, or does so before long."""
        self._held[-1].settimeout(PATIENCE)
        return not self._held[-1].recv(4096)

    @property
    def target(self) -> str:
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        for sock in self._held:
            sock.close()


def keep(sock: socket.socket) -> None:
    """Leave the connection open and send nothing."""


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def greet(sock: socket.socket) -> None:
    sock.sendall(b"220 welcome\r\n")
    sock.close()


def answer(status: str) -> Callable[[socket.socket], None]:
    def handle(sock: socket.socket) -> None:
        sock.recv(4096)
        for piece in (f"HTTP/1.1 {status}"[:7], f"HTTP/1.1 {status}"[7:] + "\r\nContent-Length: 0\r\n\r\n"):
            sock.sendall(piece.encode())
        sock.close()

    return handle


Make = Callable[..., Service]


def make_services(stack: contextlib.ExitStack) -> Make:
    """``service(handle)`` is a server on loopback; with ``started=False`` its port is only bound: refused."""

    def make(
        handle: Callable[[socket.socket], object] = keep,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        path: str = "",
        started: bool = True,
    ) -> Service:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        one = Service(handle, path or (host, port), socket.AF_UNIX if path else family)
        stack.callback(one.close)
        if started:
            one.start()
        return one

    return make
