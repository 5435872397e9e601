"""The API of netifaces 0.11: ``from fastnet.compat import netifaces``.

Functions, keys, types and errors are those of netifaces, in the network namespace of the calling thread.
``docs/compat.md`` lists where the values differ, and why. ``install()`` makes ``import netifaces`` of other
packages load this module.
"""

import socket
import sys
from types import ModuleType

from fastnet import interfaces as _interfaces
from fastnet.interfaces import Interface, InterfaceAddress, Route

Entry = dict[str, str]
"""One address: ``addr``, and ``netmask``, ``broadcast`` and ``peer`` if it has them."""

version = "0.11.0"
"""The version of netifaces whose API this is."""

# Numbers of linux/socket.h, in the order of netifaces: of two names of a number, the last one is shown.
AF_UNSPEC = 0
AF_UNIX = AF_FILE = 1
AF_INET = 2
AF_AX25 = 3
AF_SNA = 22
AF_DECnet = 12
AF_APPLETALK = 5
AF_ROUTE = AF_NETLINK = 16
AF_LINK = AF_PACKET = 17
AF_IPX = 4
AF_ISDN = 34
AF_INET6 = 10
AF_NETBEUI = 13
AF_ATMPVC = 8
AF_ATMSVC = 20
AF_IRDA = 23
AF_NETROM = 6
AF_BRIDGE = 7
AF_X25 = 9
AF_ROSE = 11
AF_SECURITY = 14
AF_KEY = 15
AF_ASH = 18
AF_ECONET = 19
AF_PPPOX = 24
AF_WANPIPE = 25
AF_BLUETOOTH = 31

address_families = {number: name for name, number in [*globals().items()] if name.startswith("AF_")}
"""The name of each address family by its number."""

_MAIN_TABLE = 254
_IPV6_TUNNELS = ("tunnel6", "gre6")


def interfaces() -> list[str]:
    """The names of all interfaces, then the alias labels of IPv4 addresses (``eth0:1``). Raises OSError."""
    found = _interfaces.all()
    labels = (address.label for each in found for address in each.addresses)
    return [*dict.fromkeys([*(each.name for each in found), *labels])]


def ifaddresses(ifname: str, /) -> dict[int, list[Entry]]:
    """The addresses of an interface or of an alias label, by their family.

    AF_LINK has the MAC address. Raises ValueError for an unknown name, OSError.
    """
    if not isinstance(ifname, str):
        raise TypeError(f"argument 1 must be str, not {type(ifname).__name__}")
    found: dict[int, list[Entry]] = {}
    is_known = False
    for interface in _interfaces.all():
        other = "peer" if {"POINTOPOINT", "LOOPBACK"} & {*interface.flags} else "broadcast"
        if interface.name == ifname:
            is_known = True
            if interface.mac:
                found[AF_LINK] = [_link_entry(interface, other)]
        for address in interface.addresses:
            if address.label == ifname:
                is_known = True
                family = AF_INET6 if address.version == 6 else AF_INET
                found.setdefault(family, []).append(_entry(address, other))
    if not is_known:
        raise ValueError("You must specify a valid interface name.")
    return found


def gateways() -> dict[int | str, dict[int, tuple[str, str]] | list[tuple[str, str, bool]]]:
    """The gateways of all default routes, by their family, and under ``"default"`` the one in use.

    A gateway is its address, its interface, and whether it is the one in use: the first of the main table's
    route with the lowest metric. Raises OSError.
    """
    default: dict[int, tuple[str, str]] = {}
    found: dict[int | str, dict[int, tuple[str, str]] | list[tuple[str, str, bool]]] = {"default": default}
    routes = _interfaces.gateways()
    for version, family in ((4, AF_INET), (6, AF_INET6)):
        own = sorted((each for each in routes if each.version == version), key=_preference)
        hops = [(hop, _is_for_all(route)) for route in own for hop in _hops(route, version)]
        if hops and hops[0][1]:
            default[family] = hops[0][0]
        if hops:
            found[family] = [(*hop, family in default and not at) for at, (hop, _) in enumerate(hops)]
    return found


def install() -> ModuleType:
    """Make ``import netifaces`` load this module from now on, and return it.

    A module that has already imported the real netifaces keeps it.
    """
    sys.modules["netifaces"] = module = sys.modules[__name__]
    return module


def _link_entry(interface: Interface, other: str) -> Entry:
    entry = {"addr": _hexadecimal(interface.mac or "", interface.link_type)}
    if interface.broadcast:
        entry[other] = _hexadecimal(interface.broadcast, interface.link_type)
    return entry


def _hexadecimal(address: str, link_type: str) -> str:
    """A link-layer address with colons, also that of an IP tunnel."""
    if "." in address and link_type not in _IPV6_TUNNELS:
        return socket.inet_aton(address).hex(":")
    return socket.inet_pton(AF_INET6, address).hex(":") if link_type in _IPV6_TUNNELS else address


def _entry(address: InterfaceAddress, other: str) -> Entry:
    if address.version == 6:
        entry = {"addr": _zoned(address, address.address), "netmask": _netmask6(address.prefix_length)}
        return {**entry, other: _zoned(address, address.peer)} if address.peer else entry
    entry = {"addr": address.address, "netmask": _netmask4(address.prefix_length)}
    if not address.address.startswith("169.254."):
        # getifaddrs(3) has one slot for broadcast and peer; without either the kernel's peer is the address.
        entry[other] = address.broadcast or address.peer or address.address
    return entry


def _zoned(address: InterfaceAddress, text: str) -> str:
    first, second = socket.inet_pton(AF_INET6, text)[:2]
    return f"{text}%{address.interface}" if first == 0xFE and second & 0xC0 == 0x80 else text


def _netmask4(prefix_length: int) -> str:
    return socket.inet_ntoa((0xFFFFFFFF << 32 - prefix_length & 0xFFFFFFFF).to_bytes(4))


def _netmask6(prefix_length: int) -> str:
    """The groups with set bits, and the length: ``ffff:fff0::/28``."""
    mask = ((1 << 128) - (1 << 128 - prefix_length)).to_bytes(16).hex()
    groups = [mask[at : at + 4] for at in range(0, (prefix_length + 15) // 16 * 4, 4)]
    return f"{':'.join(groups)}{'::' if len(groups) < 8 else ''}/{prefix_length}"


def _is_for_all(route: Route) -> bool:
    """Whether it applies to packets from any source, unless a rule (ip-rule(8)) selects another table."""
    return route.table == _MAIN_TABLE and route.sources is None


def _preference(route: Route) -> tuple[bool, int]:
    return not _is_for_all(route), route.metric


def _hops(route: Route, version: int) -> list[tuple[str, str]]:
    """The gateways of a route that are of its own family, and not dead."""
    legs = route.legs or (route,)
    return [
        (each.gateway, each.interface)
        for each in legs
        if each.gateway and each.interface and "dead" not in each.flags
        if (":" in each.gateway) == (version == 6)
    ]
