"""The places to connect to, and which of them comes first, and which ones next where it fails."""

from __future__ import annotations

import time
from itertools import count, zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING

from fastnet._contract.relay import check_addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnet._contract.relay import Address, Options
    from fastnet._pure.relay.inbox import Inbox


class Upstream:
    """One place to connect to: the addresses of one name, in the order in which to try them.

    Several rules and loops may share one. ``healthy`` may be set in any thread: one that is not is chosen
    only where no other is either. Raises InvalidArgument where there is no address.
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
        self._preferred = 0  # Of the addresses, the one that is tried first.

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
        """How often in a row it could not be connected to."""
        return self._failures

    def _in_order(self) -> list[Address]:
        """The addresses with the families in turn, the one that was connected to last before all others."""
        preferred = self._addresses[self._preferred]
        return [preferred, *(address for address in self._interleaved if address != preferred)]

    def _prefer(self, address: Address) -> None:
        self._preferred = self._addresses.index(address)

    # Each loop counts for itself, so that no lock is needed.

    def _opened(self, inbox: Inbox) -> None:
        self._open[inbox] = self._open.get(inbox, 0) + 1

    def _closed(self, inbox: Inbox) -> None:
        self._open[inbox] -= 1
        if not self._open[inbox]:
            del self._open[inbox]

    def _failed(self, options: Options) -> None:
        """None of its addresses could be connected to; after too many times it rests."""
        self._failures += 1
        if self._failures >= options.max_failures:
            self._rests_until = time.monotonic() + options.failure_pause


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The addresses with their families in turn, the first one's first (RFC 8305, section 4)."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    rounds = zip_longest(*families.values())
    return [address for each in rounds for address in each if address is not None]


class Choice:
    """A rule's policy. Several threads may ask at once."""

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
    """Those that are healthy and do not rest, as far as there are any."""
    now = time.monotonic()
    healthy = [upstream for upstream in upstreams if upstream.healthy]
    awake = [upstream for upstream in healthy if upstream._rests_until <= now]
    return awake or healthy or list(upstreams)
