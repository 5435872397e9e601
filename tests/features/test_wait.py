"""Waiting for services that come up late, come up wrong, or go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import Child
from records import parse
from services import PATIENCE, Make, answer, greet, keep, reset

import fastnet as package
from fastnet._wait import Outcome, Ready, wait, wait_all, wait_async, wait_stream
from fastnet.errors import InvalidArgument, WaitTimeout

# What is up


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_service_that_is_up_is_found_at_once(service: Make, host: str) -> None:
    one = service(host=host)
    ready = wait(one.target, 20)
    assert ready == Ready(one.target, one.target, 1, ready.waited_s)
    assert one.accepted == 1


def test_one_that_comes_up_later_is_found_then(service: Make) -> None:
    one = service(started=False)
    threading.Timer(0.3, one.start).start()
    ready = wait(one.target, PATIENCE)
    assert ready.attempts > 1
    assert ready.waited_s > 0


def test_a_refused_port_is_not_hammered(service: Make) -> None:
    """A bare loop of connects makes some 80,000 a second."""
    one = service(started=False)
    (outcome,) = wait_stream([one.target], 1.0)
    assert (outcome.ready, outcome.reason) == (False, "connection refused")
    assert outcome.attempts <= 10


def test_dropped_syns_do_not_hide_a_service_that_comes_up() -> None:
    """A full backlog drops SYNs; each attempt is a new connect, so the end of that is seen."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            held.append(filler)

        def come_up() -> None:
            server.listen(100)
            while len(held) < 6:
                held.append(server.accept()[0])

        timer = threading.Timer(0.5, come_up)
        timer.start()
        target = "{}:{}".format(*server.getsockname())
        seen: list[Outcome] = []
        (outcome,) = wait_stream([target], PATIENCE, seen.append, attempt_timeout=0.1)
        timer.join()
    for sock in held:
        sock.close()
    assert outcome.ready
    assert seen[0].reason == "no answer within 0.1 s"


@pytest.mark.parametrize("handle", [socket.socket.close, reset])
def test_accepting_and_closing_at_once_is_not_up(
    service: Make, handle: Callable[[socket.socket], None]
) -> None:
    one = service(handle)
    with pytest.raises(WaitTimeout, match="accepts, then closes at once"):
        wait(one.target, 0.4)
    assert wait(one.target, 20, check="connect").attempts == 1


def test_a_greeting_is_proof_enough(service: Make) -> None:
    assert wait(service(greet).target, 20).attempts == 1
    assert wait(service(greet).target, 20, check="banner").attempts == 1


def test_a_service_without_a_banner(service: Make) -> None:
    with pytest.raises(WaitTimeout, match="sends nothing"):
        wait(service(keep).target, 0.3, check="banner", attempt_timeout=0.1)


def test_a_name_is_tried_at_all_its_addresses(service: Make) -> None:
    one = service()
    port = one.sock.getsockname()[1]
    assert wait(f"localhost:{port}", 20).address == one.target


def test_http_wants_a_good_status(service: Make) -> None:
    for status in ("200 OK", "204 Empty", "302 Found"):
        assert wait(f"http://{service(answer(status)).target}/health?x=1", 20).attempts == 1
    with pytest.raises(WaitTimeout, match="HTTP status 503"):
        wait(f"http://{service(answer('503 Later')).target}", 0.3)
    with pytest.raises(WaitTimeout, match="not in HTTP"):
        wait(f"http://{service(greet).target}/", 0.3)
    with pytest.raises(WaitTimeout, match="closes at once"):
        wait(f"http://{service(socket.socket.close).target}/", 0.3)
    with pytest.raises(WaitTimeout, match=r"no answer within 0\.1 s"):
        wait(f"http://{service(keep).target}/", 0.3, attempt_timeout=0.1)


def test_unix_sockets_are_waited_for(service: Make, tmp_path: Path) -> None:
    path = str(tmp_path / "user@host.sock")
    with pytest.raises(WaitTimeout, match="no such file"):
        wait(f"unix:{path}", 0.2)
    one = service(path=path, started=False)
    threading.Timer(0.1, one.start).start()
    assert wait(f"unix:{path}", PATIENCE).address == path
    name = f"fastnet-test-{os.getpid()}"
    service(path=f"\0{name}")
    assert wait(f"unix:@{name}", PATIENCE).address == f"@{name}"


SELF_CONNECT = """
from fastnet._wait import wait_stream
seen = []
outcome, = wait_stream(["127.0.0.1:40000"], 1.0, seen.append, check="connect")
print(outcome.ready, seen[0].reason)
"""


def test_a_port_is_not_fooled_by_a_connection_to_itself(namespace: Callable[[], Any]) -> None:
    """Where 40000 is the only port to connect from, connecting to it meets nobody but itself."""
    host = namespace()
    host.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40000")
    assert host.run(sys.executable, "-c", SELF_CONNECT).stdout == "False connection refused\n"


def test_several_are_waited_for_together(service: Make) -> None:
    first, late = service(), service(started=False)
    threading.Timer(0.2, late.start).start()
    results = wait_all([late.target, first.target, late.target], PATIENCE)
    assert [ready.target for ready in results] == [late.target, first.target, late.target]
    assert results[1].attempts == 1


def test_the_error_names_each_target_that_is_late(service: Make) -> None:
    good, bad, ugly = service(), service(started=False), service(reset)
    with pytest.raises(WaitTimeout) as raised:
        wait_all([good.target, bad.target, ugly.target], 0.5)
    message = str(raised.value)
    assert f"{bad.target}: connection refused" in message
    assert f"{ugly.target}: accepts, then closes at once" in message
    assert good.target not in message
    assert isinstance(raised.value, TimeoutError)


def test_a_name_that_does_not_resolve_yet_is_not_up_yet() -> None:
    with pytest.raises(WaitTimeout, match=r"nowhere\.invalid"):
        wait("nowhere.invalid:80", 0.3)


def test_progress_is_told_round_by_round(service: Make) -> None:
    seen: list[Outcome] = []
    one = service(started=False)
    (outcome,) = wait_stream([one.target], 0.5, seen.append)
    assert [known.attempts for known in seen] == list(range(1, outcome.attempts + 1))
    assert {known.reason for known in seen} == {"connection refused"}


# What is gone


def test_gone_waits_for_the_end(service: Make) -> None:
    one = service()
    threading.Timer(0.3, one.close).start()
    ready = wait(one.target, PATIENCE, gone=True, check="connect")
    assert ready.address is None
    assert ready.attempts > 1


def test_what_stays_up_is_said_to_be_up(service: Make) -> None:
    one = service()
    with pytest.raises(WaitTimeout, match=f"{one.target} is up"):
        wait(one.target, 0.3, gone=True)


def test_what_was_never_there_is_gone() -> None:
    assert wait("nowhere.invalid:80", PATIENCE, gone=True).attempts == 1


# Awaited


def test_many_can_be_awaited_at_once(service: Make) -> None:
    services = [service(started=False) for _ in range(20)]

    async def main() -> list[Ready]:
        waits = [asyncio.create_task(wait_async(one.target, PATIENCE)) for one in services]
        await asyncio.sleep(0.05)
        for one in services:
            one.start()
        return await asyncio.gather(*waits)

    assert [ready.target for ready in asyncio.run(main())] == [one.target for one in services]


def test_a_cancelled_wait_ends(service: Make) -> None:
    one = service(started=False)
    before = threading.active_count()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_async(one.target, None), 0.1)

    asyncio.run(main())
    for _ in range(1000):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_the_module_is_called_by_its_name(service: Make) -> None:
    assert package.wait(service().target, 20).attempts == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("example.com", "HOST:PORT"),
        ("example.com:0", "port 0"),
        ("example.com:99999", "65535"),
        ("::1:80", "brackets"),
        ("a..b:80", "not a host name"),
        ("a b:80", "not a host name"),
        ("300.1.2.3:80", "not a host name"),
        ("[1::2::3]:80", "not a host name"),
        ("x" * 64 + ".org:80", "not a host name"),
        ("https://example.com/", "only http://"),
        ("http://example.com/a b", "%XX"),
        ("http:///path", "HOST:PORT"),
        ("unix:", "unix:/path"),
        ("unix:/" + "x" * 107, "at most 107"),
    ],
)
def test_malformed_targets_are_refused(target: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        wait(target, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"interval": -1}, "interval"),
        ({"interval": float("inf")}, "interval"),
        ({"attempt_timeout": 0}, "attempt_timeout"),
        ({"check": "prayer"}, "connect, stable, banner"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        wait("127.0.0.1:1", **options)  # type: ignore[arg-type]


def test_no_target_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no targets"):
        wait_all([])


# As a command

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_command_is_quiet(fastnet: Command, service: Make) -> None:
    ran = fastnet("wait", service().target, service().target)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_command_times_out_with_124(fastnet: Command, service: Make) -> None:
    one = service(started=False)
    ran = fastnet("wait", one.target, "--timeout", "200ms", "--", "echo", "not run")
    assert (ran.returncode, ran.stdout) == (124, "")
    assert ran.stderr.startswith("fastnet wait: time is up after 0.2 s: ")
    assert ran.stderr.endswith(f"{one.target}: connection refused\n")


def test_the_command_prints_json(fastnet: Command, service: Make) -> None:
    up, down = service(), service(started=False)
    ran = fastnet("wait", up.target, down.target, "--json", "--timeout", "500ms", "--interval", "50ms")
    first, second = map(json.loads, ran.stdout.splitlines())
    assert ran.returncode == 124
    assert list(first) == ["kind", "time", "target", "ready", "address", "reason", "attempts", "waited_s"]
    assert (first["target"], first["ready"], first["address"]) == (up.target, True, up.target)
    assert (second["target"], second["ready"], second["reason"]) == (down.target, False, "connection refused")


def test_ctrl_c_says_what_is_known(service: Make) -> None:
    tried = threading.Semaphore(0)

    def slam(sock: socket.socket) -> None:
        tried.release()
        reset(sock)

    up, down = service(), service(slam)
    with Child(
        [sys.executable, "-m", "fastnet", "wait", up.target, down.target, "--json", "--timeout", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert parse(process.stdout.readline())["target"] == up.target
        for _ in range(5):
            assert tried.acquire(timeout=30)
        process.send_signal(signal.SIGINT)
        output, remarks = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    assert remarks == f"interrupted, 1 of 2 ready: {down.target}: accepts, then closes at once\n"


def test_an_empty_command_is_refused_before_the_waiting(fastnet: Command) -> None:
    refused = fastnet("wait", "127.0.0.1:1", "--", "")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "fastnet wait: COMMAND is empty: expected the name of a program\n"


def test_the_command_becomes_another(fastnet: Command, service: Make) -> None:
    script = "echo $1; grep SigIgn /proc/$$/status; exit 7"
    ran = fastnet("wait", "--timeout", "20s", service().target, "--", "sh", "-c", script, "-", "--json")
    assert (ran.returncode, ran.stderr) == (7, "")
    word, ignored = ran.stdout.splitlines()
    assert word == "--json"
    assert not int(ignored.split()[1], 16) >> (signal.SIGPIPE - 1) & 1, "SIGPIPE must not stay ignored"


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [("no-such-command", 127, "No such file or directory"), ("/etc/passwd", 126, "Permission denied")],
)
def test_a_command_that_cannot_be_run(
    fastnet: Command, service: Make, command: str, code: int, message: str
) -> None:
    ran = fastnet("wait", service().target, "--", command)
    assert (ran.returncode, ran.stderr) == (code, f"fastnet wait: {command}: {message}\n")


def test_the_command_waits_until_gone(fastnet: Command, service: Make) -> None:
    one = service(started=False)
    assert fastnet("wait", "--gone", one.target).returncode == 0
    one.start()
    ran = fastnet("wait", "--gone", one.target, "--timeout", "0.3")
    assert ran.returncode == 124
    assert f"{one.target} is up" in ran.stderr


def test_the_command_knows_the_checks(fastnet: Command, service: Make) -> None:
    one = service(socket.socket.close)
    assert fastnet("wait", one.target, "--check", "connect", "--timeout", "none").returncode == 0
    assert fastnet("wait", one.target, "--check", "stable", "--timeout", "0.3").returncode == 124
    silent = fastnet(
        "wait", service().target, "--check", "banner", "--timeout", "0.3", "--attempt-timeout", ".1"
    )
    assert silent.returncode == 124


def test_the_command_keeps_to_a_family(fastnet: Command, service: Make) -> None:
    port = service().sock.getsockname()[1]
    assert fastnet("wait", "-4", f"localhost:{port}").returncode == 0
    assert fastnet("wait", "-6", f"localhost:{port}", "--timeout", "0.3").returncode == 124


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "TARGET"),
        (("--", "true"), "TARGET"),
        (("localhost",), "HOST:PORT"),
        (("localhost:1", "--timeout", "soon"), "expected a time"),
        (("localhost:1", "--timeout", "0"), "timeout"),
        (("localhost:1", "--check", "prayer"), "invalid choice"),
        (("localhost:1", "-4", "-6"), "not allowed with"),
    ],
)
def test_bad_input_of_the_command(fastnet: Command, arguments: tuple[str, ...], message: str) -> None:
    ran = fastnet("wait", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_progress_shows_on_a_terminal_after_a_second(service: Make) -> None:
    terminal, other = os.openpty()
    one = service(started=False)
    ran = subprocess.run(
        [sys.executable, "-m", "fastnet", "wait", one.target, "--timeout", "2500ms", "--interval", "300ms"],
        stderr=other,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    os.close(other)
    shown = b""
    with contextlib.suppress(OSError):  # A terminal whose other end is closed: EIO.
        while data := os.read(terminal, 4096):
            shown += data
    os.close(terminal)
    assert (ran.returncode, ran.stdout) == (124, b"")
    lines = shown.decode().split("\r\x1b[K")
    assert lines[0] == ""
    assert lines[1].endswith(f" s  {one.target}: connection refused")
