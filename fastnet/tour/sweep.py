"""Sweep 127.0.0.0/16, or a part of it in pure Python, and separate alive from unprobed targets."""

from _collections_abc import Iterator

from fastnet._backend import implementation
from fastnet._contract.values import counted
from fastnet._sweep import SweepResult, sweep
from fastnet.errors import NotPermitted
from fastnet.targets import Targets
from fastnet.tour import Sight

TOPIC = "probe"


def visit() -> Iterator[Sight]:
    targets = Targets("127.0.2-3.*", "127.1.0.1-127.1.0.9", exclude=["127.0.2.7"])
    yield Sight(
        "targets 127.0.2-3.* and 127.1.0.1-127.1.0.9 without 127.0.2.7",
        f"{counted(len(targets), 'address')} in {counted(len(targets.ipv4), 'interval')}, "
        f"the last {targets[-1]}",
        ok=len(targets) == 520,
    )
    space = "127.0.0.0/16" if implementation(TOPIC) == "native" else "127.0.0.0/20"
    try:
        yield swept(f"sweep {space}", sweep(space))
    except NotPermitted as error:
        yield Sight(f"sweep {space}", f"{error.args[-1]}")
    yield swept("sweep 127.0.0.1-9 by TCP", sweep("127.0.0.1-9", engine="tcp"))


def swept(did: str, result: SweepResult) -> Sight:
    counts = result.counts
    return Sight(
        did,
        f"{counts.alive} alive, {counts.inactive} inactive, {counts.not_probed} not probed",
        ok=counts.alive == len(result),
        privilege="none" if result.engine == "tcp" else f"{result.engine} socket",
    )
