"""ICMP echo to one host or many, with root or without.

A reply counts only if everything in it is right, including its keyed cookie; round-trip times
end at the kernel's receive timestamps, on the monotonic clock. An ICMP error becomes the result
only at the timeout: a reply before that has precedence.
"""

from _collections_abc import Iterable

from fastnet._coroutines import coroutine_of
from fastnet._limits import Host, Timeout
from fastnet._ping.counting import converse
from fastnet._ping.engines import ENGINES
from fastnet._ping.lookup import MAX_MARK, MAX_SIZE, Destination, one_host, reason_of, source_of
from fastnet._ping.mtu import MTUSearch, PathMTU, path_mtu, path_mtu_async
from fastnet._ping.pinger import Pinger, PingerOptions, finite_plan, summarize
from fastnet._ping.results import PingResult, Reply, Summary
from fastnet._ping.session import (
    MAX_BACKOFF,
    MAX_COUNT,
    MAX_ENOUGH,
    MAX_RETRIES,
    Session,
)
from fastnet._reasons import describe, explain, explain_refusal
from fastnet._typing import Unpack

__all__ = [
    "ENGINES",
    "MAX_BACKOFF",
    "MAX_COUNT",
    "MAX_ENOUGH",
    "MAX_MARK",
    "MAX_RETRIES",
    "MAX_SIZE",
    "Destination",
    "MTUSearch",
    "PathMTU",
    "PingResult",
    "Pinger",
    "Reply",
    "Session",
    "Summary",
    "describe",
    "explain",
    "explain_refusal",
    "multiping",
    "multiping_async",
    "one_host",
    "path_mtu",
    "path_mtu_async",
    "ping",
    "ping_async",
    "reason_of",
    "source_of",
]


def ping(
    host: Host,
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    **options: Unpack[PingerOptions],
) -> PingResult:
    """Send ``count`` echo requests to a host, ``interval`` seconds apart; wait ``timeout`` for each reply.

    ``interval`` 0 is a flood: as fast as replies come back. ``timeout`` may be ``"auto"``: a second at first,
    then adapted to the round-trip times (RFC 6298), from 0.1 to 10. A request without a reply is sent again
    up to ``retries`` times, its timeout ``backoff`` times as long each time. ``options`` are the Pinger's.

    A host that does not answer is a result, not an error. Raises NameNotResolved, NotPermitted (its message
    names the remedies), InvalidArgument, NoAddress where ``source`` is not this machine's.
    """
    with Pinger(**options) as pinger:
        plan = finite_plan(count, interval, timeout, retries=retries, backoff=backoff)
        return converse(pinger, pinger.look_up(host), plan)[0]


def multiping(
    hosts: Iterable[Host],
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    enough: int | None = None,
    **options: Unpack[PingerOptions],
) -> list[PingResult]:
    """Ping many hosts at once, over one socket per family: one result each, in the order given.

    A host that is named twice is pinged once. It ends early once ``enough`` hosts have answered. A name that
    does not resolve, or an address that is not one host's, gives a result with the ``error``.
    The other arguments are those of ``ping``, times in seconds. Raises NotPermitted, InvalidArgument or
    NoAddress as ``ping`` does, before anything is sent.
    """
    with Pinger(**options) as pinger:
        plan = finite_plan(count, interval, timeout, retries=retries, backoff=backoff, enough=enough)
        return converse(pinger, pinger.resolve(hosts), plan)


@coroutine_of(ping)
async def ping_async(
    host: Host,
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    **options: Unpack[PingerOptions],
) -> PingResult:
    """``fastnet.ping`` as a coroutine; the name is looked up in a thread."""
    import asyncio

    finite_plan(count, interval, timeout, retries=retries, backoff=backoff)
    with Pinger(**options) as pinger:
        destinations = await asyncio.to_thread(pinger.look_up, host)
        arriving = pinger.replies_async(
            destinations, count, interval, timeout, retries=retries, backoff=backoff
        )
        return summarize(destinations, [reply async for reply in arriving], interval)[0]


@coroutine_of(multiping)
async def multiping_async(
    hosts: Iterable[Host],
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    enough: int | None = None,
    **options: Unpack[PingerOptions],
) -> list[PingResult]:
    """``fastnet.multiping`` as a coroutine; names are looked up in a thread."""
    import asyncio

    finite_plan(count, interval, timeout, retries=retries, backoff=backoff, enough=enough)
    with Pinger(**options) as pinger:
        destinations = await asyncio.to_thread(pinger.resolve, hosts)
        arriving = pinger.replies_async(
            destinations, count, interval, timeout, retries=retries, backoff=backoff, enough=enough
        )
        replies = [reply async for reply in arriving]
    return summarize(destinations, replies, interval)
