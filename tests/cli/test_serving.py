"""What the subcommands that serve have in common: they serve, whatever becomes of what they print."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest
from children import Child
from forwarding import PATIENCE, Server, assert_soon, connect, echo
from traffic import read_exactly

COMMANDS = ("forward", "echo", "ipc")
MESSAGE = b"Is anybody there?\n"


class Place:
    """Where a command is to listen, and how it is asked there."""

    def __init__(self, command: str, upstream: int, port: int, path: Path) -> None:
        self._command = command
        self._port = port
        self._path = path
        words = {
            "forward": ("forward", f"127.0.0.1:{port}", f"127.0.0.1:{upstream}", "--dump"),
            "echo": ("echo", "serve", "--host", "127.0.0.1", "--port", str(port)),
            "ipc": ("ipc", "serve", str(path)),
        }
        self.words = [sys.executable, "-m", "fastnet", *words[command]]

    def connect(self) -> socket.socket:
        if self._command != "ipc":
            return connect(self._port)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        try:
            client.connect(str(self._path))
        except OSError:
            client.close()
            raise
        return client

    def answers(self) -> bool:
        with suppress(FileNotFoundError, ConnectionRefusedError), self.connect() as client:
            ask(client)
            return True
        return False


def ask(client: socket.socket) -> None:
    """All that these commands send back comes framed, as ipc wants it."""
    frame = struct.pack(">I", len(MESSAGE)) + MESSAGE
    client.sendall(frame)
    assert read_exactly(client, len(frame)) == frame


@pytest.fixture(params=COMMANDS)
def place(
    request: pytest.FixtureRequest, serve: Callable[..., Server], free_port: int, tmp_path: Path
) -> Place:
    return Place(request.param, serve(echo).port, free_port, tmp_path / "socket")


@contextmanager
def running(words: list[str], **streams: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    with Child(words, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}) as process:
        try:
            yield process
        finally:
            process.kill()


def test_its_limit_of_descriptors_is_raised_as_far_as_it_may_be(
    peer: Callable[[str], str], place: Place
) -> None:
    limit = [peer("prlimit"), "--nofile=100:150"]
    with running(limit + place.words) as process:
        assert_soon(place.answers)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"Max open files +150 +150 ", limits)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@contextmanager
def gone() -> Iterator[int]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full() -> Iterator[int]:
    """A device that is as full as a disk can be."""
    with open("/dev/full", "wb") as file:
        yield file.fileno()


@contextmanager
def stuck() -> Iterator[int]:
    """A pipe that is full, and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(65536))
    os.set_blocking(writer, True)
    yield writer
    os.close(writer)
    os.close(reader)


@contextmanager
def stopped() -> Iterator[int]:
    """The same, made non-blocking by somebody who shares it."""
    with stuck() as writer:
        os.set_blocking(writer, False)
        yield writer


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("unwritable", [gone, full, stuck, stopped])
def test_what_can_not_be_printed_stops_nothing(
    place: Place, unwritable: Callable[[], AbstractContextManager[int]], stream: str
) -> None:
    with unwritable() as descriptor, running(place.words, **{stream: descriptor}) as process:
        assert_soon(place.answers)
        with place.connect() as client:
            for _ in range(100):
                ask(client)
        assert place.answers()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_that_something_is_not_printed_is_said_once(place: Place) -> None:
    with full() as descriptor, running(place.words, stdout=descriptor) as process:
        assert_soon(place.answers)
        for _ in range(10):
            assert place.answers()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = [line for line in said.decode().splitlines() if "lines" in line]
    command = f"fastnet {place.words[3]}"
    assert lines[0] == f"{command}: standard output: No space left on device: lines are dropped"
    assert re.fullmatch(rf"{command}: standard output: \d+ lines dropped", lines[1])
    assert len(lines) == 2
