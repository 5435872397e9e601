"""The time of day as records and logs have it."""

import time

__all__ = ["now", "utc"]


def now() -> str:
    """The present in the form of ``utc``."""
    return utc(time.time_ns())


def utc(nanoseconds: int) -> str:
    """RFC 3339 in UTC, to the microsecond: ``2026-11-29T21:17:44.123456Z``."""
    second, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_to_the_second(second)}.{rest // 1000:06}Z"


def _to_the_second(second: int) -> str:
    """Kept, as many records share it."""
    text = _texts.get(second)
    if text is None:
        if len(_texts) >= _KEPT:
            _texts.clear()
        text = _texts[second] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return text


_KEPT = 8
_texts: dict[int, str] = {}
