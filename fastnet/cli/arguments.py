"""Argument types that several subcommands share; each error names the expected form."""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastnet._limits import MAX_SECONDS
from fastnet.errors import InvalidArgument

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_DURATION = r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e-?[0-9]+)?)(ms|s|m|h)?"
_NUMBER = r"[0-9]+\.?[0-9]*|\.[0-9]+"
_INTEGER = r"-?[0-9]{1,20}"
_DSCP = r"cs(?P<class>[0-7])|af(?P<af>[1-4])(?P<drop>[1-3])|ef"
_TOS = r"0x[0-9a-fA-F]{1,2}|0|[1-9][0-9]{0,2}"
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_SIZE = r"([0-9]{1,15})([kMG]?)"


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of the features whose errors argparse reports."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except InvalidArgument as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def duration(text: str) -> float:
    """Seconds: ``1.5``, ``250ms``, ``10s``, ``2m``, ``1h``."""
    match = re.fullmatch(_DURATION, text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else -1.0
    if not 0 <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a time, as 1.5, 250ms, 10s or 2m, up to {MAX_SECONDS} seconds"
        )
    return seconds


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from low to high."""

    def parsed(text: str) -> int:
        if not re.fullmatch(_INTEGER, text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low} to {high}")
        return int(text)

    return parsed


def number(low: float, high: float) -> Callable[[str], float]:
    """A number from low to high, in decimal notation: float() accepts more, such as ``1_0`` and ``nan``."""

    def parsed(text: str) -> float:
        if not re.fullmatch(_NUMBER, text) or not low <= float(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number from {low:g} to {high:g}")
        return float(text)

    return parsed


def interface(text: str) -> str:
    """An interface's name; not the empty string, which a shell makes of an unset variable."""
    if not text:
        raise argparse.ArgumentTypeError("'': expected the name of an interface")
    return text


def size(text: str) -> int:
    """A number of bytes: ``65536``, ``64k``, ``10M``, ``1G``; the letters are powers of 1000."""
    match = re.fullmatch(_SIZE, text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of bytes, as 65536, 64k, 10M or 1G")
    return int(match[1]) * _PREFIXES[match[2]]


def tos(text: str) -> int:
    """A TOS byte: ``16``, ``0xb8``, or a DSCP's name: ``ef``, ``af41``, ``cs1`` (RFC 2474, 2597, 3246)."""
    if match := re.fullmatch(_DSCP, text.lower()):
        if match["class"]:
            return int(match["class"]) << 5
        return int(match["af"]) << 5 | int(match["drop"]) << 3 if match["af"] else 46 << 2
    number = int(text, 0) if re.fullmatch(_TOS, text) else -1
    if not 0 <= number <= 255:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 255, 0xb8, or a DSCP as ef, af41 or cs1")
    return number


def add_way(parser: argparse.ArgumentParser) -> None:
    """Options for outgoing packets."""
    parser.add_argument("-I", "--source", metavar="ADDRESS", help="address to send from")
    parser.add_argument("--interface", type=interface, metavar="NAME", help="only interface to use")
    parser.add_argument(
        "-m", "--mark", type=integer(0, (1 << 32) - 1), default=0, metavar="N", help="firewall mark"
    )
    parser.add_argument(
        "-O", "--tos", type=tos, default=0, metavar="TOS", help="TOS byte, or a DSCP's name, such as ef"
    )


def chosen(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The given options among these, for a feature with its own defaults."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON Lines instead of text")


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
