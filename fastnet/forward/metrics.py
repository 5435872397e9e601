"""What a forwarder did, as Prometheus scrapes it (prometheus.io), by the package prometheus-client.

Each family's name begins with ``fastnet_forward_`` and has the label ``rule``, the rule's name.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

from fastnet._reference import reference
from fastnet.endpoints import Endpoint, listen
from fastnet.errors import InvalidArgument
from fastnet.forward.forwarder import Forwarder
from fastnet.forward.telling import Stats, UpstreamState

__all__ = ["Exporter", "families"]

_PREFIX = "fastnet_forward_"
_REQUEST_SECONDS = 10
"""How long a client may take to ask, so that silent ones don't hold a thread each for ever."""

_COUNTED = {
    "accepted": "Connections accepted",
    "unreachable": "Connections whose upstream could not be connected to",
    "refused": "Connections answered 400 or 408 instead of being passed on",
    "denied": "Connections of clients that are not allowed, or have too many",
    "resets": "Connections that one of the sides reset, or that were cut",
    "timed_out": "Connections that were idle or half-closed for too long",
    "connects_retried": "Connects to an upstream that failed and went on to the next",
}
"""The counters of ``Stats`` that are told under their own name."""


_Told = tuple[str, Stats, list[UpstreamState]]
"""What is told of a rule, under its name."""


def families(forwarder: Forwarder) -> Iterator[Any]:
    """The metric families of all rules, as they are now. Raises EngineMissing without prometheus-client."""
    core = reference("prometheus_client.core", "metrics")
    rules = [*_rules(forwarder)]
    for name, text in _COUNTED.items():
        counter = core.CounterMetricFamily(f"{_PREFIX}{name}", text, labels=["rule"])
        for rule, stats, _ in rules:
            counter.add_metric([rule], getattr(stats, name))
        yield counter
    active = core.GaugeMetricFamily(f"{_PREFIX}active", "Connections open now", labels=["rule"])
    sent = core.CounterMetricFamily(f"{_PREFIX}sent_bytes", "Bytes sent on", labels=["rule", "direction"])
    for rule, stats, _ in rules:
        active.add_metric([rule], stats.active)
        sent.add_metric([rule, "up"], stats.sent_up)
        sent.add_metric([rule, "down"], stats.sent_down)
    yield active
    yield sent
    yield from _of_upstreams(core, rules)
    yield core.CounterMetricFamily(
        f"{_PREFIX}lost_records", "Ended connections that the access log missed", forwarder.lost_records
    )


def _rules(forwarder: Forwarder) -> Iterator[_Told]:
    for rule in forwarder.rules:
        with suppress(InvalidArgument):  # It went meanwhile, with a reload.
            yield rule.name, forwarder.stats(rule), forwarder.upstreams(rule)


def _of_upstreams(core: Any, rules: list[_Told]) -> Iterator[Any]:
    labels = ["rule", "upstream"]
    healthy = core.GaugeMetricFamily(
        f"{_PREFIX}upstream_healthy", "1, or 0 where its checks fail", labels=labels
    )
    active = core.GaugeMetricFamily(f"{_PREFIX}upstream_active", "Connections open to it now", labels=labels)
    for rule, _, upstreams in rules:
        for upstream in upstreams:
            healthy.add_metric([rule, upstream.name], upstream.healthy)
            active.add_metric([rule, upstream.name], upstream.active)
    yield healthy
    yield active


class _Collector:
    """What prometheus-client asks at each scrape."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    def collect(self) -> Iterator[Any]:
        return families(self._forwarder)


class _Server(ThreadingHTTPServer):
    """Serves at a socket that listens already."""

    def __init__(self, sock: socket.socket, handler: Any) -> None:
        self.address_family = sock.family
        super().__init__(sock.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock

    def handle_error(self, *_: object) -> None:
        """Who asked is gone, which is nobody else's concern."""


class Exporter:
    """An HTTP server at ``endpoint`` whose every page is the metrics, with those of the process.

    It listens at once, so that a privileged port is open before root is given up; ``start`` begins to
    answer. Raises EngineMissing without prometheus-client, and what ``endpoints.listen`` does.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._client = reference("prometheus_client", "metrics")
        self._sockets = listen(endpoint)
        self._servers: list[_Server] = []

    @property
    def addresses(self) -> list[Endpoint]:
        """Where it listens."""
        return [Endpoint(*sock.getsockname()[:2]) for sock in self._sockets]

    def start(self, forwarder: Forwarder) -> None:
        """Begin to answer for this forwarder."""
        registry = self._client.CollectorRegistry()
        registry.register(_Collector(forwarder))
        self._client.ProcessCollector(registry=registry)
        handler = self._client.MetricsHandler.factory(registry)
        handler.timeout = _REQUEST_SECONDS
        self._servers = [_Server(sock, handler) for sock in self._sockets]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="fastnet-metrics", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        for server in self._servers:
            server.shutdown()
        for sock in self._sockets:
            sock.close()
