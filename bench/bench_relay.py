"""Streams relayed by one core for clients and a server on another: HAProxy, nginx, socat, rinetd, asyncio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench._case import Goal, Quantity, Reading
from bench._harness import Result
from bench._load import DIRECT, LoadCase, measure_loads
from bench._relays import MOST_CONNECTIONS, PEERS, ours

SECONDS = 0.25
GIGABYTES = Quantity("GB/s", more_is_better=True)
CPU = Quantity("CPU s/GB")
BYTES = Quantity("B")

RELAYS_CPU, ALL_CPU = ": the relay's CPU", ": CPU of relay and load"
AUTO, SPIN, PURE = "fastnet auto", "fastnet spin", "fastnet pure"
SPLICE = ("HAProxy splice",)
HAPROXY = ("HAProxy splice", "HAProxy plain")
HAPROXY_MODES = (*HAPROXY, "HAProxy 256K buffers")
PROTOCOL = ("asyncio.Protocol",)


def pace(what: str, goals: Sequence[Goal] = ()) -> Reading:
    return Reading(what, GIGABYTES, lambda answer: answer["bytes"] / answer["seconds"] / 1e9, goals)


def cpu_readings(what: str, relays: Sequence[Goal], all_of_it: Sequence[Goal] = ()) -> list[Reading]:
    """Of a load that moves bytes: the relay's CPU time, and with it that of the clients and the server."""
    return [
        Reading(
            f"{what}{RELAYS_CPU}",
            CPU,
            lambda answer: answer["cpu_seconds"] / answer["bytes"] * 1e9,
            relays,
            without=(DIRECT,),
        ),
        Reading(
            f"{what}{ALL_CPU}",
            CPU,
            lambda answer: (answer["cpu_seconds"] + answer["load_cpu_seconds"]) / answer["bytes"] * 1e9,
            all_of_it,
        ),
    ]


def bulk(
    what: str,
    options: Mapping[str, object],
    faster: Sequence[Goal] = (),
    cpu: Sequence[Goal] = (),
    all_of_it: Sequence[Goal] = (),
) -> LoadCase:
    readings = [pace(what, faster), *cpu_readings(what, cpu, all_of_it)]
    warm_up = {"check": 0 if "zerocopy" in options else 1}
    return LoadCase("bulk", {"seconds": SECONDS, **options}, readings, warm_up)


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
    best = (*HAPROXY_MODES, *PROTOCOL)
    whole = [Goal(1, best, AUTO)]
    yield bulk("1 stream", {}, [Goal(1.05, HAPROXY_MODES, AUTO), pure], [Goal(0.5, best, AUTO)], whole)
    yield bulk("8 streams", eight, [Goal(1.4, SPLICE, AUTO), pure], [Goal(0.65, best, AUTO)], whole)
    zero_copy = {**eight, "zerocopy": 1}
    yield bulk("8 streams, zero-copy ends", zero_copy, [pure], [Goal(0.58, SPLICE, AUTO)], whole)
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
