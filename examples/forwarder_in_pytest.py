"""A test of how a client behaves when its server's link is slow, or goes away.

pytest forwarder_in_pytest.py
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator

if __name__ == "__main__":
    print("these are tests, which pytest runs: pytest forwarder_in_pytest.py", file=sys.stderr)
    sys.exit(2)

import pytest

import fastnet
from fastnet.echo import EchoServer


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer("127.0.0.1") as server:
        yield server


def test_a_slow_link_delivers_everything(server: EchoServer) -> None:
    with (
        fastnet.Forwarder(0, f"127.0.0.1:{server.port}", rate=200_000) as link,
        socket.create_connection(("127.0.0.1", link.port), timeout=10) as client,
    ):
        begun = time.monotonic()
        client.sendall(bytes(50_000))  # and as much comes back: 100 kB at 200 kB/s
        client.shutdown(socket.SHUT_WR)
        assert sum(map(len, iter(lambda: client.recv(65536), b""))) == 50_000
        assert time.monotonic() - begun > 0.25


def test_a_link_that_goes_away_ends_the_connection(server: EchoServer) -> None:
    link = fastnet.Forwarder(0, f"127.0.0.1:{server.port}")
    with link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        link.stop()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
