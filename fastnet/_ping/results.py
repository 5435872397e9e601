"""What became of echo requests, one by one and summed up."""

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

from fastnet._ping.percentiles import Percentiles


class Reply(NamedTuple):
    """What became of one echo request."""

    host: str
    """The host as it was asked for."""
    address: str
    seq: int
    """0 for the first request to this host."""
    rtt_ms: float | None
    """None where there was no reply."""
    ttl: int | None
    """The TTL or hop limit that the reply arrived with."""
    error: str | None
    """Why there was no reply: ``no answer``, ``host unreachable from 10.0.0.1``, ``not sent: ...``."""
    duplicate: bool = False
    """One more reply to a request that was answered before."""
    tries: int = 1
    """How many times it was sent; 0 where the system refused to."""
    responder: str | None = None
    """Who replied for an anycast address: the router's own address. None where it is ``address`` itself."""


class Summary:
    """What the requests to one host amount to, in a space that does not grow with them.

    ``carried`` is how many requests were awaited already when it began.
    """

    def __init__(self, host: str, address: str, engine: str, interval: float = 1.0, carried: int = 0) -> None:
        self.host = host
        """The host as it was asked for."""
        self.address = address
        self.engine = engine
        """``raw`` or ``datagram``: the socket that was permitted."""
        self.interval = interval
        """The seconds between two requests."""
        self.not_sent: int = 0
        """How many more the system refused to send."""
        self.received: int = 0
        self.waiting: int = 0
        """How many of those that were sent were still awaited at the end."""
        self.duplicates: int = 0
        self.rtt_min_ms: float | None = None
        self.rtt_max_ms: float | None = None
        self._carried = carried
        self._known = 0
        """Requests that were answered or given up."""
        self._percentiles = Percentiles()
        self._mean = self._squares = self._differences = self._newest = 0.0
        self._last_error: str | None = None

    def add(self, reply: Reply, waiting: bool = False) -> None:
        """Count one more, or one that a reply is still awaited to."""
        if reply.duplicate:
            self.duplicates += 1
            return
        self.waiting += waiting
        if not reply.tries:
            self.not_sent += 1
        elif not waiting:
            self._known += 1
        if reply.rtt_ms is None:
            self._last_error = reply.error
            return
        self._take(reply.rtt_ms)

    def _take(self, rtt: float) -> None:
        if self.received:
            self._differences += abs(rtt - self._newest)
        self._newest = rtt
        self._percentiles.add(rtt)
        self.received += 1
        if self.rtt_min_ms is None or rtt < self.rtt_min_ms:
            self.rtt_min_ms = rtt
        if self.rtt_max_ms is None or rtt > self.rtt_max_ms:
            self.rtt_max_ms = rtt
        # Welford's way, which does not lose the variance of times that are far from zero.
        above = rtt - self._mean
        self._mean += above / self.received
        self._squares += above * (rtt - self._mean)

    @property
    def alive(self) -> bool:
        """Whether any request was answered."""
        return self.received > 0

    @property
    def sent(self) -> int:
        """How many requests were sent, each counted once however often it was tried."""
        return self._known + self.waiting - self._carried

    @property
    def loss_percent(self) -> float:
        """Of those that were sent and are not awaited any more."""
        return 100.0 * (self._known - self.received) / self._known if self._known else 0.0

    @property
    def rtt_avg_ms(self) -> float | None:
        return self._mean if self.alive else None

    @property
    def rtt_stddev_ms(self) -> float | None:
        """The population's standard deviation."""
        return sqrt(self._squares / self.received) if self.alive else None

    @property
    def jitter_ms(self) -> float | None:
        """The mean difference, without its sign, of each two successive round-trip times; None below two."""
        return self._differences / (self.received - 1) if self.received > 1 else None

    @property
    def rtt_p50_ms(self) -> float | None:
        """The median. A percentile is the smallest round-trip time that so many are not above.

        Of more than 256 round-trip times, each is off by two percent at most.
        """
        return self._percentile(50)

    @property
    def rtt_p90_ms(self) -> float | None:
        return self._percentile(90)

    @property
    def rtt_p99_ms(self) -> float | None:
        return self._percentile(99)

    def _percentile(self, percent: int) -> float | None:
        found = self._percentiles.percentile(percent)
        if found is None or self.rtt_min_ms is None or self.rtt_max_ms is None:
            return None
        return min(self.rtt_max_ms, max(self.rtt_min_ms, found))

    @property
    def outage_s(self) -> float:
        """How long the host was not there: ``interval`` for each request that was lost or not sent."""
        return (self._known + self.not_sent - self.received) * self.interval

    @property
    def error(self) -> str | None:
        """Why nothing was received: the last request's reason."""
        return None if self.alive else self._last_error


class PingResult(Summary):
    """All that came back from one host."""

    def __init__(
        self, host: str, address: str, engine: str, replies: Iterable[Reply], interval: float = 1.0
    ) -> None:
        super().__init__(host, address, engine, interval)
        self.replies: tuple[Reply, ...] = tuple(replies)
        """One for each request, in the order in which they became known, and the duplicates."""
        for reply in self.replies:
            self.add(reply)

    def __repr__(self) -> str:
        return (
            f"<PingResult {self.host}: {self.sent} sent, {self.received} received, "
            f"rtt_avg_ms={self.rtt_avg_ms}, error={self.error!r}>"
        )
