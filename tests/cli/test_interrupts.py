"""Ctrl-C while something is done as a whole, or waits for a reader that has stopped."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from children import Child
from environment import Run
from forwarding import PATIENCE, assert_soon

from fastnet.targets import Targets

INTERRUPTED = """
import os, signal
from fastnet.cli.interrupts import HeldInterrupt, NoticedInterrupt

def work(words):
    os.kill(os.getpid(), signal.SIGINT)
    print(*words)

signal.signal(signal.SIGINT, signal.{handler})
try:
    with {interrupt}() as interrupt:
        {call}
        print("after", interrupt.came)
except KeyboardInterrupt:
    print("interrupted")
print(signal.getsignal(signal.SIGINT) is signal.{handler})
"""


@pytest.mark.parametrize(
    ("interrupt", "call", "told"),
    [
        ("NoticedInterrupt", "work(['work'])", "work\nafter True\n"),
        ("HeldInterrupt", "interrupt.whole(work, ['work'])", "work\ninterrupted\n"),
        ("HeldInterrupt", "interrupt.whole(print, 'first'); work(['work'])", "first\ninterrupted\n"),
    ],
)
def test_ctrl_c(python: Callable[..., Any], interrupt: str, call: str, told: str) -> None:
    ran = python("-c", INTERRUPTED.format(interrupt=interrupt, call=call, handler="default_int_handler"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{told}True\n", "")


@pytest.mark.parametrize("interrupt", ["NoticedInterrupt", "HeldInterrupt"])
def test_where_ctrl_c_is_ignored_it_stays_so(python: Callable[..., Any], interrupt: str) -> None:
    ran = python("-c", INTERRUPTED.format(interrupt=interrupt, call="work(['work'])", handler="SIG_IGN"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "work\nafter False\nTrue\n", "")


LOST = """
import gc, os, signal, sys, time, weakref
signal.signal(signal.SIGINT, signal.SIG_DFL)
from fastnet import cli

class Finalized:
    pass

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

def work(name, words):
    {lose}
    print("lost")
    time.sleep(30)
    print("never came")
    return 0

cli.run_command = work
hook = sys.unraisablehook
code = cli.main(["sweep"])
print(code, sys.unraisablehook is hook)
"""


@pytest.mark.parametrize(
    "lose",
    [
        "Interrupting()",
        "kept = Finalized(); seen = weakref.ref(kept, lambda _: Interrupting()); del kept",
        "kept = Interrupting(); kept.itself = kept; del kept; gc.collect()",
    ],
)
def test_an_interrupt_that_python_lost_comes_again(python: Callable[..., Any], lose: str) -> None:
    ran = python("-c", LOST.format(lose=lose))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "lost\n130 True\n", "")


def test_one_that_comes_again_too_early_is_not_lost_either(python: Callable[..., Any]) -> None:
    slow = """
import _thread, time
def start_slowly(*given, start=_thread.start_new_thread):
    _thread.start_new_thread = start
    start(*given)
    time.sleep(30)
_thread.start_new_thread = start_slowly
"""
    ran = python("-c", slow + LOST.format(lose="Interrupting()"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "lost\n130 True\n", "")


def test_other_lost_exceptions_are_told(python: Callable[..., Any]) -> None:
    lose = "Finalized.__del__ = lambda _: 1 / 0; Finalized(); os.kill(os.getpid(), signal.SIGINT)"
    ran = python("-c", LOST.format(lose=lose))
    assert (ran.returncode, ran.stdout) == (0, "130 True\n")
    assert ran.stderr.startswith("Exception ignored in")
    assert "ZeroDivisionError" in ran.stderr


FATAL = """
import os, signal
from fastnet.cli.interrupts import FatalInterrupt
signal.signal(signal.SIGINT, signal.{handler})
with FatalInterrupt():
    os.kill(os.getpid(), signal.SIGINT)
print(signal.getsignal(signal.SIGINT) is signal.{handler})
"""


def test_a_fatal_interrupt_kills_silently(python: Callable[..., Any]) -> None:
    ran = python("-c", FATAL.format(handler="default_int_handler"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")
    ran = python("-c", FATAL.format(handler="SIG_IGN"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")


@contextmanager
def unread() -> Iterator[tuple[int, int]]:
    """The ends of a pipe with the least room that there is."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGE_SIZE"))
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def fill(writer: int) -> None:
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"full")
    os.set_blocking(writer, True)


def interrupt_while_it_waits(writer: int, *words: str) -> tuple[int, str]:
    """Press Ctrl-C once the command waits for the pipe's reader. Returns its exit code and stderr."""
    command = ["env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
    with Child(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        waits_in = Path(f"/proc/{process.pid}/wchan")
        assert_soon(lambda: waits_in.read_text().endswith("pipe_write"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize(
    "words",
    [
        "address lo",
        "interfaces",
        "interfaces --watch",
        "ipv6",
        "ping -c1 127.0.0.1",
        "ping -c1 -q 127.0.0.1",
        "ping -c100000 -i0 127.0.0.1",
        "ping -l -i0 127.0.0.1",
        "ping -l -i0 --json 127.0.0.1",
        "ping -l -i0 --every 10ms 127.0.0.1",
        "ping --mtu 127.0.0.1",
        "portscan 127.0.0.1 -p1",
        "routes",
        "schema",
        "status lo",
        "sweep 127.0.0.1",
        "sweep --every 1h 127.0.0.1",
        "sweep --stream 127.0.0.0/18",
        "sweep --stream --seed 3 --json 127.0.0.0/18",
        "sweep --stream --csv 127.0.0.0/18",
        "sweep --stream --xml 127.0.0.0/18",
        "trace 127.0.0.1",
        "trace --json 127.0.0.1",
        "--help",
        "--version",
    ],
)
def test_a_reader_that_has_stopped_does_not_hold_it_up(words: str, root: None) -> None:
    with unread() as (_, writer):
        fill(writer)
        code, errors = interrupt_while_it_waits(writer, *words.split())
    assert code == 130
    assert "Traceback" not in errors


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("options", [[], ["--stream"], ["--stream", "--max-rate=20000"]])
def test_verdicts_that_nobody_read_are_not_decided(
    root: None, fastnet: Run, tmp_path: Path, options: list[str]
) -> None:
    file = tmp_path / "state"
    words = ["sweep", "--alive", *options, f"--resume={file}", "127.0.0.0/20"]
    with unread() as (reader, writer):
        code, errors = interrupt_while_it_waits(writer, *words)
        before = os.read(reader, 1 << 16).decode().split()
    assert (code, errors) == (130, f"{file} has what is left: the same command goes on from there\n")
    again = fastnet(*words)
    assert again.returncode == 0
    assert {*before, *again.stdout.split()} == {*Targets("127.0.0.0/20")}
    assert not file.exists()
