"""The counters of a ping as Prometheus metrics: each name begins with ``fastnet_ping_``."""

from _collections_abc import Iterable, Iterator

from fastnet._escape import escaped
from fastnet._ping.lookup import Destination
from fastnet._ping.results import Reply
from fastnet._textfile import Histogram, Textfile
from fastnet._typing import Any

__all__ = ["PingMetrics"]

_COUNTED = {
    "requests": "Requests that were answered or given up",
    "lost": "Requests without a reply in time",
    "not_sent": "Requests that could not be sent",
    "duplicates": "Further replies to an answered request",
}
_LABELS = ("host", "address")


class _Counters:
    """Those of one host, in constant space."""

    __slots__ = (*_COUNTED, "rtts")

    def __init__(self) -> None:
        self.requests = self.lost = self.not_sent = self.duplicates = 0
        self.rtts = Histogram()

    def add(self, reply: Reply) -> None:
        if reply.duplicate:
            self.duplicates += 1
        elif not reply.tries:
            self.not_sent += 1
        else:
            self.requests += 1
            if reply.rtt_ms is None:
                self.lost += 1
            else:
                self.rtts.add(reply.rtt_ms / 1000)


class PingMetrics:
    """What has been counted since ``begin``, for each host and address."""

    def __init__(self, textfile: Textfile) -> None:
        self.textfile: Textfile = textfile

    def begin(self, destinations: Iterable[Destination]) -> None:
        """Count from zero. Raises OSError where the file can't be written."""
        self.textfile.check()
        self._by_host = {(each.host, each.address): _Counters() for each in destinations}

    def add(self, reply: Reply) -> None:
        """Count a reply, or a request without one."""
        self._by_host[reply.host, reply.address].add(reply)

    def write(self) -> None:
        """Replace the file."""
        self.textfile.write(self._families(self.textfile.core))

    def _families(self, core: Any) -> Iterator[Any]:
        labelled = [
            ((escaped(host), address), counters) for (host, address), counters in self._by_host.items()
        ]
        for name, text in _COUNTED.items():
            counter = core.CounterMetricFamily(f"fastnet_ping_{name}", text, labels=_LABELS)
            for labels, counters in labelled:
                counter.add_metric(labels, getattr(counters, name))
            yield counter
        rtt = core.HistogramMetricFamily("fastnet_ping_rtt_seconds", "Round-trip time", labels=_LABELS)
        for labels, counters in labelled:
            rtt.add_metric(labels, counters.rtts.buckets(), counters.rtts.sum)
        yield rtt
