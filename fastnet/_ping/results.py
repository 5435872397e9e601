"""Results of echo requests: one by one and in total."""

from collections.abc import Iterable
from math import inf, sqrt

from fastnet._limits import bounded, check_flag, check_seconds, check_text, check_type, several
from fastnet._ping.percentiles import Percentiles
from fastnet._results import as_dict, shown, shown_as
from fastnet._typing import Any, NamedTuple

_MOST_AWAITED = 1 << 16


class Reply(NamedTuple):
    """The result of one echo request."""

    host: str
    """The host as it was asked for."""
    address: str
    seq: int
    """0 for the first request to this host."""
    rtt_ms: float | None
    """None without a reply."""
    ttl: int | None
    """The TTL or hop limit that the reply arrived with."""
    error: str | None
    """Why there was no reply: ``no answer``, ``host unreachable from 10.0.0.1``, ``not sent: ...``."""
    duplicate: bool = False
    """Whether it is a further reply to an answered request."""
    tries: int = 1
    """How many times it was sent; 0 if the system refused."""
    responder: str | None = None
    """The address of the router that replied for an anycast address. None if ``address`` itself replied."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class PingResult(NamedTuple):
    """The totals of the requests to one host, and the replies."""

    host: str
    """The host as it was asked for."""
    address: str
    """Numeric; empty if the host did not resolve."""
    engine: str
    """``raw`` or ``datagram`` (ICMP), ``udp`` or ``tcp``; empty if the host did not resolve."""
    sent: int
    """The number of requests sent; retries are not counted."""
    not_sent: int
    """The number of further requests that the system refused to send."""
    received: int
    waiting: int
    """The number of sent requests still awaited at the end."""
    duplicates: int
    loss_percent: float
    """The share of the sent requests that are no longer awaited."""
    error: str | None
    """Why no reply was received: the reason of the last request."""
    rtt_min_ms: float | None
    rtt_avg_ms: float | None
    rtt_max_ms: float | None
    rtt_stddev_ms: float | None
    """The population standard deviation."""
    rtt_p50_ms: float | None
    """The median. A percentile is the smallest round-trip time that so many percent do not exceed.

    With more than 256 round-trip times, percentiles are exact to two percent.
    """
    rtt_p90_ms: float | None
    rtt_p99_ms: float | None
    jitter_ms: float | None
    """The mean absolute difference of successive round-trip times; None with fewer than two."""
    outage_s: float
    """The time of the outage: the interval for each request that was lost or not sent."""
    replies: tuple[Reply, ...] = ()
    """One for each request, in the order of their ends, and the duplicates."""

    @property
    def alive(self) -> bool:
        """Whether any request was answered."""
        return self.received > 0

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        names = ("host", "address", "engine", "sent", "received", "rtt_avg_ms", "error")
        return shown_as("PingResult", {name: getattr(self, name) for name in names})


class Summary:
    """Counts the replies of one host in constant space; ``result`` has the totals.

    ``engine`` is that of the result, ``interval`` the seconds between two requests, and ``carried`` the
    number of requests already awaited at the start.
    """

    def __init__(self, host: str, address: str, engine: str, interval: float = 1.0, carried: int = 0) -> None:
        for name, text in (("host", host), ("address", address), ("engine", engine)):
            check_text(name, text)
        check_seconds("interval", interval)
        bounded("carried", carried, 0, _MOST_AWAITED)
        self._host, self._address, self._engine = host, address, engine
        self._interval = interval
        self._carried = carried
        self._not_sent = self._received = self._waiting = self._duplicates = 0
        self._known = 0
        """The number of requests answered or given up."""
        self._percentiles = Percentiles()
        self._least, self._most = inf, 0.0
        self._mean = self._squares = self._differences = self._newest = 0.0
        self._last_error: str | None = None

    def add(self, reply: Reply, waiting: bool = False) -> None:
        """Count one more; ``waiting``: its reply is still awaited."""
        if not isinstance(reply, Reply):
            check_type("reply", reply, Reply, "a Reply")
        if waiting is not False:
            check_flag("waiting", waiting)
        if reply.duplicate:
            self._duplicates += 1
            return
        self._waiting += waiting
        if not reply.tries:
            self._not_sent += 1
        elif not waiting:
            self._known += 1
        if reply.rtt_ms is None:
            self._last_error = reply.error
            return
        self._take(reply.rtt_ms)

    def _take(self, rtt: float) -> None:
        if self._received:
            self._differences += abs(rtt - self._newest)
        self._newest = rtt
        self._percentiles.add(rtt)
        self._received += 1
        if rtt < self._least:
            self._least = rtt
        if rtt > self._most:
            self._most = rtt
        # Welford's algorithm, which keeps the variance exact for times far from zero.
        above = rtt - self._mean
        self._mean += above / self._received
        self._squares += above * (rtt - self._mean)

    def result(self, replies: Iterable[Reply] = ()) -> PingResult:
        """The totals so far, with these replies."""
        alive, lost = self._received > 0, self._known - self._received
        return PingResult(
            host=self._host,
            address=self._address,
            engine=self._engine,
            sent=self._known + self._waiting - self._carried,
            not_sent=self._not_sent,
            received=self._received,
            waiting=self._waiting,
            duplicates=self._duplicates,
            loss_percent=100.0 * lost / self._known if self._known else 0.0,
            error=None if alive else self._last_error,
            rtt_min_ms=self._least if alive else None,
            rtt_avg_ms=self._mean if alive else None,
            rtt_max_ms=self._most if alive else None,
            rtt_stddev_ms=sqrt(self._squares / self._received) if alive else None,
            rtt_p50_ms=self._percentile(50),
            rtt_p90_ms=self._percentile(90),
            rtt_p99_ms=self._percentile(99),
            jitter_ms=self._differences / (self._received - 1) if self._received > 1 else None,
            outage_s=(lost + self._not_sent) * self._interval,
            replies=tuple(several("replies", replies, "a list of replies")),
        )

    def _percentile(self, percent: int) -> float | None:
        found = self._percentiles.percentile(percent)
        return None if found is None else min(self._most, max(self._least, found))


def result_of(
    host: str, address: str, engine: str, replies: Iterable[Reply], interval: float = 1.0
) -> PingResult:
    """The totals of these replies of one host."""
    summary, kept = Summary(host, address, engine, interval), tuple(replies)
    for reply in kept:
        summary.add(reply)
    return summary.result(kept)
