"""Vantages: the workers of a Dask cluster from which packets are sent, and which of them can be used."""

import os
import time
from _collections_abc import Iterable, Iterator

from fastnet import __version__
from fastnet._distributed.connection import Connection
from fastnet._limits import check_text, several
from fastnet._log import WARNING, log
from fastnet._results import as_dict, shown
from fastnet._typing import Any, NamedTuple
from fastnet.errors import VantagesLost

LABELS = "FASTNET_LABELS"
"""The environment variable of a worker with its labels, as ``site=fra,as=64500``."""


_BETWEEN_SECONDS = 0.1
_ASK_AGAIN_SECONDS = 10.0
"""Time after which a worker that hung is asked again; the sweep waits for each answer."""


class Vantage(NamedTuple):
    """A vantage, with its counters so far."""

    name: str
    """The name of its Dask worker."""
    labels: tuple[tuple[str, str], ...] = ()
    """From ``FASTNET_LABELS`` in the worker's environment."""
    problem: str | None = None
    """The reason that it is not used, or no longer used."""
    shards: int = 0
    """The number of shards whose results came from it."""
    sent: int = 0
    alive: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def about() -> tuple[str, str]:
    """On a worker: the version of its fastnet, and its labels as text."""
    return __version__, os.environ.get(LABELS, "")


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (each.partition("=") for each in text.split(",") if each.strip())
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def names_of(vantages: Iterable[str]) -> tuple[str, ...]:
    """The names of ``vantages``, checked, each once."""
    names = tuple(several("vantages", vantages, "names of vantages"))
    for name in names:
        check_text("vantages", name)
    return (*dict.fromkeys(names),)


class Vantages:
    """The workers of a cluster by name, as the scheduler last listed them."""

    def __init__(self, wanted: tuple[str, ...] = ()) -> None:
        self._wanted = wanted
        self._asked: dict[str, bool] = {}
        """The address of each worker whose version is known, and whether it can be used."""
        self._ask_at: dict[str, float] = {}
        """When to request its version again from a worker that did not answer, by address."""
        self._names: dict[str, str] = {}
        """The name of each address that the scheduler now lists."""
        self.known: dict[str, Vantage] = {}

    def refresh(self, connection: Connection) -> None:
        """Request the list of workers from the scheduler, and the version from each new one."""
        names = connection.workers()
        self._names = {
            address: name for address, name in names.items() if not self._wanted or name in self._wanted
        }
        now = time.monotonic()
        for address in self._names:
            if address not in self._asked and self._ask_at.get(address, now) <= now:
                try:
                    self._note(address, connection.call(about, address))
                except TimeoutError:
                    self._ask_at[address] = now + _ASK_AGAIN_SECONDS

    def wait(self, connection: Connection, absence: float) -> None:
        """Wait until a vantage can be used. Raises VantagesLost if none can, or none comes in time."""
        until = time.monotonic() + absence
        self.refresh(connection)
        while not self.usable():
            problems = [f"{each.name}: {each.problem}" for each in self.report() if each.problem]
            if problems:
                raise VantagesLost(f"no vantage can be used: {'; '.join(problems)}")
            if time.monotonic() >= until:
                why = "; ".join(self.absent_notes()) or "the scheduler has no worker"
                raise VantagesLost(f"no vantage after {absence:g} s: {why}")
            time.sleep(_BETWEEN_SECONDS)
            self.refresh(connection)
        for each in self.report():
            if each.problem:
                log("distributed", WARNING, f"vantage {each.name} is left out: {each.problem}")

    def absent_notes(self) -> Iterator[str]:
        """A remark for each vantage that does not answer, or that is asked for and not there."""
        silent = {self._names[address] for address in self._ask_at if address in self._names} - {*self.known}
        yield from (f"vantage {name}: it does not answer now" for name in sorted(silent))
        for name in dict.fromkeys(self._wanted):
            if name not in self.known and name not in silent:
                yield f"vantage {name}: the scheduler has no worker of this name now"

    def _note(self, address: str, answer: Any) -> None:
        name, problem = self._names[address], None
        labels: tuple[tuple[str, str], ...] = ()
        if isinstance(answer, OSError):
            return  # it has disconnected meanwhile
        if isinstance(answer, Exception):
            lacks = "No module named" in str(answer)
            problem = "its Python has no fastnet" if lacks else f"fastnet does not start on it: {answer}"
        else:
            version, text = answer
            labels = parse_labels(text)
            if version != __version__:
                problem = f"its fastnet is {version}, ours {__version__}"
        before = self.known.get(name, Vantage(name))
        self._asked[address] = problem is None
        self.known[name] = before._replace(labels=labels, problem=problem)

    def leave_out(self, name: str, problem: str) -> None:
        """Do not use a vantage any more."""
        self.known[name] = self.known.get(name, Vantage(name))._replace(problem=problem)

    def count(self, name: str, sent: int, alive: int) -> None:
        """Add a shard to a vantage's counters."""
        done = self.known.get(name, Vantage(name))
        self.known[name] = done._replace(
            shards=done.shards + 1, sent=done.sent + sent, alive=done.alive + alive
        )

    def usable(self) -> dict[str, str]:
        """The address of each vantage that is connected and can be used, by name."""
        return {
            name: address
            for address, name in self._names.items()
            if self._asked.get(address) and self.known[name].problem is None
        }

    def addresses(self) -> set[str]:
        """Those of all connected workers."""
        return {*self._names}

    def report(self) -> tuple[Vantage, ...]:
        return tuple(sorted(self.known.values()))
