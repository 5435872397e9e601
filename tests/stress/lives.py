"""Random lives: what a client does, from which address, and what its upstream's end does meanwhile."""

from __future__ import annotations

import random
from typing import NamedTuple

from .ends import Habits, Step
from .options import Row

TRUSTED = "127.0.1."
DENIED = "127.0.2."


class Life(NamedTuple):
    """One client and its upstream's end. The number makes it: the same seed makes the same lives."""

    number: int
    source: str
    """Address that the client binds to."""
    start: float
    """Seconds after the life before has found its place."""
    client: tuple[Step, ...]
    upstream: tuple[Step, ...]
    habits: Habits
    header: str
    """PROXY header: empty, ``whole``, ``bad`` or ``partial``."""
    mute: bool
    """The client does not name its stream at first, so the upstream must begin."""


def chances(dice: random.Random, **weights: float) -> str:
    return dice.choices([*weights], [*weights.values()])[0]


def size(dice: random.Random, scale: float) -> int:
    """Bytes: mostly few, often some, sometimes many."""
    kind = chances(dice, none=1, few=4, some=4, many=4, most=0.6)
    low, high = {
        "none": (1, 2),
        "few": (2, 300),
        "some": (1_000, 100_000),
        "many": (300_000, 2_000_000),
        "most": (4_000_000, 9_000_000),
    }[kind]
    n = dice.randrange(low, high)
    return n if n < 300 else max(300, int(n * scale))


def habits(dice: random.Random) -> Habits:
    return Habits(
        piece=dice.choice((1 << 18, 1 << 18, 1 << 18, 1 << 16, 1 << 16, 1448)),
        gulp=dice.choice((1 << 18, 1 << 18, 1 << 20, 1 << 14)),
        send_buffer=dice.choice((0, 0, 4 << 20, 4 << 20, 65536)),
        receive_buffer=dice.choice((0, 0, 4 << 20, 1 << 18)),
    )


def script(dice: random.Random, scale: float, *, urgent: bool, expected: int = 0) -> tuple[Step, ...]:
    """Some steps, and an end. ``expected``: bytes that the other side sends, if it is not held up."""
    shape = chances(dice, any=6, download=4, upload=3, drip=1, urgent=2 if urgent else 0, silent=0.4, brief=1)
    if shape == "download":
        steps = [Step("receive", int(expected * dice.random()) + 1)]
    elif shape == "upload":
        steps = [
            Step("send", size(dice, scale)),
            Step("send", int(dice.randrange(300_000, 2_000_000) * scale)),
        ]
    elif shape == "drip":
        steps = [Step("send", 1) if i % 2 else Step("pause", dice.randrange(3)) for i in range(40)]
    elif shape == "urgent":
        steps = [Step("send", size(dice, scale)) for _ in range(dice.randrange(2, 5))]
        for at in range(len(steps) - 1, 0, -1):
            steps[at:at] = [Step("urgent"), Step("pause", dice.randrange(20))][: dice.randrange(1, 3)]
    elif shape == "silent":
        steps = [Step("hold")]
    elif shape == "brief":
        steps = []
    else:
        steps = [_any(dice, scale, urgent, expected) for _ in range(dice.randrange(1, 6))]
    return _possible((*steps, *_ending(dice)))


def _any(dice: random.Random, scale: float, urgent: bool, expected: int) -> Step:
    op = chances(dice, send=5, receive=3, pause=2, stall=1, fin=0.7, urgent=0.5 if urgent else 0)
    if op == "send":
        return Step(op, size(dice, scale))
    if op == "receive":
        return Step(op, int(expected * dice.random() / 2) + 1)
    return Step(op, dice.randrange(1, 120) if op in ("pause", "stall") else 0)


def _ending(dice: random.Random) -> list[Step]:
    end = chances(dice, order=6, reset=4, close=1.5, hold=0.3)
    return [] if end == "order" else [Step(end)]


def _possible(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Without what can't be done: to send, or to end, behind the end."""
    ends = next((at for at, step in enumerate(steps) if step.op == "fin"), len(steps))
    late = [step for step in steps[ends + 1 :] if step.op not in ("send", "urgent", "fin")]
    return (*steps[: ends + 1], *late)


def bulk_scripts(dice: random.Random) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """A long transfer, which the receiver may break off; or one after the other, as each is asked for."""
    if dice.random() < 0.2:
        sizes = [dice.randrange(500_000, 1_900_000) for _ in range(dice.randrange(6, 16))]
        asks = [step for n in sizes for step in (Step("send", 8), Step("receive", n))]
        answers = [step for n in sizes for step in (Step("receive", 8), Step("send", n))]
        return tuple(asks), tuple(answers)
    n = dice.randrange(500_000, 1_900_000)
    sender = (Step("send", n), *_ending(dice))
    kind = chances(dice, whole=1, soon=1, later=6)
    first = Step("pause", dice.randrange(12)) if kind == "soon" else Step("receive", dice.randrange(n))
    receiver = () if kind == "whole" else (first, Step("reset"))
    return (receiver, sender) if dice.random() < 0.8 else (sender, receiver)


BULK = Habits(send_buffer=4 << 20, receive_buffer=4 << 20)


def life(seed: str, number: int, scale: float, row: Row) -> Life:
    """The life of this number, in a round with these options."""
    dice = random.Random(f"{seed}/life {number}")
    bulk, urgent = row["traffic"] == "bulk", row["urgent"]
    trusted = row["trust_proxy"] and dice.random() < 0.6
    network = TRUSTED if trusted else chances(dice, **{"127.0.0.": 12, DENIED: 1})
    upstream = script(dice, scale, urgent=urgent, expected=int(100_000 * scale))
    client = script(
        dice, scale, urgent=urgent, expected=sum(step.n for step in upstream if step.op == "send")
    )
    if bulk:
        client, upstream = bulk_scripts(dice)
    return Life(
        number,
        f"{network}{dice.randrange(1, 20)}",
        dice.choice((0.0, 0.0, 0.0, 0.002, 0.01)),
        client,
        upstream,
        BULK if bulk else habits(dice),
        chances(dice, whole=8, bad=1, partial=1) if trusted else "",
        dice.random() < 0.1 and not bulk,
    )


def unknown_upstream(seed: str, accepted: int, scale: float) -> tuple[Step, ...]:
    """What an upstream's end does to a client that it knows nothing of yet."""
    dice = random.Random(f"{seed}/upstream {accepted}")
    return script(dice, scale, urgent=False)


def impatience(seed: str, accepted: int) -> float:
    """Seconds that an upstream's end waits for its client to name itself."""
    dice = random.Random(f"{seed}/impatience {accepted}")
    return 0.0 if dice.random() < 0.15 else dice.uniform(0, 0.1)
