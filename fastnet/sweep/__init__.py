"""Which hosts of a target space answer, and which do not.

Every target ends as exactly one of: alive, inactive (it was sent to each time and nothing came back),
unreachable (somebody said why) or not probed (the system did not send, and why). What was not probed is
never called inactive.
"""

import socket
import time
from collections.abc import Iterable, Iterator
from itertools import count as numbers
from typing import Any

from fastnet._callable import make_callable
from fastnet._limits import check_seconds
from fastnet.sweep.result import (
    ALIVE,
    DECIDED,
    INACTIVE,
    NOT_PROBED,
    STATES,
    UNREACHABLE,
    Counts,
    SweepResult,
    Verdict,
    Verdicts,
)
from fastnet.sweep.resume import StateFile
from fastnet.sweep.running import (
    ENGINES,
    MAX_RATE,
    MAX_RETRIES,
    MAX_SEED,
    MAX_SHARDS,
    MAX_TARGETS,
    MAX_WINDOW,
    MIN_RATE,
    Sweep,
    as_targets,
)
from fastnet.targets import Targets

__all__ = [
    "ALIVE",
    "DECIDED",
    "ENGINES",
    "INACTIVE",
    "MAX_RATE",
    "MAX_RETRIES",
    "MAX_SEED",
    "MAX_SHARDS",
    "MAX_TARGETS",
    "MAX_WINDOW",
    "MIN_RATE",
    "NOT_PROBED",
    "STATES",
    "UNREACHABLE",
    "Counts",
    "StateFile",
    "Sweep",
    "SweepResult",
    "Verdict",
    "Verdicts",
    "rounds",
    "sweep",
    "sweep_async",
    "sweep_every",
    "sweep_stream",
]


def sweep(
    targets: Targets | str | Iterable[str],
    *,
    exclude: Iterable[str] = (),
    timeout: float | str = 1.0,
    retries: int = 1,
    window: int = 128,
    rate: float | None = None,
    family: int = socket.AF_UNSPEC,
    engine: str = "auto",
    seed: int | None = None,
    shard: tuple[int, int] = (1, 1),
    interface: str = "",
) -> SweepResult:
    """Send an echo request to each target, or on our own links ask for it, and say what came of each.

    ``targets`` are Targets, or what they are made from, as ``["10.0.2.2-4", "fd00::/120"]``. Each request
    is waited for ``timeout`` seconds (``"auto"``: for as long as the round-trip times make sense, at most
    one). Who did not answer is asked ``retries`` times more. At most ``window`` requests are out past the
    newest answer; ``rate`` is a limit in requests a second. ``family`` is what names resolve to.

    ``engine`` is ``link`` (ARP and neighbour discovery for what is on a link of this machine, which needs a
    packet socket; nothing for the others), ``raw`` or ``datagram`` (ICMP for all), ``auto`` (``link`` where
    that applies and is permitted, else the first permitted of the other two), ``turbo`` (frames and eBPF to
    what is behind a router on an Ethernet link, ``raw`` for the others; native only), ``tcp`` (no ICMP and
    no privilege: alive is who accepts or refuses a connection to port 80, 443 or 22) or ``scapy``. With a
    ``seed`` the targets are asked in an order of its own; the result stays in theirs. ``shard`` (i, n), i
    from 1, takes every n-th target: those of all n shards are all of them, each once. A shard has at most
    2^24 targets. ``interface`` is the only one to use; it says on which link a link-local target is.
    Raises InvalidArgument, NameNotResolved, NoSuchInterface, NotPermitted, EngineMissing.
    """
    options: dict[str, Any] = {"timeout": timeout, "retries": retries, "window": window, "rate": rate}
    options |= {"exclude": exclude, "family": family, "engine": engine, "seed": seed, "shard": shard}
    options["interface"] = interface
    with Sweep(targets, **options) as running:
        while not running.run():
            pass
        return running.result()


def sweep_stream(targets: Targets | str | Iterable[str], **options: Any) -> Iterator[Verdict]:
    """The verdicts of ``sweep`` as they are found: who is alive at once, in no order, the others at the end.

    Takes and raises what ``sweep`` does.
    """
    with Sweep(targets, **options) as running:
        finished = False
        while not finished:
            finished = running.run()
            yield from running.news()


async def sweep_async(targets: Targets | str | Iterable[str], **options: Any) -> SweepResult:
    """``sweep`` as a coroutine, with the same options; the work is done in a thread, bit by bit."""
    import asyncio

    running = await asyncio.to_thread(Sweep, targets, **options)
    with running:
        while not await asyncio.to_thread(running.run):
            pass
        return running.result()


def sweep_every(
    targets: Targets | str | Iterable[str], every: float = 10.0, count: int | None = None, **options: Any
) -> Iterator[SweepResult]:
    """Sweep again and again: one begins ``every`` seconds after the last one began, or when that is done.

    ``count`` sweeps, or without end. Names are looked up once. ``options`` and errors are those of ``sweep``.
    """
    fixed = as_targets(targets, options.pop("exclude", ()), options.pop("family", socket.AF_UNSPEC))
    return (sweep(fixed, **options) for _ in rounds(every, count))


def rounds(every: float, count: int | None = None) -> Iterator[int]:
    """0, 1, 2, ...: each ``every`` seconds after the one before, or when the caller is done with that."""
    check_seconds("every", every)

    def numbered() -> Iterator[int]:
        due = time.monotonic()
        for number in numbers() if count is None else range(count):
            time.sleep(max(0.0, due - time.monotonic()))
            yield number
            due = max(due + every, time.monotonic())

    return numbered()


make_callable(__name__)
