"""The echo command as a process, and servers that give its client wrong answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from children import Child


@contextmanager
def serve(*options: str, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    command = [*prefix, sys.executable, "-m", "fastnet", "echo", "serve", *options]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield server
        finally:
            server.kill()


def listening(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().rstrip("\n")


def wrong_byte(sock: socket.socket) -> None:
    data = bytearray(sock.recv(1000))
    data[3] ^= 1
    sock.sendall(data)
    sock.recv(1)


def too_much(sock: socket.socket) -> None:
    sock.sendall(sock.recv(1000) + b"!")
    sock.recv(1)


def too_little(sock: socket.socket) -> None:
    sock.sendall(sock.recv(1000)[:5])


def half_in_time(sock: socket.socket) -> None:
    sock.sendall(sock.recv(1000)[:5])
    sock.recv(1)


def silent(sock: socket.socket) -> None:
    sock.recv(1000)
    sock.recv(1)


def reset(sock: socket.socket) -> None:
    sock.recv(1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
