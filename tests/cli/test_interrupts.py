"""Ctrl-C while something is done as a whole."""

from __future__ import annotations

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
