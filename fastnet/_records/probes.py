"""The records of ping, sweep, trace, wait and portscan."""

from typing import Any, Literal, TypedDict

from fastnet._records.base import Record


class Reply(Record):
    """ping: the result of one echo request, or a duplicate reply."""

    kind: Literal["reply"]
    host: str
    """The host as it was given."""
    address: str
    """Numeric; empty if the host did not resolve."""
    seq: int
    """0 for the first request to this host."""
    rtt_ms: float | None
    """Null if there was no reply."""
    ttl: int | None
    """The TTL or hop limit of the reply."""
    error: str | None
    """The reason if there was no reply."""
    duplicate: bool
    """Whether it is a further reply to an answered request."""
    tries: int
    """Number of times the request was sent; 0 if the system refused."""
    responder: str | None
    """The sender of a reply for an anycast address; null if it is ``address`` itself."""


class Statistics(Record):
    """The statistics of the requests to one host."""

    host: str
    """The host as it was given."""
    address: str
    """Numeric; empty if the host did not resolve."""
    engine: str
    """``raw`` or ``datagram`` (ICMP), ``udp`` or ``tcp``; empty if the host did not resolve."""
    sent: int
    not_sent: int
    """Number of requests that the system refused to send."""
    received: int
    waiting: int
    """Number of sent requests that are still awaited."""
    duplicates: int
    loss_percent: float | None
    """Of the sent requests that are no longer awaited; null if there are none."""
    error: str | None
    """The reason if nothing was received: the last request's reason."""
    rtt_min_ms: float | None
    rtt_avg_ms: float | None
    rtt_max_ms: float | None
    rtt_stddev_ms: float | None
    rtt_p50_ms: float | None
    rtt_p90_ms: float | None
    rtt_p99_ms: float | None
    jitter_ms: float | None
    """The mean difference of two successive round-trip times; null below two."""
    outage_s: float
    """The interval times the number of requests that were lost or not sent."""


class Interval(Statistics):
    """ping --every: the requests to one host since the last such record."""

    kind: Literal["interval"]


class Summary(Statistics):
    """ping: all requests to one host."""

    kind: Literal["summary"]


class VantageSummary(Statistics):
    """ping --distributed: all requests from one vantage to one host."""

    kind: Literal["vantage_summary"]
    vantage: str
    """The name of its Dask worker."""


class Limit(TypedDict):
    """A router that reported a packet as too big."""

    router: str
    mtu_bytes: int
    """Of the link behind it."""


class PathMTU(TypedDict):
    """The MTU of the path to one host."""

    host: str
    """The host as it was given."""
    address: str
    """Numeric; empty if the host did not resolve."""
    engine: str
    mtu_bytes: int | None
    """The IP header included; null if the host does not answer."""
    limits: list[Limit]
    error: str | None
    """The reason if there is no MTU."""


class MTU(Record, PathMTU):
    """ping --mtu: the MTU of the path to one host."""

    kind: Literal["mtu"]


class Verdict(Record):
    """sweep: the verdict on one target."""

    kind: Literal["verdict"]
    round: int
    """0 for the first."""
    address: str
    """Numeric; of a name that did not resolve, the name."""
    state: str
    """``alive``, ``inactive``, ``unreachable`` or ``not probed``."""
    rtt_ms: float | None
    """Of an alive target; null if unknown, because the reply was read too late."""
    reason: str | None
    """The reason if it is unreachable or was not probed."""
    mac: str | None
    """The hardware address of an alive target on this machine's link."""
    responder: str | None
    """The sender of a reply for an anycast address; null if it is ``address`` itself."""


class SweepPlan(Record):
    """sweep --distributed --dry-run: what the sweep will do; requests and bytes if no target answers."""

    kind: Literal["sweep_plan"]
    targets: int
    """Number of addresses."""
    left_out: int
    """Number of special-purpose addresses that are left out."""
    vantages: list[str]
    shards: int
    """In mode ``compare``, from each vantage."""
    done: int
    """Shards of all vantages that the directory of ``-o`` has; what follows is without them."""
    rate: float | None
    """Requests per second of each vantage at most; null without a limit."""
    requests: int
    bytes: int
    """On Ethernet."""
    seconds: float
    """At the limit; without one a guess."""


class VantageVerdict(TypedDict):
    """What one vantage sees of a target."""

    vantage: str
    """The name of its Dask worker."""
    state: str
    """As of a ``verdict``, or ``unknown`` if the vantage was not there."""
    rtt_ms: float | None
    reason: str | None


class Sighting(Record):
    """sweep --distributed --mode compare: what each vantage sees of one target."""

    kind: Literal["sighting"]
    address: str
    """Numeric; of a name that did not resolve, the name."""
    differs: bool
    """Whether two vantages that have probed it see different states."""
    seen_by: list[str]
    """The vantages for which it is alive."""
    verdicts: list[VantageVerdict]


class Vantage(Record):
    """sweep and ping --distributed: a vantage, and what it did."""

    kind: Literal["vantage"]
    name: str
    """The name of its Dask worker."""
    labels: dict[str, Any]
    """From ``FASTNET_LABELS`` in its environment."""
    problem: str | None
    """Why it was left out."""
    shards: int
    """Number of shards whose results came from it."""
    sent: int
    alive: int


class HopResponse(TypedDict):
    """The result of one probe."""

    responder: str | None
    """The address that answered."""
    rtt_ms: float | None
    error: str | None
    mark: str | None
    """An ICMP error as traceroute(8) marks it."""
    name: str | None
    """The name of the responder, with ``--names``."""


class Hop(Record):
    """trace: the answers at one TTL."""

    kind: Literal["hop"]
    ttl: int
    responses: list[HopResponse]


class TraceSummary(Record):
    """trace: the path as far as it was found."""

    kind: Literal["trace_summary"]
    host: str
    address: str
    engine: str
    """The kind of socket: ``udp``, ``raw`` or ``datagram``."""
    reached: bool
    """Whether the destination is among those that answered."""
    error: str | None
    """The reason for the path's end, or the error that the destination sent itself."""
    hops: int
    """Their number."""
    mtu: PathMTU | None
    """With ``--mtu``."""


class Outcome(Record):
    """wait: the outcome of one target."""

    kind: Literal["outcome"]
    target: str
    """The target as it was given."""
    ready: bool
    """Whether the target is ready, or gone."""
    address: str | None
    """The numeric address, or path, that is up."""
    reason: str | None
    """The last reason for a failed check."""
    attempts: int
    """Rounds over the target's addresses."""
    waited_s: float


class ScannedPort(TypedDict):
    """One TCP port."""

    port: int
    state: str
    """``open``, ``closed`` or ``filtered``; ``unknown`` where this machine could not send to it."""
    reason: str


class Port(Record, ScannedPort):
    """portscan: one TCP port."""

    kind: Literal["port"]
    host: str
    address: str
    engine: str
    """The scanner: ``connect`` or ``nmap``."""
