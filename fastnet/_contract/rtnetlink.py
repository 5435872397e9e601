"""What the kernel knows of interfaces, addresses, routes and neighbours (rtnetlink(7)): the records.

Names of values are those of ip(8): ``"veth"``, ``"lowerlayerdown"``, ``"kernel"``, ``"unicast"``. A value
without a name is its number as text. None means that the kernel reports no such value.

The functions of ``fastnet.interfaces`` that return them query the namespace of the calling thread, or
``netns``: a name (``ip netns``), a path, or a process id::

    all(netns=None) -> tuple[Interface, ...]
    counters(netns=None) -> tuple[InterfaceCounters, ...]
    lifetimes(netns=None) -> tuple[AddressLifetime, ...]
    routes(netns=None) -> tuple[Route, ...]
    gateways(netns=None) -> tuple[Route, ...]
    route_to(destination, netns=None) -> Route
    source_for(destination, netns=None) -> str
    neighbours(netns=None) -> tuple[Neighbour, ...]

The core reads one datagram of the kernel, of a dump or an event, by ``parse(data, names) -> list[Message]``.
"""

import errno
import os

from fastnet._results import as_dict, shown
from fastnet._typing import Any, NamedTuple


class InterfaceAddress(NamedTuple):
    """One address of an interface.

    ``label`` is the interface, or the alias label (``eth0:1``) of an IPv4 address. ``prefix_length`` belongs
    to the network on the link: an IPv4 address with a peer is in its peer's network. ``scope`` is
    ``host``, ``link``, ``site``, ``global``, or another of rt_scopes as the kernel has it. ``peer`` is the
    other end of a point-to-point address, None if it has none. ``protocol`` names who added the
    address (``kernel_lo``, ``kernel_ra``, ``kernel_ll``; since Linux 5.18). ``flags`` are those of
    linux/if_addr.h: ``permanent``, ``secondary``, ``temporary``, ``tentative``, ``dadfailed``,
    ``deprecated``, ...; None without rtnetlink, which alone reports them.
    """

    interface: str
    label: str
    address: str
    prefix_length: int
    network: str
    scope: str
    broadcast: str | None = None
    peer: str | None = None
    protocol: str | None = None
    flags: tuple[str, ...] | None = None
    ifindex: int = 0
    """The interface's index."""

    @property
    def version(self) -> int:
        """The address family: 4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def text(self) -> str:
        """The address for ``getaddrinfo``: a link-local one has its zone, as ``fe80::1%eth0`` (RFC 4007).

        The zone is the interface's index if its name is a number or has other than visible ASCII characters.
        """
        if self.scope != "link" or ":" not in self.address:
            return self.address
        name = self.interface
        is_plain = name.isascii() and name.isprintable() and not name.isdigit() and not {*" %/"} & {*name}
        return f"{self.address}%{name if is_plain else self.ifindex}"

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Interface(NamedTuple):
    """One interface of a network namespace; see ``fastnet.interfaces.all``."""

    ifindex: int
    name: str
    altnames: tuple[str, ...] = ()
    """Alternative names, of up to 127 bytes."""
    kind: str | None = None
    """Kind of a virtual link: ``"veth"``, ``"bridge"``, ``"vxlan"``, ...; None for hardware and loopback."""
    link_type: str = ""
    """Link layer of linux/if_arp.h: ``"ether"``, ``"loopback"``, ``"infiniband"``, ``"none"``, ..."""
    mac: str | None = None
    """Link-layer address of any length, ``"02:00:00:00:00:01"``; of an IP tunnel, its own IP address."""
    permanent_mac: str | None = None
    """The address that the hardware came with."""
    broadcast: str | None = None
    """Link-layer broadcast address; of an IP tunnel, the IP address of its other end."""
    mtu: int = 0
    """Bytes."""
    flags: tuple[str, ...] = ()
    """Flags of linux/if.h: ``"UP"``, ``"BROADCAST"``, ``"RUNNING"``, ``"LOWER_UP"``, ..."""
    operational_state: str | None = "unknown"
    """Of RFC 2863: ``"up"``, ``"down"``, ``"unknown"``, ``"dormant"``, ``"lowerlayerdown"``, ``"testing"``,
    ``"notpresent"``."""
    carrier: bool | None = None
    speed_mbit: int | None = None
    """Megabits per second, by ethtool."""
    duplex: str | None = None
    """``"full"`` or ``"half"``, by ethtool."""
    master: str | None = None
    """The bridge, bond or VRF that this interface is a port of."""
    master_ifindex: int | None = None
    peer: str | None = None
    """The interface beneath (VLAN, macvlan), or the other end (veth), if in the same namespace."""
    peer_ifindex: int | None = None
    """Its index, in ``link_namespace`` if that is not None."""
    link_namespace: int | None = None
    """The id of the network namespace of the peer, if that is another one; -1 if it has no id."""
    addresses: tuple[InterfaceAddress, ...] = ()

    @property
    def administratively_up(self) -> bool:
        """Whether it is turned on."""
        return "UP" in self.flags

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class NextHop(NamedTuple):
    """One leg of a multipath route."""

    interface: str | None
    ifindex: int
    gateway: str | None = None
    weight: int = 1
    flags: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Route(NamedTuple):
    """One route of the kernel, or its answer for one destination.

    ``destination`` is a prefix, ``0.0.0.0/0`` or ``::/0`` for a default route; of ``route_to``, the address.
    """

    destination: str
    gateway: str | None = None
    """The router's address, maybe of the other family (RFC 8950); None on the link itself."""
    interface: str | None = None
    """None for a route without one (``blackhole``) or with several legs."""
    ifindex: int | None = None
    metric: int = 0
    """The lowest is preferred (the kernel's priority)."""
    table: int = 254
    """254 is main, 255 local, 253 default."""
    protocol: str = "unspec"
    """Who added it: ``"kernel"``, ``"boot"``, ``"static"``, ``"ra"``, ``"dhcp"``, ``"bird"``, ..."""
    type: str = "unicast"
    """``"unicast"``, ``"local"``, ``"broadcast"``, ``"blackhole"``, ``"unreachable"``, ``"prohibit"``, ..."""
    scope: str = "global"
    source: str | None = None
    """The preferred source address."""
    sources: str | None = None
    """The prefix of the source addresses that the route is for; None if for all."""
    tos: int = 0
    mtu: int | None = None
    """Bytes, if the route has its own; of ``route_to``, always."""
    flags: tuple[str, ...] = ()
    """``"onlink"``, ``"linkdown"``, ``"dead"``, ``"pervasive"``, ``"offload"``, ``"trap"``, ..."""
    legs: tuple[NextHop, ...] = ()
    """The next hops of a multipath route."""
    next_hop_id: int | None = None
    """Of a next-hop object (``ip nexthop``)."""
    encapsulation: str | None = None
    """``"mpls"``, ``"ip"``, ``"seg6"``, ...: the packets go into a tunnel."""
    preference: str | None = None
    """Of an IPv6 router (RFC 4191): ``"low"``, ``"medium"``, ``"high"``."""

    @property
    def version(self) -> int:
        """The address family: 4 or 6."""
        return 6 if ":" in self.destination else 4

    @property
    def onlink(self) -> bool:
        """Whether the gateway counts as on the link although no address of the interface covers it."""
        return "onlink" in self.flags

    @property
    def is_default(self) -> bool:
        return self.destination in ("0.0.0.0/0", "::/0")

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Neighbour(NamedTuple):
    """One entry of the ARP or NDP table; see ``fastnet.interfaces.neighbours``."""

    interface: str
    address: str
    mac: str | None = None
    """None if not resolved (yet)."""
    state: str = "none"
    """``"reachable"``, ``"stale"``, ``"delay"``, ``"probe"``, ``"incomplete"``, ``"failed"``, ``"noarp"``,
    ``"permanent"``, ``"none"``."""
    flags: tuple[str, ...] = ()
    """``"router"``, ``"proxy"``, ``"extern_learn"``, ``"offload"``, ..."""
    protocol: str | None = None
    ifindex: int = 0
    """The interface's index."""

    @property
    def version(self) -> int:
        """The address family: 4 or 6."""
        return 6 if ":" in self.address else 4

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class InterfaceCounters(NamedTuple):
    """The packets and bytes of one interface since it was made (struct rtnl_link_stats64)."""

    interface: str
    ifindex: int
    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
    multicast: int = 0
    collisions: int = 0
    rx_length_errors: int = 0
    rx_over_errors: int = 0
    rx_crc_errors: int = 0
    rx_frame_errors: int = 0
    rx_fifo_errors: int = 0
    rx_missed_errors: int = 0
    tx_aborted_errors: int = 0
    tx_carrier_errors: int = 0
    tx_fifo_errors: int = 0
    tx_heartbeat_errors: int = 0
    tx_window_errors: int = 0
    rx_compressed: int = 0
    tx_compressed: int = 0
    rx_nohandler: int = 0
    rx_otherhost_dropped: int = 0
    carrier_changes: int = 0
    """How often the carrier came or went."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class AddressLifetime(NamedTuple):
    """How long an address is still preferred and valid (RFC 4862, section 5.5.4)."""

    interface: str
    address: str
    prefix_length: int
    preferred_seconds: int | None
    """None: forever."""
    valid_seconds: int | None
    """None: forever."""
    ifindex: int = 0
    """The interface's index."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Message(NamedTuple):
    """One message of the kernel, read: its type (RTM_NEWLINK 16 ...) and the record, None for other types.

    Names that only another message has (an interface's, by its index) are None, or empty, in it.
    """

    type: int
    record: Interface | InterfaceAddress | Route | Neighbour | None


def failure(code: int, what: str) -> OSError:
    """The error for a question that the kernel refused with this errno."""
    if code == errno.EAGAIN:
        return OSError(code, f"{what}: changed each time while it was read")
    return OSError(code, f"{what}: {os.strerror(code)}")
