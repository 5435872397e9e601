"""A sweep's requests, and whether what came back is one's answer."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from fastnet._pure.checksum import verify
from fastnet._pure.probe.common import FAMILIES
from fastnet._pure.probe.sockets import ICMP

if TYPE_CHECKING:
    from fastnet._pure.probe.prober import Prober
    from fastnet._pure.probe.targets import Targets

_ECHO = struct.Struct("!BBHHHIIQ")
"""The ICMP header; of the payload: when it was sent, in ticks, its number, its cookie."""
_TOLD = struct.Struct("!II")
_IPV4_HEADER = 20
_WORD = (1 << 64) - 1


class Wire:
    """What is sent and read. A request tells its time and number, and a keyed cookie vouches for both."""

    def __init__(self, prober: Prober, targets: Targets) -> None:
        self.family = prober.family
        self._ident = prober.ident
        self._targets = targets
        self._facts = FAMILIES[socket.AddressFamily(prober.family)]
        self._has_ip_header = prober.engine == "raw" and prober.family == socket.AF_INET
        self._key = os.urandom(16)
        payload = bytes(range(256)) * (prober.size // 256 + 1)
        self._filler = payload[_ECHO.size - ICMP.size : prober.size]
        # Modulo 65535 a number is the sum of its 16-bit words (RFC 1071).
        filled = self._filler + bytes(len(self._filler) % 2)
        self._constant_sum = (self._facts.echo_request << 8) + self._ident + int.from_bytes(filled, "big")
        self.size = self._facts.header_size + _ECHO.size + len(self._filler)
        """Of the longest answer."""

    def request(self, address: bytes, number: int, ticks: int) -> bytes:
        """The request of this number to a packed address, sent at this time."""
        cookie = self._cookie(address, ticks, number)
        sequence = number & 0xFFFF
        total = self._constant_sum + sequence + ticks + number + cookie
        fields = (self._facts.echo_request, 0, -total % 0xFFFF, self._ident, sequence, ticks, number, cookie)
        return _ECHO.pack(*fields) + self._filler

    def _cookie(self, address: bytes, ticks: int, number: int) -> int:
        # Python's hash of bytes is a keyed SipHash (PEP 456), several times as fast as any of hashlib's.
        # Our key comes first, because PYTHONHASHSEED may have made the other one known.
        return hash(self._key + address + _TOLD.pack(ticks, number)) & _WORD

    def reply(self, message: memoryview, source: tuple[Any, ...]) -> tuple[int, int, int] | None:
        """The target, the send time in ticks and the number of the request that a reply is to."""
        if self._has_ip_header:
            header = (message[0] & 0xF) * 4
            message = message[header:]
            # For the other sockets the kernel has checked it.
            if header < _IPV4_HEADER or not verify(message):
                return None
        return self._match(message, self._facts.echo_reply, source)

    def quoted(self, message: bytes, destination: tuple[Any, ...]) -> tuple[int, int, int] | None:
        """The same of the request that an error quotes. Its time and number are 0 where they were cut off."""
        # A router need not quote what is behind the ICMP header (RFC 792); what it quotes must be right.
        if len(message) >= _ECHO.size:
            return self._match(message, self._facts.echo_request, destination)
        if len(message) < ICMP.size:
            return None
        kind, code, _, ident, _ = ICMP.unpack_from(message)
        target = self._target(self._packed(destination))
        whole = (kind, code, ident) == (self._facts.echo_request, 0, self._ident)
        return (target, 0, 0) if whole and target is not None else None

    def _match(
        self, message: memoryview | bytes, expected: int, address: tuple[Any, ...]
    ) -> tuple[int, int, int] | None:
        if len(message) < _ECHO.size:
            return None
        kind, code, _, ident, sequence, ticks, number, cookie = _ECHO.unpack_from(message)
        if kind != expected or code or ident != self._ident or sequence != number & 0xFFFF:
            return None
        packed = self._packed(address)
        if cookie != self._cookie(packed, ticks, number):
            return None
        target = self._target(packed)
        return None if target is None else (target, ticks, number)

    def _packed(self, address: tuple[Any, ...]) -> bytes:
        return socket.inet_pton(self.family, address[0])

    def _target(self, packed: bytes) -> int | None:
        return self._targets.target(int.from_bytes(packed, "big"))
