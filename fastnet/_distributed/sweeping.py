"""A running sweep from many vantages: its shards, the vantages, and the results so far."""

import errno
import os
import socket
import time
from _collections_abc import Iterable, Iterator

from fastnet._backend import probe as _core
from fastnet._distributed.columns import UNKNOWN, Columns
from fastnet._distributed.compared import Comparison
from fastnet._distributed.connection import Connection
from fastnet._distributed.dispatch import Dispatch, Lane, Work
from fastnet._distributed.merged import DistributedResult, Memory, Store, counts_of
from fastnet._distributed.shard import Job, sweep_shard
from fastnet._distributed.sums import SweepPlan, plan_of, rate_of_each, shard_count
from fastnet._distributed.vantages import Vantages, names_of
from fastnet._engines import SweepEngine
from fastnet._limits import (
    Prefix,
    Timeout,
    bounded,
    check_choice,
    check_family,
    check_flag,
    check_seconds,
    check_text,
)
from fastnet._ping import explain_refusal
from fastnet._reference import reference
from fastnet._sweep.running import (
    ENGINES,
    MAX_RATE,
    MIN_RATE,
    SweepOptions,
    Swept,
    as_targets,
    checked_options,
)
from fastnet._sweep.special import without_special
from fastnet._typing import Any, NamedTuple, TypedDict
from fastnet.targets import Targets

MODES = ("share", "compare")
_NO_ROUTE = explain_refusal(errno.ENETUNREACH)
_STATES = (_core.ALIVE, _core.SILENT, _core.UNREACHABLE)


class DistributedOptions(TypedDict, total=False):
    """The keyword arguments of ``sweep_distributed``, which documents them."""

    exclude: Iterable[Prefix]
    timeout: Timeout
    retries: int
    window: int
    rate: float | None
    vantage_rate: float | None
    family: int
    engine: SweepEngine
    seed: int | None
    interface: str
    vantages: Iterable[str]
    include_special: bool
    absence: float
    output: str | os.PathLike[str] | None
    tls: tuple[str, str, str] | None


class Progress(NamedTuple):
    """The progress of a sweep."""

    done: int
    """Shards, of all vantages in mode ``compare``."""
    of: int
    alive: dict[str, int]
    """The number of alive targets that each vantage has found."""
    seconds_left: float | None
    """None before the first shard is done."""
    seconds_inside: float
    """The time that vantages spent in the sweeps of the shards, all added up."""


class DistributedSweep:
    """A sweep from many vantages that runs step by step: ``run`` until it is True, then ``result``.

    Takes and raises what ``sweep_distributed`` does. A context manager, which stops the running shards. With
    ``dry_run`` nothing is sent or written; ``plan`` has the costs.
    """

    def __init__(
        self,
        targets: Swept,
        *,
        client: Any,
        mode: str = "share",
        exclude: Iterable[Prefix] = (),
        timeout: Timeout = 1.0,
        retries: int = 1,
        window: int = 128,
        rate: float | None = None,
        vantage_rate: float | None = None,
        family: int = socket.AF_UNSPEC,
        engine: SweepEngine = "auto",
        seed: int | None = None,
        interface: str = "",
        vantages: Iterable[str] = (),
        include_special: bool = False,
        absence: float = 60.0,
        output: str | os.PathLike[str] | None = None,
        tls: tuple[str, str, str] | None = None,
        dry_run: bool = False,
    ) -> None:
        checked_options(timeout, retries, window, rate, seed)
        check_choice("mode", mode, MODES)
        check_choice("engine", engine, ENGINES)
        check_family(family)
        check_text("interface", interface)
        check_seconds("absence", absence)
        check_flag("dry_run", dry_run)
        if vantage_rate is not None:
            bounded("vantage_rate", vantage_rate, MIN_RATE, MAX_RATE)
        if output is not None:
            reference("pyarrow.parquet")
        wanted = names_of(vantages)
        self.mode: str = mode
        self._rate, self._vantage_rate, self._retries = rate, vantage_rate, retries
        self._absence = absence
        wanted_targets = as_targets(targets, exclude, family)
        kept, self._left_out = without_special(wanted_targets, include_special)
        self.targets: Targets = kept
        self._options: SweepOptions = {
            "timeout": timeout,
            "retries": retries,
            "window": window,
            "engine": engine,
            "seed": seed,
            "interface": interface,
            "include_special": True,  # those to leave out are not in the targets any more
        }
        self._vantages = Vantages(wanted)
        self._connection = Connection(client, tls)
        try:
            self._begin(wanted, output, dry_run)
        except BaseException:
            self._connection.close()
            raise

    def _begin(self, wanted: tuple[str, ...], output: str | os.PathLike[str] | None, dry_run: bool) -> None:
        self.notes: list[str] = [*self._connection.limit_notes()]
        self._vantages.wait(self._connection, self._absence)
        self.notes.extend(self._vantages.absent_notes())
        usable = (*sorted(self._vantages.usable()),)
        names = wanted or usable
        vantage_rate = rate_of_each(self._rate, self._vantage_rate, len(names))
        spool, self._stores = None, dict[str | None, Store]()
        compared = self.mode == "compare"
        of = shard_count(self.targets.size, vantage_rate, self._retries, 1 if compared else len(names))
        if output is not None:
            from fastnet._distributed.spool import Spool

            spool = Spool(output, self._bare(), self.mode, {**self._options}, of, dry_run)
            of = spool.shards
        self.shards: int = of
        lanes = []
        for name in names if compared else [None]:
            store = self._stores[name] = spool.store(name) if spool else Memory()
            done = store.done()
            lanes.append(Lane(name, () if dry_run else (shard for shard in range(of) if shard not in done)))
        all_done = [store.done() for store in self._stores.values()]
        self.plan: SweepPlan = plan_of(
            self.targets, self._left_out, names, of, vantage_rate, self._retries, all_done
        )
        self._already = self.plan.done
        self._counts = {name: [*_counted(store)] for name, store in self._stores.items()}
        self._partial: dict[int, tuple[Columns, set[str]]] = {}
        self._begun, self._inside = time.monotonic(), 0.0
        self._dispatch = Dispatch(
            self._connection,
            self._vantages,
            lanes,
            Work(sweep_shard, self._job, self._take, self._tried, self._rate_of_each),
            self._rate,
            self._absence,
        )

    def run(self, seconds: float = 0.1) -> bool:
        """Run for about so many seconds at most. True once every shard has its result.

        Raises VantagesLost after too long without the scheduler or any vantage.
        """
        return self._dispatch.run(seconds)

    def result(self) -> "DistributedResult | Comparison":
        """The verdicts so far."""
        vantages = self._vantages.report()
        if self.mode == "share":
            return self._result_of(None, _core.PENDING)
        results = {str(name): self._result_of(name, UNKNOWN) for name in self._stores}
        return Comparison(self.targets, results, vantages)

    def progress(self) -> Progress:
        done, everything = (
            sum(len(store.done()) for store in self._stores.values()),
            self.shards * len(self._stores),
        )
        alive = {each.name: each.alive for each in self._vantages.report() if each.shards}
        seconds = time.monotonic() - self._begun
        ours = done - self._already
        left = seconds / ours * (everything - done) if ours else None
        return Progress(done, everything, alive, left, self._inside)

    def close(self) -> None:
        self._dispatch.cancel()
        self._connection.close()

    def __enter__(self) -> "DistributedSweep":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _result_of(self, name: str | None, absent: int) -> DistributedResult:
        counts = counts_of(self.targets, self._counts[name])
        return DistributedResult(
            self.targets, self.shards, self._stores[name], counts, self._vantages.report(), absent
        )

    def _bare(self) -> Targets:
        """The targets for the workers, without the names that did not resolve."""
        bare = Targets.__new__(Targets)
        for name in Targets.__slots__:
            setattr(bare, name, getattr(self.targets, name))
        bare.unresolved = ()
        return bare

    def _rate_of_each(self, vantages: int) -> float | None:
        return rate_of_each(self._rate, self._vantage_rate, vantages)

    def _job(self, lane: Lane, shard: int, rate: float | None) -> Job:
        partial = self._partial.get(shard) if lane.vantage is None else None
        options: SweepOptions = {**self._options, "rate": rate}
        return Job(self._bare(), (shard + 1, self.shards), options, partial[0].decided() if partial else None)

    def _tried(self, shard: int) -> set[str]:
        return self._partial[shard][1] if shard in self._partial else set()

    def _take(self, lane: Lane, shard: int, columns: Columns) -> bool:
        """Keep a result, unless another vantage may have the route that this one lacks."""
        vantage, store = columns.vantage, self._stores[lane.vantage]
        if shard in store.done():
            return True
        self._vantages.count(vantage, columns.sent, columns.count(_core.ALIVE))
        self._inside += columns.seconds
        if self.mode == "share":
            before, tried = self._partial.pop(shard, (None, set[str]()))
            columns, tried = before.filled(columns) if before else columns, {*tried, vantage}
            if columns.undecided(_NO_ROUTE) and {*self._vantages.usable()} - tried:
                self._partial[shard] = columns, tried
                note = f"vantage {vantage}: no route to some targets, which another vantage probes"
                if note not in self.notes:
                    self.notes.append(note)
                return False
        store.put(shard, columns)
        counts = self._counts[lane.vantage]
        for which, state in enumerate(_STATES):
            counts[which] += columns.count(state)
        return True


def _counted(store: Store) -> Iterator[int]:
    """The number of targets in each state, from an earlier sweep's results in a directory."""
    found = [0] * len(_STATES)
    for shard in store.done():
        if columns := store.get(shard):
            found = [before + columns.count(state) for before, state in zip(found, _STATES, strict=True)]
    return iter(found)
