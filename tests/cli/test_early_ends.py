"""A command that serves is ended while it starts: nothing is left behind, whenever that is."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import Child
from forwarding import PATIENCE, assert_soon

STEPS = 16
"""How many moments of a start are tried."""

SIGNALLED = """
import inspect, os, sys
from fastnet.__main__ import run

calls, number, when = [], int(sys.argv[1]), int(sys.argv[2])

def count(frame, event, given):
    # Python loses what is raised here for a generator.
    global when
    code = frame.f_code
    if event == "call" and "/fastnet/" in code.co_filename and not code.co_flags & inspect.CO_GENERATOR:
        calls.append(code.co_name)
        late = len(calls) < when and calls[-1] == "take"
        if len(calls) == when or late:
            when = 0  # A second signal would not wait for what is open.
            os.kill(os.getpid(), number)

sys.argv[1:] = sys.argv[3:]
sys.setprofile(count)
try:
    code = run()
finally:
    sys.setprofile(None)
    print([*calls, "take"].index("take") + 1)
sys.exit(code)
"""

SLOW = """
import socket, sys, time
resolve = socket.getaddrinfo

def slow(host, *given, **named):
    if host == b"slow.example":
        time.sleep(1000)
    return resolve(host, *given, **named)

socket.getaddrinfo = slow
from fastnet.__main__ import run
sys.exit(run())
"""

RULES = """
[rule.first]
listen = "unix:{path}"
upstreams = "127.0.0.1:1"

[rule.second]
listen = "127.0.0.1:0"
upstreams = "{upstream}"
"""


@contextmanager
def program(text: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", text, *words]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def rules(directory: Path, upstream: str = "127.0.0.1:1") -> Path:
    file = directory / "rules.toml"
    file.write_text(RULES.format(path=directory / "socket", upstream=upstream))
    return file


def words(command: str, directory: Path) -> list[str]:
    if command == "ipc":
        return ["ipc", "serve", str(directory / "socket")]
    log = ["--log", str(directory / "log"), "--metrics", "0"]
    return ["forward", "--rules", str(rules(directory)), *log]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["forward", "ipc"])
def test_nothing_is_left_behind(tmp_path: Path, command: str, number: signal.Signals) -> None:
    arguments = words(command, tmp_path)
    total = calls_of_a_start(arguments, tmp_path)
    assert total > STEPS
    known = {*tmp_path.iterdir()}
    for step in range(1, STEPS + 1):
        when = str(total * step // STEPS)
        with program(SIGNALLED, str(number.value), when, *arguments) as process:
            _, said = process.communicate(timeout=PATIENCE)
        left = {*tmp_path.iterdir()} - known - {tmp_path / "log"}
        assert (left, "Traceback" in said) == (set(), False), (when, said)
        assert process.returncode in (0, 130, -number), (when, said)


def calls_of_a_start(arguments: list[str], directory: Path) -> int:
    """How many functions are called before signals are waited for."""
    with program(SIGNALLED, "0", "0", *arguments) as process:
        assert_soon(lambda: (directory / "socket").exists())
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return int(out.splitlines()[-1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_start_that_waits_for_the_resolver_ends_all_the_same(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with program(SLOW, "forward", "--rules", str(rules(tmp_path, "slow.example:1"))) as process:
        assert_soon(lambda: (tmp_path / "socket").exists())
        process.send_signal(number)
        assert process.wait(PATIENCE) == code
    assert not (tmp_path / "socket").exists()
