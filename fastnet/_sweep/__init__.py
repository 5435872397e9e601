"""Sweeps: which hosts of a target space answer.

Every target has exactly one verdict: alive, inactive (every request was sent and nothing came back),
unreachable (an ICMP error came back) or not probed (the system did not send, with the reason). A target that
was not probed is never called inactive.
"""

import _socket as socket
import time
from _collections_abc import AsyncIterator, Iterable, Iterator
from itertools import count as numbers

from fastnet._coroutines import coroutine_of
from fastnet._engines import SweepEngine
from fastnet._limits import Prefix, Timeout, bounded, check_seconds
from fastnet._sweep.result import (
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
from fastnet._sweep.running import (
    ENGINES,
    MAX_RATE,
    MAX_RETRIES,
    MAX_SEED,
    MAX_SHARDS,
    MAX_TARGETS,
    MAX_WINDOW,
    MIN_RATE,
    Sweep,
    SweepOptions,
    Swept,
    as_targets,
)
from fastnet._typing import Unpack
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
    "Sweep",
    "SweepResult",
    "Verdict",
    "Verdicts",
    "rounds",
    "sweep",
    "sweep_async",
    "sweep_every",
    "sweep_every_async",
    "sweep_stream",
    "sweep_stream_async",
]


def sweep(
    targets: Swept,
    *,
    exclude: Iterable[Prefix] = (),
    timeout: Timeout = 1.0,
    retries: int = 1,
    window: int = 128,
    rate: float | None = None,
    family: int = socket.AF_UNSPEC,
    engine: SweepEngine = "auto",
    seed: int | None = None,
    shard: tuple[int, int] = (1, 1),
    interface: str = "",
    include_special: bool = False,
) -> SweepResult:
    """Send each target an echo request, or on our own links an ARP or NDP request; return the verdicts.

    ``targets`` is a Targets or its texts, as ``["10.0.2.2-4", "fd00::/120"]``. ``timeout`` is the time in
    seconds to wait for each reply (``"auto"``: derived from the round-trip times, at most one). ``retries``
    is the number of further requests to a silent target. At most ``window`` requests are outstanding past the
    newest reply; ``rate`` is the limit in requests per second. ``family`` selects the addresses of names.

    ``engine`` is ``link`` (ARP and neighbour discovery for what is on a link of this machine, which needs a
    packet socket; nothing for the others), ``raw`` or ``datagram`` (ICMP for all), ``auto`` (``link`` where
    that applies and is permitted, else the first permitted of the other two), ``turbo`` (frames and eBPF to
    targets behind a router on an Ethernet link, ``raw`` for the others; native only), ``tcp`` (no ICMP and
    no privilege: a target that accepts or refuses a connection to port 80, 443 or 22 is alive) or ``scapy``.
    ``seed`` shuffles the order of the requests; the result keeps the order of the targets. ``shard`` (i, n),
    i from 1, takes every n-th target: the n shards together have each target once. A shard has at most
    2^24 targets. ``interface`` is the only one to use; link-local targets are on its link.
    Of more than 2^20 public targets, special-purpose addresses (IANA's registries) are left out unless
    ``include_special``.
    A name that does not resolve is ``not probed``, under its name, and the others are swept. Raises
    NameNotResolved if there are no others, or for a name to exclude; InvalidArgument, NoSuchInterface,
    NotPermitted, EngineMissing.
    """
    with Sweep(
        targets,
        exclude=exclude,
        timeout=timeout,
        retries=retries,
        window=window,
        rate=rate,
        family=family,
        engine=engine,
        seed=seed,
        shard=shard,
        interface=interface,
        include_special=include_special,
    ) as running:
        while not running.run():
            pass
        return running.result()


@coroutine_of(sweep)
async def sweep_async(
    targets: Swept,
    *,
    exclude: Iterable[Prefix] = (),
    timeout: Timeout = 1.0,
    retries: int = 1,
    window: int = 128,
    rate: float | None = None,
    family: int = socket.AF_UNSPEC,
    engine: SweepEngine = "auto",
    seed: int | None = None,
    shard: tuple[int, int] = (1, 1),
    interface: str = "",
    include_special: bool = False,
) -> SweepResult:
    """``fastnet.sweep`` as a coroutine, which works in short steps in a thread."""
    import asyncio

    running = await asyncio.to_thread(
        Sweep,
        targets,
        exclude=exclude,
        timeout=timeout,
        retries=retries,
        window=window,
        rate=rate,
        family=family,
        engine=engine,
        seed=seed,
        shard=shard,
        interface=interface,
        include_special=include_special,
    )
    with running:
        while not await asyncio.to_thread(running.run):
            pass
        return running.result()


def sweep_stream(targets: Swept, **options: Unpack[SweepOptions]) -> Iterator[Verdict]:
    """The verdicts of ``sweep`` as they become final: alive at once, in no order, the others at the end.

    Takes and raises what ``sweep`` does; times are in seconds.
    """
    with Sweep(targets, **options) as running:
        finished = False
        while not finished:
            finished = running.run()
            yield from running.news()


@coroutine_of(sweep_stream)
async def sweep_stream_async(targets: Swept, **options: Unpack[SweepOptions]) -> AsyncIterator[Verdict]:
    """``fastnet.sweep_stream`` for ``async for``, which works in short steps in a thread."""
    import asyncio

    with await asyncio.to_thread(Sweep, targets, **options) as running:
        finished = False
        while not finished:
            finished = await asyncio.to_thread(running.run)
            for verdict in running.news():
                yield verdict


def sweep_every(
    targets: Swept,
    every: float = 10.0,
    count: int | None = None,
    **options: Unpack[SweepOptions],
) -> Iterator[SweepResult]:
    """Sweep repeatedly: one begins ``every`` seconds after the last one began, or when that has ended.

    ``count`` sweeps, or without end. Names are resolved once. Takes and raises what ``sweep`` does.
    """
    _check_rounds(every, count)
    fixed = _looked_up(targets, options)
    return (sweep(fixed, **options) for _ in rounds(every, count))


@coroutine_of(sweep_every)
async def sweep_every_async(
    targets: Swept,
    every: float = 10.0,
    count: int | None = None,
    **options: Unpack[SweepOptions],
) -> AsyncIterator[SweepResult]:
    """``fastnet.sweep_every`` for ``async for``, which works in short steps in a thread."""
    import asyncio

    _check_rounds(every, count)
    fixed = await asyncio.to_thread(_looked_up, targets, options)
    for pause in _pauses(every, count):
        await asyncio.sleep(pause)
        yield await sweep_async(fixed, **options)


def _looked_up(targets: Swept, options: SweepOptions) -> Targets:
    """The targets without those of ``exclude``, which is removed from the options."""
    return as_targets(targets, options.pop("exclude", ()), options.pop("family", socket.AF_UNSPEC))


def rounds(every: float, count: int | None = None) -> Iterator[int]:
    """0, 1, 2, ...: each ``every`` seconds after the one before, or when the caller is done with that."""
    _check_rounds(every, count)

    def numbered() -> Iterator[int]:
        for number, pause in enumerate(_pauses(every, count)):
            time.sleep(pause)
            yield number

    return numbered()


def _check_rounds(every: float, count: int | None) -> None:
    check_seconds("every", every)
    if count is not None:
        bounded("count", count, 0, MAX_TARGETS)


def _pauses(every: float, count: int | None) -> Iterator[float]:
    """The seconds to wait before each round, taken when the one before is done."""
    due = time.monotonic()
    for _ in numbers() if count is None else range(count):
        yield max(0.0, due - time.monotonic())
        due = max(due + every, time.monotonic())
