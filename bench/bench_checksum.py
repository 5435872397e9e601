"""The Internet checksum (RFC 1071) of one buffer: scapy, dpkt, pypacker, impacket, numpy, plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from operator import eq

from bench._case import Case, Contender
from fastnet import checksums

GOALS_NS = {64: 30, 1500: None, 65536: 550, 1 << 26: 2_500_000}
ABSENT = 0xA5
"""A byte that is in no buffer, so that a search for it reads all of it."""


def oracle(data: bytes) -> int:
    """The big-integer definition."""
    number = int.from_bytes(data + bytes(len(data) % 2), "big")
    return 0xFFFF ^ (number and (number % 65535 or 65535))


def ours(data: bytes, kernel: str) -> Contender:
    names = {"checksum": checksums.checksum, "use_kernel": checksums.use_kernel, "data": data}
    return Contender("checksum(data)", names, setup=f"use_kernel({kernel!r})")


def scapy(data: bytes) -> Contender:
    from scapy.utils import checksum

    return Contender("checksum(data)", {"checksum": checksum, "data": data})


def dpkt(data: bytes) -> Contender:
    from dpkt import in_cksum

    return Contender("in_cksum(data)", {"in_cksum": in_cksum, "data": data})


def pypacker(data: bytes) -> Contender:
    from pypacker.checksum import in_cksum

    return Contender("in_cksum(data)", {"in_cksum": in_cksum, "data": data})


def impacket(data: bytes) -> Contender:
    from impacket.ImpactPacket import IP

    return Contender("header.compute_checksum(data)", {"header": IP(), "data": data})


def numpy(data: bytes) -> Contender:
    """The fastest way in numpy: 32-bit machine words added in 64 bits, the result's two bytes swapped."""
    import numpy

    def checksum(data: bytes) -> int:
        words = numpy.frombuffer(data + bytes(-len(data) % 4), "<u4")
        total = int(words.sum(dtype=numpy.uint64)) % 65535
        return 0xFFFF ^ (total >> 8 | (total & 0xFF) << 8)

    return Contender("checksum(data)", {"checksum": checksum, "data": data})


def modulo(data: bytes) -> Contender:
    return Contender("0xffff ^ int.from_bytes(data, 'big') % 65535", {"data": data})


def read_limit(data: bytes) -> Contender:
    """No checksum at all: a search that reads every byte, at the speed of memory."""
    return Contender(
        "expected if data.find(absent) == -1 else None",
        {"data": data, "absent": ABSENT, "expected": oracle(data)},
    )


def peers(data: bytes) -> dict[str, Callable[[], Contender]]:
    makers = {
        "scapy": scapy,
        "dpkt": dpkt,
        "pypacker": pypacker,
        "impacket": impacket,
        "numpy": numpy,
        "int % 65535": modulo,
        "only reading (memchr)": read_limit,
    }
    kernels = {f"fastnet, {name} kernel": partial(ours, kernel=name) for name in checksums.kernels()[:-1]}
    return {name: partial(make, data) for name, make in (makers | kernels).items()}


def of(what: str, data: bytes, goal_ns: float | None) -> Case:
    best = checksums.kernels()[-1]
    return Case(
        f"checksum of {what}", partial(ours, data, best), peers(data), partial(eq, oracle(data)), goal_ns
    )


def cases() -> Iterator[Case]:
    spread = random.Random(1071)
    for size, goal_ns in GOALS_NS.items():
        data = spread.randbytes(size).replace(bytes([ABSENT]), b"\0")
        yield of(size_name(size), data, goal_ns)
    yield of("128 KiB whose carries carry", b"\xff\xff" * 65538 + b"\x01\x00", None)


def size_name(size: int) -> str:
    for unit, scale in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size % scale == 0:
            return f"{size // scale} {unit}"
    return f"{size} B"
