"""The child process that runs a page's contenders on request: one per implementation.

``python -m bench._worker MODULE ROLE`` takes one JSON list a line on stdin, ``[verb, argument...]``, and
answers each with one JSON value a line. ROLE is ``host`` (ours and the peers) or ``guest`` (ours only).
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from bench._case import Case, Contender
from fastnet import implementation

SAMPLE_SECONDS = 0.005

RIGHT = "right"
WRONG = "wrong"


def verdict(contender: Contender, is_right: Callable[[Any], bool]) -> str:
    """Whether the contender does the case's work: ``right`` or ``wrong``."""
    names = dict(contender.names)
    exec(contender.setup, names)
    return RIGHT if is_right(eval(contender.code, names)) else WRONG


def calibrate(timer: timeit.Timer) -> int:
    """How many loops make a sample of SAMPLE_SECONDS; 1 where a single one takes longer."""
    loops = 1
    while (seconds := timer.timeit(loops)) < SAMPLE_SECONDS / 10:
        loops *= 10
    return max(1, math.ceil(loops * SAMPLE_SECONDS / seconds))


class Worker:
    """A page's cases, one after the other."""

    def __init__(self, cases: Iterator[Case], with_peers: bool) -> None:
        self._cases = cases
        self._with_peers = with_peers
        self._timers: dict[str, timeit.Timer] = {}

    def next(self) -> dict[str, Any] | None:
        """Go to the next case: what it is, and each contender's code and verdict. None after the last."""
        case = next(self._cases, None)
        if case is None:
            return None
        self._timers = {}
        makers = {f"fastnet {implementation()}": case.ours, **(case.peers if self._with_peers else {})}
        return {
            "what": case.what,
            "goal_ns": case.goal_ns,
            "units": case.units,
            "contenders": [self._enter(name, make, case.is_right) for name, make in makers.items()],
        }

    def _enter(
        self, name: str, make: Callable[[], Contender], is_right: Callable[[Any], bool]
    ) -> dict[str, str]:
        try:
            contender = make()
            found = verdict(contender, is_right)
        except ModuleNotFoundError as error:
            return {"name": name, "code": "", "verdict": f"not installed: {error}"}
        except Exception as error:  # any exception of a peer is its result
            return {"name": name, "code": "", "verdict": f"failed: {type(error).__name__}: {error}"}
        # CPU time: what else the machine runs meanwhile is not the contender's.
        self._timers[name] = timeit.Timer(
            contender.code, contender.setup, time.process_time, dict(contender.names)
        )
        return {"name": name, "code": contender.code, "verdict": found}

    def calibrate(self, name: str) -> int:
        return calibrate(self._timers[name])

    def sample(self, name: str, loops: int) -> float:
        """The seconds of CPU time that so many loops took."""
        return self._timers[name].timeit(loops)


def main() -> None:
    module, role = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends us:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # by our input, or by an answer that nobody reads any more
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of a peer goes to stderr, not among the answers
    worker = Worker(import_module(module).cases(), role == "host")
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, verb)(*arguments)), file=answers)


if __name__ == "__main__":
    main()
