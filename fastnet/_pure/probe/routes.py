"""Which way the kernel sends what, as it says itself over rtnetlink(7)."""

import errno
import os
import socket
import struct
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from fastnet._pure.netif import list_ipv6
from fastnet._pure.probe.common import FAMILIES

Attributes = dict[int, bytes]

# linux/netlink.h, rtnetlink.h, fib_rules.h, if_link.h, if_arp.h, if.h
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_ROUTE = struct.Struct("=BBBBBBBBI")
"""Family, lengths of destination and source, TOS, table, protocol, scope, type, flags; a rule's alike."""
_INTERFACE = struct.Struct("=BxHiII")
_GET_LINK, _GET_ROUTE, _GET_NEIGHBOUR, _GET_RULE = 18, 26, 30, 34
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP, _CHANGED = 1, 0x300, 0x10
_ROOM = 1 << 16
_TRIES = 8

_NAME = 3
_DESTINATION, _OUT, _GATEWAY, _PRIORITY, _PREFERRED, _TABLE = 1, 4, 5, 6, 7, 15
_SEVERAL_WAYS = {9, 18, 22}
"""RTA_MULTIPATH, RTA_VIA, RTA_ENCAP: more than one next hop, one of the other family, a tunnel."""
_UNICAST = 1
_DEAD, _LINK_DOWN = 1, 16
_ETHERNET, _UP, _NO_ARP = 1, 1, 0x80

_HARDWARE, _NOT_KNOWN = 2, 0x01 | 0x20
"""NDA_LLADDR; NUD_INCOMPLETE and NUD_FAILED."""

_RULE_PRIORITY, _RULE_SUPPRESSED, _RULE_TABLE, _RULE_PROTOCOL = 6, 14, 15, 21
_NO_PREFIX = 0xFFFFFFFF
_TO_TABLE, _PERMANENT = 1, 1
_LOCAL, _MAIN, _DEFAULT = 255, 254, 253
_RULES = {
    socket.AF_INET: ((0, _LOCAL), (32766, _MAIN), (32767, _DEFAULT)),
    socket.AF_INET6: ((0, _LOCAL), (32766, _MAIN)),
}
"""The priorities and the tables of the rules that a kernel begins with (ip-rule(8))."""
_LEFT_OUT = {
    socket.AF_INET: ((0, 0), FAMILIES[socket.AF_INET].multicast, (0xFFFFFFFF, 0xFFFFFFFF)),
    socket.AF_INET6: ((0, 0), (0xFE80 << 112, (0xFEC0 << 112) - 1), FAMILIES[socket.AF_INET6].multicast),
}
"""What is nobody's address, whatever route it has; of IPv6 also the link-local ones, as many as links."""
_UNTOLD = (errno.EAGAIN, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)
"""Changes at each try; no such family here; a kernel that knows no rules; a sandbox that forbids asking."""


class Route(NamedTuple):
    """The addresses ``first`` to ``last``, as numbers, that are reached by one interface."""

    interface: str
    first: int
    last: int
    source: str
    """The numeric address from which the kernel sends there."""
    gateway: str = ""
    """The numeric address of the router that passes on what is sent there; empty where it needs none."""


class _Entry(NamedTuple):
    """A route of the kernel's; ``interface`` is the number of its one interface, 0 where that is not all."""

    order: tuple[int, int, int]
    """By the table, the prefix and the metric: the least one decides."""
    first: int
    last: int
    interface: int
    has_gateway: bool


def on_link(family: int) -> list[Route]:
    """The addresses of one family that this machine's interfaces have for neighbours, by ARP or NDP.

    They are of Ethernet interfaces that are up and speak ARP; the most specific routes' come first, and no
    two of them overlap. What another route takes away is left out: by a gateway, to addresses of our own,
    broadcast, unreachable; so is what goes several ways at once, multicast, and IPv6's link-local addresses.
    Empty where other rules (ip-rule(8)) than the kernel's own decide which route is taken, where routes
    change all the time, or where the kernel may not be asked: nothing is guessed. Raises OSError.
    """
    return _routes(family, lambda entry, *_: not entry.has_gateway)


def gatewayed(family: int) -> list[Route]:
    """The addresses of one family that are reached by one gateway each, on interfaces such as ``on_link``'s.

    What it says of the intervals and of what is left out holds here too. Raises OSError.
    """
    return _routes(family, lambda entry, *_: entry.has_gateway)


def only_ipv6_source(spans: Sequence[tuple[int, int]]) -> str:
    """The address from which the kernel sends to each of these; empty where there may be several, or none.

    For a socket that is not bound to it, the kernel looks for it with every packet (RFC 6724). ``spans`` are
    intervals of addresses as numbers, ascending and apart. All of them must be among those that ``on_link``
    and ``gatewayed`` tell of, on interfaces that have that address and otherwise link-local ones only.
    Raises OSError.
    """
    firsts, lasts = zip(*spans, strict=True)

    def shared(first: int, last: int) -> int:
        """How many addresses of the spans are in an interval."""
        where = slice(bisect_left(lasts, first), bisect_right(firsts, last))
        return sum(min(last, high) - max(first, low) + 1 for low, high in spans[where])

    routes = _routes(socket.AF_INET6, lambda _, first, last: shared(first, last) > 0)
    known = sum(shared(route.first, route.last) for route in routes)
    sources = {route.source for route in routes}
    if len(sources) != 1 or known != sum(high - low + 1 for low, high in spans):
        return ""
    interfaces = {route.interface for route in routes}
    try:
        own = [(name, address) for name, address, _, _ in list_ipv6() if not address.startswith("fe80:")]
    except FileNotFoundError:
        return ""  # without /proc it is not known
    alone = all({address for name, address in own if name == each} == sources for each in interfaces)
    return sources.pop() if alone else ""


def neighbour(family: int, interface: int, address: str) -> bytes:
    """The MAC address that the kernel has for a neighbour; empty where it does not know it (yet)."""
    packed = socket.inet_pton(family, address)
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DESTINATION) + packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        question = _NEIGHBOUR.pack(family, interface, 0, 0, 0) + destination
        try:
            _, answer = next(_answers(kernel, _GET_NEIGHBOUR, 0, question))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return b""
            raise
    state = _NEIGHBOUR.unpack_from(answer)[2]
    return b"" if state & _NOT_KNOWN else _attributes(answer, _NEIGHBOUR.size).get(_HARDWARE, b"")


def _routes(family: int, wanted: Callable[[_Entry, int, int], bool]) -> list[Route]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            if _rules(kernel, family) != _RULES[socket.AddressFamily(family)]:
                return []
            names = _neighbourly(kernel)
            entries = sorted(_entries(kernel, family), key=attrgetter("order"))
            found = (
                _asked(kernel, family, first, last, entry, names[entry.interface])
                for first, last, entry in _decided(entries, family)
                if entry.interface in names and wanted(entry, first, last)
            )
            return [route for route in found if route]
    except OSError as error:
        if error.errno in _UNTOLD:
            return []
        raise


def _asked(
    kernel: socket.socket, family: int, first: int, last: int, entry: _Entry, interface: str
) -> Route | None:
    """What the kernel itself says of the last address of an interval; None where it sees it otherwise."""
    size = FAMILIES[socket.AddressFamily(family)].address_size
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + size, _DESTINATION) + last.to_bytes(size, "big")
    question = _ROUTE.pack(family, size * 8, 0, 0, 0, 0, 0, 0, 0) + destination
    try:
        _, answer = next(_answers(kernel, _GET_ROUTE, 0, question))
    except OSError:
        return None  # unreachable, or gone meanwhile
    (*_, kind, _), said = _ROUTE.unpack_from(answer), _attributes(answer, _ROUTE.size)
    same = kind == _UNICAST and said.get(_OUT) == _NUMBER.pack(entry.interface)
    if not same or (_GATEWAY in said) != entry.has_gateway or _PREFERRED not in said:
        return None
    source, gateway = (
        socket.inet_ntop(family, said[which]) if which in said else "" for which in (_PREFERRED, _GATEWAY)
    )
    return Route(interface, first, last, source, gateway)


def _decided(entries: list[_Entry], family: int) -> Iterator[tuple[int, int, _Entry]]:
    """The intervals for which each entry decides, apart from each other: what those before it left."""
    firsts, lasts = map(list, zip(*_LEFT_OUT[socket.AddressFamily(family)], strict=True))
    for entry in entries:
        low, high = bisect_left(lasts, entry.first), bisect_right(firsts, entry.last)
        start = entry.first
        for taken in range(low, high):
            if start < firsts[taken]:
                yield start, firsts[taken] - 1, entry
            start = lasts[taken] + 1
        if start <= entry.last:
            yield start, entry.last, entry
        firsts[low:high] = [min([entry.first, *firsts[low:high]])]
        lasts[low:high] = [max([entry.last, *lasts[low:high]])]


def _entries(kernel: socket.socket, family: int) -> Iterator[_Entry]:
    tables = [table for _, table in _RULES[socket.AddressFamily(family)]]
    bits = FAMILIES[socket.AddressFamily(family)].address_size * 8
    for message in _dump(kernel, _GET_ROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        of, length, from_length, tos, low_table, _, _, kind, flags = _ROUTE.unpack_from(message)
        said = _attributes(message, _ROUTE.size)
        table = _number(said, _TABLE, low_table)
        if of != family or table not in tables:
            continue
        first = int.from_bytes(said.get(_DESTINATION, b""), "big")
        whole = (
            kind == _UNICAST
            and not (from_length or tos or flags & (_DEAD | _LINK_DOWN))
            and _SEVERAL_WAYS.isdisjoint(said)
        )
        yield _Entry(
            (tables.index(table), bits - length, _number(said, _PRIORITY)),
            first,
            first | (1 << bits - length) - 1,
            _number(said, _OUT) if whole else 0,
            _GATEWAY in said,
        )


def _rules(kernel: socket.socket, family: int) -> tuple[tuple[int, int], ...]:
    """The priority and the table of each rule; a rule that applies to some packets only has table -1."""
    found = []
    for message in _dump(kernel, _GET_RULE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        _, to_length, from_length, tos, low_table, _, _, action, flags = _ROUTE.unpack_from(message)
        said = _attributes(message, _ROUTE.size)
        plain = (
            action == _TO_TABLE
            and not (to_length or from_length or tos or flags & ~_PERMANENT)
            and said.keys() <= {_RULE_PRIORITY, _RULE_SUPPRESSED, _RULE_TABLE, _RULE_PROTOCOL}
            and _number(said, _RULE_SUPPRESSED, _NO_PREFIX) == _NO_PREFIX
        )
        table = _number(said, _RULE_TABLE, low_table) if plain else -1
        found.append((_number(said, _RULE_PRIORITY), table))
    return tuple(sorted(found))


def _neighbourly(kernel: socket.socket) -> dict[int, str]:
    """The numbers and names of the interfaces that have neighbours and are up."""
    found = {}
    for message in _dump(kernel, _GET_LINK, _INTERFACE.pack(0, 0, 0, 0, 0)):
        _, kind, number, flags, _ = _INTERFACE.unpack_from(message)
        if kind == _ETHERNET and flags & (_UP | _NO_ARP) == _UP:
            found[number] = os.fsdecode(_attributes(message, _INTERFACE.size)[_NAME].rstrip(b"\0"))
    return found


def _dump(kernel: socket.socket, kind: int, question: bytes) -> list[bytes]:
    """All messages of a kind. Raises OSError, EAGAIN where they changed each time while they were told."""
    for _ in range(_TRIES):
        answers = [*_answers(kernel, kind, _DUMP, question)]
        if not any(flags & _CHANGED for flags, _ in answers):
            return [message for _, message in answers]
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _answers(kernel: socket.socket, kind: int, flags: int, question: bytes) -> Iterator[tuple[int, bytes]]:
    """Each message's flags and what is behind its header, up to the end of a dump."""
    kernel.send(_HEADER.pack(_HEADER.size + len(question), kind, _REQUEST | flags, 0, 0) + question)
    while True:
        data, start = kernel.recv(_ROOM), 0
        while start < len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, start)
            message = data[start + _HEADER.size : start + length]
            if kind in (_DONE, _ERROR):
                code = -int.from_bytes(message[:4], sys.byteorder, signed=True)
                if code:
                    raise OSError(code, os.strerror(code))
                return
            yield flags, message
            start += length + 3 & ~3


def _attributes(message: bytes, start: int) -> Attributes:
    found = {}
    while start < len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        found[kind] = message[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
    return found


def _number(said: Attributes, which: int, default: int = 0) -> int:
    return _NUMBER.unpack(said[which])[0] if which in said else default
