"""The stress's oracle: its verdicts on relays that are broken in one way, and on one that is not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from stress.options import DEFAULTS, FLOW_OPTIONS, Row
from stress.reactor import Reactor
from stress.rounds import Plan
from stress.runner import Runner
from stress.targets import Ours, Target

ROOT = Path(__file__).parents[2]
FLOWS: Row = {name: values[0] for name, values in FLOW_OPTIONS.items()}


def problems(way: str, row: Row, rounds: int = 1, lives: int = 50) -> list[str]:
    """The output of so many rounds around a pure relay that is broken in this way."""
    script = ROOT / "tests" / "stress" / "broken.py"

    def make(reactor: Reactor) -> Target:
        return Ours(reactor, ROOT, "pure", words=[sys.executable, str(script), way])

    runner = Runner(make)
    try:
        for number in range(rounds):
            _, found = runner.run(Plan(f"oracle.{number}", row, tuple(range(lives)), 0.3))
            if found:
                return found
    finally:
        runner.close()
    return []


@pytest.mark.parametrize("row", [DEFAULTS, FLOWS], ids=["tcp", "udp"])
def test_a_whole_relay_is_said_to_be_one(row: Row) -> None:
    assert problems("", row, rounds=3) == []


@pytest.mark.parametrize(
    ("way", "row", "said"),
    [
        ("loses a byte", DEFAULTS, "bytes of it are missing|is b"),
        ("sends twice", DEFAULTS, "came twice|is b|behind the end"),
        ("stalls", DEFAULTS, "stalled: "),
        ("ends for a reset", DEFAULTS, "a reset arrived as an end|ended in order after"),
        (
            "mixes connections up",
            DEFAULTS,
            "names stream|is b|which is no|no name of a stream|two upstreams|stalled: ",
        ),
        ("miscounts", DEFAULTS, "were received, .* sent|counters: "),
        ("leaks", DEFAULTS, "left over: "),
        ("spins", DEFAULTS, "of a processor, .* while nothing moves"),
        ("repeats datagrams", FLOWS, "came twice"),
        ("delivers to another client", FLOWS, "got an answer to client"),
        ("locks out", FLOWS, "ask for 6 s without success|first datagrams of"),
    ],
)
def test_a_broken_relay_is_told(way: str, row: Row, said: str) -> None:
    found = problems(way, row, rounds=20)
    assert found
    assert re.search(said, "\n".join(found))
