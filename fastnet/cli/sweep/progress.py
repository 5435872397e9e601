"""The progress of a sweep: a line on a terminal, redrawn after the first second."""

import sys
import time

from fastnet._sweep import Sweep
from fastnet.cli.output import draw, terminal_columns

_SILENT_SECONDS = 1.0
_BETWEEN_SECONDS = 0.2
_WIDTH = 24
_LEAST_WIDTH = 6
"""A narrower bar is not drawn."""


class Progress:
    """On stderr, and only where that is a terminal. ``clear_drawn`` erases it."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._begun = time.monotonic()
        self._due = self._begun + _SILENT_SECONDS if sys.stderr.isatty() else float("inf")

    def show(self, running: Sweep) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _BETWEEN_SECONDS
        alive = running.result().counts.alive
        line = progress_line(
            running.size,
            running.sent,
            alive,
            self._retries,
            now - self._begun,
            terminal_columns(sys.stderr) - 1,
        )
        draw(line, green=line.find("]") + 1)


def progress_line(size: int, sent: int, alive: int, retries: int, seconds: float, columns: int = 80) -> str:
    """``[#####...]  62% 41,234/s, 3,210 alive, 0:12 left``: silent targets are probed again.

    The bar is shortened, or left out, where there are not enough columns.
    """
    silent = max(0, min(sent, size) - alive) / min(sent, size) if sent and size else 1.0
    expected = max(sent, round(size * (1 + retries * silent)), 1)
    rate = sent / seconds if seconds else 0.0
    done = sent / expected
    left = (expected - sent) / rate if rate else 0.0
    minutes, rest = divmod(round(left), 60)
    words = f"{done:4.0%} {rate:,.0f}/s, {alive:,} alive, {minutes}:{rest:02} left"
    width = min(_WIDTH, columns - len("[] ") - len(words))
    if width < _LEAST_WIDTH:
        return words.lstrip()
    bar = "#" * round(done * width)
    return f"[{bar:.<{width}}] {words}"
