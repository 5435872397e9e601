"""The kinds of layers, and the offsets of their automatic fields; numbered as in ``csrc/packet.h``."""

from __future__ import annotations

from fastnet._typing import NamedTuple

(
    PAYLOAD, PADDING, SURPLUS, ETHERNET, DOT3, LLC, SNAP, DOT1Q, DOT1AD, SLL, SLL2, NULL_LINK, LOOP, MPLS,
    PPPOE, PPP, ARP, IPV4, IPV6, HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AH, ESP, MOBILITY, GRE,
    ICMP_EXTENSIONS, ICMP, ICMPV6, UDP, TCP, SCTP, DCCP,
) = range(34)  # fmt: skip

NAMES = [
    "payload", "padding", "surplus", "Ethernet", "802.3", "LLC", "SNAP", "802.1Q", "802.1ad", "SLL", "SLL2",
    "null", "loop", "MPLS", "PPPoE", "PPP", "ARP", "IPv4", "IPv6", "hop-by-hop", "destination", "routing",
    "fragment", "AH", "ESP", "mobility", "GRE", "ICMP extensions", "ICMP", "ICMPv6", "UDP", "TCP", "SCTP",
    "DCCP",
]  # fmt: skip

MAX_LAYERS = 20
MAX_HEADERS = 17
"""Maximum number of headers that scanning finds; the other layers are for payload and padding."""
MAX_8023_LENGTH = 1500

LENGTH, PROTOCOL, CHECKSUM = 1, 2, 4
"""Bits of a layer's automatic fields."""

LINKS = ("ethernet", "ipv4", "ipv6", "ip", "raw", "null", "loop", "sll", "sll2")
LINK_NUMBERS = (0, 1, 12, 14, 101, 108, 113, 228, 229, 276)
LINK_KINDS: dict[str | int, int] = {
    "ethernet": ETHERNET, 1: ETHERNET, "ipv4": IPV4, 228: IPV4, "ipv6": IPV6, 229: IPV6,
    "ip": IPV4, "raw": IPV4, 12: IPV4, 14: IPV4, 101: IPV4, "null": NULL_LINK, 0: NULL_LINK,
    "loop": LOOP, 108: LOOP, "sll": SLL, 113: SLL, "sll2": SLL2, 276: SLL2,
}  # fmt: skip
"""The first header of each link; IPv4 may be IPv6 if the link has no type field."""
EITHER_IP = ("ip", "raw", 12, 14, 101)

ETHERTYPES = {
    0x0800: IPV4, 0x86DD: IPV6, 0x0806: ARP, 0x8100: DOT1Q, 0x88A8: DOT1AD, 0x8847: MPLS, 0x8864: PPPOE,
}  # fmt: skip
OLD_ETHERTYPES = {0x9100: DOT1Q, 0x9200: DOT1Q, 0x9300: DOT1Q, 0x8848: MPLS}
"""QinQ from before IEEE 802.1ad, MPLS multicast from before RFC 5332: parsed, never built."""
GRE_ETHERNET = 0x6558
COOKED_LLC = 4
"""Used instead of an Ethernet type in a Linux cooked capture."""
PPP_NUMBERS = {0x0021: IPV4, 0x0057: IPV6, 0x0281: MPLS}
PROTOCOLS_IPV4 = {
    1: ICMP, 4: IPV4, 6: TCP, 17: UDP, 33: DCCP, 41: IPV6, 47: GRE, 50: ESP, 51: AH, 132: SCTP, 137: MPLS,
}  # fmt: skip
PROTOCOLS_IPV6 = {
    0: HOP_BY_HOP, 4: IPV4, 6: TCP, 17: UDP, 33: DCCP, 41: IPV6, 43: ROUTING, 44: FRAGMENT, 47: GRE, 50: ESP,
    51: AH, 58: ICMPV6, 60: DESTINATION, 132: SCTP, 135: MOBILITY, 137: MPLS,
}  # fmt: skip
NO_NEXT_HEADER = 59

ETHERTYPE_OF = {kind: number for number, kind in ETHERTYPES.items()}
PROTOCOL_OF = {kind: number for number, kind in (PROTOCOLS_IPV6 | PROTOCOLS_IPV4).items()}


class Automatic(NamedTuple):
    """The offsets of a kind's automatic fields, and the size of its protocol field in bytes."""

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
    SLL: Automatic(protocol=14, protocol_size=2),
    SLL2: Automatic(protocol=0, protocol_size=2),
    MPLS: Automatic(protocol=2),
    PPPOE: Automatic(length=4),
    PPP: Automatic(protocol=0, protocol_size=2),
    IPV4: Automatic(2, 9, 10),
    IPV6: Automatic(4, 6),
    HOP_BY_HOP: Automatic(protocol=0),
    DESTINATION: Automatic(protocol=0),
    ROUTING: Automatic(protocol=0),
    FRAGMENT: Automatic(protocol=0),
    AH: Automatic(protocol=0),
    MOBILITY: Automatic(protocol=0, checksum=4),
    GRE: Automatic(protocol=2, checksum=4, protocol_size=2),
    ICMP_EXTENSIONS: Automatic(checksum=2),
    ICMP: Automatic(checksum=2),
    ICMPV6: Automatic(checksum=2),
    UDP: Automatic(length=4, checksum=6),
    TCP: Automatic(checksum=16),
    SCTP: Automatic(checksum=8),
    DCCP: Automatic(checksum=6),
}


CHECKSUM_SIZE = [4 if kind == SCTP else 2 for kind in range(len(NAMES))]
SUMS_ITSELF = frozenset({IPV4, ICMP_EXTENSIONS})
"""Kinds whose checksum covers only their own header."""
NEEDS_PSEUDO = frozenset({UDP, TCP, ICMPV6, MOBILITY, DCCP})
"""Kinds whose checksum covers a pseudo-header."""
FRAMED = frozenset({ETHERNET, DOT1Q, DOT1AD, SNAP})
"""Kinds whose Ethernet type field may be a length instead."""


def checksum_at(kind: int, header: bytes) -> int | None:
    """The offset of a header's checksum; None if it has none or ends before it."""
    if kind == GRE and (len(header) < 8 or not header[0] & 0x80):
        return None
    at = AUTOMATIC[kind].checksum
    return None if at is None or at + CHECKSUM_SIZE[kind] > len(header) else at


def dccp_coverage(header: bytes | bytearray, length: int) -> int:
    """The number of bytes that a DCCP checksum covers in a packet of this length (RFC 4340, 9.2)."""
    coverage = header[5] & 15
    return min(len(header) + (coverage - 1) * 4, length) if coverage else length


def automatic_within(kind: int, header: bytes, automatic: int) -> int:
    """The automatic bits whose fields are in this header."""
    fields = AUTOMATIC[kind]
    for bit, at, size in ((LENGTH, fields.length, 2), (PROTOCOL, fields.protocol, fields.protocol_size)):
        if at is None or at + size > len(header):
            automatic &= ~bit
    return automatic if checksum_at(kind, header) is not None else automatic & ~CHECKSUM


EXTENSIONS = frozenset({HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AH, ESP, MOBILITY})
TRANSPORTS = frozenset({ICMP, ICMPV6, UDP, TCP, SCTP, DCCP})
PORTS = frozenset({UDP, TCP, SCTP, DCCP})
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
ICMPV6_ERRORS = frozenset({1, 2, 3, 4})
DISCOVERY = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}
"""Router and neighbour discovery (RFC 4861): the size of the fixed part; options follow it."""
