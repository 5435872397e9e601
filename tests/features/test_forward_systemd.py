"""The forwarder as a service of systemd: a parent that passes sockets on, and reads its notifications."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forwarding import FORWARD, PATIENCE, Server, connect, echo

SOFT_PATIENCE = int(PATIENCE * 1e6)
LAUNCHER = """
import fcntl, os, sys
count = int(sys.argv[1])
passed = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 100) for word in sys.argv[2 : 2 + count]]
for number, descriptor in enumerate(passed, 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ["LISTEN_PID"] = os.environ.get("PRETEND_PID", str(os.getpid()))
os.execv(sys.executable, sys.argv[2 + count :])
"""
"""Between systemd's fork and exec: the descriptors are moved to 3 and on, and the process is named."""


class Manager:
    """What systemd is to a service: a socket that hears of it, and whose it passes on."""

    def __init__(self, directory: Path, *, abstract: bool = False) -> None:
        self._place = f"@fastnet-{os.getpid()}-{id(self)}" if abstract else str(directory / "notify")
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind("\0" + self._place[1:] if abstract else self._place)
        self._ear.settimeout(PATIENCE)
        self.process: subprocess.Popen[str] | None = None

    def start(
        self, *arguments: str, sockets: dict[str, socket.socket] | None = None, **environment: str
    ) -> None:
        """Run ``fastnet forward``; the sockets are passed on by name."""
        given = sockets or {}
        numbers = [sock.fileno() for sock in given.values()]
        words = [str(len(given)), *map(str, numbers), *FORWARD, *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=numbers,
            env={
                **os.environ,
                "PYTHONSAFEPATH": "1",
                "NOTIFY_SOCKET": self._place,
                "LISTEN_FDS": str(len(given)),
                "LISTEN_FDNAMES": ":".join(given),
                **environment,
            },
        )

    def hear(self) -> dict[str, str]:
        """The service's next notification."""
        return dict(line.split("=", 1) for line in self._ear.recv(4096).decode().splitlines())

    def hear_until(self, key: str) -> dict[str, str]:
        """The next thing of this kind; watchdog news in between are passed over."""
        while key not in (news := self.hear()):
            assert news == {"WATCHDOG": "1"}
        return news

    def line(self) -> str:
        """The next line that the service prints."""
        assert self.process
        assert self.process.stdout
        return self.process.stdout.readline()

    def finish(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        assert self.process
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def close(self) -> None:
        self._ear.close()
        if self.process:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[..., Manager]]:
    with contextlib.ExitStack() as stack:

        def make(**options: bool) -> Manager:
            made = Manager(tmp_path, **options)
            stack.callback(made.close)
            return made

        yield make


def answers(port: int) -> bool:
    with connect(port) as client:
        client.sendall(b"hello")
        return client.recv(5) == b"hello"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_when_it_is_ready_and_when_it_stops(
    manager: Callable[..., Manager], serve: Callable[..., Server], abstract: bool
) -> None:
    systemd = manager(abstract=abstract)
    systemd.start("0", f"127.0.0.1:{serve(echo).port}")
    assert systemd.hear() == {"READY": "1"}
    assert systemd.line().startswith("forwarding ")
    code, _, err = systemd.finish()
    assert systemd.hear() == {"STOPPING": "1"}
    assert (code, err) == (0, "")


def test_a_socket_of_systemd_is_served(manager: Callable[..., Manager], serve: Callable[..., Server]) -> None:
    server = serve(echo)
    systemd = manager()
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as other:
        port = web.getsockname()[1]
        early = connect(port)  # before anybody accepts: systemd's socket has it wait
        systemd.start("systemd:web", f"127.0.0.1:{server.port}", sockets={"other": other, "web": web})
        assert systemd.hear() == {"READY": "1"}
        assert systemd.line() == f"forwarding 127.0.0.1:{port} to 127.0.0.1:{server.port}\n"
        with early:
            early.sendall(b"early")
            assert early.recv(5) == b"early"
        assert answers(port)
        code, out, err = systemd.finish()
    assert (code, err) == (0, "")
    assert out.startswith("2 connections, ")


def test_all_sockets_of_systemd_without_a_name(
    manager: Callable[..., Manager], serve: Callable[..., Server]
) -> None:
    systemd = manager()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        systemd.start("systemd:", f"127.0.0.1:{serve(echo).port}", sockets={"a": one, "b": two})
        assert systemd.hear() == {"READY": "1"}
        assert answers(one.getsockname()[1])
        assert answers(two.getsockname()[1])
        assert systemd.finish()[0] == 0


def test_a_datagram_socket_of_systemd(manager: Callable[..., Manager]) -> None:
    systemd = manager()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as passed,
        socket.socket(type=socket.SOCK_DGRAM) as upstream,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        for sock in (passed, upstream):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(PATIENCE)
        client.settimeout(PATIENCE)
        systemd.start(
            "systemd:dns", f"127.0.0.1:{upstream.getsockname()[1]}", "--udp", sockets={"dns": passed}
        )
        assert systemd.hear() == {"READY": "1"}
        client.sendto(b"question", passed.getsockname())
        question, source = upstream.recvfrom(100)
        upstream.sendto(b"answer", source)
        assert (question, client.recv(100)) == (b"question", b"answer")
        assert systemd.finish()[0] == 0


@pytest.mark.parametrize(
    ("name", "environment", "code", "message"),
    [
        ("nobody", {}, 2, "systemd:nobody: no such socket was inherited: there is web"),
        ("web", {"PRETEND_PID": "1"}, 2, "systemd:web: no such socket was inherited: there is none"),
        ("web", {"LISTEN_FDS": "x"}, 2, "LISTEN_FDS='x': expected a whole number from 0 to 1024"),
        ("web", {"LISTEN_FDNAMES": "a:b"}, 2, "expected as many names as LISTEN_FDS=1"),
        ("web", {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:web"}, 3, "LISTEN_FDS: descriptor 4: "),
        ("web", {"NOTIFY_SOCKET": "vsock:2"}, 2, "NOTIFY_SOCKET='vsock:2': expected a path or @name"),
        ("web", {"WATCHDOG_USEC": "0"}, 2, "WATCHDOG_USEC='0': expected a whole number from 1"),
        ("web", {"WATCHDOG_USEC": "9" * 5000}, 2, "expected a whole number from 1"),
    ],
)
def test_what_systemd_can_not_have_meant(
    manager: Callable[..., Manager], name: str, environment: dict[str, str], code: int, message: str
) -> None:
    systemd = manager()
    with socket.create_server(("127.0.0.1", 0)) as web:
        systemd.start(f"systemd:{name}", "127.0.0.1:1", sockets={"web": web}, **environment)
        assert systemd.process
        _, err = systemd.process.communicate(timeout=PATIENCE)
    assert systemd.process.returncode == code
    assert message in err
    assert err.count("\n") == 1


def test_an_accepted_connection_is_refused(manager: Callable[..., Manager]) -> None:
    systemd = manager()
    ours, passed = socket.socketpair()
    with ours, passed:
        systemd.start("systemd:", "127.0.0.1:1", sockets={"c": passed})
        assert systemd.process
        _, err = systemd.process.communicate(timeout=PATIENCE)
    assert systemd.process.returncode == 2
    assert err == "fastnet forward: systemd:: expected a socket that listens, with Accept=no\n"


def test_nobody_hears_but_the_service_goes_on(
    manager: Callable[..., Manager], serve: Callable[..., Server], tmp_path: Path
) -> None:
    systemd = manager()
    systemd.start("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", NOTIFY_SOCKET=str(tmp_path / "gone"))
    port = int(systemd.line().split()[1].rpartition(":")[2])
    assert answers(port)
    code, _, err = systemd.finish()
    assert code == 0
    assert (
        err.splitlines()
        == [f"fastnet forward: NOTIFY_SOCKET={tmp_path / 'gone'}: No such file or directory"] * 2
    )


def test_a_manager_that_does_not_listen_holds_nothing_up(
    manager: Callable[..., Manager], serve: Callable[..., Server]
) -> None:
    systemd = manager()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filler.connect(systemd._place)
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.send(b"X=1")
    systemd.start("0", f"127.0.0.1:{serve(echo).port}")
    assert answers(int(systemd.line().split()[1].rsplit(":", 1)[1].rstrip(",")))
    code, _, err = systemd.finish()
    assert code == 0
    assert err.splitlines() == [f"fastnet forward: NOTIFY_SOCKET={systemd._place}: timed out"] * 2


def test_the_watchdog_is_fed_while_the_loops_turn(
    manager: Callable[..., Manager], serve: Callable[..., Server]
) -> None:
    systemd = manager()
    systemd.start("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", WATCHDOG_USEC="40000")
    assert systemd.hear() == {"READY": "1"}
    for _ in range(3):
        assert systemd.hear() == {"WATCHDOG": "1"}
    systemd.finish()
    assert systemd.hear_until("STOPPING") == {"STOPPING": "1"}


def test_another_process_s_watchdog_is_not_fed(
    manager: Callable[..., Manager], serve: Callable[..., Server]
) -> None:
    systemd = manager()
    systemd.start("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    assert systemd.hear() == {"READY": "1"}
    assert answers(int(systemd.line().split()[1].rpartition(":")[2]))
    systemd.finish()
    assert systemd.hear() == {"STOPPING": "1"}


def test_a_reload_is_told_with_its_time(
    manager: Callable[..., Manager], serve: Callable[..., Server], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[rule.a]\nlisten = "127.0.0.1:0"\nupstreams = "127.0.0.1:{serve(echo).port}"\n')
    systemd = manager()
    systemd.start("-f", str(rules))
    assert systemd.hear() == {"READY": "1"}
    assert systemd.process
    for text in (None, "nonsense"):
        if text:
            rules.write_text(text)
        systemd.process.send_signal(signal.SIGHUP)
        news = systemd.hear()
        assert news["RELOADING"] == "1"
        assert int(news["MONOTONIC_USEC"]) > 0
        assert systemd.hear() == {"READY": "1"}
    code, _, err = systemd.finish()
    assert code == 0
    assert err.startswith(f"fastnet forward: not reloaded, the old rules stay in force: {rules}: not TOML: ")
