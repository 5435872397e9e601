"""What a sweep can be asked for, by either implementation."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from fastnet._pure.probe.common import ENGINES
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from fastnet._pure.probe.prober import Prober

MAX_RETRIES = 65_535
MAX_WINDOW = 32_767
"""Fewer than half of the sequence numbers."""
MAX_SECONDS = 1_000_000


def check_engine(prober: Prober) -> None:
    """Refuse a socket that no echo request can be sent by. Raises InvalidArgument."""
    if prober.engine not in ENGINES:
        raise InvalidArgument(f"engine {prober.engine}: a sweep needs an ICMP socket")


def check_options(
    spans: Sequence[tuple[int, int]],
    timeout: float,
    retries: int,
    window: int,
    rate: float | None,
    shard: tuple[int, int],
    decided: Buffer | None,
) -> None:
    """Refuse what a sweep can't be made of. Raises InvalidArgument."""
    _bounded("timeout", timeout, 0, MAX_SECONDS)
    _bounded("retries", retries, 0, MAX_RETRIES)
    _bounded("window", window, 1, MAX_WINDOW)
    check_rate(rate)
    first, step = shard
    if not 0 <= first < step:
        raise InvalidArgument(f"shard {shard}: expected (i, n), i from 0 to n - 1")
    after = -1
    for low, high in spans:
        if not after < low <= high:
            raise InvalidArgument("spans: expected intervals (first, last), ascending and apart")
        after = high
    total = sum(high - low + 1 for low, high in spans)
    size = len(range(first, total, step))
    if decided is not None and memoryview(decided).nbytes < (size + 7) // 8:
        raise InvalidArgument(f"decided: {memoryview(decided).nbytes} bytes for {size} targets")


def check_rate(rate: float | None) -> None:
    """Refuse what can't be a rate. Raises InvalidArgument."""
    if rate is not None and not 0 < rate < inf:
        raise InvalidArgument(f"rate {rate}: expected more than 0")


def _bounded(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidArgument(f"{name} {value}: expected {low} to {high}")
