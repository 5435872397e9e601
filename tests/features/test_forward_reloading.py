"""A reload that takes its time: nothing else waits for it, and at the end nobody hears of it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from environment import absent
from forwarding import PATIENCE, Command, Server, assert_soon, connect, echo, free_port

if TYPE_CHECKING:
    from namespaces import Namespace

RULE = '[rule.{}]\nlisten = "127.0.0.1:{}"\nupstreams = "{}"\n'


def ask(port: int) -> bool:
    with connect(port) as client:
        client.sendall(b"x")
        return client.recv(1) == b"x"


def listens(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return False
    return True


def reads(command: Command, path: Path) -> bool:
    """Whether it has this file open."""
    with suppress(FileNotFoundError):  # One that was closed meanwhile.
        return any(fd.readlink() == path for fd in Path(f"/proc/{command.process.pid}/fd").iterdir())
    return False


def test_a_pipe_that_nobody_writes_to_keeps_no_later_reload_waiting(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path, free_port: int
) -> None:
    rules = tmp_path / "rules"
    text = RULE.format("a", free_port, f"127.0.0.1:{serve(echo).port}")
    rules.write_text(text)
    command = forward("-f", str(rules))
    rules.unlink()
    os.mkfifo(rules)
    command.process.send_signal(signal.SIGHUP)
    assert command.process.stderr
    assert command.process.stderr.readline() == (
        f"fastnet forward: not reloaded, the old rules stay in force: {rules}: a pipe without a writer\n"
    )
    rules.unlink()
    rules.write_text(text)
    command.process.send_signal(signal.SIGHUP)
    assert command.process.stdout
    assert "reloaded" in command.process.stdout.readline()
    assert command.finish()[0] == 0


def test_the_end_does_not_wait_for_a_file_that_is_not_written_yet(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path, free_port: int
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(RULE.format("a", free_port, f"127.0.0.1:{serve(echo).port}"))
    command = forward("-f", str(rules))
    rules.unlink()
    os.mkfifo(rules)
    writer = os.open(rules, os.O_RDWR)
    command.process.send_signal(signal.SIGHUP)
    assert_soon(lambda: reads(command, rules))
    assert ask(free_port)
    code, out, err = command.finish()
    os.close(writer)
    assert (code, err) == (0, "")
    assert "reloaded" not in out


def test_the_end_does_not_wait_for_the_resolver(
    namespace: Callable[[], Namespace],
    root: None,
    forward: Callable[..., Command],
    peer: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """It asks a name server that is silent, for two rounds of half a minute."""
    if not Path("/etc/resolv.conf").exists():
        absent("/etc/resolv.conf, which the test mounts its own over")
    inside = namespace()
    settings = tmp_path / "resolv.conf"
    settings.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:2\n")
    rules = tmp_path / "rules"
    rules.write_text(RULE.format("a", 7001, "127.0.0.1:9"))
    mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    silent = inside.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with silent:
        silent.bind(("127.0.0.1", 53))
        silent.settimeout(PATIENCE)
        command = forward("-f", str(rules), prefix=(*inside.prefix, "sh", "-c", mount, str(settings)))
        rules.write_text(RULE.format("a", 7001, "silent.example:9"))
        command.process.send_signal(signal.SIGHUP)
        assert b"silent" in silent.recv(512)
        code, _, err = command.finish()
    assert (code, err) == (0, "")


def test_a_hangup_while_the_file_is_read_has_it_read_once_more(
    forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    upstream = f"127.0.0.1:{serve(echo).port}"
    ports = [free_port() for _ in range(3)]
    rules = tmp_path / "rules"
    rules.write_text(RULE.format("a", ports[0], upstream))
    command = forward("-f", str(rules))
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    slow.rename(rules)
    with open(os.open(rules, os.O_RDWR), "w") as writer:
        command.process.send_signal(signal.SIGHUP)
        assert_soon(lambda: reads(command, rules))
        (tmp_path / "new").write_text(RULE.format("a", ports[2], upstream))
        (tmp_path / "new").rename(rules)
        for _ in range(3):
            command.process.send_signal(signal.SIGHUP)
        writer.write(RULE.format("a", ports[1], upstream))
    assert_soon(lambda: listens(ports[2]))
    assert ask(ports[2])
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert 2 <= out.count("reloaded") <= 4
