"""TCP relayed by one core for clients and a server on another: HAProxy, nginx, socat, rinetd, asyncio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench._case import NANOSECONDS, Goal, Quantity, Reading
from bench._harness import Result
from bench._load import DIRECT, LoadCase, measure_loads
from bench._relays import MOST_CONNECTIONS, PEERS, ours

SECONDS = 0.25
GIGABYTES = Quantity("GB/s", more_is_better=True)
CPU = Quantity("CPU s/GB")
RATE = Quantity("/s", more_is_better=True)
BYTES = Quantity("B")

AUTO, SPIN, PURE = "fastnet auto", "fastnet spin", "fastnet pure"
SPLICE = ("HAProxy splice",)
HAPROXY = ("HAProxy splice", "HAProxy plain")
HAPROXY_MODES = (*HAPROXY, "HAProxy 256K buffers")
PROTOCOL = ("asyncio.Protocol",)


def bulk(what: str, options: Mapping[str, object], faster: Sequence[Goal], cpu: Sequence[Goal]) -> LoadCase:
    return LoadCase(
        "bulk",
        {"seconds": SECONDS, **options},
        [
            Reading(what, GIGABYTES, lambda answer: answer["bytes"] / answer["seconds"] / 1e9, faster),
            Reading(
                f"{what}: the relay's CPU",
                CPU,
                lambda answer: answer["cpu_seconds"] / answer["bytes"] * 1e9,
                cpu,
                without=(DIRECT,),
            ),
        ],
        warm_up={"check": 0 if "zerocopy" in options else 1},
    )


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
    # First, since memory used before is not returned to the system.
    yield LoadCase(
        "idle",
        {"connections": MOST_CONNECTIONS},
        [
            Reading(
                "an idle connection's memory",
                BYTES,
                lambda answer: answer["memory"] / answer["count"],
                [Goal(256, by=AUTO)],
                without=(DIRECT,),
            )
        ],
        warm_up={"connections": 64},
        once=True,
    )
    pure = Goal(1, PROTOCOL, PURE)
    eight = {"connections": 8}
    yield bulk("1 stream", {}, [Goal(1.05, HAPROXY_MODES, AUTO), pure], [])
    yield bulk("8 streams", eight, [Goal(1.4, SPLICE, AUTO), pure], [Goal(0.55, SPLICE, AUTO)])
    yield bulk("8 streams, zero-copy ends", {**eight, "zerocopy": 1}, [pure], [Goal(0.7, SPLICE, AUTO)])
    better = [Goal(1, HAPROXY, AUTO), Goal(0.3, HAPROXY, SPIN)]
    yield latency("64 B there and back", {}, {"p50": better, "p99": better})
    beside = {"p50": [], "p99": [Goal(0.4, SPLICE, AUTO)]}
    yield latency("64 B beside 4 bulk streams", {"beside": 4}, beside)
    many = {"connections": 64}
    yield rate("64 B requests of 64 connections", "requests", many, [Goal(1.15, HAPROXY, AUTO), pure])
    yield rate("connect, 64 B, close", "connects", {"connections": 16}, [Goal(1.2, HAPROXY, AUTO), pure])
    yield LoadCase(
        "duplex",
        {"connections": 64},
        [
            Reading(
                "lost of 64 full-duplex half-closing streams",
                BYTES,
                lambda answer: answer["lost"],
                [Goal(0, by=AUTO), Goal(0, by=PURE)],
            )
        ],
    )


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    return measure_loads("relay", [*ours(implementations), *PEERS], list(loads()), rounds)
