"""One sweep of bench_distributed, measured: ``python -m bench._distributed local|one FIRST COUNT SHARDS``.

``one`` sweeps through the scheduler at ``SCHEDULER``, in so many shards; the time to connect is not counted.
"""

from __future__ import annotations

import json
import sys
import time

from bench._sweepers import RETRIES, TIMEOUT
from fastnet._distributed import DistributedSweep, sweeping
from fastnet._sweep import sweep
from fastnet.targets import Targets, address_text

SCHEDULER = "tcp://127.0.0.1:8786"
_AF_INET = 2


def main(way: str, first: int, count: int, shards: int) -> None:
    ends = (address_text(_AF_INET, number) for number in (first, first + count - 1))
    targets = Targets("-".join(ends))
    if way == "local":
        begun = time.perf_counter()
        found, inside = sweep(targets, timeout=TIMEOUT, retries=RETRIES).counts.alive, 0.0
        seconds = time.perf_counter() - begun
    else:
        sweeping.shard_count = lambda *_: shards
        with DistributedSweep(targets, client=SCHEDULER, timeout=TIMEOUT, retries=RETRIES) as running:
            begun = time.perf_counter()
            while not running.run():
                pass
            seconds = time.perf_counter() - begun
            found, inside = running.result().counts.alive, running.progress().seconds_inside
    print(
        json.dumps({"seconds": seconds, "count": count, "found": found, "inside": inside, "shards": shards})
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
