"""Sweeps and pings from many vantages: the workers of a Dask cluster (extra ``distributed``).

Dask moves and runs the work; a shard is a pure function of its targets, seed, place and options, so that any
worker may run it again.
"""

from _collections_abc import Callable, Iterable
from functools import partial

from fastnet._coroutines import coroutine_of
from fastnet._distributed.compared import Comparison, Sighting
from fastnet._distributed.merged import DistributedResult
from fastnet._distributed.pinging import DistributedPing, PingComparison, VantagePing
from fastnet._distributed.sums import SweepPlan
from fastnet._distributed.sweeping import MODES, DistributedOptions, DistributedSweep, Progress
from fastnet._distributed.vantages import Vantage
from fastnet._limits import Host, Timeout
from fastnet._ping.pinger import PingerOptions
from fastnet._sweep.running import Swept
from fastnet._typing import TYPE_CHECKING, Any, Literal, Unpack, overload

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = [
    "MODES",
    "Comparison",
    "DistributedPing",
    "DistributedResult",
    "DistributedSweep",
    "PingComparison",
    "Progress",
    "Sighting",
    "SweepPlan",
    "Vantage",
    "VantagePing",
    "ping_distributed",
    "ping_distributed_async",
    "sweep_distributed",
    "sweep_distributed_async",
]


@overload
def sweep_distributed(
    targets: Swept, *, client: Any, mode: Literal["share"] = "share", **options: Unpack[DistributedOptions]
) -> DistributedResult: ...
@overload
def sweep_distributed(
    targets: Swept, *, client: Any, mode: Literal["compare"], **options: Unpack[DistributedOptions]
) -> Comparison: ...
def sweep_distributed(
    targets: Swept, *, client: Any, mode: str = "share", **options: Unpack[DistributedOptions]
) -> DistributedResult | Comparison:
    """Sweep from the workers of a Dask cluster: each target once, or each from every worker.

    ``client`` is a ``distributed.Client`` or a scheduler's address, as ``"tcp://10.0.0.1:8786"``. In
    ``mode`` ``"share"`` each target is probed once, in shards of about 10 s that any vantage may run; a
    target to which one has no route is probed by another. In ``"compare"`` every vantage probes every
    target; the result is a Comparison, with ``unknown`` for a vantage that was not connected. ``rate``
    limits the requests per second of all vantages together, ``vantage_rate`` those of each. ``vantages``
    are the names of the Dask workers to use; all by default. One without fastnet, with another version, or
    without the privilege is left out, with the reason in ``vantages`` of the result.

    Of more than 2^20 public targets, special-purpose addresses (IANA's registries) are left out unless
    ``include_special``. ``absence`` is the maximum time in seconds without the scheduler or any vantage.
    ``output`` is a directory for the results, one Parquet file per shard (extra ``arrow``); the same sweep
    to the same directory runs only the missing shards. ``tls`` are the paths of a CA's certificate, a
    certificate and its key, for an address ``tls://``. The other arguments are those of ``sweep``.

    Raises VantagesLost, EngineMissing, InvalidArgument, NameNotResolved, OSError without a scheduler.
    """
    with DistributedSweep(targets, client=client, mode=mode, **options) as running:
        while not running.run():
            pass
        return running.result()


@overload
async def sweep_distributed_async(
    targets: Swept, *, client: Any, mode: Literal["share"] = "share", **options: Unpack[DistributedOptions]
) -> DistributedResult: ...
@overload
async def sweep_distributed_async(
    targets: Swept, *, client: Any, mode: Literal["compare"], **options: Unpack[DistributedOptions]
) -> Comparison: ...
@coroutine_of(sweep_distributed)
async def sweep_distributed_async(
    targets: Swept, *, client: Any, mode: str = "share", **options: Unpack[DistributedOptions]
) -> DistributedResult | Comparison:
    """``fastnet.sweep_distributed`` as a coroutine, which works in a thread of its own."""
    opened = partial(DistributedSweep, targets, client=client, mode=mode, **options)
    result: DistributedResult | Comparison = await _finished(opened)
    return result


def ping_distributed(
    hosts: Iterable[Host],
    *,
    client: Any,
    vantages: Iterable[str] = (),
    absence: float = 60.0,
    tls: tuple[str, str, str] | None = None,
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    retries: int = 0,
    backoff: float = 1.5,
    **options: Unpack[PingerOptions],
) -> PingComparison:
    """Ping the same hosts from every worker of a Dask cluster, or from the ``vantages`` of these names.

    A vantage that is disconnected for ``absence`` seconds has no results. ``client`` and ``tls`` are those
    of ``sweep_distributed``, the other arguments those of ``multiping``; names are resolved by each
    vantage. Raises VantagesLost, EngineMissing, InvalidArgument, NameNotResolved, OSError without a
    scheduler.
    """
    with DistributedPing(
        hosts,
        client=client,
        vantages=vantages,
        absence=absence,
        tls=tls,
        count=count,
        interval=interval,
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        **options,
    ) as running:
        while not running.run():
            pass
        return running.result()


@coroutine_of(ping_distributed)
async def ping_distributed_async(
    hosts: Iterable[Host],
    *,
    client: Any,
    vantages: Iterable[str] = (),
    absence: float = 60.0,
    tls: tuple[str, str, str] | None = None,
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    retries: int = 0,
    backoff: float = 1.5,
    **options: Unpack[PingerOptions],
) -> PingComparison:
    """``fastnet.ping_distributed`` as a coroutine, which works in a thread of its own."""
    opened = partial(
        DistributedPing,
        hosts,
        client=client,
        vantages=vantages,
        absence=absence,
        tls=tls,
        count=count,
        interval=interval,
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        **options,
    )
    result: PingComparison = await _finished(opened)
    return result


async def _finished(opened: Callable[[], Any]) -> Any:
    """The result of a sweep or pings that this opens. One thread runs it and closes it, between two steps."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    thread = ThreadPoolExecutor(1, "fastnet")
    opening = thread.submit(opened)
    try:
        running = await asyncio.wrap_future(opening)
        while not await asyncio.wrap_future(thread.submit(running.run)):
            pass
        return running.result()
    finally:
        closing = thread.submit(_close, opening)
        thread.shutdown(wait=False)
        if opening.done():  # else a cancelled caller would wait for a scheduler that is away
            await asyncio.wrap_future(closing)


def _close(opening: "Future[Any]") -> None:
    if not opening.cancelled() and not opening.exception():
        opening.result().close()
