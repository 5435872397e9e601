"""Finds the offset of each header of a packet; ``csrc/packet.h`` has the rules."""

from __future__ import annotations

from fastnet._contract.values import quoted
from fastnet._pure.checksum import checksum
from fastnet._pure.packet._kinds import (
    AH,
    ARP,
    COOKED_LLC,
    DCCP,
    DESTINATION,
    DISCOVERY,
    DOT1AD,
    DOT1Q,
    DOT3,
    EITHER_IP,
    ESP,
    ETHERNET,
    ETHERTYPES,
    FRAGMENT,
    GRE,
    GRE_ETHERNET,
    HOP_BY_HOP,
    ICMP,
    ICMP_ERRORS,
    ICMP_EXTENSIONS,
    ICMPV6,
    ICMPV6_ERRORS,
    IPV4,
    IPV6,
    LINK_KINDS,
    LINK_NUMBERS,
    LINKS,
    LLC,
    LOOP,
    MAX_8023_LENGTH,
    MAX_HEADERS,
    MAX_LAYERS,
    MOBILITY,
    MPLS,
    NAMES,
    NO_NEXT_HEADER,
    NULL_LINK,
    OLD_ETHERTYPES,
    PADDING,
    PAYLOAD,
    PPP,
    PPP_NUMBERS,
    PPPOE,
    PROTOCOLS_IPV4,
    PROTOCOLS_IPV6,
    ROUTING,
    SCTP,
    SLL,
    SLL2,
    SNAP,
    SURPLUS,
    TCP,
    UDP,
)  # fmt: skip
from fastnet.errors import InvalidArgument, PacketError, TruncatedPacket

_ETHERTYPES = ETHERTYPES | OLD_ETHERTYPES
_IPV4_ETHERTYPE = 0x0800
_EXTENDED_HEADERS = MAX_LAYERS - 5
"""Maximum number of headers that leaves a layer for UDP's surplus and one for ICMP's extensions."""
_EXTENDED = {3: 4, 11: 4, 12: 4}
"""ICMP errors that may have extensions (RFC 4884), and the units of their length fields."""
_EXTENDED_V6 = {1: 8, 3: 8}
_FAMILIES = {2: IPV4} | dict.fromkeys((10, 23, 24, 28, 30), IPV6)
"""Address families of IPv6 on Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS."""
_NOT_ETHERNET = (770, 803, 824)
"""Links for which a Linux cooked capture has other types: Frame Relay, 802.11 with radiotap, netlink."""


def first_kind(data: bytes, link: str | int) -> int:
    """The kind of the first header. Raises InvalidArgument for an unknown link."""
    if not isinstance(link, str | int) or link not in LINK_KINDS:
        numbers = ", ".join(map(str, LINK_NUMBERS))
        raise InvalidArgument(
            f"link {quoted(link)}: expected one of {', '.join(LINKS)}, or a DLT number of {numbers}"
        )
    if link in EITHER_IP and data and data[0] >> 4 == 6:
        return IPV6
    return LINK_KINDS[link]


def find_ipv6_option(header: bytes, number: int, size: int) -> int | None:
    """The offset of the value of the first such option in a hop-by-hop or destination header."""
    at = 2
    while at + 2 <= len(header):
        if header[at] == number and header[at + 1] == size and at + 2 + size <= len(header):
            return at + 2
        at += header[at + 1] + 2 if header[at] else 1
    return None


class Scan:
    """The kinds and offsets of the layers of data; the last offset is the end of the data."""

    __slots__ = (
        *(
            "_data",
            "_end",
            "_extensions",
            "_fragment",
            "_ipv6",
            "_limit",
            "_offset",
            "_outer_end",
            "_surplus_end",
        ),
        *("error", "kinds", "offsets"),
    )

    def __init__(self, data: bytes, kind: int) -> None:
        self.kinds: list[int] = []
        self.offsets: list[int] = []
        self.error: PacketError | None = None
        self._data = data
        self._offset = 0
        self._end = len(data)
        self._outer_end: int | None = None
        self._limit = "the data"
        self._surplus_end = self._extensions = 0
        self._ipv6 = self._fragment = False
        while kind != PAYLOAD:
            if len(self.kinds) == MAX_HEADERS:
                self._fail(PacketError(f"more than {MAX_HEADERS} layers"))
                break
            kind = _HEADERS[kind](self, kind)
        self._push_rest()
        self.offsets.append(len(data))

    def _push_rest(self) -> None:
        """Add the layers after the headers, each up to its own end."""
        roomy = len(self.kinds) <= _EXTENDED_HEADERS
        extensions = self._extensions if roomy else 0
        quote_end = self._outer_end or 0
        for kind, end in (
            (PAYLOAD, self._end),
            (SURPLUS, self._surplus_end if roomy else 0),
            (PAYLOAD, extensions or quote_end),
            (ICMP_EXTENSIONS, quote_end),
            (PADDING, len(self._data)),
        ):
            if self._offset < end:
                self._push(kind, end - self._offset)

    def _fail(self, error: PacketError) -> int:
        if self._outer_end is None and self.error is None:
            self.error = error
        return PAYLOAD

    def _truncated(self, kind: int) -> int:
        return self._fail(
            TruncatedPacket(
                f"{NAMES[kind]} at byte {self._offset} is cut short: {self._limit} ends too early"
            )
        )

    def _cut(self, kind: int) -> int:
        """Push a header that is cut short as a layer of the bytes that it has."""
        self._truncated(kind)
        if self._left():
            self._push(kind, self._left())
        return PAYLOAD

    def _bad_length(self, kind: int) -> int:
        return self._fail(
            PacketError(f"{NAMES[kind]} at byte {self._offset} has a length shorter than its own header")
        )

    def _left(self) -> int:
        return self._end - self._offset

    def _whole(self, kind: int, need: int) -> bool:
        """Whether the next header has ``need`` bytes; if not, push it as cut short."""
        if self._left() >= need:
            return True
        self._cut(kind)
        return False

    def _push(self, kind: int, length: int) -> None:
        self.kinds.append(kind)
        self.offsets.append(self._offset)
        self._offset += length

    def _narrow(self, kind: int, start: int, length: int, offset: int | None = None) -> None:
        """Move the end to the one that the next pushed header, or the one at this offset, announces."""
        if length <= self._end - start:
            self._end = start + length
            place = self._offset if offset is None else offset
            self._limit = f"the length in {NAMES[kind]} at byte {place}"
        elif not self._fragment:
            self._truncated(kind)

    def _word(self, at: int) -> int:
        start = self._offset + at
        return self._data[start] << 8 | self._data[start + 1]

    def _push_typed(self, kind: int, length: int, ethertype: int) -> int:
        if ethertype <= MAX_8023_LENGTH:
            self._narrow(kind, self._offset + length, ethertype)
        self._push(kind, length)
        return LLC if ethertype <= MAX_8023_LENGTH else _ETHERTYPES.get(ethertype, PAYLOAD)

    def _protocol(self, number: int) -> int:
        return (PROTOCOLS_IPV6 if self._ipv6 else PROTOCOLS_IPV4).get(number, PAYLOAD)

    def _find_extensions(self, size: int) -> int:
        """The offset of the extensions of an ICMP error that quotes ``size`` bytes (RFC 4884), or 0.

        A router that sends no size (section 5.5) quotes 128 bytes; the extensions count if their
        checksum is right.
        """
        start = self._offset + (size or 128)
        found = self._data[start : self._end]
        if len(found) < 4 or found[0] >> 4 != 2:
            return 0
        return start if size or (found[2:4] != b"\0\0" and checksum(found) == 0) else 0

    def _quote(self, kind: int, unit: int, length: int) -> int:
        """Continue with the packet that an ICMP error quotes; messages with a unit have a length field."""
        if self._outer_end is None:
            self._outer_end = self._end
            self._extensions = self._find_extensions(unit * length) if unit else 0
            self._end = self._extensions or self._end
        return kind if self._offset < self._end else PAYLOAD

    def ethernet(self, kind: int) -> int:
        if not self._whole(kind, 14):
            return PAYLOAD
        ethertype = self._word(12)
        return self._push_typed(ETHERNET if ethertype > MAX_8023_LENGTH else DOT3, 14, ethertype)

    def vlan(self, kind: int) -> int:
        if not self._whole(kind, 4):
            return PAYLOAD
        return self._push_typed(kind, 4, self._word(2))

    def llc(self, kind: int) -> int:
        if not self._whole(kind, 3):
            return PAYLOAD
        snap = self._data.startswith(b"\xaa\xaa\x03", self._offset)
        self._push(kind, 3)
        return SNAP if snap else PAYLOAD

    def snap(self, kind: int) -> int:
        if not self._whole(kind, 5):
            return PAYLOAD
        encapsulated = self._data.startswith(b"\0\0\0", self._offset)
        ethertype = self._word(3)
        self._push(kind, 5)
        if encapsulated and ethertype > MAX_8023_LENGTH:
            return _ETHERTYPES.get(ethertype, PAYLOAD)
        return PAYLOAD

    def cooked(self, kind: int) -> int:
        length = 16 if kind == SLL else 20
        if not self._whole(kind, length):
            return PAYLOAD
        hardware, ethertype = (
            (self._word(2), self._word(14)) if kind == SLL else (self._word(8), self._word(0))
        )
        self._push(kind, length)
        if hardware in _NOT_ETHERNET:
            return PAYLOAD
        return LLC if ethertype == COOKED_LLC else _ETHERTYPES.get(ethertype, PAYLOAD)

    def loopback(self, kind: int) -> int:
        if not self._whole(kind, 4):
            return PAYLOAD
        encoded = self._data[self._offset : self._offset + 4]
        self._push(kind, 4)
        family = int.from_bytes(encoded, "big")
        if kind == NULL_LINK and family > 0xFFFF:
            family = int.from_bytes(encoded, "little")
        return _FAMILIES.get(family, PAYLOAD)

    def mpls(self, kind: int) -> int:
        """No field names the protocol after the last label: it is IP if its first four bits are 4 or 6."""
        if not self._whole(kind, 4):
            return PAYLOAD
        last = self._data[self._offset + 2] & 1
        self._push(kind, 4)
        if not last:
            return MPLS
        return {4: IPV4, 6: IPV6}.get(self._data[self._offset] >> 4, PAYLOAD) if self._left() else PAYLOAD

    def pppoe(self, kind: int) -> int:
        if not self._whole(kind, 6):
            return PAYLOAD
        code = self._data[self._offset + 1]
        self._narrow(kind, self._offset + 6, self._word(4))
        self._push(kind, 6)
        return PPP if code == 0 and self._left() else PAYLOAD

    def ppp(self, kind: int) -> int:
        if self._left() and self._data[self._offset] & 1:  # a compressed protocol field: one byte
            return PAYLOAD
        if not self._whole(kind, 2):
            return PAYLOAD
        number = self._word(0)
        self._push(kind, 2)
        return (PPP_NUMBERS | {0x0283: MPLS}).get(number, PAYLOAD)

    def _gre_length(self) -> int:
        """The size of a GRE header (RFC 2784, 2890, 2637); 0 if its routing entries (RFC 1701) do not end."""
        flags = self._word(0)
        if flags & 7 > 1:
            return 4
        present = (0xC000, 0x2000, 0x1000, 0x80 if flags & 7 == 1 else 0)
        length = 4 + 4 * sum(1 for bits in present if flags & bits)
        if not flags & 0x4000:
            return length
        while length + 4 <= self._left():
            family, size = self._word(length), self._data[self._offset + length + 3]
            length += 4 + size
            if not family and not size:
                return length
        return 0

    def gre(self, kind: int) -> int:
        if not self._whole(kind, 4):
            return PAYLOAD
        length, version, ethertype = self._gre_length(), self._word(0) & 7, self._word(2)
        if not 0 < length <= self._left():
            return self._cut(kind)
        self._push(kind, length)
        if version:
            return PAYLOAD
        return ETHERNET if ethertype == GRE_ETHERNET else _ETHERTYPES.get(ethertype, PAYLOAD)

    def arp(self, kind: int) -> int:
        if self._left() < 8:  # the types of its addresses are missing
            return self._truncated(kind)
        if self._word(2) != _IPV4_ETHERTYPE or self._word(4) != 0x0604:
            return PAYLOAD
        if self._whole(kind, 28):
            self._push(kind, 28)
            self._end = self._offset  # it has no payload: the rest of the frame is padding
        return PAYLOAD

    def ipv4(self, kind: int) -> int:
        if not self._left():
            return self._cut(kind)
        first = self._data[self._offset]
        if first >> 4 != 4:
            return self._fail(
                PacketError(f"no IPv4 header at byte {self._offset}: its version is {first >> 4}")
            )
        header = (first & 15) * 4
        if header < 20:
            return self._bad_length(kind)
        if self._left() < header:
            return self._cut(kind)
        length, place, protocol = self._word(2), self._word(6), self._data[self._offset + 9]
        if length and length < header:
            self._bad_length(kind)
            self._push(kind, header)
            return PAYLOAD
        if length:
            self._narrow(kind, self._offset, length)
        self._push(kind, header)
        self._ipv6 = False
        if place & 0x3FFF:
            self._fragment = True
        return PAYLOAD if place & 0x1FFF else self._protocol(protocol)

    def ipv6(self, kind: int) -> int:
        version = self._data[self._offset] >> 4 if self._left() else 6
        if version != 6:
            return self._fail(PacketError(f"no IPv6 header at byte {self._offset}: its version is {version}"))
        if self._left() < 40:
            return self._cut(kind)
        length, number = self._word(4), self._data[self._offset + 6]
        if length or number == NO_NEXT_HEADER:
            self._narrow(kind, self._offset, 40 + length)
        self._push(kind, 40)
        self._ipv6 = True
        return self._protocol(number)

    def _jumbo_length(self, length: int) -> int:
        header = self._data[self._offset : self._offset + length]
        at = find_ipv6_option(header, 0xC2, 4)
        return 0 if at is None else int.from_bytes(header[at : at + 4], "big")

    def extension(self, kind: int) -> int:
        if not self._whole(kind, 8):
            return PAYLOAD
        number, units = self._data[self._offset : self._offset + 2]
        length = (units + 2) * 4 if kind == AH else (units + 1) * 8
        if kind == AH and length < 12:
            return self._bad_length(kind)
        if not self._whole(kind, length):
            return PAYLOAD
        if kind == HOP_BY_HOP and self.kinds[-1] == IPV6 and not self._word(-36):
            jumbo = self._jumbo_length(length)
            if jumbo:
                self._narrow(IPV6, self._offset, max(jumbo, length), self._offset - 40)
        self._push(kind, length)
        return self._protocol(number)

    def fragment(self, kind: int) -> int:
        if not self._whole(kind, 8):
            return PAYLOAD
        number, place = self._data[self._offset], self._word(2)
        self._push(kind, 8)
        if place & 0xFFF9:
            self._fragment = True
        return PAYLOAD if place & 0xFFF8 else PROTOCOLS_IPV6.get(number, PAYLOAD)

    def esp(self, kind: int) -> int:
        if self._whole(kind, 8):
            self._push(kind, 8)
        return PAYLOAD

    def icmp(self, kind: int) -> int:
        if not self._whole(kind, 8):
            return PAYLOAD
        message, words = self._data[self._offset], self._data[self._offset + 5]
        length = 20 if message in (13, 14) else 8
        if not self._whole(kind, length):
            return PAYLOAD
        self._push(kind, length)
        return self._quote(IPV4, _EXTENDED.get(message, 0), words) if message in ICMP_ERRORS else PAYLOAD

    def icmpv6(self, kind: int) -> int:
        if not self._whole(kind, 8):
            return PAYLOAD
        message, words = self._data[self._offset], self._data[self._offset + 4]
        if message in DISCOVERY and not self._whole(kind, DISCOVERY[message]):
            return PAYLOAD
        self._push(kind, self._end - self._offset if message in DISCOVERY else 8)
        return self._quote(IPV6, _EXTENDED_V6.get(message, 0), words) if message in ICMPV6_ERRORS else PAYLOAD

    def udp(self, kind: int) -> int:
        if not self._whole(kind, 8):
            return PAYLOAD
        length, end = self._word(4), self._end
        if length and length < 8:
            self._bad_length(kind)
        elif length:
            self._narrow(kind, self._offset, length)
        if self._end < end:
            self._surplus_end = end
        self._push(kind, 8)
        return PAYLOAD

    def tcp(self, kind: int) -> int:
        if not self._whole(kind, 20):
            return PAYLOAD
        length = (self._data[self._offset + 12] >> 4) * 4
        if length < 20:
            self._bad_length(kind)
            length = 20  # the fixed part includes the rest
        if self._whole(kind, length):
            self._push(kind, length)
        return PAYLOAD

    def sctp(self, kind: int) -> int:
        if self._whole(kind, 12):
            self._push(kind, 12)
        return PAYLOAD

    def dccp(self, kind: int) -> int:
        if not self._whole(kind, 12):
            return PAYLOAD
        length = self._data[self._offset + 4] * 4
        least = 16 if self._data[self._offset + 8] & 1 else 12
        if length < least:
            self._bad_length(kind)
            length = least
        if self._whole(kind, length):
            self._push(kind, length)
        return PAYLOAD


_HEADERS = {
    ETHERNET: Scan.ethernet,
    LLC: Scan.llc,
    SNAP: Scan.snap,
    DOT1Q: Scan.vlan,
    DOT1AD: Scan.vlan,
    ARP: Scan.arp,
    IPV4: Scan.ipv4,
    IPV6: Scan.ipv6,
    HOP_BY_HOP: Scan.extension,
    DESTINATION: Scan.extension,
    ROUTING: Scan.extension,
    AH: Scan.extension,
    MOBILITY: Scan.extension,
    FRAGMENT: Scan.fragment,
    ESP: Scan.esp,
    ICMP: Scan.icmp,
    ICMPV6: Scan.icmpv6,
    UDP: Scan.udp,
    TCP: Scan.tcp,
    SLL: Scan.cooked,
    SLL2: Scan.cooked,
    NULL_LINK: Scan.loopback,
    LOOP: Scan.loopback,
    MPLS: Scan.mpls,
    PPPOE: Scan.pppoe,
    PPP: Scan.ppp,
    GRE: Scan.gre,
    SCTP: Scan.sctp,
    DCCP: Scan.dccp,
}
