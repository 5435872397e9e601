"""What it takes to know that nothing has changed about the interfaces since they were read."""

from __future__ import annotations

from collections.abc import Iterator

from bench._case import Case, Contender
from fastnet._backend import monitor

GOAL_NS = 2_000


def ours() -> Contender:
    monitor.kept()["answer"] = 1
    return Contender("kept()", {"kept": monitor.kept})


def cases() -> Iterator[Case]:
    yield Case("kept results, nothing has changed", ours, {}, lambda kept: kept == {"answer": 1}, GOAL_NS)
