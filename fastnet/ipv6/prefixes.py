"""Every address of this machine with its prefix, and prefixes of texts."""

import _socket as socket
from _collections_abc import Iterator

from fastnet._engines import AddressEngine, PrefixEngine
from fastnet._limits import Prefix as Given
from fastnet._limits import check_choice, prefix_text, quoted
from fastnet._reference import reference
from fastnet._results import as_dict, shown
from fastnet._typing import Any, NamedTuple, get_args
from fastnet.endpoints import check_ipv4_form
from fastnet.errors import InvalidArgument
from fastnet.interfaces import (
    InterfaceAddress,
    list_addresses,
    network_of,
    prefix_length_of,
)

ENGINES: tuple[AddressEngine, ...] = get_args(AddressEngine)
PREFIX_ENGINES: tuple[PrefixEngine, ...] = get_args(PrefixEngine)


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


def addresses(ifname: str | None = None, *, engine: AddressEngine = "fastnet") -> list[InterfaceAddress]:
    """Every IPv4 and IPv6 address of all interfaces, or of one, with its true prefix length and network.

    ``engine`` is ``"fastnet"`` (our own), ``"netifaces"`` (it lists the addresses; what it does not know of
    them is the kernel's) or ``"netaddr"`` (it computes the networks). Raises NoSuchInterface,
    InvalidArgument and EngineMissing.
    """
    check_choice("engine", engine, ENGINES)
    listed = list_addresses(ifname)
    if engine == "netifaces":
        found = set(_netifaces_addresses())
        return [each for each in listed if (each.label, each.address, each.prefix_length) in found]
    if engine == "netaddr":
        return [
            each._replace(network=_netaddr_network(_on_link(each), each.prefix_length)) for each in listed
        ]
    return listed


def _on_link(address: InterfaceAddress) -> str:
    """The address whose network is on the link: the peer's of IPv4, if there is one."""
    return address.peer if address.peer and address.version == 4 else address.address


def _netifaces_addresses() -> Iterator[tuple[str, str, int]]:
    """The label, the address and the prefix length of each address."""
    netifaces = reference("netifaces")
    for label in netifaces.interfaces():
        of_family = netifaces.ifaddresses(label)
        for entry in of_family.get(netifaces.AF_INET, ()):
            yield label, entry["addr"], prefix_length_of(entry["netmask"])
        for entry in of_family.get(netifaces.AF_INET6, ()):
            address, _, _ = entry["addr"].partition("%")
            _, _, prefix_length = entry["netmask"].partition("/")
            yield label, address, int(prefix_length)


def _netaddr_network(address: str, prefix_length: int) -> str:
    return str(reference("netaddr").IPNetwork(f"{address}/{prefix_length}").network)


def prefix(text: Given, *, engine: PrefixEngine = "fastnet") -> Prefix:
    """The prefix of an address, IPv6 or IPv4, with any zone: ``"fe80::1%eth0/64"`` (RFC 4007, section 11.7).

    An address without a prefix length must be one of this machine's, whose interface knows it. ``engine`` is
    ``"fastnet"`` (our own) or ``"netaddr"``, which computes the network. Raises InvalidArgument, which
    names what is wrong, and EngineMissing.
    """
    check_choice("engine", engine, PREFIX_ENGINES)
    text = prefix_text("text", text)
    before, slash, length = text.partition("/")
    family, number, zone = read_address(before, "fe80::1%eth0/64", text)
    address = socket.inet_ntop(family, number.to_bytes(16 if family == socket.AF_INET6 else 4, "big"))
    if slash:
        prefix_length = _parse_length(length, 128 if family == socket.AF_INET6 else 32, text)
    else:
        prefix_length = _own_length(address, zone, text)
    compute = network_of if engine == "fastnet" else _netaddr_network
    return Prefix(address, zone or None, prefix_length, compute(address, prefix_length))


def read_address(given: str, example: str, text: str = "") -> tuple[int, int, str]:
    """The family of an address, the address as an integer, and its zone, empty if it has none.

    Raises InvalidArgument, with the text that the address is from and an example of what is expected.
    """
    shown = quoted(text or given)
    written, percent, zone = given.partition("%")
    family = socket.AF_INET6 if ":" in written else socket.AF_INET
    check_ipv4_form(written)
    try:
        packed = socket.inet_pton(family, written)
    except (OSError, ValueError):
        plain = example.replace("fe80::1%eth0", "2001:db8::1")
        raise InvalidArgument(f"{shown}: expected an address, as {plain} or {example}") from None
    if percent and (not zone or family == socket.AF_INET):
        raise InvalidArgument(f"{shown}: expected a zone after an IPv6 address only, as {example}")
    return family, int.from_bytes(packed, "big"), zone


def _parse_length(length: str, most: int, text: str) -> int:
    if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= most):
        raise InvalidArgument(f"{text!r}: expected a prefix length from 0 to {most}")
    return int(length)


def _own_length(address: str, zone: str, text: str) -> int:
    for own in list_addresses():
        if own.address == address and zone in ("", own.interface, str(own.ifindex)):
            return own.prefix_length
    raise InvalidArgument(
        f"{text!r}: not an address of this machine: expected its prefix length too, as {text}/64"
    )
