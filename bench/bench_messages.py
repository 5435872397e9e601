"""Messages of 1 KiB to 1 GiB through the relay: `auto` beside the engines between which it chooses.

A client asks for a message, its server sends it, the client asks for the next. What `auto` loses by its
choice is its ratio to the better of `splice` and `copy`; the last lines have the worst one over all sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from bench._case import RIGHT, Goal, Quantity, Reading
from bench._harness import Measurement, Result
from bench._load import LoadCase, measure_loads
from bench._relays import Relay, ours
from bench.bench_relay import ALL_CPU, RELAYS_CPU, cpu_readings

SECONDS = 0.15
PACE = Quantity("MB/s", more_is_better=True)
TIMES = Quantity("x")
KIB = 1 << 10
SIZES = {
    **{f"{number} KiB": number * KIB for number in (1, 16, 64, 128, 256)},
    **{f"{number} MiB": number * KIB**2 for number in (1, 4, 16, 128)},
    "1 GiB": KIB**3,
    "a mix": 0,
}
"""0: from 1 KiB to 4 MiB, a size half as often as a fourth of it."""
AUTO, ENGINES = "fastnet auto", ("fastnet splice", "fastnet copy")


def case(what: str, **options: int) -> LoadCase:
    goals = [Goal(1, ENGINES, AUTO)]
    cpu = cpu_readings(what, goals, goals)
    pace = Reading(f"{what}: pace", PACE, lambda answer: answer["bytes"] / answer["seconds"] / 1e6, goals)
    warm_up = {"check": 0 if options["zerocopy"] else 1}
    return LoadCase("messages", {"seconds": SECONDS, **options}, [pace, *cpu], warm_up)


def loads() -> Iterator[LoadCase]:
    for size, count in SIZES.items():
        for zerocopy, ends in enumerate(("", ", zero-copy ends")):
            connections = 1 if count == KIB**3 else 4
            what = f"{size} on {connections}{ends}"
            yield case(what, bytes=count, connections=connections, zerocopy=zerocopy)


def contenders(implementations: Sequence[str]) -> list[Relay]:
    return [each for each in ours(implementations) if each.name in (AUTO, *ENGINES)]


def ratio(result: Result) -> float | None:
    """By how many times ``auto`` is worse than the better engine: of each round, and then the median."""
    more = result.quantity.more_is_better
    engines = [each for each in result.measurements if each.name in ENGINES and each.samples]
    if not engines or not result.ours.samples:
        return None
    best = (max if more else min)(engines, key=lambda each: each.median or 0.0)
    pairs = zip(result.ours.samples, best.samples, strict=False)
    return median(theirs / own if more else own / theirs for own, theirs in pairs)


def worst(results: Sequence[Result], of: str) -> Result:
    """The ratio in the case where ``auto`` is the worst."""
    found = [(ratio(result), result.what) for result in results if result.what.endswith(of)]
    known = [(number, what) for number, what in found if number is not None]
    if not known:
        return Result("messages", f"worst{of}", TIMES, [], [Measurement(AUTO, "", "failed: nothing", [])])
    number, where = max(known)
    return Result("messages", f"worst: {where}", TIMES, [Goal(1)], [Measurement(AUTO, "", RIGHT, [number])])


def measure(implementations: Sequence[str], rounds: int) -> Iterator[Result]:
    results = []
    for result in measure_loads("messages", contenders(implementations), list(loads()), rounds):
        results.append(result)
        yield result
    for of in (": pace", RELAYS_CPU, ALL_CPU):
        yield worst(results, of)
