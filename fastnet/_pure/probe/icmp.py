"""A sweep's requests, and whether what came back is one's answer."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from fastnet._pure.probe.common import FAMILIES
from fastnet._pure.probe.sockets import (
    ICMP,
    SO_TIMESTAMPNS,
    TIMESPEC,
    Departure,
    Failure,
    read_errors,
    stamp_of,
)
from fastnet._pure.probe.timing import TICK_BITS, TICKS

if TYPE_CHECKING:
    Reply = tuple[int, int, int, int]
    """Of the request that was replied to: target, ticks, number; the kernel's timestamp of the reply or 0."""

    from fastnet._pure.probe.prober import Prober
    from fastnet._pure.probe.targets import Targets

_ECHO = struct.Struct("!BBHHHIIQ")
"""The ICMP header; of the payload: when it was sent, in ticks, its number, its cookie."""
_CONTROL_SIZE = socket.CMSG_SPACE(TIMESPEC.size)
"""Room for the first control message, which is the timestamp."""
_WORD = (1 << 64) - 1
NUMBERS = 0xFFFFFFFF


class Wire:
    """What is sent and read. A request tells its time and number, and a keyed cookie vouches for both.

    The two loops are flat, and what they use is bound to local names: a sweep spends its time in them.
    """

    def __init__(self, prober: Prober, targets: Targets) -> None:
        self._socket = prober._socket
        self._ident = prober.ident
        self._targets = targets
        self._family = FAMILIES[socket.AddressFamily(prober.family)]
        self._has_ip_header = prober.engine == "raw" and prober.family == socket.AF_INET
        self._key = os.urandom(16)
        # What a cookie vouches for: the address, the time, the number.
        self._told = struct.Struct(f"!{self._family.address_size}sII").pack
        payload = bytes(range(256)) * (prober.size // 256 + 1)
        self._filler = payload[_ECHO.size - ICMP.size : prober.size]
        # Modulo 65535 a number is the sum of its 16-bit words (RFC 1071).
        filled = self._filler + bytes(len(self._filler) % 2)
        self._constant_sum = (self._family.echo_request << 8) + self._ident + int.from_bytes(filled, "big")
        self._size = self._family.header_size + _ECHO.size + len(self._filler)
        self._buffer = bytearray(self._size)

    # Python's hash of bytes is a keyed SipHash (PEP 456), several times as fast as any of hashlib's. Our key
    # comes first, because PYTHONHASHSEED may have made the other one known.

    def send(self, batch: list[tuple[int, int]], before: int) -> tuple[int, int]:
        """Send to each (target, address), ``before + 1`` first: to how many, and what errno stopped it."""
        send, pack, told, now_ns = self._socket.sendto, _ECHO.pack, self._told, time.monotonic_ns
        family, width, text = self._socket.family, self._family.address_size, socket.inet_ntop
        kind, ident, key, filler = self._family.echo_request, self._ident, self._key, self._filler
        constant = self._constant_sum
        for place, (_, address) in enumerate(batch):
            packed = address.to_bytes(width, "big")
            number = before + place + 1 & NUMBERS
            sequence = number & 0xFFFF
            ticks = now_ns() >> TICK_BITS & TICKS
            cookie = hash(key + told(packed, ticks, number)) & _WORD
            checksum = -(constant + sequence + ticks + number + cookie) % 0xFFFF
            packet = pack(kind, 0, checksum, ident, sequence, ticks, number, cookie) + filler
            try:
                send(packet, (text(family, packed), 0))
            except OSError as error:
                return place, error.errno or 0
        return len(batch), 0

    def receive(self, limit: int) -> tuple[list[Reply], int]:
        """The replies among so many messages at most, and the errno of what stopped it or 0."""
        receive, unpack, told, buffer = self._socket.recvmsg_into, _ECHO.unpack_from, self._told, self._buffer
        family, pack, target_of, whole = (
            self._socket.family,
            socket.inet_pton,
            self._targets.target,
            _ECHO.size,
        )
        wanted, key, has_ip_header = (self._family.echo_reply, 0, self._ident), self._key, self._has_ip_header
        buffers, start = [buffer], 0
        found: list[Reply] = []
        for _ in range(limit):
            try:
                size, ancillary, flags, source = receive(buffers, _CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                return found, error.errno or 0
            if has_ip_header:
                start = (buffer[0] & 0xF) * 4
                # For the other sockets the kernel has checked it.
                if (int.from_bytes(buffer[start:size], "big") << 8 * (size & 1)) % 0xFFFF:
                    continue
            if size < start + whole or flags & socket.MSG_TRUNC:
                continue
            kind, code, _, ident, sequence, ticks, number, cookie = unpack(buffer, start)
            if (kind, code, ident) != wanted or sequence != number & 0xFFFF:
                continue
            packed = pack(family, source[0])
            if cookie != hash(key + told(packed, ticks, number)) & _WORD:
                continue
            target = target_of(int.from_bytes(packed, "big"))
            if target is not None:
                stamp = stamp_of(ancillary[0][2]) if ancillary and ancillary[0][1] == SO_TIMESTAMPNS else 0
                found.append((target, ticks, number, stamp))
        return found, 0

    def errors(self, limit: int) -> list[tuple[int | None, int, Failure | Departure]]:
        """So much of the error queue: of each the target or None, the number, and what it says."""
        return [(*self._quoted(each), each) for each in read_errors(self._socket, self._size, limit)]

    def _quoted(self, failure: Failure | Departure) -> tuple[int | None, int]:
        """The target and number of the request that an error quotes; number 0 where that was cut off."""
        if isinstance(failure, Departure) or failure.error[0] == self._family.redirect:
            return None, 0
        if len(failure.quoted) < ICMP.size:
            return None, 0
        kind, code, _, ident, sequence = ICMP.unpack_from(failure.quoted)
        if (kind, code, ident) != (self._family.echo_request, 0, self._ident):
            return None, 0
        packed = socket.inet_pton(self._socket.family, failure.address[0])
        target = self._targets.target(int.from_bytes(packed, "big"))
        # A router need not quote what is behind the ICMP header (RFC 792); what it quotes must be right.
        if len(failure.quoted) < _ECHO.size:
            return target, 0
        *_, ticks, number, cookie = _ECHO.unpack_from(failure.quoted)
        right = cookie == hash(self._key + self._told(packed, ticks, number)) & _WORD
        return (target, number) if right and sequence == number & 0xFFFF else (None, 0)
