"""Sweep a part of 127.0.0.0/8 and tell the alive from what can't be probed."""

from collections.abc import Iterator

from fastnet.errors import NotPermitted
from fastnet.sweep import sweep
from fastnet.targets import Targets
from fastnet.tour import Sight

TOPIC = "probe"


def visit() -> Iterator[Sight]:
    targets = Targets("127.0.2-3.*", "127.1.0.1-127.1.0.9", exclude=["127.0.2.7"])
    yield Sight(
        "targets 127.0.2-3.* and 127.1.0.1-127.1.0.9 without 127.0.2.7",
        f"{len(targets)} addresses in {len(targets.ipv4)} intervals, the last {targets[-1]}",
        ok=len(targets) == 520,
    )

    try:
        result = sweep(targets, timeout=0.2)
    except NotPermitted as error:
        yield Sight("sweep them", f"{error.args[-1]}")
        return
    counts = result.counts
    yield Sight(
        f"sweep those {len(result)} targets",
        f"{counts.alive} alive, {counts.inactive} inactive, {counts.not_probed} not probed",
        ok=counts.alive == len(targets),
        privilege=f"{result.engine} socket",
    )
