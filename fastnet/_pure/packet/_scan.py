"""Where each header of a packet lies; ``csrc/packet.h`` says the rules."""

from __future__ import annotations

from fastnet._pure.packet._kinds import (
    AH,
    ARP,
    DESTINATION,
    DOT1AD,
    DOT1Q,
    DOT3,
    ESP,
    ETHERNET,
    ETHERTYPES,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMP_ERRORS,
    ICMPV6,
    ICMPV6_ERRORS,
    IPV4,
    IPV6,
    LLC,
    MAX_8023_LENGTH,
    MAX_HEADERS,
    MOBILITY,
    NAMES,
    NO_NEXT_HEADER,
    PADDING,
    PAYLOAD,
    PROTOCOLS_IPV4,
    PROTOCOLS_IPV6,
    ROUTING,
    SNAP,
    TCP,
    UDP,
)
from fastnet.errors import PacketError, TruncatedPacket

_DISCOVERY = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}
_LINKS = {"ethernet": ETHERNET, "ipv4": IPV4, "ipv6": IPV6, "ip": IPV4}


def first_kind(data: bytes, link: str) -> int:
    """The kind of the first header. Raises ValueError for an unknown link."""
    if link not in _LINKS:
        raise ValueError(f"link {link!r}: expected one of {', '.join(_LINKS)}")
    if link == "ip" and data and data[0] >> 4 == 6:
        return IPV6
    return _LINKS[link]


def find_ipv6_option(header: bytes, number: int, size: int) -> int | None:
    """Where the value of the first such option lies in a hop-by-hop or destination header."""
    at = 2
    while at + 2 <= len(header):
        if header[at] == number and header[at + 1] == size and at + 2 + size <= len(header):
            return at + 2
        at += header[at + 1] + 2 if header[at] else 1
    return None


class Scan:
    """Kinds and offsets of the layers of data, the last offset being the data's end."""

    __slots__ = ("_data", "_end", "_fragment", "_ipv6", "_offset", "_outer_end", "error", "kinds", "offsets")

    def __init__(self, data: bytes, kind: int) -> None:
        self.kinds: list[int] = []
        self.offsets: list[int] = []
        self.error: PacketError | None = None
        self._data = data
        self._offset = 0
        self._end = len(data)
        self._outer_end: int | None = None
        self._ipv6 = self._fragment = False
        while kind != PAYLOAD:
            if len(self.kinds) == MAX_HEADERS:
                self._fail(PacketError(f"more than {MAX_HEADERS} layers"))
                break
            kind = _HEADERS[kind](self, kind)
        for kind, end in ((PAYLOAD, self._end), (PAYLOAD, self._outer_end or 0), (PADDING, len(data))):
            if self._offset < end:
                self._push(kind, end - self._offset)
        self.offsets.append(len(data))

    def _fail(self, error: PacketError) -> int:
        if self._outer_end is None and self.error is None:
            self.error = error
        return PAYLOAD

    def _truncated(self, kind: int) -> int:
        return self._fail(
            TruncatedPacket(f"{NAMES[kind]} at byte {self._offset} is cut short: the data ends too early")
        )

    def _bad_length(self, kind: int) -> int:
        return self._fail(
            PacketError(f"{NAMES[kind]} at byte {self._offset} says that it is shorter than its own header")
        )

    def _has(self, kind: int, need: int) -> bool:
        if self._end - self._offset >= need:
            return True
        self._truncated(kind)
        return False

    def _push(self, kind: int, length: int) -> None:
        self.kinds.append(kind)
        self.offsets.append(self._offset)
        self._offset += length

    def _narrow(self, kind: int, start: int, length: int) -> None:
        if length <= self._end - start:
            self._end = start + length
        elif not self._fragment:
            self._truncated(kind)

    def _word(self, at: int) -> int:
        start = self._offset + at
        return self._data[start] << 8 | self._data[start + 1]

    def _push_typed(self, kind: int, length: int, ethertype: int) -> int:
        if ethertype <= MAX_8023_LENGTH:
            self._narrow(kind, self._offset + length, ethertype)
        self._push(kind, length)
        return LLC if ethertype <= MAX_8023_LENGTH else ETHERTYPES.get(ethertype, PAYLOAD)

    def _protocol(self, number: int) -> int:
        return (PROTOCOLS_IPV6 if self._ipv6 else PROTOCOLS_IPV4).get(number, PAYLOAD)

    def _quote(self, kind: int) -> int:
        if self._outer_end is None:
            self._outer_end = self._end
        return kind if self._offset < self._end else PAYLOAD

    def ethernet(self, kind: int) -> int:
        if not self._has(kind, 14):
            return PAYLOAD
        ethertype = self._word(12)
        return self._push_typed(ETHERNET if ethertype > MAX_8023_LENGTH else DOT3, 14, ethertype)

    def vlan(self, kind: int) -> int:
        if not self._has(kind, 4):
            return PAYLOAD
        return self._push_typed(kind, 4, self._word(2))

    def llc(self, kind: int) -> int:
        if not self._has(kind, 3):
            return PAYLOAD
        snap = self._data.startswith(b"\xaa\xaa\x03", self._offset)
        self._push(kind, 3)
        return SNAP if snap else PAYLOAD

    def snap(self, kind: int) -> int:
        if not self._has(kind, 5):
            return PAYLOAD
        encapsulated = self._data.startswith(b"\0\0\0", self._offset)
        ethertype = self._word(3)
        self._push(kind, 5)
        if encapsulated and ethertype > MAX_8023_LENGTH:
            return ETHERTYPES.get(ethertype, PAYLOAD)
        return PAYLOAD

    def arp(self, kind: int) -> int:
        if self._has(kind, 8) and self._word(4) == 0x0604 and self._has(kind, 28):
            self._push(kind, 28)
        return PAYLOAD

    def ipv4(self, kind: int) -> int:
        if not self._has(kind, 20):
            return PAYLOAD
        first, place, protocol = self._data[self._offset], self._word(6), self._data[self._offset + 9]
        if first >> 4 != 4:
            return self._fail(
                PacketError(f"no IPv4 header at byte {self._offset}: its version is {first >> 4}")
            )
        header = (first & 15) * 4
        if header < 20:
            return self._bad_length(kind)
        if not self._has(kind, header):
            return PAYLOAD
        length = self._word(2)
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
        if not self._has(kind, 40):
            return PAYLOAD
        version, number = self._data[self._offset] >> 4, self._data[self._offset + 6]
        if version != 6:
            return self._fail(PacketError(f"no IPv6 header at byte {self._offset}: its version is {version}"))
        length = self._word(4)
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
        if not self._has(kind, 8):
            return PAYLOAD
        number, units = self._data[self._offset : self._offset + 2]
        length = (units + 2) * 4 if kind == AH else (units + 1) * 8
        if kind == AH and length < 12:
            return self._bad_length(kind)
        if not self._has(kind, length):
            return PAYLOAD
        if kind == HOP_BY_HOP and self.kinds[-1] == IPV6 and not self._word(-36):
            jumbo = self._jumbo_length(length)
            if jumbo:
                self._narrow(IPV6, self._offset, max(jumbo, length))
        self._push(kind, length)
        return self._protocol(number)

    def fragment(self, kind: int) -> int:
        if not self._has(kind, 8):
            return PAYLOAD
        number, place = self._data[self._offset], self._word(2)
        self._push(kind, 8)
        if place & 0xFFF9:
            self._fragment = True
        return PAYLOAD if place & 0xFFF8 else PROTOCOLS_IPV6.get(number, PAYLOAD)

    def esp(self, kind: int) -> int:
        if self._has(kind, 8):
            self._push(kind, 8)
        return PAYLOAD

    def icmp(self, kind: int) -> int:
        if not self._has(kind, 8):
            return PAYLOAD
        message = self._data[self._offset]
        length = 20 if message in (13, 14) else 8
        if not self._has(kind, length):
            return PAYLOAD
        self._push(kind, length)
        return self._quote(IPV4) if message in ICMP_ERRORS else PAYLOAD

    def icmpv6(self, kind: int) -> int:
        if not self._has(kind, 8):
            return PAYLOAD
        message = self._data[self._offset]
        if message in _DISCOVERY and not self._has(kind, _DISCOVERY[message]):
            return PAYLOAD
        self._push(kind, self._end - self._offset if message in _DISCOVERY else 8)
        return self._quote(IPV6) if message in ICMPV6_ERRORS else PAYLOAD

    def udp(self, kind: int) -> int:
        if not self._has(kind, 8):
            return PAYLOAD
        length = self._word(4)
        if length and length < 8:
            self._bad_length(kind)
        elif length:
            self._narrow(kind, self._offset, length)
        self._push(kind, 8)
        return PAYLOAD

    def tcp(self, kind: int) -> int:
        if not self._has(kind, 20):
            return PAYLOAD
        length = (self._data[self._offset + 12] >> 4) * 4
        if length < 20:
            return self._bad_length(kind)
        if self._has(kind, length):
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
}
