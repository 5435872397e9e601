"""A round that fails, made smaller: fewer lives, plainer options, as long as it goes on failing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from .options import defaults_of, is_possible
from .rounds import Plan

ATTEMPTS = 2
"""What depends on the time is tried so often before it is taken to have passed."""
AT_A_TIME = 6
"""Options that are made plain together at first."""

Fails = Callable[[Plan], bool]


def shrink(plan: Plan, fails: Fails, seconds: float) -> Plan:
    """The smallest plan that was found to fail within so many seconds."""
    end = time.monotonic() + seconds
    smaller = True
    while smaller:
        smaller = False
        for candidate in _candidates(plan):
            if time.monotonic() >= end:
                return plan
            if any(fails(candidate) for _ in range(ATTEMPTS) if time.monotonic() < end):
                plan, smaller = candidate, True
                break
    return plan


def _candidates(plan: Plan) -> Iterator[Plan]:
    """Smaller plans, the boldest first."""
    defaults = defaults_of(plan.row)
    changed = [name for name, value in plan.row.items() if value != defaults[name]]
    lives = plan.lives
    if plan.faults:
        yield plan._replace(faults=())
        if len(plan.faults) > 1:
            for fault in plan.faults:
                yield plan._replace(faults=(fault,))
    for size in (len(changed), AT_A_TIME, 1):
        for at in range(0, len(changed), max(1, size)):
            row = {**plan.row, **{name: defaults[name] for name in changed[at : at + size]}}
            if row != plan.row and is_possible(row):
                yield plan._replace(row=row)
        if size == AT_A_TIME:
            for parts in (2, 4, 8):
                part = -(-len(lives) // parts)
                if len(lives) > 1 and part < len(lives):
                    for at in range(0, len(lives), part):
                        yield plan._replace(lives=lives[:at] + lives[at + part :])
    if 1 < len(lives) <= 8:
        for at in range(len(lives)):
            yield plan._replace(lives=lives[:at] + lives[at + 1 :])
