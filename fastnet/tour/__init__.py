"""The tour: every feature at work on this machine's own interfaces and loopback.

A stop is a module of this package named like its feature, with ``visit()`` yielding a ``Sight`` for each
thing that it did, and ``TOPIC`` where a core topic does the work. ``STOPS`` is the order in which they are
walked.
"""

import time
from _collections_abc import Iterator
from importlib import import_module

from fastnet._typing import NamedTuple
from fastnet.errors import FastnetError

STOPS = (
    "checksums",
    "packet",
    "interfaces",
    "ipv6",
    "portscan",
    "ping",
    "trace",
    "sweep",
    "wait",
    "forward",
    "ipc",
    "echo",
)


class Sight(NamedTuple):
    """One thing done at a stop, and what came back."""

    did: str
    result: str
    ok: bool = True
    privilege: str = "none"


class Visit(NamedTuple):
    """A sight, where it was seen, which implementation did the work, and how long it took."""

    stop: str
    did: str
    result: str
    ok: bool
    implementation: str
    privilege: str
    took_ms: float


def tour() -> Iterator[Visit]:
    """Walk all stops. A feature that fails is reported with ``ok`` False, and the tour goes on."""
    from fastnet._backend import implementation

    for name in STOPS:
        started = time.perf_counter()
        stop = import_module(f"fastnet.tour.{name}")
        topic = getattr(stop, "TOPIC", None)
        runs = implementation(topic) if topic else "pure"
        sights = stop.visit()
        while True:
            try:
                sight = next(sights)
            except StopIteration:
                break
            except (FastnetError, OSError) as error:
                sight = Sight(f"{name} failed", f"{type(error).__name__}: {error}", ok=False)
                sights = iter(())
            took_ms = (time.perf_counter() - started) * 1000
            yield Visit(name, sight.did, sight.result, sight.ok, runs, sight.privilege, round(took_ms, 3))
            started = time.perf_counter()
