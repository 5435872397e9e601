"""Errors of calls on a network interface."""

import _socket as socket
import errno
import os

from fastnet._contract.values import quoted
from fastnet.errors import InvalidArgument, NoAddress, NoSuchInterface

NAME_SIZE = 16
"""Maximum bytes of an interface's name, including its final NUL (IFNAMSIZ)."""
ALTNAME_SIZE = 128
"""Maximum bytes of an alternative name (ip link property add altname), including its final NUL."""
_NAMES_ROOM = 300
"""Characters of the names in a message."""
MAC_TYPES = frozenset({1, 6, 772, 774, 801, 802, 803})
"""Types of if_arp.h with a MAC of six bytes; of others rtnetlink has the length."""


TUNNEL_TYPES = frozenset({768, 769, 776, 778, 823})
"""Types whose link-layer addresses are IP addresses: ipip, tunnel6, sit, gre, gre6."""


def interface_names() -> list[str]:
    """The names of all interfaces, in the kernel's order. Without netlink they are those of /proc."""
    try:
        return [name for _, name in socket.if_nameindex()]
    except OSError:
        with open("/proc/thread-self/net/dev", "rb") as file:
            return [os.fsdecode(line.partition(b":")[0].strip(b" ")) for line in file.readlines()[2:]]


def failure(ifname: str, code: int, what: str) -> OSError:
    """The error for a query of an interface that failed with this errno; ``what`` is the queried value."""
    if code == errno.EADDRNOTAVAIL:
        return NoAddress(code, f"{ifname} has no {what}")
    if code == errno.ENODEV:
        wrong = ""
        if not 0 < len(ifname.encode("utf-8", "replace")) < ALTNAME_SIZE:
            wrong = " (a name has 1 to 15 bytes, an alternative one up to 127)"
        elif "\0" in ifname or "/" in ifname:
            wrong = " (a name has no NUL and no slash)"
        return NoSuchInterface(
            code, f"no interface {quoted(ifname)}{wrong}: there are {_some(interface_names())}"
        )
    return OSError(code, os.strerror(code), ifname)


def _some(names: list[str]) -> str:
    """The first of many names, as many as a line has room for."""
    shown, room = list[str](), _NAMES_ROOM
    for name in names:
        room -= len(name) + 2
        if shown and room < 0:
            return f"{', '.join(shown)} and {len(names) - len(shown)} more"
        shown.append(name)
    return ", ".join(shown)


def check_name(interface: str) -> bytes:
    """An interface's name as bytes for the kernel. Raises NoSuchInterface for an invalid name."""
    try:
        name = os.fsencode(interface)
    except UnicodeEncodeError:
        raise failure(interface, errno.ENODEV, "") from None
    # The kernel would truncate a longer name, possibly to an existing one.
    if len(name) >= NAME_SIZE or 0 in name:
        raise failure(interface, errno.ENODEV, "")
    return name


def check_ifname(ifname: object) -> None:
    """Refuse a name that is not a str."""
    if not isinstance(ifname, str):
        raise InvalidArgument(f"ifname must be a str, not {type(ifname).__name__}")


def packed_ipv4(address: object) -> bytes:
    """An IPv4 address, as text or an object of ``ipaddress``, in its four bytes."""
    packed = getattr(address, "packed", None)
    if isinstance(packed, bytes) and len(packed) == 4:
        return packed
    if not isinstance(address, str):
        raise InvalidArgument(f"address must be an IPv4 address, not {type(address).__name__}")
    try:
        return socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        raise InvalidArgument(f"address {address!r}: expected an IPv4 address, as 192.0.2.1") from None
