"""Argument types that several subcommands share; each refuses with what would be right."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from fastnet.errors import InvalidArgument

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser from the features, made to refuse the way argparse wants it."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except InvalidArgument as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def duration(text: str) -> float:
    """Seconds: ``1.5``, ``250ms``, ``10s``, ``2m``, ``1h``."""
    number = text.rstrip("msh")
    unit = text[len(number) :] or "s"
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time, as 1.5, 250ms, 10s or 2m")
    return seconds


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from low to high."""

    def parsed(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low} to {high}")
        return value

    return parsed


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON Lines instead of a table")


def add_family(parser: argparse.ArgumentParser) -> None:
    """``-4`` and ``-6``; ``args.family`` is a ``socket`` address family."""
    import socket

    group = parser.add_mutually_exclusive_group()
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        group.add_argument(
            f"-{version}",
            dest="family",
            action="store_const",
            const=family,
            default=socket.AF_UNSPEC,
            help=f"IPv{version} only",
        )
