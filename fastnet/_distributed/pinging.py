"""Pings of the same hosts from many vantages."""

from _collections_abc import Iterable

from fastnet._distributed.connection import Connection
from fastnet._distributed.dispatch import Dispatch, Lane, Work
from fastnet._distributed.shard import PingJob, ping_hosts
from fastnet._distributed.vantages import Vantage, Vantages, names_of
from fastnet._limits import Host, Timeout, check_seconds, host_text, quoted, several
from fastnet._ping import Pinger, PingResult
from fastnet._ping.pinger import PingerOptions
from fastnet._ping.session import Plan
from fastnet._results import as_dict, shown
from fastnet._typing import Any, NamedTuple, Unpack
from fastnet.errors import InvalidArgument


class VantagePing(NamedTuple):
    """The results of one vantage."""

    vantage: str
    """The name of its Dask worker."""
    results: tuple[PingResult, ...] | None
    """One for each host, in the order given; None if the vantage was not connected."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class PingComparison(NamedTuple):
    """The same pings from many vantages."""

    hosts: tuple[str, ...]
    """As they were given, each once."""
    by_vantage: tuple[VantagePing, ...]
    """Each vantage, by name."""
    vantages: tuple[Vantage, ...]
    """Each vantage; those that were left out have the ``problem``."""

    def seen_by(self, host: str) -> tuple[str, ...]:
        """The vantages to which a host has replied."""
        if host not in self.hosts:
            raise InvalidArgument(f"host {quoted(host)}: expected one of those that were pinged")
        place = self.hosts.index(host)
        return tuple(each.vantage for each in self.by_vantage if each.results and each.results[place].alive)

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class DistributedPing:
    """Pings from many vantages that run step by step: ``run`` until it is True, then ``result``.

    Takes and raises what ``ping_distributed`` does. A context manager.
    """

    def __init__(
        self,
        hosts: Iterable[Host],
        *,
        client: Any,
        vantages: Iterable[str] = (),
        absence: float = 60.0,
        tls: tuple[str, str, str] | None = None,
        count: int = 4,
        interval: float = 1.0,
        timeout: Timeout = 1.0,
        retries: int = 0,
        backoff: float = 1.5,
        **options: Unpack[PingerOptions],
    ) -> None:
        texts = dict.fromkeys(host_text("hosts", host) for host in several("hosts", hosts, "hosts"))
        if not texts:
            raise InvalidArgument("hosts: expected one or more")
        check_seconds("absence", absence)
        Plan(count, interval, timeout, retries, backoff)  # checks them
        Pinger(**options).close()
        pace = {
            "count": count,
            "interval": interval,
            "timeout": timeout,
            "retries": retries,
            "backoff": backoff,
        }
        self._hosts, self._options = tuple(texts), pace | options
        wanted = names_of(vantages)
        self._vantages, self._connection = Vantages(wanted), Connection(client, tls)
        try:
            self.notes: list[str] = [*self._connection.limit_notes()]
            self._vantages.wait(self._connection, absence)
            self.notes.extend(self._vantages.absent_notes())
        except BaseException:
            self._connection.close()
            raise
        self._names = wanted or (*sorted(self._vantages.usable()),)
        self._results: dict[str, tuple[PingResult, ...]] = {}
        lanes = [Lane(name, [0]) for name in self._names]
        work = Work(ping_hosts, self._job, self._take, lambda _: set(), lambda _: None)
        self._dispatch = Dispatch(self._connection, self._vantages, lanes, work, None, absence)

    def run(self, seconds: float = 0.1) -> bool:
        """Run for about so many seconds at most. True once every vantage is done or finally missing."""
        return self._dispatch.run(seconds)

    def result(self) -> PingComparison:
        """The results so far."""
        found = tuple(VantagePing(name, self._results.get(name)) for name in self._names)
        return PingComparison(self._hosts, found, self._vantages.report())

    def close(self) -> None:
        self._dispatch.cancel()
        self._connection.close()

    def __enter__(self) -> "DistributedPing":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _job(self, lane: Lane, shard: int, rate: float | None) -> PingJob:
        return PingJob(self._hosts, self._options)

    def _take(self, lane: Lane, shard: int, results: list[PingResult]) -> bool:
        if lane.vantage is not None and lane.vantage not in self._results:
            self._results[lane.vantage] = tuple(results)
            sent, alive = sum(each.sent for each in results), sum(each.alive for each in results)
            self._vantages.count(lane.vantage, sent, alive)
        return True
