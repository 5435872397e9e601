"""Builds bytes from headers, with automatic fields and checksums; ``csrc/packet.h`` has the rules."""

from __future__ import annotations

from _collections_abc import Sequence

from fastnet._contract.values import counted
from fastnet._pure.checksum import checksum, pseudo_header_ipv4, pseudo_header_ipv6
from fastnet._pure.packet._crc import crc32c
from fastnet._pure.packet._kinds import (
    AUTOMATIC,
    CHECKSUM,
    CHECKSUM_SIZE,
    COOKED_LLC,
    DCCP,
    DESTINATION,
    DOT3,
    ETHERNET,
    ETHERTYPE_OF,
    EXTENSIONS,
    FRAMED,
    GRE,
    GRE_ETHERNET,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    LENGTH,
    LLC,
    MAX_8023_LENGTH,
    MPLS,
    NAMES,
    NEEDS_PSEUDO,
    NO_NEXT_HEADER,
    PADDING,
    PAYLOAD,
    PPP,
    PPP_NUMBERS,
    PROTOCOL,
    PROTOCOL_OF,
    ROUTING,
    SCTP,
    SLL,
    SLL2,
    SUMS_ITSELF,
    SURPLUS,
    UDP,
    dccp_coverage,
)  # fmt: skip
from fastnet._pure.packet._scan import find_ipv6_option
from fastnet._typing import NamedTuple, Protocol
from fastnet.errors import PacketError

MAX_BYTES = 0xFFFFFFFF
_UNKNOWN_ETHERTYPE = 0x9000
_UNKNOWN_PROTOCOL = 0
_PPP_NUMBER_OF = {kind: number for number, kind in PPP_NUMBERS.items()}
_NETWORK_SIZE = {IPV4: 20, IPV6: 40}


class Headed(Protocol):
    """A part of a packet, or a layer: it has a kind and an encoded header."""

    @property
    def kind(self) -> int: ...

    @property
    def header(self) -> bytes: ...


class Part(NamedTuple):
    """An encoded header, and the bits of its computed fields."""

    kind: int
    header: bytes
    automatic: int = 0


def _ipv4_destination(header: bytes) -> int:
    """The offset of the final destination: in an incomplete source route (RFC 791, section 3.1), or 16."""
    at = 20
    while at + 3 <= len(header) and header[at]:
        if header[at] == 1:
            at += 1
            continue
        size = header[at + 1]
        if size < 3 or at + size > len(header):
            break
        if header[at] in (131, 137) and size >= 7 and header[at + 2] < size:
            return at + 3 + (size - 7) // 4 * 4
        at += size
    return 16


def _ipv6_destination(routing: bytes) -> int | None:
    """The offset of the last address in a routing header with segments left (RFC 8200, 8.1; RFC 8754)."""
    if len(routing) >= 24 and routing[3]:
        if routing[2] == 4:
            return 8
        if routing[2] in (0, 2):
            return 8 + (len(routing) - 24) // 16 * 16
    return None


def _destination(parts: Sequence[Headed], network: int) -> tuple[int, int]:
    """The part with the destination address of a pseudo-header, and the address's offset in it."""
    if parts[network].kind == IPV4:
        return network, _ipv4_destination(parts[network].header)
    for i in range(len(parts) - 1, network, -1):  # the innermost routing header with segments left counts
        at = _ipv6_destination(parts[i].header) if parts[i].kind == ROUTING else None
        if at is not None:
            return i, at
    return network, 24


def _source(parts: Sequence[Headed], network: int, i: int) -> tuple[int, int]:
    """The part with the source address of part i's pseudo-header, and the address's offset in it."""
    if parts[network].kind == IPV4:
        return network, 12
    for carrier in range(network + 1, i):
        if parts[carrier].kind == DESTINATION:
            # A mobile node's pseudo-header has its home address as the source (RFC 6275, section 11.3.1).
            home = find_ipv6_option(parts[carrier].header, 0xC9, 16)
            if home is not None:
                return carrier, home
    return network, 8


def _network(parts: Sequence[Headed], i: int) -> int:
    """The network header of part i, with only extension headers between them; -1 if there is none."""
    for network in range(i - 1, -1, -1):
        if parts[network].kind in (IPV4, IPV6):
            return network if len(parts[network].header) >= _NETWORK_SIZE[parts[network].kind] else -1
        if parts[network].kind not in EXTENSIONS:
            break
    return -1


def pseudo_header(parts: Sequence[Headed], i: int, length: int) -> int | None:
    """The sum of part i's pseudo-header, or None if part i has no network header."""
    if parts[i].kind not in NEEDS_PSEUDO:
        return 0
    network = _network(parts, i)
    if network < 0:
        return None
    protocol = PROTOCOL_OF[parts[i].kind]
    size = 4 if parts[network].kind == IPV4 else 16
    places = _source(parts, network, i), _destination(parts[:i], network)
    src, dst = (parts[carrier].header[at : at + size] for carrier, at in places)
    if size == 16:
        return pseudo_header_ipv6(src, dst, protocol, length)
    # The sum of a length that is too large for an IPv4 header is defined too.
    folded = length if length <= 0xFFFF else length % 0xFFFF or 0xFFFF
    return pseudo_header_ipv4(src, dst, protocol, folded)


def has_pseudo_header(parts: Sequence[Headed], i: int) -> bool:
    """Whether part i has a network header."""
    return _network(parts, i) >= 0


def covers(parts: Sequence[Headed], owner: int, i: int, at: int) -> bool:
    """Whether part ``owner``'s checksum, pseudo-header included, covers byte ``at`` of part i."""
    if parts[owner].kind in SUMS_ITSELF:
        return i == owner
    if i >= owner:
        return parts[i].kind != PADDING and (parts[owner].kind, parts[i].kind) != (UDP, SURPLUS)
    network = _network(parts, owner)
    if parts[owner].kind not in NEEDS_PSEUDO or network < 0:
        return False
    size = 4 if parts[network].kind == IPV4 else 16
    places = _source(parts, network, owner), _destination(parts[:owner], network)
    return any(i == carrier and start <= at < start + size for carrier, start in places)


def _too_long(kind: int, limit: int) -> PacketError:
    return PacketError(
        f"{NAMES[kind]} can't hold so much: its length field holds at most {counted(limit, 'byte')}"
    )


def _next_number(kind: int, header: bytearray, following: int, length: int) -> int:
    if kind == MPLS:
        return header[2] & 0xFE | (following != MPLS)
    if kind == PPP:
        return _PPP_NUMBER_OF.get(following, _UNKNOWN_PROTOCOL)
    if AUTOMATIC[kind].protocol_size == 1:
        return PROTOCOL_OF.get(following, _UNKNOWN_PROTOCOL if kind == IPV4 else NO_NEXT_HEADER)
    if kind == GRE and following in (ETHERNET, DOT3):
        return GRE_ETHERNET
    if following != LLC:
        return ETHERTYPE_OF.get(following, _UNKNOWN_ETHERTYPE)
    if kind not in FRAMED:
        return COOKED_LLC if kind in (SLL, SLL2) else _UNKNOWN_ETHERTYPE
    if length > MAX_8023_LENGTH:
        raise _too_long(kind, MAX_8023_LENGTH)
    return length


def _in_jumbogram(parts: Sequence[Part], i: int) -> bool:
    for part in reversed(parts[:i]):
        if part.kind not in EXTENSIONS:
            return False
        if part.kind == HOP_BY_HOP:
            return True
    return False


def _length(parts: Sequence[Part], i: int, below: int, following: int) -> int:
    kind = parts[i].kind
    length = below + (len(parts[i].header) if kind in (IPV4, UDP) else 0)
    limit = MAX_8023_LENGTH if kind == DOT3 else 0xFFFF
    if length <= limit:
        return length
    if (kind == UDP and _in_jumbogram(parts, i)) or (kind == IPV6 and following == HOP_BY_HOP):
        return 0
    raise _too_long(kind, limit)


def _checksum(parts: Sequence[Part], i: int, header: bytearray, below: bytes) -> int:
    kind = parts[i].kind
    if kind == SCTP:
        return crc32c(header + below)
    if kind in SUMS_ITSELF:
        return checksum(header) or (0 if kind == IPV4 else 0xFFFF)
    length = len(header) + len(below)
    initial = pseudo_header(parts, i, length)
    if initial is None:
        return 0
    covered = header + below
    if kind == DCCP:
        covered = covered[: dccp_coverage(header, length)]
    return checksum(covered, initial) or (0xFFFF if kind == UDP else 0)


def too_big() -> PacketError:
    """The error for a packet whose offsets do not fit into 32 bits."""
    return PacketError(f"a packet has at most {MAX_BYTES} bytes")


def build(parts: Sequence[Part]) -> bytes:
    """The packet of these parts. Raises PacketError if one is longer than its length field allows."""
    if sum(len(part.header) for part in parts) > MAX_BYTES:
        raise too_big()
    padding = b""
    below = b""
    beyond = b""  # UDP's length counts the bytes up to here
    following = PAYLOAD
    for i in range(len(parts) - 1, -1, -1):
        kind, encoded, automatic = parts[i]
        if kind == PADDING:
            padding = encoded
            continue
        if kind == SURPLUS:
            below, beyond = b"", encoded + below + beyond
            following = PAYLOAD
            continue
        if kind not in (UDP, PAYLOAD):
            below, beyond = below + beyond, b""
        header = bytearray(encoded)
        fields = AUTOMATIC[kind]
        if automatic & LENGTH and fields.length is not None:
            header[fields.length : fields.length + 2] = _length(parts, i, len(below), following).to_bytes(
                2, "big"
            )
        if automatic & PROTOCOL and fields.protocol is not None:
            number = _next_number(kind, header, following, len(below))
            end = fields.protocol + fields.protocol_size
            header[fields.protocol : end] = number.to_bytes(fields.protocol_size, "big")
        if automatic & CHECKSUM and fields.checksum is not None:
            size = CHECKSUM_SIZE[kind]
            field = slice(fields.checksum, fields.checksum + size)
            header[field] = bytes(size)
            header[field] = _checksum(parts, i, header, below).to_bytes(size, "big")
        below = bytes(header) + below
        if kind == UDP:
            below, beyond = below + beyond, b""
        following = kind
    return below + beyond + padding
