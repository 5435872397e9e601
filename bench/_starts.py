"""What a command takes beyond Python itself: ``python -m bench._starts TIMES [--cold] WORDS...``.

It prints the median of so many pairs, in seconds. Cold: its modules are not compiled yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from tempfile import TemporaryDirectory

NOTHING = [sys.executable, "-I", "-c", "pass"]
DONE = (0, 1, 3)


def seconds(words: Sequence[str], environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    status = subprocess.run(words, stdout=subprocess.DEVNULL, env=environment, check=False).returncode
    took = time.perf_counter() - began
    if status not in DONE:
        sys.exit(f"exit status {status}")
    return took


def beyond_nothing(words: Sequence[str], cold: bool) -> float:
    with TemporaryDirectory(prefix="fastnet-bench-") as folder:
        environment = {**os.environ, **({"PYTHONPYCACHEPREFIX": folder} if cold else {})}
        return seconds(words, environment) - seconds(NOTHING, os.environ)


def main(times: str, *words: str) -> None:
    cold = words[0] == "--cold"
    taken = [beyond_nothing(words[cold:], cold) for _ in range(int(times))]
    print(json.dumps({"seconds": median(taken)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
