"""A forwarder's counters, and the records of its connections."""

from fastnet._forward.rule import Rule
from fastnet._limits import check_type
from fastnet._results import as_dict, shown, shown_as
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple
from fastnet.endpoints import place_of

if TYPE_CHECKING:
    from fastnet._backend import relay


class Stats(NamedTuple):
    """Counters of one rule or of all."""

    accepted: int
    """Connections accepted; for UDP, flows begun."""
    active: int
    """Connections open now."""
    unreachable: int
    """Connections whose upstream could not be connected to."""
    refused: int
    """Connections that were answered 400 or 408 instead of being passed on."""
    denied: int
    """Connections that were closed at once: by prefix, too many of one source, or no PROXY header."""
    resets: int
    """Connections that one of the sides reset, or that were cut."""
    timed_out: int
    """Connections that a timeout has cut."""
    sent_up: int
    """Bytes sent to the upstream."""
    sent_down: int
    """Bytes sent to the clients."""
    connects_retried: int
    """Connects that failed and were followed by one to another address or upstream."""

    def plus(self, other: "Stats") -> "Stats":
        """Both together."""
        check_type("other", other, Stats, "Stats")
        return Stats(*map(sum, zip(self, other, strict=True)))

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


NOTHING = Stats(*[0] * len(Stats._fields))


def stats_of(counters: "relay.Counters") -> Stats:
    """The core's current counters."""
    return Stats(*(getattr(counters, name) for name in Stats._fields))


class UpstreamState(NamedTuple):
    """The state of one upstream of a rule."""

    name: str
    """``HOST:PORT`` or ``unix:...``, as the rule has it."""
    healthy: bool
    """False if its last check failed."""
    active: int
    """Connections to it that are open now."""
    failures: int
    """Failed connects since the last success."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Record(NamedTuple):
    """One connection, open or ended."""

    rule: Rule
    number: int
    """The rule's first connection is 1; a changed rule starts again after a reload."""
    client_address: tuple[int, Any]
    """An address family, and a socket address of that family."""
    upstream_address: tuple[int, Any] | None
    """The same; None if no upstream was connected."""
    opened: float
    """When it was accepted: seconds since the epoch."""
    seconds: float
    """Its duration so far, in seconds."""
    sent_up: int
    """Bytes sent to the upstream."""
    sent_down: int
    """Bytes sent to the client."""
    ended: str
    """The reason for its end; empty while it is open.

    ``closed`` (by both sides), ``client reset``, ``upstream reset``, ``unreachable``, ``refused``,
    ``denied``, ``idle``, ``half-closed``, ``late head``, ``bad response`` or ``stopped``.
    """

    @property
    def client(self) -> str:
        """Who connected, as ``127.0.0.1:4711``, ``[::1]:4711`` or ``unix:``; the one that a trusted PROXY
        header names where there was one."""
        return str(place_of(*self.client_address))

    @property
    def upstream(self) -> str | None:
        """What was connected to, in the same way; None where nothing was."""
        return self.upstream_address and str(place_of(*self.upstream_address))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the rule as its name, and ``client`` and ``upstream`` as the addresses."""
        return {
            "rule": self.rule.name,
            "number": self.number,
            "client": self.client,
            "upstream": self.upstream,
            "opened": self.opened,
            "seconds": self.seconds,
            "sent_up": self.sent_up,
            "sent_down": self.sent_down,
            "ended": self.ended,
        }

    def __repr__(self) -> str:
        return shown_as("Record", self.as_dict())
