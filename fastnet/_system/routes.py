"""The kernel's routes, by rtnetlink(7)."""

import _socket as socket
import _struct as struct
import errno
import os
from _bisect import bisect_left, bisect_right
from _collections_abc import Callable, Iterator, Sequence
from _operator import attrgetter

from fastnet._contract.probe import MULTICAST
from fastnet._system.interfaces import (
    ETHERNET,
    GET_INTERFACE,
    INTERFACE,
    INTERFACE_NAME,
    NO_ARP,
    UP,
    own_addresses,
)
from fastnet._system.netlink import Netlink, attribute, number, split
from fastnet._typing import NamedTuple

# linux/rtnetlink.h, fib_rules.h
_ROUTE = struct.Struct("=BBBBBBBBI")
"""Family, lengths of destination and source, TOS, table, protocol, scope, type, flags; a rule's alike."""
_GET_ROUTE, _GET_RULE = 26, 34

_DESTINATION, _SOURCE, _OUT, _GATEWAY, _PRIORITY, _PREFERRED, _TABLE = 1, 2, 4, 5, 6, 7, 15
_SEVERAL_WAYS = {9, 18, 22}
"""RTA_MULTIPATH, RTA_VIA, RTA_ENCAP: more than one next hop, one of the other family, a tunnel."""
_UNICAST = 1
_DEAD, _LINK_DOWN = 1, 16

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
    socket.AF_INET: ((0, 0), MULTICAST[socket.AF_INET], (0xFFFFFFFF, 0xFFFFFFFF)),
    socket.AF_INET6: ((0, 0), (0xFE80 << 112, (0xFEC0 << 112) - 1), MULTICAST[socket.AF_INET6]),
}
"""Ranges that are no host's, whatever route they have; for IPv6 also link-local, which every link has."""
_BITS = {socket.AF_INET: 32, socket.AF_INET6: 128}
_LINK_LOCAL = b"\xfe\x80"
_UNKNOWN = (errno.EAGAIN, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)
"""Changed during each try; no such family; a kernel without rules; forbidden by a sandbox."""


class Route(NamedTuple):
    """The addresses ``first`` to ``last``, as integers, that are reached by one interface."""

    interface: str
    first: int
    last: int
    source: str
    """The numeric address from which the kernel sends there."""
    gateway: str = ""
    """The numeric address of the router on the way; empty if there is none."""


class _Entry(NamedTuple):
    """A kernel route; ``interface`` is the index of its only interface, 0 if the route has more than that."""

    order: tuple[int, int, int]
    """Table, prefix and metric: the lowest decides."""
    first: int
    last: int
    interface: int
    has_gateway: bool


class Way(NamedTuple):
    """The kernel's route for one destination."""

    is_unicast: bool
    """Whether the packets are sent to a host; not to this machine, and not rejected."""
    interface: int
    """The interface's index; 0 if the route has none."""
    gateway: str
    """The numeric address of the router on the way; empty if there is none."""
    source: str
    """The numeric address that the kernel would send from; empty if it has none."""


def way_from(family: int, source: str, destination: str) -> Way:
    """The kernel's route from one numeric address to another, by RTM_GETROUTE; nothing is sent.

    Raises OSError.
    """
    bits = _BITS[family]
    question = _ROUTE.pack(family, bits, bits, 0, 0, 0, 0, 0, 0)
    question += attribute(_DESTINATION, socket.inet_pton(family, destination))
    question += attribute(_SOURCE, socket.inet_pton(family, source))
    with Netlink() as kernel:
        answer = kernel.ask_one(_GET_ROUTE, question)
    (*_, kind, _), said = split(answer, _ROUTE)
    gateway = socket.inet_ntop(family, said[_GATEWAY]) if _GATEWAY in said else ""
    return Way(kind == _UNICAST, number(said, _OUT, 4), gateway, source)


def on_link(family: int) -> list[Route]:
    """The addresses of one family that are on the links of this machine, by ARP or NDP.

    They are on Ethernet interfaces that are up and use ARP; those of the most specific routes come first, and
    no two overlap. Addresses of other routes are left out: by a gateway, to our own addresses,
    broadcast, unreachable; so are multipath routes, multicast, and IPv6's link-local addresses.
    Empty if rules (ip-rule(8)) other than the kernel's defaults select the route, if routes
    change all the time, or if the kernel may not be queried: nothing is guessed. Raises OSError.
    """
    return _routes(family, lambda entry, *_: not entry.has_gateway)


def gatewayed(family: int) -> list[Route]:
    """The addresses of one family behind one gateway each, on interfaces like those of ``on_link``.

    Its rules for intervals and for addresses left out apply. Raises OSError.
    """
    return _routes(family, lambda entry, *_: entry.has_gateway)


def only_ipv6_source(spans: Sequence[tuple[int, int]]) -> str:
    """The address from which the kernel sends to each of these; empty if there may be several, or none.

    For an unbound socket the kernel selects it for every packet (RFC 6724). ``spans`` are intervals of
    addresses as integers, ascending and disjoint. All of them must be among those that ``on_link``
    and ``gatewayed`` return, on interfaces that have that address and otherwise link-local ones only.
    Raises OSError.
    """
    firsts, lasts = zip(*spans, strict=True)

    def shared(first: int, last: int) -> int:
        """The number of addresses of the spans that are in an interval."""
        where = slice(bisect_left(lasts, first), bisect_right(firsts, last))
        return sum(min(last, high) - max(first, low) + 1 for low, high in spans[where])

    routes = _routes(socket.AF_INET6, lambda _, first, last: shared(first, last) > 0)
    known = sum(shared(route.first, route.last) for route in routes)
    sources = {route.source for route in routes}
    if len(sources) != 1 or known != sum(high - low + 1 for low, high in spans):
        return ""
    names = dict(socket.if_nameindex())
    try:
        own = [
            (names.get(interface), socket.inet_ntop(socket.AF_INET6, address))
            for interface, address, _ in own_addresses(socket.AF_INET6)
            if not address.startswith(_LINK_LOCAL)
        ]
    except OSError as error:
        if error.errno in _UNKNOWN:
            return ""
        raise
    interfaces = {route.interface for route in routes}
    alone = all({address for name, address in own if name == each} == sources for each in interfaces)
    return sources.pop() if alone else ""


def _routes(family: int, wanted: Callable[[_Entry, int, int], bool]) -> list[Route]:
    try:
        with Netlink() as kernel:
            if _rules(kernel, family) != _RULES[family]:
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
        if error.errno in _UNKNOWN:
            return []
        raise


def _asked(
    kernel: Netlink, family: int, first: int, last: int, entry: _Entry, interface: str
) -> Route | None:
    """The kernel's own answer for the last address of an interval; None if it differs."""
    size = _BITS[family] // 8
    destination = attribute(_DESTINATION, last.to_bytes(size, "big"))
    question = _ROUTE.pack(family, size * 8, 0, 0, 0, 0, 0, 0, 0) + destination
    try:
        answer = kernel.ask_one(_GET_ROUTE, question)
    except OSError:
        return None  # unreachable, or removed meanwhile
    (*_, kind, _), said = split(answer, _ROUTE)
    same = kind == _UNICAST and number(said, _OUT, 4) == entry.interface
    if not same or (_GATEWAY in said) != entry.has_gateway or _PREFERRED not in said:
        return None
    source, gateway = (
        socket.inet_ntop(family, said[which]) if which in said else "" for which in (_PREFERRED, _GATEWAY)
    )
    return Route(interface, first, last, source, gateway)


def _decided(entries: list[_Entry], family: int) -> Iterator[tuple[int, int, _Entry]]:
    """The intervals for which each entry decides, without those of the entries before it."""
    firsts, lasts = map(list, zip(*_LEFT_OUT[family], strict=True))
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


def _entries(kernel: Netlink, family: int) -> Iterator[_Entry]:
    tables = [table for _, table in _RULES[family]]
    bits = _BITS[family]
    for message in kernel.dump(_GET_ROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        (of, length, from_length, tos, low_table, _, _, kind, flags), said = split(message, _ROUTE)
        table = number(said, _TABLE, 4, low_table)
        if of != family or table not in tables:
            continue
        first = int.from_bytes(said.get(_DESTINATION, b""), "big")
        whole = (
            kind == _UNICAST
            and not (from_length or tos or flags & (_DEAD | _LINK_DOWN))
            and _SEVERAL_WAYS.isdisjoint(said)
        )
        yield _Entry(
            (tables.index(table), bits - length, number(said, _PRIORITY, 4)),
            first,
            first | (1 << bits - length) - 1,
            number(said, _OUT, 4) if whole else 0,
            _GATEWAY in said,
        )


def _rules(kernel: Netlink, family: int) -> tuple[tuple[int, int], ...]:
    """The priority and the table of each rule; table -1 for a rule that applies only to some packets."""
    found = []
    for message in kernel.dump(_GET_RULE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        (_, to_length, from_length, tos, low_table, _, _, action, flags), said = split(message, _ROUTE)
        plain = (
            action == _TO_TABLE
            and not (to_length or from_length or tos or flags & ~_PERMANENT)
            and said.keys() <= {_RULE_PRIORITY, _RULE_SUPPRESSED, _RULE_TABLE, _RULE_PROTOCOL}
            and number(said, _RULE_SUPPRESSED, 4, _NO_PREFIX) == _NO_PREFIX
        )
        table = number(said, _RULE_TABLE, 4, low_table) if plain else -1
        found.append((number(said, _RULE_PRIORITY, 4), table))
    return tuple(sorted(found))


def _neighbourly(kernel: Netlink) -> dict[int, str]:
    """The indexes and names of the interfaces that have neighbours and are up."""
    found = {}
    for message in kernel.dump(GET_INTERFACE, INTERFACE.pack(0, 0, 0, 0, 0)):
        (_, kind, interface, flags, _), said = split(message, INTERFACE)
        if kind == ETHERNET and flags & (UP | NO_ARP) == UP:
            found[interface] = os.fsdecode(bytes(said[INTERFACE_NAME]).rstrip(b"\0"))
    return found
