"""Ctrl-C while something is done as a whole."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

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
