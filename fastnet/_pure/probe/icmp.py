"""A sweep's requests, and the matching of answers to them."""

from __future__ import annotations

import os
import socket
import struct
import time
from functools import lru_cache

from fastnet._pure.probe.prober import may_be_anycast
from fastnet._pure.probe.reading import ICMP, TIMESPEC, Departure, Failure, read_errors
from fastnet._pure.probe.timing import NANOSECOND, TICK_BITS, TICKS
from fastnet._system.icmp_sockets import FAMILIES, SO_TIMESTAMPNS
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    Reply = tuple[int, int, int, int, str]
    """Target, ticks and number of the request that was replied to; the kernel's timestamp of the reply or 0.

    Last, its source address if that is not the target's.
    """

    from fastnet._pure.probe.prober import Prober
    from fastnet._pure.probe.targets import Targets

_ECHO = struct.Struct("!HHHHIIQ")
"""The ICMP header, type and code as one; then the payload's time in ticks, number and cookie."""
_TARGET = struct.Struct("!Q")
"""After these, for IPv6 and if there is room: the target, since a reply may come from another address."""
_CONTROL_SIZE = socket.CMSG_SPACE(TIMESPEC.size)
"""Size of the first control message, which is the timestamp."""
_WORD = (1 << 64) - 1
NUMBERS = 0xFFFFFFFF
_LONGEST_NS = 1_000_000
"""Maximum time to build a request."""
_TRUNCATED = int(socket.MSG_TRUNC)

_TAILS = {4: [f"{byte}" for byte in range(256)], 16: [f"{byte:02x}" for byte in range(256)]}
"""The end of an address's text, by its last byte and its size."""


@lru_cache(maxsize=4096)
def _head(size: int, number: int) -> str:
    """The text of an address without its last byte: a look-up is faster than formatting all of it."""
    packed = number.to_bytes(size - 1, "big")
    return packed.hex(":", -2) if size == 16 else "".join(f"{byte}." for byte in packed)


class Wire:
    """Sends requests and reads answers. A request contains its time and number, and a keyed cookie for both.

    The two loops are flat and use local names, since a sweep spends its time in them.
    """

    def __init__(self, prober: Prober, targets: Targets) -> None:
        self._socket = prober._socket
        self._ident = prober.ident
        self._targets = targets
        self._family = FAMILIES[socket.AddressFamily(prober.family)]
        self._has_ip_header = prober.engine == "raw" and prober.family == socket.AF_INET
        self._key = os.urandom(16)
        # A cookie is computed with our key from the address, the time and the number.
        self._hashed = struct.Struct(f"!16s{self._family.address_size}sII").pack
        payload = bytes(range(256)) * (prober.size // 256 + 1)
        room = prober.size - (_ECHO.size - ICMP.size)
        self._has_target = prober.family == socket.AF_INET6 and room >= _TARGET.size
        self._anycast = prober.anycast
        self._filler = payload[_ECHO.size - ICMP.size :][: max(0, room)]
        if self._has_target:
            self._filler = bytes(_TARGET.size) + self._filler[_TARGET.size :]
        # Modulo 65535 a number is the sum of its 16-bit words (RFC 1071).
        filled = self._filler + bytes(len(self._filler) % 2)
        self._request_type = self._family.echo_request << 8
        self._constant_sum = self._request_type + self._ident + int.from_bytes(filled, "big") % 0xFFFF
        self._pack = struct.Struct(f"{_ECHO.format}{len(self._filler)}s").pack
        self._size = self._family.header_size + _ECHO.size + len(self._filler)

    # Python's hash of bytes is a keyed SipHash (PEP 456), several times as fast as any of hashlib's. Our key
    # comes first, because PYTHONHASHSEED may have made the other one known.

    def send(self, batch: list[tuple[int, int]], before: int) -> tuple[int, int]:
        """Send to each (target, address), from number ``before + 1`` on; return how many, and the errno."""
        send, pack, hashed, now_ns = self._socket.sendto, self._pack, self._hashed, time.monotonic_ns
        kind, ident, key, filler = self._request_type, self._ident, self._key, self._filler
        width, tails = self._family.address_size, _TAILS[self._family.address_size]
        constant, number = self._constant_sum, before
        has_target, behind = self._has_target, self._filler[_TARGET.size :]
        for target, address in batch:
            number = number + 1 & NUMBERS
            sequence = number & 0xFFFF
            host = (_head(width, address >> 8) + tails[address & 0xFF], 0)
            packed = address.to_bytes(width, "big")
            if has_target:
                filler = target.to_bytes(_TARGET.size, "big") + behind
            while True:
                made_ns = now_ns()
                ticks = made_ns >> TICK_BITS & TICKS
                cookie = hash(hashed(key, packed, ticks, number)) & _WORD
                # The kernel computes that of a datagram socket, and of IPv6.
                checksum = -(constant + sequence + ticks + number + cookie) % 0xFFFF
                packet = pack(kind, checksum, ident, sequence, ticks, number, cookie, filler)
                if now_ns() - made_ns <= _LONGEST_NS:
                    break  # else it is built again: the process was stopped after its time was taken
            try:
                send(packet, host)
            except OSError as error:
                return number - before - 1 & NUMBERS, error.errno or 0
        return len(batch), 0

    def receive(self, limit: int) -> tuple[list[Reply], int]:
        """The replies among at most ``limit`` messages, and the errno that stopped the reading, or 0."""
        receive, unpack, unpack_stamp = self._socket.recvmsg, _ECHO.unpack_from, TIMESPEC.unpack
        hashed, target_of, number_of, parse = (
            self._hashed,
            self._targets.target,
            int.from_bytes,
            socket.inet_pton,
        )
        family, kind, ident, key = self._socket.family, self._family.echo_reply << 8, self._ident, self._key
        most, whole, has_ip_header, start = self._size, _ECHO.size, self._has_ip_header, 0
        found: list[Reply] = []
        for _ in range(limit):
            try:
                data, ancillary, flags, source = receive(most, _CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                return found, error.errno or 0
            size = len(data)
            if has_ip_header:
                start = (data[0] & 0xF) * 4
                icmp = data[start:]
                # The kernel checks it for the other sockets.
                if number_of(icmp + b"\0" if size & 1 else icmp, "big") % 0xFFFF:
                    continue
                packed = data[12:16]
            else:
                packed = parse(family, source[0])
            if size < start + whole or flags & _TRUNCATED:
                continue
            got, _, ours, sequence, ticks, number, cookie = unpack(data, start)
            if got != kind or ours != ident or sequence != number & 0xFFFF:
                continue
            responder = ""
            if cookie == hash(hashed(key, packed, ticks, number)) & _WORD:
                target = target_of(number_of(packed, "big"))
            else:
                target = self._of_anycast(data, ticks, number, cookie)
                responder = source[0].partition("%")[0]
            if target is None:
                continue
            seconds = stamp = 0
            for _, kept, value in ancillary:
                if kept == SO_TIMESTAMPNS:
                    seconds, stamp = unpack_stamp(value)
            found.append((target, ticks, number, seconds * NANOSECOND + stamp, responder))
        return found, 0

    def _of_anycast(self, data: bytes, ticks: int, number: int, cookie: int) -> int | None:
        """The target of a reply that a router sent from its own address: the routers of its subnet."""
        if not self._has_target or len(data) < _ECHO.size + _TARGET.size:
            return None
        (target,) = _TARGET.unpack_from(data, _ECHO.size)
        if target >= self._targets.size:
            return None
        address = self._targets.number(target)
        if not may_be_anycast(socket.AF_INET6, self._anycast, address):
            return None
        packed = address.to_bytes(self._family.address_size, "big")
        return target if cookie == hash(self._hashed(self._key, packed, ticks, number)) & _WORD else None

    def errors(self, limit: int) -> list[tuple[int | None, int, Failure | Departure]]:
        """At most ``limit`` entries of the error queue: target or None, number, and error of each."""
        return [(*self._quoted(each), each) for each in read_errors(self._socket, self._size, limit)]

    def _quoted(self, failure: Failure | Departure) -> tuple[int | None, int]:
        """The target and number of the request that an error quotes; number 0 if that was cut off."""
        if isinstance(failure, Departure) or failure.error[0] in self._family.no_errors:
            return None, 0
        if len(failure.quoted) < ICMP.size:
            return None, 0
        kind, code, _, ident, sequence = ICMP.unpack_from(failure.quoted)
        if (kind, code, ident) != (self._family.echo_request, 0, self._ident):
            return None, 0
        packed = socket.inet_pton(self._socket.family, failure.address[0])
        target = self._targets.target(int.from_bytes(packed, "big"))
        # A router need not quote bytes after the ICMP header (RFC 792); quoted bytes must be right.
        if len(failure.quoted) < _ECHO.size:
            return target, 0
        *_, ticks, number, cookie = _ECHO.unpack_from(failure.quoted)
        right = cookie == hash(self._hashed(self._key, packed, ticks, number)) & _WORD
        return (target, number) if right and sequence == number & 0xFFFF else (None, 0)
