"""64 bytes there and back through a relay, alone, beside streams, many: HAProxy, nginx, socat, asyncio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench._case import NANOSECONDS, Goal, Quantity, Reading
from bench._harness import Result
from bench._load import DIRECT, LoadCase, measure_loads
from bench._relays import PEERS, ours
from bench.bench_relay import AUTO, HAPROXY, PROTOCOL, PURE, SECONDS, SPIN, SPLICE, pace

RATE = Quantity("/s", more_is_better=True)
BUSY = ("HAProxy busy polling",)


def latency(what: str, options: Mapping[str, object], readings: Mapping[str, Sequence[Goal]]) -> LoadCase:
    return LoadCase(
        "pingpong",
        {"seconds": SECONDS, **options},
        [
            Reading(f"{what}, {key}", NANOSECONDS, lambda answer, key=key: answer[f"{key}_ns"], goals)  # type: ignore[misc]
            for key, goals in readings.items()
        ],
    )


def rate(what: str, kind: str, options: Mapping[str, object], goals: Sequence[Goal] = ()) -> LoadCase:
    return LoadCase(
        kind,
        {"seconds": SECONDS, **options},
        [Reading(what, RATE, lambda answer: answer["count"] / answer["seconds"], goals)],
    )


def loads() -> Iterator[LoadCase]:
    better = [Goal(1, HAPROXY, AUTO), Goal(0.7, BUSY, SPIN)]
    yield latency("64 B there and back", {}, {"p50": better, "p99": better})
    goals = {"p50": [], "p99": [Goal(0.8, SPLICE, AUTO)]}
    beside = latency("64 B beside 4 bulk streams", {"beside": 4}, goals)
    # Without a relay the ends of the round trips, which have priority, leave the streams no time.
    streams = pace("the 4 bulk streams beside 64 B")._replace(without=(DIRECT,))
    yield beside._replace(readings=[*beside.readings, streams])
    many = {"connections": 64}
    pure = Goal(1, PROTOCOL, PURE)
    yield rate("64 B requests of 64 connections", "requests", many, [Goal(1.15, HAPROXY, AUTO), pure])
    yield rate("connect, 64 B, close", "connects", {"connections": 16}, [Goal(1.2, HAPROXY, AUTO), pure])


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    return measure_loads("relay_latency", [*ours(implementations), *PEERS], list(loads()), rounds)
