"""Results of echo requests: one by one and in total."""

from _collections_abc import Iterable

from fastnet._backend import probe as _core
from fastnet._limits import bounded, check_flag, check_seconds, check_text, check_type, several
from fastnet._results import as_dict, shown, shown_as
from fastnet._typing import Any, NamedTuple

_MOST_AWAITED = 1 << 16
_NO_TIMES = (None,) * 8


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
    loss_percent: float | None
    """The share of the sent requests that are no longer awaited; None if there are none."""
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
        self._not_sent = self._waiting = self._duplicates = 0
        self._known = 0
        """The number of requests answered or given up."""
        self._times = _core.RoundTrips()
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
        self._times.add(reply.rtt_ms)

    def result(self, replies: Iterable[Reply] = ()) -> PingResult:
        """The totals so far, with these replies."""
        return total(
            (self._host, self._address, self._engine),
            _core.Totals(
                sent=self._known + self._waiting - self._carried,
                not_sent=self._not_sent,
                received=self._times.count,
                lost=self._known - self._times.count,
                duplicates=self._duplicates,
                refused=0,
                error=None,
                times=self._times.times(),
            ),
            self._interval,
            self._last_error,
            waiting=self._waiting,
            replies=tuple(several("replies", replies, "a list of replies")),
        )


def total(
    about: tuple[str, str, str],
    totals: _core.Totals,
    interval: float,
    error: str | None,
    *,
    waiting: int,
    replies: tuple[Reply, ...] = (),
) -> PingResult:
    """The result for a host, its address and engine; ``error`` is why no reply was received."""
    sent, not_sent, received, lost, duplicates, _, _, times = totals
    least, mean, most, deviation, p50, p90, p99, jitter = times or _NO_TIMES
    known = received + lost
    return PingResult(
        *about,
        sent=sent,
        not_sent=not_sent,
        received=received,
        waiting=waiting,
        duplicates=duplicates,
        loss_percent=100.0 * lost / known if known else None,
        error=None if times else error,
        rtt_min_ms=least,
        rtt_avg_ms=mean,
        rtt_max_ms=most,
        rtt_stddev_ms=deviation,
        rtt_p50_ms=p50,
        rtt_p90_ms=p90,
        rtt_p99_ms=p99,
        jitter_ms=jitter,
        outage_s=(lost + not_sent) * interval,
        replies=replies,
    )


def result_of(
    host: str, address: str, engine: str, replies: Iterable[Reply], interval: float = 1.0
) -> PingResult:
    """The totals of these replies of one host."""
    summary, kept = Summary(host, address, engine, interval), tuple(replies)
    for reply in kept:
        summary.add(reply)
    return summary.result(kept)
