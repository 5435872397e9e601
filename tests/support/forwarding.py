"""What the forwarder's tests share: servers and clients to put at its ends, and the command as a process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import http.server
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from records import parse_all

PATIENCE = 20.0
FORWARD = (sys.executable, "-m", "fastnet", "forward")


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), PATIENCE)


def assert_reset(port: int) -> None:
    """A connection is accepted and reset: so soon, sometimes, that connecting already fails."""
    with pytest.raises(ConnectionResetError), connect(port) as client:
        client.recv(1)


def forever(step: Callable[[], object]) -> None:
    """Until it raises."""
    while True:
        step()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def assert_soon(condition: Callable[[], bool]) -> None:
    """The condition becomes true while others still work; a generous limit ends a failing test."""
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    assert condition()


class Server:
    """A TCP server with a thread for each connection, which ``handle`` gets."""

    def __init__(
        self, handle: Callable[[socket.socket], None], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.create_server((host, port), family=family, backlog=2048)
        self.port: int = self.sock.getsockname()[1]
        self._handle = handle
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError as error:
                if error.errno != errno.EMFILE:
                    return
                time.sleep(0.01)  # A test takes the process's descriptors away, and gives them back.
                continue
            thread = threading.Thread(target=self._serve, args=(sock,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(ConnectionError):
            self._handle(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for thread in (self._accepting, *self._threads):
            thread.join(PATIENCE)


class Load:
    """In a ``with``, clients that never rest: each sends data, ends, and receives the digest from a server.

    Whatever goes wrong with one of them is raised at the end.
    """

    def __init__(self, port: int, clients: int = 4) -> None:
        self.served: dict[str, int] = {}
        self._port = port
        self._clients = clients
        self._ended = threading.Event()

    def __enter__(self) -> Load:
        self._pool = ThreadPoolExecutor(self._clients)
        self._working = [self._pool.submit(self._work, number) for number in range(self._clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()
        for working in self._working:
            working.result()

    def _work(self, number: int) -> None:
        while not self._ended.is_set():
            data = os.urandom(100_000 + number)
            with connect(self._port) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                name, _, answer = read_all(client).decode().rpartition(" ")
            assert answer == hashlib.blake2b(data).hexdigest()
            self.served[name] = self.served.get(name, 0) + 1


def named_digest(name: str) -> Callable[[socket.socket], None]:
    """A handler for ``Load``."""

    def handle(sock: socket.socket) -> None:
        total = hashlib.blake2b()
        while data := sock.recv(1 << 18):
            total.update(data)
        sock.sendall(f"{name} {total.hexdigest()}".encode())

    return handle


def say(name: str) -> Callable[[socket.socket], None]:
    """A handler that sends its name, and then echoes."""

    def handle(sock: socket.socket) -> None:
        sock.sendall(name.encode())
        echo(sock)

    return handle


def who(port: int) -> str:
    """The name of the server that a connection to this port leads to."""
    with connect(port) as client:
        return client.recv(100).decode()


def free_port() -> int:
    """A port that nobody listens at, below those which the kernel gives to who lets it choose."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def digest(sock: socket.socket) -> None:
    """Answers only after the client's end, the way a half-closing client needs it."""
    total = hashlib.blake2b()
    while data := sock.recv(1 << 18):
        total.update(data)
    sock.sendall(total.hexdigest().encode())


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = json.dumps(
            {"host": self.headers["Host"], "path": self.path, "body": body.decode()}, separators=(",", ":")
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class WebServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Connections that end badly are part of the tests."""


def fetch(port: int, host: str = "127.0.0.1", **headers: str) -> dict[str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/localhost:1", headers=headers)
        answer: dict[str, str] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


class Command:
    """A running ``fastnet forward``, and where it listens."""

    def __init__(self, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self._words = arguments
        self.process = subprocess.Popen(
            [*prefix, *FORWARD, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        assert self.process.stdout
        self.first_line = self.process.stdout.readline()
        ports = re.findall(r":(\d{4,5})\b", self.first_line)
        self.port = int(ports[0]) if ports else 0

    def finish(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        if "--json" in self._words:
            parse_all(self.first_line + out)
        return self.process.returncode, out, err
