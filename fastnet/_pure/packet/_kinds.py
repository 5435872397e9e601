"""The kinds of layers, and where each has its automatic fields; ``csrc/packet.h`` numbers them the same."""

from __future__ import annotations

from typing import NamedTuple

(
    PAYLOAD, PADDING, ETHERNET, DOT3, LLC, SNAP, DOT1Q, DOT1AD, ARP, IPV4, IPV6, HOP_BY_HOP, DESTINATION,
    ROUTING, FRAGMENT, AH, ESP, MOBILITY, ICMP, ICMPV6, UDP, TCP,
) = range(22)  # fmt: skip

NAMES = [
    "payload",
    "padding",
    "Ethernet",
    "802.3",
    "LLC",
    "SNAP",
    "802.1Q",
    "802.1ad",
    "ARP",
    "IPv4",
    "IPv6",
    "hop-by-hop",
    "destination",
    "routing",
    "fragment",
    "AH",
    "ESP",
    "mobility",
    "ICMP",
    "ICMPv6",
    "UDP",
    "TCP",
]

MAX_LAYERS = 20
MAX_HEADERS = 17
"""The most that scanning takes for headers; the rest is for payload and padding."""
MAX_8023_LENGTH = 1500

LENGTH, PROTOCOL, CHECKSUM = 1, 2, 4
"""Bits of a layer's automatic fields."""

ETHERTYPES = {0x0800: IPV4, 0x86DD: IPV6, 0x0806: ARP, 0x8100: DOT1Q, 0x88A8: DOT1AD}
PROTOCOLS_IPV4 = {1: ICMP, 4: IPV4, 6: TCP, 17: UDP, 41: IPV6, 50: ESP, 51: AH}
PROTOCOLS_IPV6 = {
    0: HOP_BY_HOP, 4: IPV4, 6: TCP, 17: UDP, 41: IPV6, 43: ROUTING, 44: FRAGMENT, 50: ESP, 51: AH, 58: ICMPV6,
    60: DESTINATION, 135: MOBILITY,
}  # fmt: skip
NO_NEXT_HEADER = 59

ETHERTYPE_OF = {kind: number for number, kind in ETHERTYPES.items()}
PROTOCOL_OF = {kind: number for number, kind in (PROTOCOLS_IPV6 | PROTOCOLS_IPV4).items()}


class Automatic(NamedTuple):
    """The offsets of a kind's automatic fields, and the protocol field's size in bytes."""

    length: int | None = None
    protocol: int | None = None
    checksum: int | None = None
    protocol_size: int = 1


AUTOMATIC = {kind: Automatic() for kind in range(len(NAMES))} | {
    ETHERNET: Automatic(protocol=12, protocol_size=2),
    DOT3: Automatic(length=12),
    SNAP: Automatic(protocol=3, protocol_size=2),
    DOT1Q: Automatic(protocol=2, protocol_size=2),
    DOT1AD: Automatic(protocol=2, protocol_size=2),
    IPV4: Automatic(2, 9, 10),
    IPV6: Automatic(4, 6),
    HOP_BY_HOP: Automatic(protocol=0),
    DESTINATION: Automatic(protocol=0),
    ROUTING: Automatic(protocol=0),
    FRAGMENT: Automatic(protocol=0),
    AH: Automatic(protocol=0),
    MOBILITY: Automatic(protocol=0, checksum=4),
    ICMP: Automatic(checksum=2),
    ICMPV6: Automatic(checksum=2),
    UDP: Automatic(length=4, checksum=6),
    TCP: Automatic(checksum=16),
}

EXTENSIONS = frozenset({HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AH, ESP, MOBILITY})
TRANSPORTS = frozenset({ICMP, ICMPV6, UDP, TCP})
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
ICMPV6_ERRORS = frozenset({1, 2, 3, 4})
