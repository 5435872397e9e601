"""SCTP's checksum, a cyclic redundancy check (RFC 9260, appendix A)."""

from __future__ import annotations

from _collections_abc import Iterable

_POLYNOMIAL = 0x82F63B78


def _step(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_STEPS = [_step(byte) for byte in range(256)]


def crc32c(data: Iterable[int]) -> int:
    """The CRC of these bytes as in the header: its least significant byte comes first."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _STEPS[(crc ^ byte) & 0xFF]
    return int.from_bytes((crc ^ 0xFFFFFFFF).to_bytes(4, "little"), "big")
