"""The PROXY protocol's headers, as clients send and upstreams read them."""

from __future__ import annotations

import random
import socket
import struct

Address = tuple[str, int]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TO = ("127.0.0.1", 80)


def build(version: int, client: Address) -> bytes:
    if version == 1:
        return f"PROXY TCP4 {client[0]} {TO[0]} {client[1]} {TO[1]}\r\n".encode()
    addresses = b"".join(socket.inet_aton(host) for host in (client[0], TO[0]))
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 12) + addresses + struct.pack("!HH", client[1], TO[1])


def spoilt(dice: random.Random, header: bytes) -> bytes:
    """A header that must be refused, whatever follows."""
    return dice.choice(
        (b"PROXY TCP4 1.2.3 x\r\n", b"PROXY\n" + header, SIGNATURE + b"\x31\x11\0\0", b"GET / HTTP/1.1\r\n")
    )


def read(data: bytes) -> tuple[Address | None, bytes] | None:
    """The client that a header names (None: it names none) and the bytes behind it; None: it is not whole.

    Raises ValueError for what is no header.
    """
    if data.startswith(SIGNATURE):
        return _read_binary(data)
    if SIGNATURE.startswith(data):
        return None
    if not data.startswith(b"PROXY "[: len(data)]):
        raise ValueError(f"no PROXY header: {data[:60]!r}")
    line, newline, rest = data.partition(b"\r\n")
    if not newline:
        return None
    words = line.decode().split(" ")
    return ((words[2], int(words[4])) if words[1] != "UNKNOWN" else None), rest


def _read_binary(data: bytes) -> tuple[Address | None, bytes] | None:
    if len(data) < 16:
        return None
    _, family, length = struct.unpack("!BBH", data[12:16])
    body, rest = data[16 : 16 + length], data[16 + length :]
    if len(body) < length:
        return None
    if family == 0x11:
        return (socket.inet_ntop(socket.AF_INET, body[:4]), int.from_bytes(body[8:10])), rest
    if family == 0x21:
        return (socket.inet_ntop(socket.AF_INET6, body[:16]), int.from_bytes(body[32:34])), rest
    return None, rest
