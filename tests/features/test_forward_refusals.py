"""What a client that is refused can still read: the responses that were due, then why."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from forwarding import PATIENCE, Server, read_all

from fastnet import Forwarder, implementation

ENGINES = ["copy", "splice", "pure"] if implementation("relay") == "native" else ["pure"]
SIZES = range(100_000, 700_000, 20_000)
"""Bytes of a response; of some of them the last waits in the forwarder until the client reads."""


def responses(sock: socket.socket) -> None:
    """Each connection's first request is answered with as many bytes as it asks for."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    size = int(head.split()[1].removeprefix(b"/"))
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    sock.recv(1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refused_client_that_has_ended_gets_what_was_due(engine: str, tmp_path: Path) -> None:
    path = str(tmp_path / "listener")
    server = Server(responses)
    upstream = f"127.0.0.1:{server.port}"
    with ExitStack() as ends, Forwarder(f"unix:{path}", upstream, engine=engine, rewrite_host=True):
        clients = []
        for size in SIZES:
            client = ends.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(PATIENCE)
            client.connect(path)
            client.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost : b\r\n\r\n" % size)
            client.shutdown(socket.SHUT_WR)
            clients.append(client)
        for size, client in zip(SIZES, clients, strict=True):
            head, _, rest = read_all(client).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert rest[:size] == bytes(size)
            assert rest[size:].startswith(b"HTTP/1.1 400 ")
    server.close()
