"""The records of interfaces, routes, address, status and ipv6."""

from typing import Any, Literal, TypedDict

from fastnet._records.base import Record
from fastnet._records.probes import ScannedPort


class InterfaceEvent(Record):
    """interfaces --watch: the state, then each event."""

    kind: Literal["interface_event"]
    event: str
    """``state``, ``link_added``, ``carrier``, ``address_added``, ``dad_failed``, ``gateway_changed``, ..."""
    interface: str | None
    """Null for a state, a route without an interface, and events that were lost."""
    changed: list[str]
    """The keys whose values differ."""
    before: dict[str, Any] | None
    """The interface, address or route before the event; null if it is new."""
    after: dict[str, Any] | None
    """The same after it; null if it is gone. Of ``state``: ``interfaces`` and ``routes``."""


class InterfaceAddress(TypedDict):
    """One address of an interface."""

    interface: str
    ifindex: int
    label: str
    """The interface, or the alias label of an IPv4 address."""
    version: int
    address: str
    text: str
    """The address for ``bind``: a link-local one with its zone."""
    prefix_length: int
    network: str
    """The network on the link: the peer's if the address has a peer."""
    scope: str
    """``host``, ``link``, ``site``, ``global``, or another of the kernel's."""
    broadcast: str | None
    """IPv4 alone has one."""
    peer: str | None
    """The other end of a point-to-point address."""
    protocol: str | None
    """Who added it: ``kernel_lo``, ``kernel_ra``, ``kernel_ll``, ..."""
    flags: list[str] | None
    """``permanent``, ``temporary``, ``tentative``, ``dadfailed``, ...; null without rtnetlink."""


class NextHop(TypedDict):
    """One leg of a multipath route."""

    interface: str | None
    ifindex: int
    gateway: str | None
    weight: int
    flags: list[str]


class KernelRoute(TypedDict):
    """One route of the kernel, or its answer for one destination."""

    destination: str
    """A prefix; an address if it was asked for."""
    version: int
    gateway: str | None
    """Null on the link itself."""
    interface: str | None
    ifindex: int | None
    metric: int
    """The lowest is preferred."""
    table: int
    protocol: str
    type: str
    """``unicast``, ``local``, ``unreachable``, ..."""
    scope: str
    source: str | None
    """The preferred source address."""
    sources: str | None
    """The prefix of the source addresses that the route is for; null if for all."""
    tos: int
    mtu_bytes: int | None
    flags: list[str]
    onlink: bool
    is_default: bool
    legs: list[NextHop]
    next_hop_id: int | None
    encapsulation: str | None
    preference: str | None


class Route(Record, KernelRoute):
    """routes: one route."""

    kind: Literal["route"]


class Interface(Record):
    """interfaces: one network interface."""

    kind: Literal["interface"]
    name: str
    ifindex: int
    state: str
    """``up``, ``down``, ``no carrier``, ``no address``, ``dormant``, ..."""
    reason: str
    altnames: list[str]
    link_kind: str | None
    """``veth``, ``bridge``, ...; null for hardware and loopback."""
    link_type: str
    mac: str | None
    permanent_mac: str | None
    broadcast: str | None
    """Of the link layer."""
    mtu_bytes: int
    flags: list[str]
    administratively_up: bool
    operational_state: str | None
    """Of RFC 2863; null without rtnetlink."""
    carrier: bool | None
    speed_mbit: int | None
    duplex: str | None
    master: str | None
    master_ifindex: int | None
    peer: str | None
    peer_ifindex: int | None
    link_namespace: int | None
    """The id of the peer's network namespace; null if it is this one."""
    addresses: list[InterfaceAddress]
    gateways: list[KernelRoute] | None
    """The default routes by this interface; null if they can't be read."""


class Address(Record, InterfaceAddress):
    """address: one address of the interface."""

    kind: Literal["address"]


class Status(Record):
    """status: whether an interface is up."""

    kind: Literal["status"]
    interface: str
    state: str
    """``up``, ``down``, ``no carrier``, ``no address``, ``dormant``, ..."""
    reason: str
    up: bool
    """Whether it is turned on and running, with or without an address."""
    administratively_up: bool
    operational_state: str | None
    """Of RFC 2863; null without rtnetlink."""
    carrier: bool | None
    addresses: list[str]
    """Each with the length of its prefix."""
    ports: list[ScannedPort] | None
    """With ``--ports``, if they could be scanned."""


class WayOut(TypedDict):
    """How packets to a global address leave this machine, or why they can't."""

    destination: str
    """The address that the kernel was asked the way to; nothing was sent there."""
    interface: str | None
    gateway: str | None
    """The router; null if the destination is on the link."""
    source: str | None
    """The address that the kernel sends from."""
    obstacle: str
    """Why no packet gets out; empty if it does."""


class Support(Record):
    """ipv6: which IPv6 support works."""

    kind: Literal["support"]
    built_in: bool
    """Python knows IPv6."""
    kernel: bool
    """An IPv6 socket can be opened."""
    enabled: list[str]
    """The interfaces that may use IPv6."""
    disabled: list[str]
    """The interfaces whose sysctl disable_ipv6 is set."""
    loopback: bool
    """``::1`` can be bound to."""
    link_local: list[str]
    """Usable addresses on links, with their zones."""
    addresses: list[str]
    """Those usable beyond loopback and link."""
    ways: list[WayOut]
    """The routes to one address of each regional registry."""
    works: bool
    """Whether a connection over IPv6 can leave this machine."""
    reasons: list[str]
    """Everything that is missing; empty if IPv6 works."""


class Ipv6Address(Record, InterfaceAddress):
    """ipv6: one address of this machine, IPv4 or IPv6, with its prefix."""

    kind: Literal["ipv6_address"]


class Prefix(Record):
    """ipv6 --prefix: the prefix of one address."""

    kind: Literal["prefix"]
    address: str
    zone: str | None
    """What stood after ``%``."""
    prefix_length: int
    network: str
    version: int


class SpecialBlock(TypedDict):
    """A block of special-purpose addresses; the flags are those of RFC 6890, null if IANA has no value."""

    prefix: str
    type: str
    name: str
    """The registry's."""
    rfc: int
    source: bool | None
    destination: bool | None
    forwardable: bool | None
    globally_reachable: bool | None
    reserved_by_protocol: bool | None


class EmbeddedIPv4(TypedDict):
    """An IPv4 address in an IPv6 address."""

    form: str
    """``ipv4-mapped``, ``nat64/96``, ``6to4``, ``teredo-client``, ..."""
    address: str
    port: int | None
    """The UDP port of a Teredo client."""


class Explanation(Record):
    """ipv6 explain: what an address is."""

    kind: Literal["explanation"]
    address: str
    zone: str | None
    """What stood after ``%``."""
    version: int
    type: str
    """``global``, ``link-local``, ``unique-local``, ``documentation``, ..."""
    scope: str | None
    """Null of the unspecified address."""
    globally_reachable: bool | None
    """By IANA's registries; null if they have no value."""
    special: SpecialBlock | None
    """The most specific block that contains the address; null for plain global unicast."""
    mac: str | None
    """Of an EUI-64 interface identifier."""
    ipv4: list[EmbeddedIPv4]
    reverse_name: str
    interfaces: list[str]
    """Those of this machine that have the address."""
    temporary: bool | None
    """Null if no interface has it."""
