"""``fastnet ipc`` and the tour of it."""

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from records import parse, untimed
from unix_peers import echo, ended, framed, listening, raw_client, serve

from fastnet import ipc

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_pair_command(fastnet: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    done = fastnet("ipc", "pair", "--message", "hi")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["sent     hi", "reply    The child got: hi"]
    assert lines[2].startswith("child    pid ")
    assert lines[2].endswith(", exit status 0")
    assert (done.stderr, done.returncode) == ("", 0)
    record = untimed(fastnet("ipc", "pair", "--json").stdout)
    assert record.pop("pid") > 0
    assert record == {
        "kind": "pair",
        "message": "Hello from the parent",
        "reply": "The child got: Hello from the parent",
        "status": 0,
    }


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_stops_cleanly_on_a_signal(path: Path, signum: int, code: int) -> None:
    with serve(path) as server:
        listening(server)
        with raw_client(path) as client:
            client.sendall(framed(b"one"))
            assert client.recv(100) == framed(b"one")
            server.send_signal(signum)
            assert client.recv(100) == b""
        output, remarks = server.communicate(timeout=30)
    assert output == f"pid {os.getpid()} uid {os.geteuid()}: one\n"
    assert remarks == "stopped: 1 connection, 0 failed, 0 refused\n"
    assert server.returncode == code
    assert not path.exists()


def test_serve_and_send(path: Path, fastnet: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    with serve(path, "--json", "--mode", "660") as server:
        listening(server)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
        done = fastnet("ipc", "send", str(path), "hello", "Grüße", "")
        assert (done.stdout, done.stderr, done.returncode) == ("hello\nGrüße\n\n", "", 0)
        second = fastnet("ipc", "serve", str(path))
        assert second.stderr == f"fastnet ipc: {path}: a server listens there\n"
        assert second.returncode == 3
        done = fastnet("ipc", "send", "--json", str(path), "DONE")
        assert untimed(done.stdout) == {"kind": "ipc_reply", "message": "DONE", "reply": "DONE"}
        output, remarks = server.communicate(timeout=30)
    records = [parse(line) for line in output.splitlines()]
    assert [record["message"] for record in records] == ["hello", "Grüße", "", "DONE"]
    assert {record["kind"] for record in records} == {"message"}
    assert records[1]["message_bytes"] == 7
    assert remarks == "stopped: 3 connections, 0 failed, 0 refused\n"
    assert server.returncode == 0


def test_serve_keeps_its_limits(path: Path) -> None:
    with serve(path, "--max-message", "10", "--max-connections", "1", "--timeout", "50ms") as server:
        listening(server)
        with raw_client(path) as client:
            client.sendall(framed(b"x" * 11))
            assert ended(client)
        with raw_client(path) as client:
            assert client.recv(100) == b""
        server.terminate()
        assert server.communicate(timeout=30)[1] == "stopped: 2 connections, 2 failed, 0 refused\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["send", "/nowhere/at-all", "x"], 3, "fastnet ipc: /nowhere/at-all: no server listens there"),
        (["send", "x" * 108, "x"], 2, "108 bytes"),
        (["send", "--max-message", "1", "/nowhere/at-all"], 2, "MESSAGE"),
        (["serve", "--mode", "888", "x"], 2, "'888': expected an octal mode"),
        (["serve", "--max-connections", "0", "x"], 2, "expected a whole number from 1 to 1024"),
        (["serve", "--timeout", "-1", "x"], 2, "--timeout"),
        (["serve", "/nowhere/at-all"], 3, "fastnet ipc: /nowhere: No such file or directory"),
        (["serve", os.devnull], 3, "fastnet ipc: /dev/null: there is a file that is not a socket"),
        ([], 2, "ACTION"),
        (["other"], 2, "other"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    arguments: list[str], code: int, message: str, fastnet: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    done = fastnet("ipc", *arguments)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", code)


def test_send_says_when_no_reply_comes(
    path: Path, fastnet: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    with ipc.UnixServer(path, lambda channel: (channel.recv(), None)[1]):
        done = fastnet("ipc", "send", str(path), "hello")
    assert done.stderr == f"fastnet ipc: {path}: the server ended the connection without a reply\n"
    assert (done.stdout, done.returncode) == ("", 1)
    with ipc.UnixServer(path, lambda channel: (channel.recv(), channel.recv(), None)[2]):
        done = fastnet("ipc", "send", "-W", "50ms", str(path), "hello")
    assert done.stderr == "fastnet ipc: no whole message came in 0.05 s\n"
    assert (done.stdout, done.returncode) == ("", 124)


def test_any_program_that_frames_its_messages_can_talk_to_it(path: Path, peer: Callable[[str], str]) -> None:
    with ipc.UnixServer(path, echo):
        done = subprocess.run(
            [peer("socat"), "-t5", "-", f"UNIX-CONNECT:{path}"],
            input=framed(b"DONE") + framed(b""),
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert done.stdout == framed(b"DONE") + framed(b"")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_tour_stop_answers() -> None:
    from fastnet.tour.ipc import visit

    sights = list(visit())
    assert len(sights) == 4
    assert all(sight.ok for sight in sights)
