"""A forwarder's counters as Prometheus metrics (prometheus.io), by the package prometheus-client.

Each family's name begins with ``fastnet_forward_`` and has the label ``rule``, the rule's name.
"""

from _collections_abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from fastnet._forward.forwarder import Forwarder
from fastnet._forward.listeners import close_all
from fastnet._forward.pages import Page, PageServer, Request
from fastnet._forward.records import Stats, UpstreamState
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.endpoints import Endpoint, listen
from fastnet.errors import InvalidArgument

__all__ = ["Exporter", "families"]

_PREFIX = "fastnet_forward_"

_COUNTED = {
    "accepted": "Connections accepted",
    "unreachable": "Connections whose upstream could not be connected to",
    "refused": "Connections answered 400 or 408 instead of being passed on",
    "denied": "Connections of clients that are not allowed, or have too many",
    "resets": "Connections that one of the sides reset, or that were cut",
    "timed_out": "Connections that were idle or half-closed for too long",
    "connects_retried": "Connects to an upstream that failed and went on to the next",
}
"""The counters of ``Stats`` that have their own name."""


_RuleState = tuple[str, Stats, list[UpstreamState]]
"""The metrics of a rule, under its name."""


def families(forwarder: Forwarder) -> Iterator[Any]:
    """The metric families of all rules, as they are now. Raises EngineMissing without prometheus-client."""
    core = reference("prometheus_client.core")
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


def _rules(forwarder: Forwarder) -> Iterator[_RuleState]:
    for rule in forwarder.rules:
        with suppress(InvalidArgument):  # A reload has removed it meanwhile.
            yield rule.name, forwarder.stats(rule), forwarder.upstreams(rule)


def _of_upstreams(core: Any, rules: list[_RuleState]) -> Iterator[Any]:
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
    """The collector that prometheus-client calls at each scrape."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    def collect(self) -> Iterator[Any]:
        return families(self._forwarder)


class Exporter:
    """An HTTP server at ``endpoint`` whose every page is the metrics, with those of the process.

    It listens at once, so that a privileged port is open before root is given up; ``start`` begins to
    answer. ``warn`` is called with a line of text where metrics can't be had. Raises EngineMissing without
    prometheus-client, and what ``endpoints.listen`` does.
    """

    def __init__(self, endpoint: Endpoint, warn: Callable[[str], None]) -> None:
        self._client = reference("prometheus_client")
        self._warn = warn
        self._sockets = listen(endpoint)
        self._server: PageServer | None = None

    @property
    def addresses(self) -> list[Endpoint]:
        """Where it listens."""
        return [Endpoint(*sock.getsockname()[:2]) for sock in self._sockets]

    def start(self, forwarder: Forwarder) -> None:
        """Begin to answer for this forwarder. Raises OSError where there is no thread for that."""
        registry = self._client.CollectorRegistry()
        registry.register(_Collector(forwarder))
        self._client.ProcessCollector(registry=registry)
        make = partial(_page, self._client.make_wsgi_app(registry))
        server = PageServer(self._sockets, make, lambda text: self._warn(f"metrics: {text}"))
        server.start()
        self._server = server

    def close(self) -> None:
        """Answer no more."""
        if self._server:
            self._server.stop()
        close_all(self._sockets)


def _page(app: Any, request: Request) -> Page:
    """What prometheus-client answers, in the format and of the metrics that are asked for."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "HTTP_ACCEPT": request.headers.get("accept"),
        "HTTP_ACCEPT_ENCODING": request.headers.get("accept-encoding"),
    }
    started: list[tuple[str, list[tuple[str, str]]]] = []
    body = b"".join(app(environ, lambda status, headers: started.append((status, headers))))
    ((status, headers),) = started
    return Page(status, headers, body)
