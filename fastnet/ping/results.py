"""What became of echo requests, one by one and summed up."""

from collections import deque
from collections.abc import Iterable
from math import ceil, sqrt
from typing import NamedTuple

KEPT = 65536
"""The newest round-trip times that percentiles are of: all of them unless a ping has no end."""


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


class Summary:
    """What the requests to one host amount to, in a space that does not grow with them."""

    def __init__(self, host: str, address: str, engine: str, interval: float = 1.0) -> None:
        self.host = host
        """The host as it was asked for."""
        self.address = address
        self.engine = engine
        """``raw`` or ``datagram``: the socket that was permitted."""
        self.interval = interval
        """The seconds between two requests."""
        self.sent = 0
        """How many requests were sent, each counted once however often it was tried."""
        self.not_sent = 0
        """How many more the system refused to send."""
        self.received = 0
        self.waiting = 0
        """How many of those that were sent were still awaited when it was broken off."""
        self.duplicates = 0
        self.rtt_min_ms: float | None = None
        self.rtt_max_ms: float | None = None
        self._newest: deque[float] = deque(maxlen=KEPT)
        self._mean = self._squares = self._differences = 0.0
        self._last_error: str | None = None

    def add(self, reply: Reply, waiting: bool = False) -> None:
        """Count one more, or one that a reply is still awaited to."""
        if reply.duplicate:
            self.duplicates += 1
            return
        if reply.tries:
            self.sent += 1
        else:
            self.not_sent += 1
        self.waiting += waiting
        if reply.rtt_ms is None:
            self._last_error = reply.error
            return
        self._take(reply.rtt_ms)

    def _take(self, rtt: float) -> None:
        if self._newest:
            self._differences += abs(rtt - self._newest[-1])
        self._newest.append(rtt)
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
    def loss_percent(self) -> float:
        """Of those that were sent and are not awaited any more."""
        known = self.sent - self.waiting
        return 100.0 * (known - self.received) / known if known else 0.0

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
        """The median. A percentile is the smallest round-trip time that so many are not above."""
        return self._percentile(50)

    @property
    def rtt_p90_ms(self) -> float | None:
        return self._percentile(90)

    @property
    def rtt_p99_ms(self) -> float | None:
        return self._percentile(99)

    def _percentile(self, percent: int) -> float | None:
        if not self._newest:
            return None
        return sorted(self._newest)[ceil(len(self._newest) * percent / 100) - 1]

    @property
    def outage_s(self) -> float:
        """How long the host was not there: ``interval`` for each request that was lost or not sent."""
        return (self.sent + self.not_sent - self.received - self.waiting) * self.interval

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
        self.replies = tuple(replies)
        """One for each request, in the order in which they became known, and the duplicates."""
        for reply in self.replies:
            self.add(reply)

    def __repr__(self) -> str:
        return (
            f"<PingResult {self.host}: {self.sent} sent, {self.received} received, "
            f"rtt_avg_ms={self.rtt_avg_ms}, error={self.error!r}>"
        )
