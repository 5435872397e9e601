"""Checks of the callers' values, in one place, with the same messages.

Each function raises InvalidArgument for an invalid value, with the name of the argument.
"""

import _socket as socket
import os
import sys
from _collections_abc import Iterable

from fastnet._contract.values import quoted as quoted
from fastnet._typing import TYPE_CHECKING, Any, Literal, TypeAlias
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Host: TypeAlias = "str | IPv4Address | IPv6Address"
"""A name or an address; ``ipaddress`` is loaded by whoever has such an object, and not by us."""
Prefix: TypeAlias = "Host | IPv4Network | IPv6Network"
"""Addresses: a text, an address, a network, or an interface, which is its network."""

Timeout: TypeAlias = float | Literal["auto"]
"""Seconds; ``auto``: by the round-trip times."""

MAX_SECONDS = 1_000_000
"""The longest time, eleven days: poll(2) counts milliseconds in 31 bits."""
FAMILIES = (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6)


def bounded(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is out of range, or NaN; it must be whole if both limits are."""
    whole = isinstance(low, int) and isinstance(high, int)
    if not _is_number(value, whole) or not low <= value <= high:
        raise InvalidArgument(f"{name} {quoted(value)}: expected {low} to {high}")


def check_seconds(name: str, value: float, low: float = 0, high: float = MAX_SECONDS) -> None:
    """Refuse a time that is too short, too long or not a number."""
    if not _is_number(value) or not low <= value <= high:
        raise InvalidArgument(f"{name} {quoted(value)}: expected seconds, {low} to {high}")


def _is_number(value: object, whole: bool = False) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int) or (not whole and isinstance(value, float)):
        return True
    from numbers import Integral, Real  # only others' numbers, such as numpy's, need it

    return isinstance(value, Integral if whole else Real)


def check_timeout(name: str, value: float | None, low: float = 0) -> None:
    """Refuse a time as ``check_seconds`` does; None is no limit."""
    if value is not None:
        check_seconds(name, value, low)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgument(f"{name} {quoted(value)}: expected one of {', '.join(choices)}")


def check_type(name: str, value: object, kind: type, words: str) -> None:
    """Refuse what is not of this type; ``words`` are what is expected."""
    if not isinstance(value, kind):
        raise InvalidArgument(f"{name} {quoted(value)}: expected {words}")


def check_text(name: str, value: object) -> None:
    """Refuse a value that is not a string."""
    check_type(name, value, str, "a text")


def check_flag(name: str, value: object) -> None:
    """Refuse a value that is not a bool."""
    check_type(name, value, bool, "True or False")


def check_callable(name: str, value: object) -> None:
    """Refuse a value that can't be called."""
    if not callable(value):
        raise InvalidArgument(f"{name} {quoted(value)}: expected a function")


def check_callback(name: str, value: object) -> None:
    """Refuse a value that can't be called; None is no callback."""
    if value is not None:
        check_callable(name, value)


def check_family(value: object) -> None:
    """Refuse a value that is not an address family."""
    if value not in FAMILIES:
        raise InvalidArgument(f"family {quoted(value)}: expected socket.AF_INET, AF_INET6 or AF_UNSPEC")


def host_text(name: str, value: object) -> str:
    """A host as text: a name, or an address, also one of ``ipaddress``."""
    if isinstance(value, str):
        return value
    if not _is_of("Address", value):
        raise InvalidArgument(f"{name} {quoted(value)}: expected a host or an address")
    return str(value).partition("/")[0]  # ``ip`` of an IPv6Interface is without its zone


def prefix_text(name: str, value: object) -> str:
    """A target or a prefix as text, also an address, a network or an interface of ``ipaddress``."""
    if not is_prefix(value):
        raise InvalidArgument(f"{name} {quoted(value)}: expected an address, a prefix, a range or a host")
    return str(value)


def path_text(name: str, value: object) -> str:
    """A path as text."""
    if not isinstance(value, str | os.PathLike):
        raise InvalidArgument(f"{name} {quoted(value)}: expected a path")
    text = os.fsdecode(value)
    if "\0" in text or not _is_encodable(text):
        raise InvalidArgument(f"{name} {quoted(text)}: not the path of any file")
    return text


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def is_prefix(value: object) -> bool:
    """Whether this is one target, and not several."""
    return isinstance(value, str) or _is_of("Address", value) or _is_of("Network", value)


def several(name: str, value: object, words: str) -> Iterable[Any]:
    """The value, if it is a collection: not a string, an address, a network or bytes."""
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray) or is_prefix(value):
        raise InvalidArgument(f"{name} {quoted(value)}: expected {words}")
    return value


def _is_of(kind: str, value: object) -> bool:
    ipaddress = sys.modules.get("ipaddress")
    kinds = (f"IPv4{kind}", f"IPv6{kind}")
    return ipaddress is not None and isinstance(value, tuple(getattr(ipaddress, each) for each in kinds))
