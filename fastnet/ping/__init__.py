"""Is a host there, and how far away: ICMP echo to one host or many, with root or without.

A reply is believed only where everything about it is right, its keyed cookie included; round-trip times
are from the kernel's receive timestamps on the monotonic clock. An ICMP error is a reason, and final
only at the timeout: a reply that comes after it wins.
"""

from collections.abc import Iterable
from typing import Any

from fastnet._callable import make_callable
from fastnet.ping.mtu import MTUSearch, PathMTU, path_mtu, path_mtu_async
from fastnet.ping.pinger import ENGINES, MAX_MARK, MAX_SIZE, Pinger, summarize
from fastnet.ping.reasons import describe, explain, explain_refusal
from fastnet.ping.results import PingResult, Reply, Summary
from fastnet.ping.session import MAX_BACKOFF, MAX_COUNT, MAX_ENOUGH, MAX_RETRIES, Destination, Timeout

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
    "Summary",
    "Timeout",
    "describe",
    "explain",
    "explain_refusal",
    "multiping",
    "multiping_async",
    "path_mtu",
    "path_mtu_async",
    "ping",
    "ping_async",
]


def ping(
    host: str,
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    **options: Any,
) -> PingResult:
    """Send ``count`` echo requests to a host, ``interval`` seconds apart; wait ``timeout`` for each reply.

    ``interval`` 0 is a flood: as fast as replies come back. ``timeout`` may be ``"auto"``: a second at first,
    then by the round-trip times seen (RFC 6298), from 0.1 to 10. A request without a reply is sent again up
    to ``retries`` times, its timeout ``backoff`` times as long each time. ``options`` are the Pinger's.

    A host that does not answer is a result, not an error. Raises NameNotResolved, NotPermitted (its message
    names the cures), InvalidArgument, NoAddress where ``source`` is not this machine's.
    """
    return multiping([host], count, interval, timeout, retries=retries, backoff=backoff, **options)[0]


def multiping(
    hosts: Iterable[str],
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    enough: int | None = None,
    **options: Any,
) -> list[PingResult]:
    """Ping many hosts at once, over one socket a family: one result each, in the order given.

    A host that is named twice is pinged once. It ends early where ``enough`` hosts have answered. The other
    arguments are those of ``ping``; raises what ``ping`` does, before anything is sent.
    """
    with Pinger(**options) as pinger:
        return pinger.multiping(
            hosts, count, interval, timeout, retries=retries, backoff=backoff, enough=enough
        )


async def ping_async(
    host: str, count: int = 4, interval: float = 1.0, timeout: Timeout = 1.0, **options: Any
) -> PingResult:
    """``ping`` as a coroutine."""
    return (await multiping_async([host], count, interval, timeout, **options))[0]


async def multiping_async(
    hosts: Iterable[str],
    count: int = 4,
    interval: float = 1.0,
    timeout: Timeout = 1.0,
    *,
    retries: int = 0,
    backoff: float = 1.5,
    enough: int | None = None,
    **options: Any,
) -> list[PingResult]:
    """``multiping`` as a coroutine."""
    import asyncio

    with Pinger(**options) as pinger:
        destinations = await asyncio.to_thread(pinger.resolve, hosts)
        told = pinger.replies_async(
            destinations, count, interval, timeout, retries=retries, backoff=backoff, enough=enough
        )
        replies = [reply async for reply in told]
    return summarize(destinations, replies, interval)


make_callable(__name__)
