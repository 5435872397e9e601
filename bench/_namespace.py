"""A temporary network namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench._case import Place


@contextmanager
def namespace(label: str, batch: Sequence[str] = ()) -> Iterator[Place]:
    """One with loopback up, where ``ip -batch`` has done the rest; it needs root."""
    name = f"fastnet-bench-{os.getpid()}-{label}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        lines = "\n".join(["link set lo up", *batch])
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=lines, text=True, check=True)
        yield ("ip", "netns", "exec", name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
