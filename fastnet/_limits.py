"""The numbers that callers give, checked in one place and refused in the same words."""

from fastnet.errors import InvalidArgument

MAX_SECONDS = 1_000_000
"""The longest time that is taken, eleven days: poll(2) counts milliseconds in 31 bits."""


def bounded(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is out of range, NaN included. Raises InvalidArgument."""
    if not low <= value <= high:
        raise InvalidArgument(f"{name} {value}: expected {low} to {high}")


def check_seconds(name: str, value: float | None, low: float = 0) -> None:
    """Refuse a time that is too short, too long or no number; None is no limit. Raises InvalidArgument."""
    if value is not None and not low <= value <= MAX_SECONDS:
        raise InvalidArgument(f"{name} {value}: expected seconds, {low} to {MAX_SECONDS}")
