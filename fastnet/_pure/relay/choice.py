"""Which upstream comes first, and which ones next where it fails."""

from __future__ import annotations

import time
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnet._pure.relay.rule import Upstream


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
