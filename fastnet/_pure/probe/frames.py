"""The Ethernet frames of ARP (RFC 826) and of neighbour discovery (RFC 4861)."""

from __future__ import annotations

import socket

from fastnet._system.link_socket import (
    ARP_REPLY,
    ETHERTYPES,
    ICMP_AT,
    ICMPV6,
    NEVER_FORWARDED,
    expected_of_reply,
)

_BROADCAST = b"\xff" * 6
_REQUEST = ARP_REPLY[:-1] + b"\1"

_SOLICITATION, _SOLICITED = 135, 0x40
_SOURCE_MAC, _TARGET_MAC = b"\1\1", b"\2\1"
"""The type of an option, and its length in units of eight bytes."""
_MULTICAST = 0xFF
_SOLICITED_NODES = 0xFF0200000000000000000001FF << 24
_OPTIONS_AT = 78
_SHORTEST_ADVERTISEMENT = _OPTIONS_AT - ICMP_AT


def _is_station(mac: bytes) -> bool:
    return not mac[0] & 1 and any(mac)


class ARP:
    """Requests from one interface's MAC and address, and the check of replies to them."""

    longest = 42

    def __init__(self, mac: bytes, source: str) -> None:
        packed = socket.inet_aton(source)
        self._request = _BROADCAST + mac + _REQUEST + mac + packed + bytes(6)
        self._mac, self._asker = mac, mac + packed

    def request(self, address: int) -> bytes:
        return self._request + address.to_bytes(4, "big")

    def reply(self, frame: bytes) -> tuple[int, bytes] | None:
        """The address and the MAC in a frame that replies to one of our requests; None for other frames."""
        if frame[:6] != self._mac or frame[12:22] != ARP_REPLY or frame[32:42] != self._asker:
            return None
        mac = frame[22:28]
        if frame[6] & 1 or not _is_station(mac):
            return None
        return int.from_bytes(frame[28:32], "big"), mac


class NDP:
    """Neighbour solicitations, and the check of advertisements in reply.

    An advertisement must be solicited, pass the checks of RFC 4861 7.1.2, and contain the target's MAC
    (7.2.5). A proxy (7.2.8) sends it from its own address.
    """

    longest = 2048

    def __init__(self, mac: bytes, source: str) -> None:
        self._mac, self._source = mac, socket.inet_pton(socket.AF_INET6, source)
        self._option = _SOURCE_MAC + mac
        length = _SHORTEST_ADVERTISEMENT + len(self._option)
        self._header = (
            mac
            + ETHERTYPES[socket.AF_INET6].to_bytes(2, "big")
            + bytes.fromhex("60000000")
            + length.to_bytes(2, "big")
            + bytes((ICMPV6, NEVER_FORWARDED))
            + self._source
        )
        # Modulo 65535 a number is the sum of its 16-bit words (RFC 1071).
        self._constant_sum = (
            int.from_bytes(self._source, "big")
            + _SOLICITED_NODES
            + length
            + ICMPV6
            + (_SOLICITATION << 8)
            + int.from_bytes(self._option, "big")
        )
        expected = expected_of_reply(socket.AF_INET6, mac, source)
        self._expected = [(slice(at, at + len(value)), value) for at, value in expected]

    def request(self, address: int) -> bytes:
        low = address & 0xFFFFFF
        checksum = -(self._constant_sum + low + address) % 0xFFFF
        return (
            b"\x33\x33\xff"
            + low.to_bytes(3, "big")
            + self._header
            + (_SOLICITED_NODES | low).to_bytes(16, "big")
            + bytes((_SOLICITATION, 0))
            + checksum.to_bytes(2, "big")
            + bytes(4)
            + address.to_bytes(16, "big")
            + self._option
        )

    def reply(self, frame: bytes) -> tuple[int, bytes] | None:
        """The address and the MAC in a frame that replies to one of our requests; None for other frames."""
        length = int.from_bytes(frame[18:20], "big")
        end = ICMP_AT + length
        if length < _SHORTEST_ADVERTISEMENT or len(frame) < end or frame[:6] != self._mac or frame[6] & 1:
            return None
        if frame[14] >> 4 != 6 or frame[22] == _MULTICAST or not frame[58] & _SOLICITED:
            return None
        if any(frame[part] != expected for part, expected in self._expected):
            return None
        summed = frame[22:end] + bytes(length % 2)
        if (int.from_bytes(summed, "big") + length + ICMPV6) % 0xFFFF:
            return None
        mac = _target_mac(frame[_OPTIONS_AT:end])
        if mac is None or not _is_station(mac):
            return None
        return int.from_bytes(frame[62:78], "big"), mac


def _target_mac(options: bytes) -> bytes | None:
    """The MAC among an advertisement's options; None if it is missing, or they are malformed."""
    found = None
    while options:
        size = options[1] * 8 if len(options) > 1 else 0
        if not 0 < size <= len(options):
            return None
        if found is None and options[:2] == _TARGET_MAC:
            found = options[2:8]
        options = options[size:]
    return found


FRAMES: dict[int, type[ARP | NDP]] = {socket.AF_INET: ARP, socket.AF_INET6: NDP}
