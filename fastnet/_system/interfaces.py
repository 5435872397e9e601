"""This machine's interfaces and addresses, for sockets and routes, over rtnetlink(7)."""

import _socket as socket
import _struct as struct
import errno
import os
from _collections_abc import Iterator

from fastnet._contract.netif import check_name, failure
from fastnet._system.netlink import Netlink, attribute, split
from fastnet._typing import NamedTuple

# linux/rtnetlink.h, if_link.h, if_addr.h, if.h
GET_INTERFACE, _GET_ADDRESS = 18, 22
INTERFACE = struct.Struct("=BxHiII")
"""Of struct ifinfomsg: family, type (if_arp.h), number, flags, changed flags."""
ETHERNET, UP, NO_ARP = 1, 1, 0x80
INTERFACE_NAME, _HARDWARE, _ALTERNATIVE_NAME = 3, 1, 53
_ADDRESS = struct.Struct("=BBBBi")
_ADDRESS_OF_PEER, _ADDRESS_OF_OURS = 1, 2


class Interface(NamedTuple):
    """The current state of an interface."""

    number: int
    kind: int
    """Of if_arp.h."""
    flags: int
    hardware: bytes
    """Its MAC address, where the kind has such."""


def look_up(interface: str) -> Interface:
    """The interface of this name. Raises NoSuchInterface, OSError."""
    try:
        check_name(interface)
        number = socket.if_nametoindex(interface)
    except OSError:
        raise failure(interface, errno.ENODEV, "") from None
    with Netlink() as kernel:
        try:
            message = kernel.ask_one(GET_INTERFACE, INTERFACE.pack(0, 0, number, 0, 0))
        except OSError as error:
            raise failure(interface, error.errno or 0, "") from None
    (_, kind, _, flags, _), found = split(message, INTERFACE)
    return Interface(number, kind, flags, bytes(found.get(_HARDWARE, b"")))


def own_name(interface: str) -> str:
    """The name of the interface that has this alternative name; what is none is returned as it is.

    Calls other than rtnetlink's take no name of more than 15 bytes, and alternative ones may have 127.
    """
    try:
        name = os.fsencode(interface)
        if not name or 0 in name:
            return interface
        with Netlink() as kernel:
            asked = INTERFACE.pack(0, 0, 0, 0, 0) + attribute(_ALTERNATIVE_NAME, name + b"\0")
            message = kernel.ask_one(GET_INTERFACE, asked)
    except (OSError, UnicodeEncodeError):
        return interface
    _, found = split(message, INTERFACE)
    return os.fsdecode(bytes(found[INTERFACE_NAME]).rstrip(b"\0"))


def own_addresses(family: int) -> Iterator[tuple[int, bytes, int]]:
    """This machine's addresses of a family: their interface's number, their bytes, their prefix length.

    Raises OSError.
    """
    with Netlink() as kernel:
        messages = kernel.dump(_GET_ADDRESS, _ADDRESS.pack(family, 0, 0, 0, 0))
    for message in messages:
        (of, length, _, _, interface), found = split(message, _ADDRESS)
        if of == family:
            yield interface, bytes(found.get(_ADDRESS_OF_OURS) or found[_ADDRESS_OF_PEER]), length
