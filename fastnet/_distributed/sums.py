"""The shards of a sweep, and its requests, bytes and duration, computed before anything is sent."""

import socket

from fastnet._contract.values import counted
from fastnet._results import as_dict, shown
from fastnet._sweep.running import MAX_SHARDS, MAX_TARGETS
from fastnet._typing import Any, NamedTuple
from fastnet.errors import InvalidArgument
from fastnet.targets import Targets

SHARD_SECONDS = 10.0
"""Target duration of a shard: at most this is lost with a vantage; long compared with a shard's overhead."""
UNLIMITED_RATE = 50_000.0
"""Assumed requests per second of a vantage without a limit."""
_LEAST_SHARD = 256
"""Targets below which a shard is not divided further to employ more vantages."""
_BYTES = {socket.AF_INET: 14 + 20 + 8 + 56, socket.AF_INET6: 14 + 40 + 8 + 56}
"""Bytes of a request on Ethernet."""


class SweepPlan(NamedTuple):
    """The costs of a sweep from many vantages; requests and bytes if no target answers."""

    targets: int
    """The number of addresses."""
    left_out: int
    """The number of special-purpose addresses that are left out."""
    vantages: tuple[str, ...]
    """The names of the vantages in use."""
    shards: int
    """The number of shards, from each vantage in mode ``compare``."""
    done: int
    """The number of shards, of all vantages, in the directory of ``output``: what follows is without them."""
    rate: float | None
    """The limit in requests per second of each vantage."""
    requests: int
    bytes: int
    """On Ethernet."""
    seconds: float
    """At the limit; without one, estimated at 50,000 requests per second and vantage."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def rate_of_each(rate: float | None, vantage_rate: float | None, vantages: int) -> float | None:
    """The limit of one vantage: its own, and its share of the total."""
    shares = [rate / max(vantages, 1)] if rate else []
    return min([*shares, *([vantage_rate] if vantage_rate else [])], default=None)


def shard_count(size: int, rate: float | None, retries: int, vantages: int) -> int:
    """The number of shards for so many targets, each to last at most ``SHARD_SECONDS`` if no target answers.

    More than one is a multiple of the vantages that divide them, so that all end at about the same time.
    """
    targets = (rate or UNLIMITED_RATE) * SHARD_SECONDS / (1 + retries)
    each = max(1, min(int(targets), MAX_TARGETS))
    wanted = max(-(-size // each), 1)
    if wanted > 1:
        wanted = min(-(-wanted // vantages) * vantages, size)
    wanted = max(wanted, min(vantages, size // _LEAST_SHARD))
    if wanted > MAX_SHARDS:
        raise InvalidArgument(f"{counted(size, 'target')}: at this rate more than 2^32 shards; name fewer")
    return wanted


def plan_of(
    targets: Targets,
    left_out: int,
    vantages: tuple[str, ...],
    shards: int,
    rate: float | None,
    retries: int,
    done: list[set[int]],
) -> SweepPlan:
    """The sums of a sweep; ``done`` are the shards done, of all vantages or in mode ``compare`` of each."""
    tries, v4 = 1 + retries, targets.before(socket.AF_INET6, 0)
    left = [_left(targets.size, shards, each) for each in done]
    left_v4 = sum(_left(v4, shards, each) for each in done)
    sizes = {socket.AF_INET: left_v4, socket.AF_INET6: sum(left) - left_v4}
    pace = (rate or UNLIMITED_RATE) * len(vantages)
    return SweepPlan(
        targets.size,
        left_out,
        vantages,
        shards,
        sum(map(len, done)),
        rate,
        sum(left) * tries,
        sum(sizes[family] * each for family, each in _BYTES.items()) * tries,
        max(left) * len(left) * tries / pace,
    )


def _left(size: int, shards: int, done: set[int]) -> int:
    """How many of the first targets are in no shard that is done."""
    return size - sum(len(range(shard, size, shards)) for shard in done)
