"""The kernel's interfaces, addresses, routes and neighbours, by rtnetlink(7).

``Kernel`` sends requests over one socket, which belongs to the network namespace that it was opened in;
``parse`` reads the events that a subscribed socket has received. The records are those of
``fastnet._contract.rtnetlink``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from types import TracebackType

from fastnet._contract.rtnetlink import (
    AddressLifetime,
    Interface,
    InterfaceAddress,
    InterfaceCounters,
    Neighbour,
    Route,
)
from fastnet._pure.rtnetlink.reading import (
    Speed,
    as_address,
    as_lifetime,
    parse,
    read_address,
    read_counters,
    read_family,
    read_link,
    read_neighbour,
    read_route,
    read_speed,
    resolve,
)
from fastnet._system.netlink import DUMP, GENERIC, Netlink, attribute, open_netlink

__all__ = ["Kernel", "parse"]

# linux/rtnetlink.h, if_link.h, sockios.h, genetlink.h, ethtool_netlink.h
_GET_LINK, _GET_ADDRESS, _GET_ROUTE, _GET_NEIGHBOUR = 18, 22, 26, 30
_SKIP_STATISTICS = attribute(29, struct.pack("=I", 8))
_SIOCGIFNAME = 0x8910
_NAME_OF = struct.Struct("16si20x")
_CONTROL, _GET_FAMILY = 16, 3
_LINK_MODES = struct.pack("=BBH", 4, 1, 0) + attribute(0x8001, attribute(3, struct.pack("=I", 1)))
_NO_ETHTOOL = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES)
_ALTNAME_SIZE = 128
_LOOKUP_TABLE = 0x1000
_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))


class Kernel:
    """Requests to the kernel about one network namespace: the calling thread's, or that of given sockets.

    ``route`` and ``generic`` are descriptors of new sockets of NETLINK_ROUTE and NETLINK_GENERIC, of which
    it takes ownership, even on failure. Not thread-safe. Raises OSError.
    """

    def __init__(self, route: int = -1, generic: int = -1) -> None:
        self._generic = Netlink(_adopted(generic)) if generic >= 0 else None
        self._netlink = Netlink(None if route < 0 else _adopted(route))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets; a second time does nothing."""
        self._netlink.socket.close()
        if self._generic:
            self._generic.socket.close()

    def interfaces(self) -> list[Interface]:
        """Every interface with its addresses, in the kernel's order. Raises OSError."""
        found = [
            read_link(body) for _, body in self._netlink.ask(_GET_LINK, DUMP, bytes(16) + _SKIP_STATISTICS)
        ]
        links = [link for link in found if link]
        names = {link.ifindex: link.name for link in links}
        addresses: dict[int, list[InterfaceAddress]] = {}
        for _, body in self._netlink.ask(_GET_ADDRESS, DUMP, bytes(8)):
            if (address := read_address(body)) and address.ifindex in names:
                own = as_address(address, names[address.ifindex])
                addresses.setdefault(address.ifindex, []).append(own)
        speeds = self._speeds()

        def whole(link: Interface) -> Interface:
            speed, duplex = speeds.get(link.ifindex, (None, None))
            own = tuple(addresses.get(link.ifindex, ()))
            return resolve(link, names.get)._replace(speed_mbit=speed, duplex=duplex, addresses=own)

        return [whole(link) for link in links]

    def addresses(self, ifindex: int = 0) -> list[InterfaceAddress]:
        """Every address, or those of one interface, in the kernel's order. Raises OSError."""
        name_of = _Names(self._netlink.socket.fileno())
        found = [
            read_address(body) for _, body in self._netlink.ask(_GET_ADDRESS, DUMP, _address_of(ifindex))
        ]
        return [
            as_address(each, name)
            for each in found
            if each and ifindex in (0, each.ifindex) and (name := name_of(each.ifindex)) is not None
        ]

    def lifetimes(self) -> list[AddressLifetime]:
        """The remaining preferred and valid lifetime of each address. Raises OSError."""
        name_of = _Names(self._netlink.socket.fileno())
        found = [read_address(body) for _, body in self._netlink.ask(_GET_ADDRESS, DUMP, _address_of(0))]
        return [
            as_lifetime(each, name) for each in found if each and (name := name_of(each.ifindex)) is not None
        ]

    def counters(self) -> list[InterfaceCounters]:
        """The counters of every interface. Raises OSError."""
        found = [read_counters(body) for _, body in self._netlink.ask(_GET_LINK, DUMP, bytes(16))]
        return [each for each in found if each]

    def routes(self) -> list[Route]:
        """Every route of IPv4, then of IPv6, of all tables, in the kernel's order. Raises OSError."""
        name_of = _Names(self._netlink.socket.fileno())
        found = [
            read_route(body, name_of)
            for family in _FAMILIES
            for _, body in self._dump_of(_GET_ROUTE, family, struct.pack("=B11x", family))
        ]
        return [each for each in found if each and (each.ifindex is None or each.interface is not None)]

    def neighbours(self) -> list[Neighbour]:
        """Every neighbour of IPv4, then of IPv6, in the kernel's order. Raises OSError."""
        name_of = _Names(self._netlink.socket.fileno())
        found = [
            read_neighbour(body, name_of)
            for family in _FAMILIES
            for _, body in self._dump_of(_GET_NEIGHBOUR, family, struct.pack("=B11x", family))
        ]
        return [each for each in found if each and each.interface]

    def route_to(self, destination: bytes, ifindex: int = 0) -> Route:
        """The kernel's route for a packet to an address of 4 or 16 bytes, by this interface if not 0.

        No packet is sent. Raises OSError: ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL as connect(2) does.
        """
        family, size = (_FAMILIES[0], 32) if len(destination) == 4 else (_FAMILIES[1], 128)
        flags = _LOOKUP_TABLE if size == 32 else 0
        question = struct.pack("=BBBBBBBBI", family, size, 0, 0, 0, 0, 0, 0, flags) + attribute(
            1, destination
        )
        if ifindex:
            question += attribute(4, struct.pack("=i", ifindex))
        [(_, body)] = self._netlink.ask(_GET_ROUTE, 0, question)
        route = read_route(body, lambda _: None)
        if route is None or route.ifindex is None:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        link = self._link(struct.pack("=BxHiII", 0, 0, route.ifindex, 0, 0))
        address, _, _ = route.destination.partition("/")
        mtu = route.mtu or link.mtu
        return route._replace(destination=address, interface=link.name, sources=None, mtu=mtu)

    def find(self, name: bytes) -> Interface:
        """The interface of this name or alternative name, without addresses, speed and names of others.

        Raises OSError, ENODEV.
        """
        if not 0 < len(name) < _ALTNAME_SIZE or b"\0" in name:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return self._link(bytes(16) + attribute(3 if len(name) < 16 else 53, name + b"\0"))

    def _link(self, question: bytes) -> Interface:
        [(_, body)] = self._netlink.ask(_GET_LINK, 0, question)
        link = read_link(body)
        if link is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return link

    def _dump_of(self, kind: int, family: int, question: bytes) -> list[tuple[int, memoryview]]:
        """A dump of one family; a kernel without it returns another family's, or an error."""
        try:
            found = self._netlink.ask(kind, DUMP, question)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                raise
            return []
        return [(kind, body) for kind, body in found if body[:1] == bytes([family])]

    def _speeds(self) -> dict[int, Speed]:
        """The ethtool settings of each interface, by its index; empty if the kernel has none."""
        try:
            # Kept: the thread may be in another namespace at the next call.
            generic = self._generic = self._generic or Netlink(open_netlink(GENERIC))
            family = _ethtool.number or _ethtool.look_up(generic)
            return dict(read_speed(each) for _, each in generic.ask(family, DUMP, _LINK_MODES))
        except OSError as error:
            if error.errno not in _NO_ETHTOOL:
                raise
            return {}


class _Ethtool:
    """The number of ethtool's generic family, the same while the kernel runs; 0 until looked up."""

    number = 0

    def look_up(self, generic: Netlink) -> int:
        question = struct.pack("=BBH", _GET_FAMILY, 1, 0) + attribute(2, b"ethtool\0")
        [(_, body)] = generic.ask(_CONTROL, 0, question)
        self.number = read_family(body)
        return self.number


_ethtool = _Ethtool()


class _Names(dict[int, str | None]):
    """The names of interfaces by their index, each requested once; None for one that was removed."""

    def __init__(self, opened: int) -> None:
        self._socket = opened

    def __call__(self, ifindex: int) -> str | None:
        return self[ifindex]

    def __missing__(self, ifindex: int) -> str | None:
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFNAME, _NAME_OF.pack(b"", ifindex))
            name = os.fsdecode(answer[:16].partition(b"\0")[0])
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            name = None
        self[ifindex] = name
        return name


def _adopted(opened: int) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0, opened)


def _address_of(ifindex: int) -> bytes:
    return struct.pack("=BBBBi", 0, 0, 0, 0, ifindex)
