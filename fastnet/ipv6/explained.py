"""What an address is: its type, scope and registration, and what is embedded in it.

RFC 4291 (architecture), 6890 (special-purpose addresses), 7346 (multicast scopes), 6052 and 8215 (NAT64),
3056 (6to4), 4380 (Teredo), 5214 (ISATAP), 3596 (names in ip6.arpa).
"""

import _socket as socket
from _collections_abc import Iterator

from fastnet._engines import PrefixEngine
from fastnet._limits import Host, check_choice, host_text
from fastnet._reference import reference
from fastnet._results import as_dict, shown
from fastnet._special import OTHER_BLOCKS, REGISTERED, SpecialBlock, special_block
from fastnet._typing import Any, NamedTuple, Protocol
from fastnet.interfaces import list_addresses, scope_of
from fastnet.ipv6.prefixes import PREFIX_ENGINES, read_address

_MULTICAST_SCOPES = {
    0: "reserved",
    1: "interface",
    2: "link",
    3: "realm",
    4: "admin",
    5: "site",
    8: "organization",
    14: "global",
    15: "reserved",
}
_WITH_IDENTIFIER = {
    "6to4",
    "benchmarking",
    "documentation",
    "global",
    "link-local",
    "site-local",
    "unique-local",
}
"""Types whose low 64 bits are an interface identifier (RFC 4291, section 2.5.1)."""
_LOW_32_BITS = {"ipv4-compatible", "ipv4-mapped", "ipv4-translated"}
_ISATAP = {0x00005EFE, 0x02005EFE}
"""The high half of its interface identifiers; the second is for globally unique IPv4 addresses."""
_WELL_KNOWN_NAT64 = 0x0064FF9B << 96
_NAT64_LENGTHS = (48, 56, 64, 96)
"""Of the prefixes that fit into 64:ff9b:1::/48 (RFC 6052, section 2.2)."""


class EmbeddedIPv4(NamedTuple):
    """An IPv4 address in an IPv6 address."""

    form: str
    """``ipv4-mapped``, ``ipv4-compatible``, ``ipv4-translated``, ``nat64/96`` (with the length of the
    translator's prefix), ``6to4``, ``isatap``, ``teredo-server`` or ``teredo-client``."""
    address: str
    port: int | None = None
    """The UDP port of a Teredo client, as its server saw it."""

    def as_dict(self) -> dict[str, Any]:
        """Each field, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Explanation(NamedTuple):
    """What is known of an address; see ``explain``."""

    address: str
    zone: str | None
    type: str
    scope: str | None
    globally_reachable: bool | None
    special: SpecialBlock | None
    mac: str | None
    ipv4: tuple[EmbeddedIPv4, ...]
    reverse_name: str
    interfaces: tuple[str, ...]
    temporary: bool | None

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class _Engine(Protocol):
    """The arithmetic that an engine does with addresses, as integers."""

    def text(self, family: int, number: int) -> str: ...

    def block(self, family: int, number: int) -> SpecialBlock | None: ...

    def reverse_name(self, family: int, number: int) -> str: ...

    def mac(self, number: int) -> str: ...


class _Own:
    def text(self, family: int, number: int) -> str:
        return socket.inet_ntop(family, number.to_bytes(16 if family == socket.AF_INET6 else 4, "big"))

    def block(self, family: int, number: int) -> SpecialBlock | None:
        return special_block(family, number)

    def reverse_name(self, family: int, number: int) -> str:
        if family == socket.AF_INET6:
            return ".".join(reversed(f"{number:032x}")) + ".ip6.arpa"
        return ".".join(reversed(self.text(family, number).split("."))) + ".in-addr.arpa"

    def mac(self, number: int) -> str:
        return number.to_bytes(6, "big").hex(":")


class _Netaddr:
    def __init__(self) -> None:
        self._netaddr = reference("netaddr")

    def _address(self, family: int, number: int) -> Any:
        return self._netaddr.IPAddress(number, 6 if family == socket.AF_INET6 else 4)

    def text(self, family: int, number: int) -> str:
        return str(self._address(family, number))

    def block(self, family: int, number: int) -> SpecialBlock | None:
        address = self._address(family, number)
        networks = [(self._netaddr.IPNetwork(block.prefix), block) for block in (*REGISTERED, *OTHER_BLOCKS)]
        found = [(network.prefixlen, block) for network, block in networks if address in network]
        return max(found)[1] if found else None

    def reverse_name(self, family: int, number: int) -> str:
        return str(self._address(family, number).reverse_dns).removesuffix(".")

    def mac(self, number: int) -> str:
        return str(self._netaddr.EUI(number, 48, dialect=self._netaddr.mac_unix_expanded))


def explain(address: Host, *, engine: PrefixEngine = "fastnet") -> Explanation:
    """What an address is, IPv6 or IPv4, by its bits and by IANA's special-purpose registries.

    ``type`` is a word: ``global``, ``link-local``, ``unique-local``, ``6to4``, ``documentation``, ...
    ``scope`` is ``host``, ``link``, ``site`` or ``global`` (RFC 4007), of multicast also ``interface``,
    ``realm``, ``admin``, ``organization``, ``unassigned`` or ``reserved`` (RFC 7346); None for
    the unspecified address. ``special`` is the most specific block of the registries that contains it,
    None for plain global unicast, and ``globally_reachable`` is the value of that block: None if the
    registries have none.

    ``mac`` is the MAC address in a modified EUI-64 interface identifier (RFC 4291, appendix A); ``ipv4`` are
    the embedded IPv4 addresses. A prefix for NAT64 in 64:ff9b:1::/48 has one of four lengths, which the
    address does not contain: each length that fits is in ``ipv4``. ``reverse_name`` is its name in the DNS.

    ``interfaces`` are those of this machine that have the address, in the zone if there is one;
    ``temporary`` is whether it is a temporary address (RFC 8981), None if no interface has it.

    ``engine`` is ``"fastnet"`` (our own) or ``"netaddr"``, which computes and formats. Raises
    InvalidArgument, which names what is wrong, and EngineMissing.
    """
    check_choice("engine", engine, PREFIX_ENGINES)
    family, number, zone = read_address(host_text("address", address), "fe80::1%eth0")
    compute = _Own() if engine == "fastnet" else _Netaddr()
    block = compute.block(family, number)
    kind = block.type if block else "global"
    text = compute.text(family, number)
    interfaces, temporary = _on_this_machine(text, zone)
    return Explanation(
        address=text,
        zone=zone or None,
        type=kind,
        scope=_scope(family, number, kind),
        globally_reachable=block.globally_reachable if block else True,
        special=block,
        mac=_mac(compute, number) if family == socket.AF_INET6 and kind in _WITH_IDENTIFIER else None,
        ipv4=tuple(_embedded(compute, number, kind)) if family == socket.AF_INET6 else (),
        reverse_name=compute.reverse_name(family, number),
        interfaces=interfaces,
        temporary=temporary,
    )


def _scope(family: int, number: int, kind: str) -> str | None:
    if kind == "unspecified":
        return None
    if family == socket.AF_INET6 and kind == "multicast":
        return _MULTICAST_SCOPES.get(number >> 112 & 0xF, "unassigned")
    if kind == "multicast":  # 224.0.0.0/24 (RFC 5771), 239.0.0.0/8 (RFC 2365)
        return "link" if number >> 8 == 0xE00000 else "admin" if number >> 24 == 239 else "global"
    if kind in ("broadcast", "this-network"):
        return "link"
    if kind == "ipv4-mapped":
        return scope_of(_Own().text(socket.AF_INET, _low_32_bits(number)))
    return scope_of(_Own().text(family, number))


def _mac(compute: _Engine, number: int) -> str | None:
    """The MAC address that an interface identifier was made of; None if it was not made of one station's."""
    if number >> 24 & 0xFFFF != 0xFFFE or number >> 56 & 1:
        return None
    return compute.mac((number >> 40 & 0xFFFFFF ^ 0x020000) << 24 | number & 0xFFFFFF)


def _low_32_bits(number: int) -> int:
    return number & 0xFFFFFFFF


def _embedded(compute: _Engine, number: int, kind: str) -> Iterator[EmbeddedIPv4]:
    def found(form: str, ipv4: int, port: int | None = None) -> EmbeddedIPv4:
        return EmbeddedIPv4(form, compute.text(socket.AF_INET, _low_32_bits(ipv4)), port)

    if kind in _LOW_32_BITS:
        yield found(kind, number)
    elif kind == "nat64":
        for length, ipv4 in _nat64(number):
            yield found(f"nat64/{length}", ipv4)
    elif kind == "teredo":
        yield found("teredo-server", number >> 64)
        yield found("teredo-client", ~number, ~number >> 32 & 0xFFFF)
    elif kind == "6to4":
        yield found("6to4", number >> 80)
    if kind in _WITH_IDENTIFIER and _low_32_bits(number >> 32) in _ISATAP:
        yield found("isatap", number)


def _nat64(number: int) -> Iterator[tuple[int, int]]:
    """Each length of a prefix that fits, and the IPv4 address behind it.

    Bits 64 to 71 are zero and not of the IPv4 address, and so are the bits behind it. No host has an address
    in 0.0.0.0/8.
    """
    if number >> 32 == _WELL_KNOWN_NAT64 >> 32:
        yield 96, number
        return
    if number >> 56 & 0xFF:
        return
    without = number >> 64 << 56 | number & (1 << 56) - 1
    for length in _NAT64_LENGTHS:
        behind = 0 if length == 96 else 120 - 32 - length
        ipv4 = _low_32_bits(without >> behind)
        if ipv4 >> 24 and not without & (1 << behind) - 1:
            yield length, ipv4


def _on_this_machine(address: str, zone: str) -> tuple[tuple[str, ...], bool | None]:
    """The interfaces that have an address, and whether it is temporary on any of them."""
    found = [
        own
        for own in list_addresses()
        if own.address == address and zone in ("", own.interface, str(own.ifindex))
    ]
    flags = [own.flags for own in found if own.flags is not None]
    temporary = any("temporary" in each for each in flags) if flags else None
    return (*dict.fromkeys(own.interface for own in found),), temporary
