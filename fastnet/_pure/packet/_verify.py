"""Verifies checksums and options of scanned data; ``csrc/packet.h`` has the rules."""

from __future__ import annotations

from _collections_abc import Sequence

from fastnet._contract.values import counted
from fastnet._pure.checksum import checksum
from fastnet._pure.packet._build import Part, pseudo_header
from fastnet._pure.packet._crc import crc32c
from fastnet._pure.packet._kinds import (
    CHECKSUM_SIZE,
    DCCP,
    DESTINATION,
    DISCOVERY,
    EXTENSIONS,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMP_ERRORS,
    ICMP_EXTENSIONS,
    ICMPV6,
    ICMPV6_ERRORS,
    IPV4,
    NAMES,
    PADDING,
    SCTP,
    SUMS_ITSELF,
    SURPLUS,
    TCP,
    UDP,
    checksum_at,
    dccp_coverage,
)  # fmt: skip
from fastnet._pure.packet._scan import Scan
from fastnet.errors import BadChecksum, PacketError


def _is_fragment(kind: int, header: bytes) -> bool:
    if kind == IPV4:
        return bool(int.from_bytes(header[6:8], "big") & 0x3FFF)
    return kind == FRAGMENT and bool(int.from_bytes(header[2:4], "big") & 0xFFF9)


def _quotes(kind: int, header: bytes) -> bool:
    return (kind == ICMP and header[0] in ICMP_ERRORS) or (kind == ICMPV6 and header[0] in ICMPV6_ERRORS)


def _unsummed(parts: Sequence[Part], i: int) -> bool:
    """UDP over IPv4 (RFC 768) and ICMP extensions (RFC 4884, section 7) may have no checksum."""
    if parts[i].kind == ICMP_EXTENSIONS:
        return parts[i].header[2:4] == b"\0\0"
    if parts[i].kind != UDP or parts[i].header[6:8] != b"\0\0":
        return False
    enclosing = next((part.kind for part in reversed(parts[:i]) if part.kind not in EXTENSIONS), IPV4)
    return enclosing == IPV4


def _computed(kind: int, data: bytes, initial: int) -> int:
    return crc32c(data) if kind == SCTP else checksum(data, initial)


def _verify_layer(parts: Sequence[Part], i: int, at: int, offset: int, covered: bytes) -> None:
    kind, header, _ = parts[i]
    initial = pseudo_header(parts, i, len(covered))
    if initial is None:
        return
    size = CHECKSUM_SIZE[kind]
    data = header if kind in SUMS_ITSELF else covered
    if kind == DCCP:
        data = data[: dccp_coverage(header, len(data))]
    held = int.from_bytes(data[at : at + size], "big")
    expected = _computed(kind, data[:at] + bytes(size) + data[at + size :], initial)
    if held != expected and (kind == SCTP or checksum(data, initial)):
        digits = f"#0{2 + 2 * size}x"
        raise BadChecksum(
            f"{NAMES[kind]} at byte {offset} has checksum {held:{digits}}: expected {expected:{digits}}"
        )


def _end_of(scan: Scan, i: int) -> int:
    """The end of the bytes that layer i's checksum covers: a UDP checksum excludes the surplus."""
    if scan.kinds[i] == UDP and SURPLUS in scan.kinds[i:]:
        return scan.offsets[scan.kinds.index(SURPLUS, i)]
    return scan.offsets[-2 if scan.kinds[-1] == PADDING else -1]


def verify(data: bytes, scan: Scan) -> None:
    """Raise BadChecksum for the first layer whose checksum is wrong."""
    parts = [
        Part(kind, data[start:end])
        for kind, start, end in zip(scan.kinds, scan.offsets, scan.offsets[1:], strict=False)
    ]
    fragment = quoted = False
    for i, (kind, header, _) in enumerate(parts):
        if quoted and kind != ICMP_EXTENSIONS:
            continue
        at = checksum_at(kind, header)
        if at is not None and (kind in SUMS_ITSELF or not fragment) and not _unsummed(parts, i):
            _verify_layer(parts, i, at, scan.offsets[i], data[scan.offsets[i] : _end_of(scan, i)])
        fragment = fragment or _is_fragment(kind, header)
        quoted = quoted or _quotes(kind, header)


_OPTIONS_AT = {IPV4: 20, TCP: 20, HOP_BY_HOP: 2, DESTINATION: 2, ICMP_EXTENSIONS: 4}


def _options_at(kind: int, header: bytes) -> int:
    """The offset of the options in a header; the header's length if it has none."""
    if kind == ICMPV6:
        return DISCOVERY.get(header[0], len(header))
    return _OPTIONS_AT.get(kind, len(header))


def _option_size(kind: int, data: bytes) -> int:
    """The size of the option at the start of these bytes; 0 if it is invalid."""
    if kind == ICMP_EXTENSIONS:
        size = int.from_bytes(data[:2], "big")
        return size if 4 <= size <= len(data) else 0
    ends = kind in (IPV4, TCP)
    if ends and data[0] == 0:
        return len(data)
    if kind != ICMPV6 and data[0] == ends:
        return 1
    if len(data) < 2:
        return 0
    size = data[1] * 8 if kind == ICMPV6 else data[1] if ends else data[1] + 2
    return size if 2 <= size <= len(data) else 0


_FAST_OPEN = 34
"""A TCP option that requests a cookie if it has none (RFC 7413)."""

# The name of a known option, its minimum size, the step to larger sizes (0: none), and its maximum size (0:
# none). Options of any size, such as link-layer addresses (RFC 4861), are not listed.
_FORMS = {
    (TCP, 2): ("MSS", 4, 0, 0),
    (TCP, 3): ("WindowScale", 3, 0, 0),
    (TCP, 4): ("SACKPermitted", 2, 0, 0),
    (TCP, 5): ("SACK", 10, 8, 0),
    (TCP, 8): ("Timestamps", 10, 0, 0),
    (TCP, 19): ("MD5Signature", 18, 0, 0),
    (TCP, 28): ("UserTimeout", 4, 0, 0),
    (TCP, 29): ("AuthenticationOption", 4, 1, 0),
    (TCP, _FAST_OPEN): ("FastOpen", 6, 2, 18),
    (IPV4, 7): ("RecordRoute", 3, 4, 0),
    (IPV4, 68): ("IPv4Timestamp", 4, 4, 0),
    (IPV4, 131): ("LooseSourceRoute", 3, 4, 0),
    (IPV4, 137): ("StrictSourceRoute", 3, 4, 0),
    (IPV4, 148): ("RouterAlert", 4, 0, 0),
    (HOP_BY_HOP, 0x05): ("IPv6RouterAlert", 4, 0, 0),
    (HOP_BY_HOP, 0xC2): ("JumboPayload", 6, 0, 0),
    (HOP_BY_HOP, 0xC9): ("HomeAddress", 18, 0, 0),
    (ICMPV6, 3): ("PrefixInformation", 32, 0, 0),
    (ICMPV6, 5): ("MTU", 8, 0, 0),
    (ICMPV6, 25): ("RecursiveDNSServers", 24, 16, 0),
    (ICMP_EXTENSIONS, 0x0101): ("MPLSLabels", 4, 4, 0),
}


def _missed_form(kind: int, option: bytes) -> str:
    """The error of an option of a known kind; empty if it is right, or of an unknown kind."""
    family = HOP_BY_HOP if kind == DESTINATION else kind
    number = int.from_bytes(option[2:4], "big") if kind == ICMP_EXTENSIONS else option[0]
    name, least, step, most = _FORMS.get((family, number), ("", len(option), 0, 0))
    more = len(option) - least
    if not more or (step and 0 < more <= (most or len(option)) - least and more % step == 0):
        return ""
    if (kind, number, len(option)) == (TCP, _FAST_OPEN, 2):
        return ""
    others = f", {least + step}, ..." if step > 1 else " or more" if step else ""
    return f": {name} of {counted(len(option), 'byte')}, expected {least}{others}{f' {most}' if most else ''}"


def check_options(data: bytes, scan: Scan) -> None:
    """Raise PacketError for the first layer with an invalid option, or one of a wrong size for its kind."""
    quoted = False
    for kind, start, end in zip(scan.kinds, scan.offsets, scan.offsets[1:], strict=False):
        if quoted and kind != ICMP_EXTENSIONS:
            continue
        at = start + _options_at(kind, data[start:end])
        while at < end:
            size = _option_size(kind, data[at:end])
            wrong = _missed_form(kind, data[at : at + size]) if size else ""
            if wrong or not size:
                raise PacketError(f"{NAMES[kind]} at byte {start} has malformed options at byte {at}{wrong}")
            at += size
        quoted = quoted or _quotes(kind, data[start:end])
