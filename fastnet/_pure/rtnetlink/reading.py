"""Parses the kernel's messages to records."""

import os
import struct
from _collections_abc import Callable, Mapping

from fastnet._contract import rtnetlink_names as names_of
from fastnet._contract.rtnetlink import (
    AddressLifetime,
    Interface,
    InterfaceAddress,
    InterfaceCounters,
    Message,
    Neighbour,
    NextHop,
    Route,
)
from fastnet._contract.rtnetlink_names import named
from fastnet._system.netlink import (
    SIZES,
    Attributes,
    address,
    attributes,
    bad_message,
    each_attribute,
    messages,
    number,
    numeric,
    padded,
    split,
    text,
)
from fastnet._typing import NamedTuple

# linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, ethtool_netlink.h, genetlink.h
LINKS, ADDRESSES, ROUTES, NEIGHBOURS = (16, 17), (20, 21), (24, 25), (28, 29)
"""Types of messages: an object was added or has changed, an object was removed."""
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_LEG = struct.Struct("=HBBi")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_GENERIC = struct.Struct("=BBH")
_COUNTERS = struct.Struct("=25Q")
"""struct rtnl_link_stats64; an older kernel has fewer."""
_LIFETIMES = struct.Struct("=II")
_ALTNAME = 53
_FOREVER = 0xFFFFFFFF
_UNKNOWN_SPEED = (0, 0xFFFFFFFF)

NameOf = Callable[[int], str | None]
"""The name of the interface of an index; None if there is none."""
Speed = tuple[int | None, str | None]


def parse(data: bytes, names: Mapping[int, str]) -> list[Message]:
    """Each message in one or more datagrams of the kernel; ``names`` maps indexes to interface names.

    A message of another type, or about anything but an interface, IP address, IP route or neighbour, has no
    record. Raises OSError, EBADMSG for a message that is malformed by linux/rtnetlink.h.
    """
    return [Message(kind, _record(kind, body, names.get)) for kind, _, _, body in messages(memoryview(data))]


def _record(
    kind: int, body: memoryview, name_of: NameOf
) -> Interface | InterfaceAddress | Route | Neighbour | None:
    if kind in LINKS:
        link = read_link(body)
        return resolve(link, name_of) if link else None
    if kind in ADDRESSES:
        found = read_address(body)
        return as_address(found, name_of(found.ifindex) or "") if found else None
    if kind in ROUTES:
        return read_route(body, name_of)
    return read_neighbour(body, name_of) if kind in NEIGHBOURS else None


def hexadecimal(packed: bytes | None) -> str | None:
    return packed.hex(":") if packed else None


def _hardware(found: Attributes, kind: int, link_type: int) -> str | None:
    """A link-layer address as text; that of an IP tunnel is an IP address."""
    packed = bytes(found.get(kind, b""))
    if (link_type in names_of.IPV4_TUNNELS and len(packed) == 4) or (
        link_type in names_of.IPV6_TUNNELS and len(packed) == 16
    ):
        return numeric(packed)
    return hexadecimal(packed)


def _decoded(name: bytes | None) -> str | None:
    return None if name is None else os.fsdecode(name)


def read_link(body: memoryview) -> Interface | None:
    """An interface, without the names of others; None for a bridge's message about a port."""
    (family, kind, ifindex, flags, _), found = split(body, _LINK)
    if family:
        return None
    info = attributes(found.get(18, memoryview(b"")))
    altnames = tuple(
        os.fsdecode(bytes(name).partition(b"\0")[0])
        for which, name in each_attribute(found.get(52, memoryview(b"")))
        if which == _ALTNAME
    )
    master, peer = number(found, 10, 4), number(found, 5, 4)
    elsewhere = number(found, 37, 4, signed=True) if 37 in found else None
    number(found, 35, 4)
    return Interface(
        ifindex,
        _decoded(text(found, 3)) or "",
        altnames,
        _decoded(text(info, 1)),
        named(names_of.LINK_TYPES, kind),
        _hardware(found, 1, kind),
        hexadecimal(bytes(found.get(54, b""))),
        _hardware(found, 2, kind),
        number(found, 4, 4),
        names_of.link_flags(flags),
        named(names_of.STATES, number(found, 16, 1)),
        bool(number(found, 33, 1)) if 33 in found else None,
        master_ifindex=master or None,
        peer_ifindex=peer or None,
        link_namespace=elsewhere,
    )


def resolve(interface: Interface, name_of: NameOf) -> Interface:
    """An interface with the names of its master and its peer."""
    master, peer = interface.master_ifindex, interface.peer_ifindex
    if not (master or peer):
        return interface
    is_here = interface.link_namespace is None
    return interface._replace(
        master=name_of(master) if master else None, peer=name_of(peer) if peer and is_here else None
    )


def read_counters(body: memoryview) -> InterfaceCounters | None:
    (family, _, ifindex, _, _), found = split(body, _LINK)
    if family:
        return None
    known = bytes(found.get(23, b"")).ljust(_COUNTERS.size, b"\0")
    name = _decoded(text(found, 3)) or ""
    return InterfaceCounters._make((name, ifindex, *_COUNTERS.unpack_from(known), number(found, 35, 4)))


class Address(NamedTuple):
    """A message about an address, checked."""

    ifindex: int
    own: bytes
    peer: bytes | None
    broadcast: bytes | None
    prefix_length: int
    flags: int
    scope: int
    label: bytes | None
    protocol: int | None
    lifetimes: tuple[int, int]


def read_address(body: memoryview) -> Address | None:
    """An address; None for another family."""
    (family, length, flags, scope, ifindex), found = split(body, _ADDRESS)
    if family not in SIZES:
        return None
    there, local, broadcast = (address(found, which, family) for which in (1, 2, 4))
    own = local or there
    lifetimes = bytes(found.get(6, b"\xff" * 16))
    if own is None or length > 8 * SIZES[family] or len(lifetimes) < 16:
        raise bad_message()
    peer = there if local and there != local else None
    protocol = number(found, 11, 1) if 11 in found else None
    preferred, valid = _LIFETIMES.unpack_from(lifetimes)
    return Address(
        ifindex,
        own,
        peer,
        broadcast,
        length,
        number(found, 8, 4, flags),
        scope,
        text(found, 3),
        protocol,
        (preferred, valid),
    )


def as_address(found: Address, name: str) -> InterfaceAddress:
    # The kernel adds a route to the peer's prefix (IPv4), or to the own address's prefix and the peer (IPv6).
    network = found.peer if found.peer and len(found.peer) == 4 else found.own
    return InterfaceAddress(
        name,
        name if found.label is None else os.fsdecode(found.label),
        numeric(found.own),
        found.prefix_length,
        _network(network, found.prefix_length),
        named(names_of.SCOPES, found.scope),
        numeric(found.broadcast) if found.broadcast else None,
        numeric(found.peer) if found.peer else None,
        None if found.protocol is None else named(names_of.ADDRESS_PROTOCOLS, found.protocol),
        names_of.address_flags(4 if len(found.own) == 4 else 6, found.flags),
        found.ifindex,
    )


def as_lifetime(found: Address, name: str) -> AddressLifetime:
    preferred, valid = (None if seconds == _FOREVER else seconds for seconds in found.lifetimes)
    return AddressLifetime(name, numeric(found.own), found.prefix_length, preferred, valid, found.ifindex)


def _network(packed: bytes, length: int) -> str:
    """An address with all bits after the prefix cleared."""
    host_bits = 8 * len(packed) - length
    return numeric((int.from_bytes(packed, "big") >> host_bits << host_bits).to_bytes(len(packed), "big"))


def _gateway(found: Attributes, family: int) -> str | None:
    """The router in RTA_GATEWAY, of the route's family, or in RTA_VIA, which has a family of its own."""
    if 5 in found:
        return numeric(address(found, 5, family) or b"")
    if 18 not in found:
        return None
    via = number(found, 18, 2)
    if len(found[18]) - 2 != SIZES.get(via):
        raise bad_message()
    return numeric(bytes(found[18][2:]))


def _legs(data: memoryview, family: int, name_of: NameOf) -> tuple[NextHop, ...]:
    found, start = list[NextHop](), 0
    while start < len(data):
        if len(data) - start < _LEG.size:
            raise bad_message()
        length, flags, weight, ifindex = _LEG.unpack_from(data, start)
        if not _LEG.size <= length <= len(data) - start:
            raise bad_message()
        own = attributes(data[start + _LEG.size : start + length])
        gateway = _gateway(own, family)
        found.append(NextHop(name_of(ifindex), ifindex, gateway, weight + 1, names_of.route_flags(flags)))
        start += padded(length)
    return tuple(found)


def read_route(body: memoryview, name_of: NameOf) -> Route | None:
    """A route; None for another family."""
    fixed, found = split(body, _ROUTE)
    family, length, sources_length, tos, table, protocol, scope, kind, flags = fixed
    if family not in SIZES:
        return None
    bits = 8 * SIZES[family]
    if length > bits or sources_length > bits:
        raise bad_message()
    destination, sources, source = (address(found, which, family) for which in (1, 2, 7))
    ifindex, encapsulation = number(found, 4, 4, signed=True), number(found, 21, 2)
    unset = numeric(bytes(SIZES[family]))
    return Route(
        f"{numeric(destination) if destination else unset}/{length}",
        _gateway(found, family),
        name_of(ifindex) if ifindex else None,
        ifindex or None,
        number(found, 6, 4),
        number(found, 15, 4, table),
        named(names_of.PROTOCOLS, protocol),
        named(names_of.ROUTE_TYPES, kind),
        named(names_of.SCOPES, scope),
        numeric(source) if source else None,
        f"{numeric(sources) if sources else unset}/{sources_length}" if sources_length else None,
        tos,
        number(attributes(found.get(8, memoryview(b""))), 2, 4) or None,
        names_of.route_flags(flags),
        _legs(found.get(9, memoryview(b"")), family, name_of),
        number(found, 30, 4) or None,
        named(names_of.ENCAPSULATIONS, encapsulation) if encapsulation else None,
        named(names_of.PREFERENCES, number(found, 20, 1)) if 20 in found else None,
    )


def read_neighbour(body: memoryview, name_of: NameOf) -> Neighbour | None:
    """A neighbour; None for another family, such as that of a bridge's table."""
    (family, ifindex, state, flags, _), found = split(body, _NEIGHBOUR)
    if family not in SIZES:
        return None
    packed = address(found, 1, family)
    if packed is None:
        raise bad_message()
    return Neighbour(
        name_of(ifindex) or "",
        numeric(packed),
        hexadecimal(bytes(found.get(2, b""))),
        names_of.neighbour_state(state),
        names_of.neighbour_flags(flags | number(found, 15, 4) << 8),
        named(names_of.PROTOCOLS, number(found, 12, 1)) if 12 in found else None,
        ifindex,
    )


def read_speed(body: memoryview) -> tuple[int, Speed]:
    """An interface's index and its ethtool settings."""
    _, found = split(body, _GENERIC)
    header = attributes(found.get(1, memoryview(b"")))
    megabits = number(found, 5, 4, _FOREVER)
    duplex = names_of.DUPLEXES.get(number(found, 6, 1, 0xFF))
    return number(header, 1, 4), (None if megabits in _UNKNOWN_SPEED else megabits, duplex)


def read_family(body: memoryview) -> int:
    """The number of a generic family."""
    _, found = split(body, _GENERIC)
    if 1 not in found:
        raise bad_message()
    return number(found, 1, 2)
