"""The progress of a sweep: a line on a terminal, redrawn after the first second."""

import sys
import time

from fastnet._sweep import Sweep
from fastnet.cli.output import colored

_SILENT_SECONDS = 1.0
_BETWEEN_SECONDS = 0.2
_WIDTH = 24


class Progress:
    """On stderr, and only where that is a terminal. ``clear`` it before something else is printed."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._begun = time.monotonic()
        self._due = self._begun + _SILENT_SECONDS if sys.stderr.isatty() else float("inf")
        self._drawn = ""

    def show(self, running: Sweep) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _BETWEEN_SECONDS
        alive = running.result().counts.alive
        line = progress_line(running.size, running.sent, alive, self._retries, now - self._begun)
        self.clear()
        self._drawn = line
        bar, _, words = line.partition("] ")
        shown = f"\x1b[32m{bar}]\x1b[0m {words}" if colored(sys.stderr) else line
        print(shown, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._drawn:
            print("\r" + " " * len(self._drawn) + "\r", end="", file=sys.stderr, flush=True)
            self._drawn = ""


def progress_line(size: int, sent: int, alive: int, retries: int, seconds: float) -> str:
    """``[#####...]  62% 41,234/s, 3,210 alive, 0:12 left``: silent targets are probed again."""
    silent = max(0, min(sent, size) - alive) / min(sent, size) if sent and size else 1.0
    expected = max(sent, round(size * (1 + retries * silent)), 1)
    rate = sent / seconds if seconds else 0.0
    done = sent / expected
    left = (expected - sent) / rate if rate else 0.0
    bar = "#" * round(done * _WIDTH)
    minutes, rest = divmod(round(left), 60)
    return f"[{bar:.<{_WIDTH}}] {done:4.0%} {rate:,.0f}/s, {alive:,} alive, {minutes}:{rest:02} left"
