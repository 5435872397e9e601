"""Upstreams, and the order in which to try them."""

from __future__ import annotations

import time
from itertools import count, zip_longest
from operator import attrgetter

from fastnet._contract.relay import check_addresses
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Sequence

    from fastnet._contract.relay import Address, Options
    from fastnet._pure.relay.inbox import Inbox


class Upstream:
    """One destination: the addresses of one name, in the order in which to try them.

    Several rules and loops may share one. ``healthy`` may be set in any thread: an unhealthy one is chosen
    only if all are. Raises InvalidArgument without an address.
    """

    __slots__ = (
        "_addresses",
        "_failures",
        "_interleaved",
        "_name",
        "_open",
        "_preferred",
        "_rests_until",
        "healthy",
    )

    def __init__(self, addresses: Sequence[Address], name: str = "") -> None:
        check_addresses(addresses)
        self.healthy = True
        self._addresses = tuple(addresses)
        self._interleaved = _interleaved(self._addresses)
        self._name = name
        self._open: dict[Inbox, int] = {}
        self._failures = 0
        self._rests_until = 0.0
        self._preferred = 0  # Index of the address to try first.

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Families and socket addresses."""
        return self._addresses

    @property
    def name(self) -> str:
        """Its name in records and metrics."""
        return self._name

    @property
    def active(self) -> int:
        """Connections to it that are open now."""
        return sum(list(self._open.values()))

    @property
    def failures(self) -> int:
        """The number of failed connects in a row."""
        return self._failures

    def _in_order(self) -> list[Address]:
        """The addresses with alternating families, beginning with the one of the last successful connect."""
        preferred = self._addresses[self._preferred]
        return [preferred, *(address for address in self._interleaved if address != preferred)]

    def _prefer(self, address: Address) -> None:
        self._preferred = self._addresses.index(address)

    # One counter per loop, so that no lock is needed.

    def _opened(self, inbox: Inbox) -> None:
        self._open[inbox] = self._open.get(inbox, 0) + 1

    def _closed(self, inbox: Inbox) -> None:
        self._open[inbox] -= 1
        if not self._open[inbox]:
            del self._open[inbox]

    def _failed(self, options: Options) -> None:
        """Count a failed connect to all of its addresses; after too many it rests."""
        self._failures += 1
        if self._failures >= options.max_failures:
            self._rests_until = time.monotonic() + options.failure_pause


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The addresses with alternating families, the first one's first (RFC 8305, section 4)."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    rounds = zip_longest(*families.values())
    return [address for each in rounds for address in each if address is not None]


class Choice:
    """The choice of upstreams by a rule's policy. Several threads may use it at once."""

    def __init__(self, policy: str) -> None:
        self._by_load = policy == "least-connections"
        self._turns = count()

    def order(self, upstreams: Sequence[Upstream]) -> list[Upstream]:
        """The upstreams for one connection, in the order in which to try them."""
        usable = _usable(upstreams)
        if len(usable) > 1:
            first = next(self._turns) % len(usable)
            usable = usable[first:] + usable[:first]
            if self._by_load:
                usable.sort(key=attrgetter("active"))
        return usable


def _usable(upstreams: Sequence[Upstream]) -> list[Upstream]:
    """The healthy ones that do not rest, or the next best if there are none."""
    now = time.monotonic()
    healthy = [upstream for upstream in upstreams if upstream.healthy]
    awake = [upstream for upstream in healthy if upstream._rests_until <= now]
    return awake or healthy or list(upstreams)
