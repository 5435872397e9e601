"""``fastnet forward``: what it prints where, and how it ends, run for real."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from forwarding import PATIENCE, Command, Server, WebServer, connect, echo, fetch, forever


def test_the_command_forwards_and_sums_up_on_sigterm(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    server = serve(echo)
    command = forward("127.0.0.1:0", f"127.0.0.1:{server.port}")
    assert command.first_line == f"forwarding 127.0.0.1:{command.port} to 127.0.0.1:{server.port}\n"
    with connect(command.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert out.startswith("1 connections (0 unreachable, 0 refused, 0 reset), 5 bytes up, 5 bytes down in ")


def test_the_command_drains_on_ctrl_c_and_cuts_at_the_deadline(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("0", f"127.0.0.1:{serve(echo).port}", "--drain", "100ms", "--json")
    with connect(command.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        code, out, err = command.finish(signal.SIGINT)
        assert (code, err) == (130, "")
        summary = json.loads(out)
        assert summary.pop("ran_s") > 0
        assert summary == {
            "event": "summary",
            "connections": 1,
            "unreachable": 0,
            "refused": 0,
            "resets": 1,
            "sent_up_bytes": 5,
            "sent_down_bytes": 5,
        }
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_second_signal_means_now(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--drain", "1h")
    with connect(command.port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        command.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionError):
            forever(lambda: connect(command.port).close())
        code, _, _ = command.finish()
    assert code == 1


def test_the_command_rewrites(forward: Callable[..., Command], web: WebServer) -> None:
    upstream = f"127.0.0.1:{web.server_port}"
    ours = forward("0", upstream, "--rewrite-host")
    every = forward("0", upstream, "--rewrite-host-always", "--json")
    assert json.loads(every.first_line)["upstream"] == upstream
    assert fetch(ours.port)["host"] == upstream
    assert fetch(ours.port, Host="other")["host"] == "other"
    assert fetch(every.port, Host="other")["host"] == upstream


def test_the_memory_of_a_stopped_reader_is_bounded(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    stopped = threading.Event()
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(lambda sock: stopped.wait(PATIENCE) and None).port}")

    def resident() -> int:
        with open(f"/proc/{command.process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    clients = [connect(command.port) for _ in range(8)]
    before = resident()
    for client in clients:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            forever(lambda client=client: client.send(bytes(1 << 20)))
    held = resident() - before
    for client in clients:
        client.close()
    stopped.set()
    assert held < 8 * 2 * 262144 + (2 << 20)


def test_no_descriptors_left_pauses_accepting_with_one_warning_and_recovers(
    forward: Callable[..., Command], serve: Callable[..., Server], peer: Callable[[str], str]
) -> None:
    server = serve(echo)
    limit = (peer("prlimit"), "--nofile=40:40")
    command = forward("127.0.0.1:0", f"127.0.0.1:{server.port}", prefix=limit)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connect(command.port))
        first.sendall(b"one")
        assert first.recv(3) == b"one"
        crowd = [stack.enter_context(connect(command.port)) for _ in range(40)]
        for client in crowd:
            client.sendall(b"crowd")
        first.sendall(b"two")
        assert first.recv(3) == b"two"
        for client in crowd:  # Each gets its turn as soon as one before it has left.
            assert client.recv(5) == b"crowd"
            client.close()
    code, out, err = command.finish()
    assert code == 0
    assert out.startswith("41 connections (0 unreachable, 0 refused, 0 reset)")
    assert err.count("\n") == 1
    assert "accepting pauses at" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("0",), 2, "UPSTREAM"),
        (("0", "example.com"), 2, "expected HOST:PORT"),
        (("0", "example.com:0"), 2, "port 0"),
        (("x", "example.com:80"), 2, "expected a number or a service name"),
        (("0", "127.0.0.1:1", "--max-connections", "0"), 2, "expected a whole number from 1"),
        (("0", "127.0.0.1:1", "--drain", "-1"), 2, "expected"),
        (("0", "127.0.0.1:1", "--head-timeout", "0"), 2, "head_timeout"),
        (("0", "127.0.0.1:1", "--connect-timeout", "x"), 2, "expected a time"),
        (("0", "127.0.0.1:1", "--rewrite-host", "--rewrite-host-always"), 2, "not allowed with"),
        (("0", "nowhere.invalid:80"), 2, "nowhere.invalid"),
        (("192.0.2.1:0", "127.0.0.1:1"), 3, "192.0.2.1"),
    ],
)
def test_bad_input_of_the_command(
    fastnet: Callable[..., subprocess.CompletedProcess[str]],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    ran = fastnet("forward", *arguments)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_privileged_port_is_refused_with_the_cure(
    namespace: Callable[[], Any],
    peer: Callable[[str], str],
    fastnet: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    powerless = (*namespace().prefix, peer("setpriv"), "--inh-caps=-all", "--bounding-set=-all")
    ran = fastnet("forward", "127.0.0.1:1023", "127.0.0.1:1", prefix=powerless)
    assert ran.returncode == 3
    assert "cap_net_bind_service" in ran.stderr
