"""Servers whose thread can't be had or ends: clients wait, or the owner learns of it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Child
from forwarding import PATIENCE, Server, assert_soon, connect, echo, forever

from fastnet import ipc
from fastnet._forward import Forwarder
from fastnet.echo import EchoServer


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_client_for_whom_there_is_no_thread_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(channel: ipc.Channel) -> None:
        for message in channel:
            channel.send(message)

    with ipc.UnixServer(tmp_path / "socket", reply) as server:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with ipc.connect(tmp_path / "socket", timeout=0.2) as channel:
            channel.send(b"hello")
            with pytest.raises(TimeoutError):
                channel.recv()
            monkeypatch.undo()
            channel.timeout = PATIENCE
            assert channel.recv() == b"hello"
        assert server.stats.failed == 0


def test_a_server_that_waits_for_a_thread_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ipc.UnixServer(tmp_path / "socket", lambda channel: None).start()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with ipc.connect(tmp_path / "socket", timeout=PATIENCE) as channel:
        assert_soon(lambda: server.stats.accepted == 1)
        server.stop()
        assert channel.recv() is None


@pytest.mark.parametrize("make", [EchoServer, lambda: ipc.UnixServer("@fastnet-test-start", print)])
def test_a_server_without_a_thread_is_not_started(
    make: Callable[[], EchoServer | ipc.UnixServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    files = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            server.start()
    assert os.listdir("/proc/self/fd") == files
    with server:
        pass


def test_the_owner_learns_what_ended_an_echo_server() -> None:
    server = EchoServer("127.0.0.1").start()
    port = server.port
    with open(os.devnull) as null:
        os.dup2(null.fileno(), server._selector.fileno())  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        forever(lambda: connect_and_expect_echo(port))
    with pytest.raises(OSError, match="Invalid argument"):
        server.wait()
    with pytest.raises(OSError, match="Invalid argument"):
        server.stop()


def connect_and_expect_echo(port: int) -> None:
    with connect(port) as client:
        expect_echo(client)


def expect_echo(client: socket.socket) -> None:
    client.sendall(b"x")
    if not client.recv(1):
        raise ConnectionError


BROKEN = """
import os, sys, threading
from fastnet.cli import main
null = os.open("/dev/null", os.O_RDWR)
def close_epoll():
    sys.stdin.readline()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                os.dup2(null, int(name))
        except FileNotFoundError:
            pass
    print("closed", flush=True)
threading.Thread(target=close_epoll, daemon=True).start()
sys.exit(main(["echo", "serve", "--host", "127.0.0.1"]))
"""


def test_the_command_ends_with_its_server() -> None:
    with Child(
        [sys.executable, "-c", BROKEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline().rpartition(":")[2])
        assert process.stdin
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "closed\n"
        with connect(port) as client, pytest.raises(ConnectionError):
            forever(lambda: expect_echo(client))
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert said == "fastnet echo: Invalid argument\n"


# The forwarder


def test_a_warning_that_fails_ends_no_forwarder(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    def warn(text: str) -> None:
        raise ValueError(text)

    server = serve(echo)
    with (
        Forwarder(
            "127.0.0.1:0", f"127.0.0.1:{server.port}", health="connect", health_interval=0.1, warn=warn
        ) as forwarder,
        caplog.at_level(logging.WARNING, "fastnet.forward"),
    ):
        server.close()
        assert_soon(lambda: "is not healthy" in caplog.text)
        serve(echo, "127.0.0.1", server.port)
        assert_soon(lambda: "is healthy again" in caplog.text)
        with connect(forwarder.port) as client:
            expect_echo(client)


def test_what_fails_at_the_end_is_raised_and_the_next_order_obeyed(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """The directory of its Unix path has gone; a connection is held until the second order."""
    directory = tmp_path / "directory"
    directory.mkdir()
    path = directory / "socket"
    forwarder = Forwarder(f"unix:{path}", f"127.0.0.1:{serve(echo).port}").start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        expect_echo(client)
        served = forwarder._state.served[0]
        end = served.listeners.close

        def fail() -> None:
            end()
            raise PermissionError("the path stays")

        served.listeners.close = fail  # type: ignore[method-assign]
        forwarder.drain(1000)
        assert_soon(lambda: not path.exists())
        expect_echo(client)
        with pytest.raises(PermissionError, match="the path stays"):
            forwarder.stop()
        with pytest.raises(ConnectionError):
            expect_echo(client)
