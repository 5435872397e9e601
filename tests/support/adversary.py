"""A responder that misbehaves: run inside a namespace, it answers each address in that address's own way.

``python adversary.py ADDRESS=BEHAVIOUR...``; it prints ``ready`` and then answers echo requests until killed.
The namespace's own kernel must be silent (net.ipv4.icmp_echo_ignore_all).
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

ELSEWHERE = "10.77.0.2"
"""An address of this host that nobody asked."""
SEEN: defaultdict[bytes, count[int]] = defaultdict(count)
"""The requests of each ident, counted."""


class Request(NamedTuple):
    source: str
    destination: str
    packet: bytes
    icmp: bytes


def checksum(data: bytes) -> int:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF ^ total


def icmp(kind: int, code: int, rest: bytes, spoil: int = 0) -> bytes:
    message = struct.pack("!BBH", kind, code, 0) + rest
    return struct.pack("!BBH", kind, code, checksum(message) ^ spoil) + rest


def ipv4(source: str, destination: str, payload: bytes, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    length = words * 4 + len(payload)
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, 0, 0, 64, 1, 0)
    header += socket.inet_aton(source) + socket.inet_aton(destination) + options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def reply(
    request: Request, rest: bytes, source: str = "", kind: int = 0, spoil: int = 0, options: bytes = b""
) -> bytes:
    return ipv4(source or request.destination, request.source, icmp(kind, 0, rest, spoil), options)


def error(request: Request, kind: int, code: int, quoted: bytes) -> bytes:
    return ipv4(ELSEWHERE, request.source, icmp(kind, code, b"\0\0\0\0" + quoted))


def answers(behaviour: str, request: Request) -> Iterator[bytes]:
    """The packets that come back, in order."""
    rest = request.icmp[4:]  # ident, sequence, payload
    honest = reply(request, rest)
    header, quoted = request.packet[:20], request.packet
    if behaviour == "honest":
        yield honest
    elif behaviour == "options":
        yield reply(request, rest, options=b"\x01" * 40)
    elif behaviour == "checksum":
        yield reply(request, rest, spoil=0x0101)
    elif behaviour == "source":
        yield reply(request, rest, source=ELSEWHERE)
    elif behaviour == "ident":
        yield reply(request, bytes([rest[0] ^ 1]) + rest[1:])
    elif behaviour == "sequence":
        yield reply(request, rest[:3] + bytes([rest[3] ^ 1]) + rest[4:])
    elif behaviour == "cookie":
        yield reply(request, rest[:4] + bytes([rest[4] ^ 1]) + rest[5:])
    elif behaviour == "truncated":
        yield reply(request, rest[:12])
    elif behaviour == "headless":
        yield ipv4(request.destination, request.source, b"\0\0\xff\xff")
    elif behaviour == "request":
        yield reply(request, rest, kind=8)
    elif behaviour == "three":
        yield from (honest, honest, honest)
    elif behaviour == "thousand":
        yield from [honest] * 1000
    elif behaviour == "error":
        yield error(request, 3, 1, quoted)
    elif behaviour == "error-then-reply":
        yield error(request, 3, 1, quoted)
        time.sleep(0.05)
        yield honest
    elif behaviour == "redirect-then-reply":
        yield ipv4(ELSEWHERE, request.source, icmp(5, 1, socket.inet_aton("10.77.0.9") + quoted))
        yield honest
    elif behaviour == "redirect":
        yield ipv4(ELSEWHERE, request.source, icmp(5, 1, socket.inet_aton("10.77.0.9") + quoted))
    elif behaviour == "quench-then-reply":
        yield error(request, 4, 0, quoted)
        yield honest
    elif behaviour == "quench":
        yield error(request, 4, 0, quoted)
    elif behaviour == "error-for-other-ident":
        yield error(request, 3, 1, header + quoted[20:24] + bytes([rest[0] ^ 1]) + quoted[25:])
    elif behaviour == "error-for-other-host":
        yield error(request, 3, 1, quoted[:16] + socket.inet_aton("10.77.0.9") + quoted[20:])
    elif behaviour == "error-bad-cookie":
        yield error(request, 3, 1, quoted[:28] + bytes([rest[4] ^ 1]) + quoted[29:])
    elif behaviour == "error-short-quote":
        yield error(request, 3, 13, quoted[:28])
    elif behaviour == "noise":
        for number in range(1000):
            yield reply(request, number.to_bytes(4, "big") + rest[4:])
        yield honest
    elif behaviour == "late":
        time.sleep(0.6)
        yield honest
    elif behaviour == "third" and next(SEEN[rest[:2]]) % 3 == 2:
        yield honest


def respond(sending: socket.socket, behaviour: str, request: Request) -> None:
    for answer in answers(behaviour, request):
        sending.sendto(answer, (request.source, 0))


def main() -> None:
    behaviours = dict(word.split("=") for word in sys.argv[1:])
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as listening,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending,
    ):
        print("ready", flush=True)
        while True:
            packet, (source, _) = listening.recvfrom(65535)
            destination = socket.inet_ntoa(packet[16:20])
            request = Request(source, destination, packet, packet[20:])
            if request.icmp[0] != 8 or destination not in behaviours:
                continue
            # One that answers late must not hold up the others.
            words = (sending, behaviours[destination], request)
            threading.Thread(target=respond, args=words, daemon=True).start()


if __name__ == "__main__":
    main()
