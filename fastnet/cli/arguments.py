"""Argument types that several subcommands share; each refuses with what would be right."""

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from fastnet._limits import MAX_SECONDS
from fastnet.errors import InvalidArgument

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_DURATION = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e-?[0-9]+)?)(ms|s|m|h)?")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_SIZE = re.compile(r"([0-9]{1,15})([kMG]?)")


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
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else -1.0
    if not 0 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a time, as 1.5, 250ms, 10s or 2m, up to {MAX_SECONDS} seconds"
        )
    return seconds


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from low to high."""

    def parsed(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low} to {high}")
        return int(text)

    return parsed


def size(text: str) -> int:
    """A number of bytes: ``65536``, ``64k``, ``10M``, ``1G``; the letters are powers of 1000."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of bytes, as 65536, 64k, 10M or 1G")
    return int(match[1]) * _PREFIXES[match[2]]


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
