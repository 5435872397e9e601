"""``python -m stress``: random lives around a forwarder, for so many seconds, and an oracle of each.

It prints its seed, and at the first failure the smallest history that fails; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from faults import Fault, Faults, source_line

from .flows import FlowRound
from .options import DEFAULTS, FLOW_OPTIONS, OPTIONS, Row, described, is_possible, options_of, rows
from .reactor import Reactor
from .rounds import Plan, Round
from .runner import Runner
from .shrinking import shrink
from .targets import HAPROXY_HAS, HAProxy, Ours, Target

FEW: Row = {
    "descriptors": "few",
    "connect_timeout": 0.05,
    "threads": 2,
    "trust_proxy": True,
    "listen": "ipv4",
    "upstreams": "one",
    "transparent": False,
    "interrupted": False,
    "max_connections": 4096,
    "max_per_source": 0,
    "rate": 0,
    "connection_rate": 0,
    "change": "nothing",
}
"""Whoever is accepted has a descriptor to connect by, also where it waits for a PROXY header at first."""
EMPHASES: tuple[Row, ...] = (
    FEW,
    {"traffic": "bulk", "interrupted": True},
    {"urgent": True},
    {**FEW, "traffic": "bulk"},
    {"rewrite_host": True},
    {"shortage": True},
    {},
)
"""What rounds with otherwise few options are about, in turn."""
ROOT = Path(__file__).parents[2]
SHOWN = 12
AT_ONCE = 10
"""Faults of a round, one after the other."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stress", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=60, help="how long; 60")
    add("--seed", help="of another run, to repeat it; random")
    add("--target", choices=("native", "pure", "haproxy"), default="native")
    add("--lives", type=int, default=150, help="clients of a round; 150")
    add("--round", type=int, help="only the round of this number, again and again")
    add("--pin", action="append", default=[], metavar="NAME=VALUE", help="an option that all rounds have")
    add("--fault", action="append", default=[], help="what fails, as it was printed; random")
    add("--sites", action="store_true", help="print the call sites that have not failed in every way")
    add("--shrink", type=float, default=60, help="seconds to look for a smaller history that fails; 60")
    add("--library", type=Path, default=ROOT, help="folder of the package that is tried")
    add("--preload", default="", help="library that its process is started with")
    return parser.parse_args()


def pinned(texts: list[str]) -> Row:
    """Options and their values, of ``NAME=VALUE``."""
    pairs = dict(pin.split("=", 1) for pin in texts)
    choices = options_of(pairs)
    return {
        name: next(value for value in choices[name] if str(value) == text) for name, text in pairs.items()
    }


def sparse(dice: random.Random, emphasis: Row) -> Row:
    """The defaults but for few options: where little is allowed, more can be checked."""
    while True:
        changed = {name: dice.choice(OPTIONS[name]) for name in dice.sample([*OPTIONS], 3)}
        if is_possible(row := {**DEFAULTS, **changed, **emphasis}):
            return row


def flow_row(dice: random.Random) -> Row:
    """Options of a round of datagrams: some differ from the defaults."""
    changed = dice.sample([*FLOW_OPTIONS], 6)
    return {
        name: dice.choice(values) if name in changed else values[0] for name, values in FLOW_OPTIONS.items()
    }


def all_rows(dice: random.Random, target: str, pins: Row) -> Iterator[Row]:
    """The options of one round after the other: every two of each other's are met, and then again."""
    emphases = itertools.cycle(EMPHASES)
    while pins.get("protocol") == "udp":
        yield {**flow_row(dice), **pins}
    while True:
        for number, covering in enumerate(rows(dice)):
            if target != "haproxy" and not pins and number % 2:
                yield {**flow_row(dice), **({"descriptors": "few"} if number % 4 == 1 else {})}
            for row in (covering, sparse(dice, next(emphases))):
                if target == "haproxy":
                    row = {**DEFAULTS, **{name: dice.choice(values) for name, values in HAPROXY_HAS.items()}}
                elif target == "pure":
                    row = {**row, "engine": "auto"}
                if is_possible({**row, **pins}):
                    yield {**row, **pins}


def plans(options: argparse.Namespace, seed: str, faults: Faults | None) -> Iterator[tuple[int, Plan]]:
    for number, row in enumerate(all_rows(random.Random(seed), options.target, pinned(options.pin)), 1):
        scale = 0.1 if row["rate"] or row.get("connection_rate") else 1.0
        plan = Plan(f"{seed}.{number}", row, tuple(range(options.lives)), scale)
        if faults and row["shortage"]:
            given = tuple(map(Fault.parse, options.fault))
            chosen = given or faults.choose(random.Random(plan.seed), AT_ONCE)
            plan = plan._replace(faults=chosen)
        if options.round in (None, number):
            yield number, plan
        while options.round == number:
            yield number, plan


def history(one: Round | FlowRound, problems: list[str], library: Path) -> str:
    """What was wrong, and the lives that it names."""
    named = {int(number) for text in problems for number in re.findall(r"(?:life|client) (\d+)", text)}
    lives = one.history(named)
    what = [
        f"options: {described(one.plan.row)}",
        *(f"--fault {fault}  {source_line(fault, library)}" for fault in one.plan.faults),
    ]
    return "\n".join((*problems[:SHOWN], *what, *lives[:SHOWN]))


def report(
    runner: Runner, plan: Plan, one: Round | FlowRound, problems: list[str], options: argparse.Namespace
) -> None:
    """Print what failed, and the smallest round that fails."""
    seconds = options.shrink
    print(history(one, problems, options.library), flush=True)
    found = [(one, problems)]

    def fails(candidate: Plan) -> bool:
        again, wrong = runner.run(candidate)
        if wrong:
            found.append((again, wrong))
        return bool(wrong)

    if seconds:
        smallest = shrink(plan, fails, seconds)
        print(f"\nThe smallest that failed, of {len(smallest.lives)} lives:")
        print(history(*found[-1], options.library))


def main() -> int:
    options = arguments()
    seed = options.seed or str(random.SystemRandom().randrange(10**8))
    print(f"seed {seed}", flush=True)

    faults = Faults() if options.target != "haproxy" else None

    def make(reactor: Reactor) -> Target:
        if options.target == "haproxy":
            return HAProxy(reactor)
        return Ours(reactor, options.library, options.target, options.preload, faults)

    runner = Runner(make, faults)
    began = time.monotonic()
    count = 0
    for number, plan in plans(options, seed, faults):
        if time.monotonic() >= began + options.seconds:
            break
        one, problems = runner.run(plan)
        count += len(plan.lives)
        if problems:
            after = time.monotonic() - began
            print(f"\nround {number} failed after {after:.1f} s (--seed {seed} --round {number}):")
            report(runner, plan, one, problems, options)
            runner.close()
            return 1
        print(f"{time.monotonic() - began:7.1f} s, {count} lives: {described(plan.row)}", flush=True)
    runner.close()
    print(f"{count} lives, all as they should be")
    if faults:
        print(faults.summary())
        if options.sites:
            print(*faults.not_met(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
