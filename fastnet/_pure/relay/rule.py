"""What to do with connections: rules, the upstreams they name, and what was counted and noted of them."""

from __future__ import annotations

import time
from itertools import count, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from fastnet._pure.relay.bucket import Bucket
from fastnet._pure.relay.choice import Choice
from fastnet._pure.relay.gate import Gate
from fastnet._pure.relay.options import Address, Options, checked
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastnet._pure.http_head import HostRewrite
    from fastnet._pure.relay.ground import Ground
    from fastnet._pure.relay.options import Prefix
    from fastnet._pure.relay.serving import Serving

TALLIED = (
    *("accepted", "active", "unreachable", "refused", "denied", "resets", "timed_out"),
    *("sent_up", "sent_down", "connects_retried"),
)


class Tally:
    """What one loop did for one rule: only the loop's thread writes."""

    __slots__ = TALLIED

    def __init__(self) -> None:
        self.accepted = self.active = self.unreachable = self.refused = self.denied = 0
        self.resets = self.timed_out = self.sent_up = self.sent_down = self.connects_retried = 0


class Counters:
    """What a rule has done so far, in all of its loops. May be read in any thread, at any time."""

    __slots__ = ("_tallies",)

    def __init__(self, tallies: list[Tally]) -> None:
        self._tallies = tallies

    @property
    def accepted(self) -> int:
        """Connections accepted."""
        return sum([tally.accepted for tally in self._tallies])

    @property
    def active(self) -> int:
        """Connections open now."""
        return sum([tally.active for tally in self._tallies])

    @property
    def unreachable(self) -> int:
        """Connections for which no upstream could be connected to."""
        return sum([tally.unreachable for tally in self._tallies])

    @property
    def refused(self) -> int:
        """Connections that were answered 400 or 408 instead of being passed on."""
        return sum([tally.refused for tally in self._tallies])

    @property
    def denied(self) -> int:
        """Connections that were closed at once: by prefix, too many of one source, or no PROXY header."""
        return sum([tally.denied for tally in self._tallies])

    @property
    def resets(self) -> int:
        """Connections that one of the sides reset, or that were cut when the loop was stopped."""
        return sum([tally.resets for tally in self._tallies])

    @property
    def timed_out(self) -> int:
        """Connections that were cut because nothing had come for too long."""
        return sum([tally.timed_out for tally in self._tallies])

    @property
    def sent_up(self) -> int:
        """Bytes sent to the upstream (the second socket of ``join``)."""
        return sum([tally.sent_up for tally in self._tallies])

    @property
    def sent_down(self) -> int:
        """Bytes sent to the client (the first socket of ``join``)."""
        return sum([tally.sent_down for tally in self._tallies])

    @property
    def connects_retried(self) -> int:
        """Connects that failed and were followed by one to another address or upstream."""
        return sum([tally.connects_retried for tally in self._tallies])


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
        if not addresses:
            raise InvalidArgument("an upstream without an address: expected one or more")
        self.healthy = True
        self._addresses = tuple(addresses)
        self._interleaved = _interleaved(self._addresses)
        self._name = name
        self._open: dict[Ground, int] = {}
        self._failures = 0
        self._rests_until = 0.0
        self._preferred = 0  # Of the addresses, the one that new flows of datagrams begin with.

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Families and socket addresses."""
        return self._addresses

    @property
    def name(self) -> str:
        """What it is called where something is told of it."""
        return self._name

    @property
    def active(self) -> int:
        """Connections to it that are open now."""
        return sum(list(self._open.values()))

    @property
    def failures(self) -> int:
        """How often in a row it could not be connected to."""
        return self._failures

    # Each loop counts for itself, so that no lock is needed.

    def _opened(self, ground: Ground) -> None:
        self._open[ground] = self._open.get(ground, 0) + 1

    def _closed(self, ground: Ground) -> None:
        self._open[ground] -= 1
        if not self._open[ground]:
            del self._open[ground]

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


class Rule:
    """Where connections go, and under which conditions. May serve several loops at once.

    Times are in seconds, 0 is none. Raises InvalidArgument for what can't be meant, and NotPermitted where
    ``transparent`` lacks its privilege.

    ``upstreams`` are chosen by ``policy``, in turn or by the fewest open connections; where connecting fails,
    or takes longer than ``connect_timeout``, the next is tried. Without any, no connection gets through.
    ``rewrite`` takes the stream for HTTP/1, and ``head_timeout`` is the time for a request's head, or for a
    PROXY header. ``idle_timeout`` ends a connection on which nothing came for so long; once one direction
    has ended it is ``half_closed_timeout``.

    Of ``max_connections`` more wait until one ends; of more than ``max_per_source`` (0: any number) from one
    address the rest are closed. ``rate`` and ``connection_rate`` are bytes a second, both directions
    together, of all connections and of each. ``max_failures`` failed connects in a row rest an upstream
    for ``failure_pause``, where there is another. ``allow`` and ``deny`` are prefixes of clients: deny wins,
    and an empty ``allow`` allows all.

    ``send_proxy`` begins each connection to an upstream with a PROXY header of this version (1 or 2);
    clients within ``trust_proxy`` must begin with one. ``transparent`` connects from the client's own address
    (IP_TRANSPARENT, ip(7)); ``congestion`` names the TCP congestion control of both sides. ``record`` keeps a
    Record of each connection that has ended, for ``Loop.records``. ``tap`` is called with a connection's
    number, whether towards the upstream, and the bytes, before they are sent.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        policy: str = "round-robin",
        rewrite: HostRewrite | None = None,
        engine: str = "auto",
        max_connections: int = 4096,
        max_per_source: int = 0,
        connect_timeout: float = 10.0,
        head_timeout: float = 10.0,
        idle_timeout: float = 0.0,
        half_closed_timeout: float = 0.0,
        rate: int = 0,
        connection_rate: int = 0,
        max_failures: int = 3,
        failure_pause: float = 10.0,
        allow: Sequence[Prefix] = (),
        deny: Sequence[Prefix] = (),
        send_proxy: int = 0,
        trust_proxy: Sequence[Prefix] = (),
        transparent: bool = False,
        congestion: str = "",
        record: bool = False,
        tap: Callable[[int, bool, bytes], None] | None = None,
    ) -> None:
        self._options: Options = checked(
            Options(
                policy,
                rewrite,
                engine,
                max_connections,
                max_per_source,
                connect_timeout,
                head_timeout,
                idle_timeout,
                half_closed_timeout,
                rate,
                connection_rate,
                max_failures,
                failure_pause,
                tuple(allow),
                tuple(deny),
                send_proxy,
                tuple(trust_proxy),
                transparent,
                congestion,
                record,
                tap,
            )
        )
        self._numbers = count(1)
        self._choice = Choice(policy)
        self._gate = Gate(max_connections, max_per_source)
        self._rates = [Bucket(rate)] if rate else []
        self._servings: list[Serving] = []
        self._tallies: list[Tally] = []
        self._counters = Counters(self._tallies)
        self.set_upstreams(upstreams)

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        return self._counters

    def set_upstreams(self, upstreams: Sequence[Upstream]) -> None:
        """New connections go to these, open ones stay. May be called in any thread."""
        self._upstreams = tuple(upstreams)


class Record(NamedTuple):
    """One connection, open or ended."""

    rule: Rule
    number: int
    """The rule's first connection is 1."""
    client: Address
    """Who connected, as a trusted PROXY header says where there was one."""
    upstream: Address | None
    """What was connected to, if anything was."""
    opened: float
    """When it was accepted: seconds since the epoch."""
    seconds: float
    """How long it was, or is by now, open."""
    sent_up: int
    sent_down: int
    ended: str
    """Why it ended; empty while it is open.

    ``closed`` (by both sides), ``client reset``, ``upstream reset``, ``unreachable``, ``refused``,
    ``denied``, ``idle``, ``half-closed``, ``late head`` or ``stopped``."""
