"""Rounds one after the other in one process, which must be afterwards what it was before."""

from __future__ import annotations

import time
from collections.abc import Callable

from faults import Faults

from .flows import FlowRound
from .options import Row
from .reactor import Reactor
from .rounds import Plan, Round
from .targets import Failed, Target

PATIENCE = 10.0
"""Seconds that threads which have nothing to do any more get to end."""
GROWTH = 400_000
"""Bytes of memory that may be allocated beyond those of the rounds before."""


class Runner:
    """Runs rounds; ``make`` gives a new process, at first and after each failure; ``faults`` are its own."""

    def __init__(self, make: Callable[[Reactor], Target], faults: Faults | None = None) -> None:
        self._make = make
        self._faults = faults
        self._new()

    def _new(self) -> None:
        self._reactor = Reactor()
        self._target = self._make(self._reactor)
        self._first: dict[str, int] | None = None
        self._memory: list[int] = []

    @property
    def ours(self) -> bool:
        return self._target.ours

    def run(self, plan: Plan) -> tuple[Round | FlowRound, list[str]]:
        """A round, and what was wrong with it. After a failure there is a new process."""
        kind = FlowRound if plan.row.get("protocol") == "udp" else Round
        one = kind(self._reactor, self._target, plan, self._faults)
        problems = one.run()
        if not problems and self._target.ours:
            try:
                problems = self._left_over(plan.row)
            except Failed as failure:
                problems = [str(failure)]
        if problems:
            if self._target.ours and (said := self._target.said()) and said not in problems[0]:
                problems.append(said)
            self.close()
            self._new()
        return one, problems

    def _left_over(self, row: Row) -> list[str]:
        """What the round has left behind. The first one leaves what all share."""
        now = self._target.ask("rest")
        end = time.monotonic() + PATIENCE
        while self._first and self._differs(now) and time.monotonic() < end:
            now = self._target.ask("rest")
        if self._first and self._differs(now):
            return [f"left over: {now}, after the first round it was {self._first}"]
        self._first = self._first or now
        self._memory.append(now["bytes"])
        return self._growth()

    def _differs(self, now: dict[str, int]) -> bool:
        assert self._first
        return any(now[name] > self._first[name] for name in ("descriptors", "threads"))

    def _growth(self) -> list[str]:
        """Memory that is never given back grows from round to round: the minimum of later rounds shows it."""
        third = len(self._memory) // 3
        if third < 5:
            return []
        before, after = min(self._memory[third : 2 * third]), min(self._memory[2 * third :])
        if after <= before + GROWTH:
            return []
        return [f"memory grows: {before} bytes after some rounds, {after} after more: {self._memory}"]

    def close(self) -> None:
        self._target.close()
        self._reactor.close()
