"""Packets made byte by byte, independent of every library, with their contents."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

SRC_MAC, DST_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
ECHO_SRC, ECHO_DST = "10.0.0.1", "10.0.0.2"
ECHO_IDENT = 7
ECHO_PAYLOAD = bytes(range(22))
"""The payload of a frame of 64 bytes."""

ICMP, TCP, UDP = 1, 6, 17
IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD


def checksum(data: bytes) -> int:
    """The Internet checksum, as modular arithmetic (RFC 1071)."""
    number = int.from_bytes(data + bytes(len(data) % 2), "big")
    return 0xFFFF ^ (number and (number % 65535 or 65535))


def with_checksum(data: bytes, at: int, pseudo_header: bytes = b"") -> bytes:
    return data[:at] + struct.pack("!H", checksum(pseudo_header + data)) + data[at + 2 :]


def ethernet(type: int, payload: bytes) -> bytes:
    macs = bytes.fromhex((DST_MAC + SRC_MAC).replace(":", ""))
    return macs + struct.pack("!H", type) + payload


def ipv4(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    addresses = socket.inet_aton(src) + socket.inet_aton(dst)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses
    return with_checksum(header, 10) + payload


def ipv6(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst)
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def echo_request(seq: int) -> bytes:
    """An Ethernet frame of 64 bytes."""
    message = struct.pack("!BBHHH", 8, 0, 0, ECHO_IDENT, seq) + ECHO_PAYLOAD
    return ethernet(IPV4, ipv4(ECHO_SRC, ECHO_DST, ICMP, with_checksum(message, 2)))


class Facts(NamedTuple):
    """The fields that a parser should find; None for those that a packet does not have."""

    protocol: int | None
    sport: int | None
    dport: int | None
    src: str | None
    dst: str | None
    payload: bytes


class Maker:
    """A reproducible mix of packets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _addresses(self, family: int) -> tuple[str, str]:
        size = 4 if family == socket.AF_INET else 16
        return tuple(socket.inet_ntop(family, self._random.randbytes(size)) for _ in range(2))  # type: ignore[return-value]

    def transported(self, family: int, protocol: int) -> tuple[bytes, Facts]:
        """TCP or UDP over IPv4 or IPv6, from its network header on."""
        src, dst = self._addresses(family)
        sport, dport = self._random.randrange(49152, 65536), self._random.choice((80, 443, 8080, 4789))
        payload = self._random.randbytes(self._random.choice((0, 16, 200, 1200)))
        if protocol == TCP:
            header, at = struct.pack("!HHIIBBHHH", sport, dport, 1, 2, 0x50, 0x18, 64240, 0, 0), 16
        else:
            header, at = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0), 6
        pseudo = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
        pseudo += struct.pack("!II", protocol, len(header + payload))
        network = ipv4 if family == socket.AF_INET else ipv6
        data = network(src, dst, protocol, with_checksum(header + payload, at, pseudo))
        return data, Facts(protocol, sport, dport, src, dst, payload)

    def echo(self) -> tuple[bytes, Facts]:
        facts = Facts(ICMP, None, None, ECHO_SRC, ECHO_DST, ECHO_PAYLOAD)
        return echo_request(self._random.randrange(65536)), facts

    def arp(self) -> tuple[bytes, Facts]:
        addresses = [socket.inet_aton(address) for address in self._addresses(socket.AF_INET)]
        request = struct.pack(
            "!HHBBH6s4s6s4s", 1, IPV4, 6, 4, 1, bytes(6), addresses[0], bytes(6), addresses[1]
        )
        return ethernet(ARP, request), Facts(None, None, None, None, None, b"")

    def frames(self) -> Iterator[tuple[bytes, Facts]]:
        """A hundred frames: what an ordinary link carries."""
        for family, type in ((socket.AF_INET, IPV4), (socket.AF_INET6, IPV6)):
            for protocol, count in ((TCP, 30), (UDP, 15)):
                for _ in range(count):
                    data, facts = self.transported(family, protocol)
                    yield ethernet(type, data), facts
        for _ in range(4):
            data, facts = self.transported(socket.AF_INET, UDP)
            yield ethernet(VLAN, struct.pack("!HH", 42, IPV4) + data), facts
        for _ in range(3):
            yield self.echo()
            yield self.arp()

    def mix(self, hundreds: int) -> list[tuple[bytes, Facts]]:
        frames = [frame for _ in range(hundreds) for frame in self.frames()]
        self._random.shuffle(frames)
        return frames
