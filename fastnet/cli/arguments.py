"""Argument types that several subcommands share; each error names the expected form."""

import _socket  # the family as a number: socket takes longer to load
import os
from _collections_abc import Callable, Iterable, Sequence

from fastnet._limits import MAX_SECONDS, Timeout
from fastnet._typing import Any
from fastnet.cli.quick_parser import Arguments, Group, Parser
from fastnet.errors import InvalidArgument

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PREFIXES = {"k": 10**3, "M": 10**6, "G": 10**9}
_STDIN, _STDOUT = "/dev/stdin", "/dev/stdout"
_LONGEST_PROCESS_ID = 10
_DSCPS = {"ef": 46}
_DSCPS |= {f"cs{precedence}": precedence << 3 for precedence in range(8)}
_DSCPS |= {f"af{group}{drop}": group << 3 | drop << 1 for group in range(1, 5) for drop in range(1, 4)}


def duration(text: str) -> float:
    """Seconds: ``1.5``, ``250ms``, ``10s``, ``2m``, ``1h``."""
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    mantissa, has_exponent, exponent = text.removesuffix(unit).partition("e")
    valid = _is_decimal(mantissa) and (not has_exponent or _is_digits(exponent.removeprefix("-")))
    seconds = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0) if valid else -1.0
    if not 0 <= seconds <= MAX_SECONDS:
        raise InvalidArgument(
            f"{text!r}: expected a time, as 1.5, 250ms, 10s or 2m, up to {MAX_SECONDS} seconds"
        )
    return seconds


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_decimal(text: str) -> bool:
    """A number without a sign, as ``1``, ``1.5`` or ``.5``."""
    whole, _, fraction = text.partition(".")
    return _is_digits(whole + fraction)


def timeout_or_auto(text: str) -> Timeout:
    """A time, or ``auto``."""
    return "auto" if text == "auto" else duration(text)


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from low to high."""

    def parsed(text: str) -> int:
        digits = text.removeprefix("-")
        if not (len(digits) <= 20 and _is_digits(digits) and low <= int(text) <= high):
            raise InvalidArgument(f"{text!r}: expected a whole number from {low} to {high}")
        return int(text)

    return parsed


def number(low: float, high: float) -> Callable[[str], float]:
    """A number from low to high, in decimal notation: float() accepts more, such as ``1_0`` and ``nan``."""

    def parsed(text: str) -> float:
        if not (_is_decimal(text) and low <= float(text) <= high):
            raise InvalidArgument(f"{text!r}: expected a number from {low:g} to {high:g}")
        return float(text)

    return parsed


def interface(text: str) -> str:
    """An interface's name; not the empty string, which a shell makes of an unset variable."""
    if not text:
        raise InvalidArgument("'': expected the name of an interface")
    return text


def replaced_file(text: str) -> str:
    """The name of a file that is replaced as a whole, which standard output can't be."""
    if text == "-":
        raise InvalidArgument("'-': expected the name of a file, as ./-")
    if os.path.isfile(_STDOUT) and _identity(text) == _inode(_STDOUT):
        raise InvalidArgument(f"{text!r}: stdout is the same file")
    return text


def size(text: str) -> int:
    """A number of bytes: ``65536``, ``64k``, ``10M``, ``1G``; the letters are powers of 1000."""
    prefix = text[-1:] if text[-1:] in _PREFIXES else ""
    digits = text.removesuffix(prefix)
    if not (len(digits) <= 15 and _is_digits(digits)):
        raise InvalidArgument(f"{text!r}: expected a number of bytes, as 65536, 64k, 10M or 1G")
    return int(digits) * _PREFIXES.get(prefix, 1)


def tos(text: str) -> int:
    """A TOS byte: ``16``, ``0xb8``, or a DSCP's name: ``ef``, ``af41``, ``cs1`` (RFC 2474, 2597, 3246)."""
    if text.lower() in _DSCPS:
        return _DSCPS[text.lower()] << 2
    is_hex = text.startswith("0x") and len(text) in (3, 4) and {*text[2:].lower()} <= {*"0123456789abcdef"}
    is_decimal = text == "0" or (len(text) <= 3 and _is_digits(text) and text[0] != "0")
    number = int(text, 0) if is_hex or is_decimal else -1
    if not 0 <= number <= 255:
        raise InvalidArgument(f"{text!r}: expected 0 to 255, 0xb8, or a DSCP as ef, af41 or cs1")
    return number


def add_way(parser: Parser, mark_names: Sequence[str], tos_names: Sequence[str]) -> None:
    """Options for outgoing packets; ``separate_way`` must follow."""
    parser.add_argument(
        "-I",
        "--source",
        action="append",
        metavar="ADDRESS",
        help="address to send from, or interface to use; both, if given twice",
    )
    parser.add_argument("--interface", type=interface, metavar="NAME", help="only interface to use")
    parser.add_argument(
        *mark_names, type=integer(0, (1 << 32) - 1), default=0, metavar="N", help="firewall mark"
    )
    parser.add_argument(
        *tos_names, type=tos, default=0, metavar="TOS", help="TOS byte, or a DSCP's name, such as ef"
    )


def separate_way(args: Arguments) -> None:
    """Set ``args.source`` to the address that was given, or None, and ``args.interface`` to the interface.

    Raises InvalidArgument for two of either, and for a word that can be neither.
    """
    given = list(dict.fromkeys(args.source or ()))
    named = [each for each in given if _is_interface(each)]
    addresses = [each for each in given if each not in named]
    for each in addresses:
        if each and each != "localhost" and not {*each} & {*".:"}:  # a look-up would take seconds
            raise InvalidArgument(f"-I: no interface {each!r} (`fastnet interfaces` lists the interfaces)")
    if args.interface is not None and args.interface not in named:
        named.append(args.interface)
    for several in (named, addresses):
        if len(several) > 1:
            raise InvalidArgument(f"-I: {several[0]} contradicts {several[1]}")
    args.source = addresses[0] if addresses else None
    args.interface = named[0] if named else None


def _is_interface(name: str) -> bool:
    from fastnet._system.interfaces import own_name  # only here: hardly any command needs it

    try:
        return _socket.if_nametoindex(own_name(name)) > 0
    except (OSError, ValueError):
        return False


def chosen(args: Arguments, names: Iterable[str]) -> dict[str, Any]:
    """The given options among these, for a feature with its own defaults."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def check_files(args: Arguments, written: Sequence[str], read: Sequence[str] = ()) -> None:
    """Raises InvalidArgument where an option writes a file that another one of these writes or reads."""
    if all(getattr(args, name) is None for name in written):
        return
    users: dict[object, str] = {}
    for name in (*written, *read):
        for path in _paths(getattr(args, name)):
            user = users.setdefault(_identity(path), name)
            if user != name and user in written:
                option = name.replace("_", "-")
                raise InvalidArgument(f"--{user}, --{option}: the same file, {path or repr(path)}")


def _paths(given: str | list[str] | None) -> list[str]:
    """The files of an option. ``-`` is stdin in a list of files that are read."""
    if isinstance(given, list):
        return [_STDIN if path == "-" else path for path in given]
    return [] if given is None else [given]


def _identity(path: str) -> object:
    """What all names and spellings of a file have in common, also before it exists."""
    try:
        if os.path.exists(path):
            return _inode(path)
        folder, name = os.path.split(os.path.realpath(path))
        return *_inode(folder), name
    except (OSError, ValueError):  # reported when it is opened
        return path


def _inode(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def add_json(parser: Group, default: Any = False) -> None:
    parser.add_argument("--json", action="store_true", default=default, help="JSON Lines instead of text")


def add_family(parser: Group) -> None:
    """``-4`` and ``-6``; ``args.family`` is a ``socket`` address family."""
    group = parser.add_mutually_exclusive_group()
    for version, family in ((4, _socket.AF_INET), (6, _socket.AF_INET6)):
        group.add_argument(
            f"-{version}",
            dest="family",
            action="store_const",
            const=family,
            default=_socket.AF_UNSPEC,
            help=f"IPv{version} only",
        )


def network_namespace(text: str) -> str | int:
    """A name of ``ip netns``, a path, or a process id: digits that are no such name."""
    from fastnet._system.netns import path_of

    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_PROCESS_ID
    return int(text) if is_number and not os.path.exists(path_of(text)) else text


def add_netns(parser: Group) -> None:
    parser.add_argument(
        "--netns",
        type=network_namespace,
        metavar="NETNS",
        help="network namespace to ask: a name (ip netns), a path or a process id",
    )
