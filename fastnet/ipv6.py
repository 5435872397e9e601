"""IPv6 on this machine: which support works, every address with its prefix, and prefixes of texts.

``support()`` tries things out: ``socket.has_ipv6`` is only how Python was built. ``addresses()`` and
``prefix()`` keep the prefix length that belongs to each address.
"""

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastnet._backend import netif as _core
from fastnet._limits import Prefix as Given
from fastnet._limits import check_choice, prefix_text
from fastnet._reference import reference
from fastnet._results import as_dict, shown
from fastnet.endpoints import check_ipv4_form
from fastnet.errors import InvalidArgument, NoSuchInterface
from fastnet.interfaces import (
    InterfaceAddress,
    describe_address,
    get_index,
    list_addresses,
    network_of,
    prefix_length_of,
    scope_of,
)

ENGINES = ("fastnet", "netifaces", "netaddr")
PREFIX_ENGINES = ("fastnet", "netaddr")

_CONF = "/proc/sys/net/ipv6/conf"
_ROUTES = "/proc/thread-self/net/ipv6_route"

# linux/if_addr.h
_IFA_F_DADFAILED = 0x08
_IFA_F_TENTATIVE = 0x40

# linux/route.h, ipv6_route.h
_RTF_UP = 0x1
_RTF_REJECT = 0x200
_RTF_LOCAL = 0x80000000

# linux/if.h
_IFF_LOOPBACK = 0x8
_IFF_RUNNING = 0x40


class Ipv6Support(NamedTuple):
    """What IPv6 support there is; see ``support``."""

    built_in: bool
    kernel: bool
    disabled: tuple[str, ...]
    loopback: bool
    addresses: tuple[str, ...]
    default_route: bool

    @property
    def works(self) -> bool:
        """Whether a connection over IPv6 can leave this machine."""
        return not self.reason

    @property
    def reason(self) -> str:
        """The first missing thing; empty if IPv6 works."""
        lacking = (
            (self.built_in, "Python was built without IPv6"),
            (self.kernel, "the kernel has no IPv6"),
            (self.loopback, "the loopback address ::1 can't be used"),
            (bool(self.addresses), "no interface has an address beyond its own link"),
            (self.default_route, "there is no default route"),
        )
        return next((reason for there, reason in lacking if not there), "")

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Prefix(NamedTuple):
    """An address with its prefix. ``zone`` is what stood after ``%`` (RFC 4007, section 11), or None."""

    address: str
    zone: str | None
    prefix_length: int
    network: str

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        return f"{self.network}/{self.prefix_length}"

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def support() -> Ipv6Support:
    """What IPv6 support there really is, in the calling thread's network namespace.

    ``built_in``: Python knows IPv6. ``kernel``: an IPv6 socket can be opened. ``disabled``: the interfaces
    whose sysctl disable_ipv6 is set. ``loopback``: ``::1`` can be bound to. ``addresses``: those usable
    beyond loopback and link, without any whose duplicate detection is under way or failed (RFC 4862,
    section 5.4). ``default_route``: there is one, for every source, that neither rejects nor ends on this
    machine, by an interface that is running. Nothing is sent.
    """
    kernel, loopback = _try_sockets()
    addresses = tuple(
        address
        for _, address, _, flags in _core.list_ipv6()
        if not flags & (_IFA_F_DADFAILED | _IFA_F_TENTATIVE) and scope_of(address) not in ("host", "link")
    )
    return Ipv6Support(
        socket.has_ipv6, kernel, tuple(_disabled_interfaces()), loopback, addresses, _has_default_route()
    )


def _try_sockets() -> tuple[bool, bool]:
    """Whether an IPv6 socket can be opened, and bound to loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("::1", 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                return True, False
            return True, True
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return False, False


def _disabled_interfaces() -> Iterator[str]:
    # The sysctl file system shows each thread the namespace that it is in.
    for _, name in socket.if_nameindex():
        try:
            with open(os.path.join(_CONF, name, "disable_ipv6")) as file:
                if file.read().strip() != "0":
                    yield name
        except FileNotFoundError:
            continue  # The interface went meanwhile, or the kernel has no IPv6 for it.


def _has_default_route() -> bool:
    try:
        with open(_ROUTES, "rb") as file:
            routes = [
                line.split() for line in file
            ]  # as bytes: a name may hold what splits a text, or is none
    except FileNotFoundError:
        return False
    return any(
        to == from_ == b"00"
        and int(flags, 16) & (_RTF_UP | _RTF_REJECT | _RTF_LOCAL) == _RTF_UP
        and _leads_out(os.fsdecode(name))
        for _, to, _, from_, *_, flags, name in routes
    )


def _leads_out(ifname: str) -> bool:
    """Whether packets sent by an interface leave this machine."""
    try:
        return _core.get_flags(ifname) & (_IFF_LOOPBACK | _IFF_RUNNING) == _IFF_RUNNING
    except NoSuchInterface:
        return False  # it went meanwhile


def addresses(ifname: str | None = None, *, engine: str = "fastnet") -> list[InterfaceAddress]:
    """Every IPv4 and IPv6 address of all interfaces, or of one, with its true prefix length and network.

    ``engine`` is ``"fastnet"`` (our own), ``"netifaces"`` (it lists, we compute networks) or ``"netaddr"``
    (netifaces lists, netaddr computes). Raises NoSuchInterface, InvalidArgument and EngineMissing.
    """
    check_choice("engine", engine, ENGINES)
    if engine == "fastnet":
        return list_addresses(ifname)
    if ifname is not None:
        get_index(ifname)
    found = [
        address
        for address in _netifaces_addresses()
        if ifname is None or ifname in (address.interface, address.label)
    ]
    if engine == "netifaces":
        return found
    return [
        address._replace(network=_netaddr_network(address.address, address.prefix_length))
        for address in found
    ]


def _netifaces_addresses() -> Iterator[InterfaceAddress]:
    netifaces = reference("netifaces")
    for label in netifaces.interfaces():
        of_family = netifaces.ifaddresses(label)
        for entry in of_family.get(netifaces.AF_INET, ()):
            yield describe_address(label, entry["addr"], prefix_length_of(entry["netmask"]))
        for entry in of_family.get(netifaces.AF_INET6, ()):
            address, _, _ = entry["addr"].partition("%")
            _, _, prefix_length = entry["netmask"].partition("/")
            yield describe_address(label, address, int(prefix_length))


def _netaddr_network(address: str, prefix_length: int) -> str:
    return str(reference("netaddr").IPNetwork(f"{address}/{prefix_length}").network)


def prefix(text: Given, *, engine: str = "fastnet") -> Prefix:
    """The prefix of an address, IPv6 or IPv4, with any zone: ``"fe80::1%eth0/64"`` (RFC 4007, section 11.7).

    An address without a prefix length must be one of this machine's, whose interface knows it. ``engine`` is
    ``"fastnet"`` (our own) or ``"netaddr"``, which computes the network. Raises InvalidArgument, which
    names what is wrong, and EngineMissing.
    """
    check_choice("engine", engine, PREFIX_ENGINES)
    text = prefix_text("text", text)
    before, slash, length = text.partition("/")
    given, percent, zone = before.partition("%")
    family = socket.AF_INET6 if ":" in given else socket.AF_INET
    check_ipv4_form(given)
    try:
        address = socket.inet_ntop(family, socket.inet_pton(family, given))
    except (OSError, ValueError):
        raise InvalidArgument(
            f"{text!r}: expected an address, as 2001:db8::1/64 or fe80::1%eth0/64"
        ) from None
    if percent and (not zone or family == socket.AF_INET):
        raise InvalidArgument(f"{text!r}: expected a zone after an IPv6 address only, as fe80::1%eth0/64")
    if slash:
        prefix_length = _parse_length(length, 128 if family == socket.AF_INET6 else 32, text)
    else:
        prefix_length = _own_length(address, zone, text)
    compute = network_of if engine == "fastnet" else _netaddr_network
    return Prefix(address, zone or None, prefix_length, compute(address, prefix_length))


def _parse_length(length: str, most: int, text: str) -> int:
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= most):
        raise InvalidArgument(f"{text!r}: expected a prefix length from 0 to {most}")
    return int(length)


def _own_length(address: str, zone: str, text: str) -> int:
    for own in list_addresses():
        if own.address == address and zone in ("", own.interface, str(get_index(own.interface))):
            return own.prefix_length
    raise InvalidArgument(
        f"{text!r}: not an address of this machine: expected its prefix length too, as {text}/64"
    )
