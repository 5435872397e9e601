"""What stands at the other end of ``ipc``: handlers, a client that frames by itself, the command."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from children import Child

from fastnet import ipc


def echo(channel: ipc.Channel) -> None:
    for message in channel:
        channel.send(message)


async def echo_async(channel: ipc.Channel) -> None:
    async for message in channel:
        await channel.send_async(message)


def raw_client(path: object) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(os.fspath(path))  # type: ignore[call-overload]
    return client


def ended(client: socket.socket) -> bool:
    """Whether the server closed this connection; a reset where it had not read all that was sent."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def framed(message: bytes) -> bytes:
    return struct.pack(">I", len(message)) + message


@contextmanager
def serve(path: object, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "fastnet", "ipc", "serve", str(path), *options]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield server
        finally:
            server.kill()


def listening(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    return server.stderr.readline()
