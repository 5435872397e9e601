"""A conversation: single probes, and which of them each answer is for."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from hashlib import blake2b
from typing import Any

from fastnet._pure.checksum import checksum, verify
from fastnet._pure.probe.common import FAMILIES, NANOSECOND, Answer
from fastnet._pure.probe.sockets import (
    ICMP,
    TIMESTAMP,
    forget_error,
    open_socket,
    pass_ident,
    pass_type,
    prepare,
    read,
    read_errors,
    stamp_of,
)

_COOKIE = 16
_SLOTS = 1 << 16
_CLOCK_TOLERANCE_NS = 50_000


class _Sent:
    __slots__ = ("answered", "clock_offset", "cookie", "held_until", "host", "scope", "sent_ns", "tag")

    def __init__(self, tag: int, destination: tuple[Any, ...], cookie: bytes, timeout_ns: int) -> None:
        self.tag = tag
        self.host, self.scope = _identity(destination)
        self.cookie = cookie
        self.answered = False
        self.clock_offset = time.time_ns() - time.monotonic_ns()
        self.sent_ns = time.monotonic_ns()
        self.held_until = self.sent_ns + timeout_ns


class Prober:
    """An open ICMP socket that sends echo requests of ``size`` payload bytes and matches what comes back.

    ``family`` is AF_INET or AF_INET6; ``engine`` is ``raw``, ``datagram`` or ``auto``, the first of
    them that is permitted (``.engine`` tells). ``source`` is a numeric address to send from. One thread
    at a time may call it. Raises NotPermitted, which names the cures, NoAddress where source is not
    this machine's, InvalidArgument for an engine that there is not, OSError.
    """

    def __init__(
        self, family: int, engine: str = "auto", *, source: str = "", ttl: int | None = None, size: int = 56
    ) -> None:
        self.family = family
        self.size = size
        self._family = FAMILIES[socket.AddressFamily(family)]
        self._socket, self.engine = open_socket(family, engine, source)
        # The kernel chooses a datagram socket's ident, and shows it as its port.
        own = self._socket.getsockname()[1] if self.engine == "datagram" else 0
        self.ident = own or int.from_bytes(os.urandom(2), "big")
        try:
            self._configure(ttl)
        except BaseException:
            self._socket.close()
            raise
        self._key = os.urandom(32)
        self._serial = int.from_bytes(os.urandom(2), "big")
        self._sent: dict[int, _Sent] = {}
        self._filler = (bytes(range(256)) * (size // 256 + 1))[: max(0, size - _COOKIE)]

    def _configure(self, ttl: int | None) -> None:
        prepare(self._socket)
        if ttl is not None:
            self._socket.setsockopt(self._family.level, self._family.ttl_option, ttl)
        if self.engine == "raw":
            pass_type(self._socket, self._family.echo_reply)
            pass_ident(self._socket, self.ident)

    def fileno(self) -> int:
        """The socket's descriptor, readable when there is something to ``receive``."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, destination: tuple[Any, ...], tag: int, timeout: float) -> None:
        """Send one echo request to a socket address; its answers bear ``tag``.

        Its sequence number is not given to another probe for ``timeout`` seconds, or until it is
        answered. Raises OSError where it was not sent: ENOBUFS too where all sequence numbers wait.
        """
        sequence = self._free_sequence()
        cookie = self._cookie(destination)
        packet = self._request(sequence, cookie[: self.size] + self._filler)
        self._sent[sequence] = _Sent(tag, destination, cookie, int(timeout * NANOSECOND))
        try:
            self._send_packet(packet, destination)
        except OSError:
            del self._sent[sequence]
            raise

    def _send_packet(self, packet: bytes, destination: tuple[Any, ...]) -> None:
        # An error that an earlier probe met is reported by the next call on the socket, whatever
        # that is about; it stays in the error queue too. What is reported again is this packet's own.
        for _ in range(2):
            try:
                self._socket.sendto(packet, destination)
                return
            except BlockingIOError:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)) from None
            except OSError:
                forget_error(self._socket)
        self._socket.sendto(packet, destination)

    def _free_sequence(self) -> int:
        now = time.monotonic_ns()
        for _ in range(_SLOTS):
            self._serial += 1
            sent = self._sent.get(self._serial % _SLOTS)
            if sent is None or sent.answered or sent.held_until <= now:
                return self._serial % _SLOTS
        raise OSError(errno.ENOBUFS, "every sequence number waits for its answer")

    def _cookie(self, destination: tuple[Any, ...]) -> bytes:
        told = f"{self._serial} {_identity(destination)}".encode()
        return blake2b(told, key=self._key, digest_size=_COOKIE).digest()

    def _request(self, sequence: int, payload: bytes) -> bytes:
        fields = (self._family.echo_request, 0, 0, self.ident, sequence)
        packet = ICMP.pack(*fields) + payload
        if self.family == socket.AF_INET6 or self.engine == "datagram":
            return packet  # the kernel computes the checksum
        return packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:]

    def receive(self, limit: int = 256) -> list[Answer]:
        """Whatever has arrived for our probes, without waiting; ``limit`` messages are read at most."""
        answers = []
        size = self._family.header_size + ICMP.size + self.size
        replies = list(read(self._socket, size, limit))
        failures = list(read_errors(self._socket, size, limit))
        now_ns = time.monotonic_ns()
        clock_offset = time.time_ns() - now_ns
        for data, messages, address in replies:
            if (icmp := self._icmp_part(data)) and (
                sent := self._match(icmp, self._family.echo_reply, address)
            ):
                rtt = _rtt_ns(sent, stamp_of(messages.get(TIMESTAMP)), now_ns, clock_offset)
                ttl = self._ttl(messages)
                answers.append(Answer(sent.tag, _text(address), rtt, ttl, None, 0))
                sent.answered = True
        for quoted, address, error, info, reporter, stamp in failures:
            if sent := self._match(quoted, self._family.echo_request, address):
                rtt = _rtt_ns(sent, stamp, now_ns, clock_offset)
                answers.append(Answer(sent.tag, reporter, rtt, None, error, info))
        return answers

    def _icmp_part(self, data: bytes) -> bytes:
        """The ICMP message, or nothing where its checksum is wrong: only raw IPv4 is left to us to check."""
        if self.family == socket.AF_INET6 or self.engine == "datagram":
            return data
        icmp = data[(data[0] & 0xF) * 4 :]
        return icmp if verify(icmp) else b""

    def _match(self, icmp: bytes, kind: int, address: tuple[Any, ...]) -> _Sent | None:
        """The probe that this reply, or this request quoted by an error, belongs to."""
        if len(icmp) < ICMP.size:
            return None
        got, code, _, ident, sequence = ICMP.unpack_from(icmp)
        sent = self._sent.get(sequence)
        if sent is None or (got, code, ident) != (kind, 0, self.ident):
            return None
        host, scope = _identity(address)
        if host != sent.host or scope not in (0, sent.scope):
            return None
        cookie = sent.cookie[: self.size]
        returned = icmp[ICMP.size :][: len(cookie)]
        # A router need not quote the payload (RFC 792); a reply must return it.
        whole = len(returned) == len(cookie) or kind == self._family.echo_request
        return sent if whole and cookie.startswith(returned) else None

    def _ttl(self, messages: dict[tuple[int, int], bytes]) -> int | None:
        value = messages.get((self._family.level, self._family.ttl_message))
        return int.from_bytes(value, sys.byteorder) if value else None


def _identity(address: tuple[Any, ...]) -> tuple[str, int]:
    """What of a socket address says who it is: the numeric address, and the scope, 0 where it has none."""
    return address[0].partition("%")[0], address[3] if len(address) > 3 else 0


def _text(address: tuple[Any, ...]) -> str:
    """A socket address as people write it, with its scope where it has one."""
    host, scope = _identity(address)
    return socket.getnameinfo(address, socket.NI_NUMERICHOST)[0] if scope else host


def _rtt_ns(sent: _Sent, stamp: int, now_ns: int, clock_offset: int) -> int:
    """From the kernel's receive timestamp, unless the wall clock that it is of was stepped meanwhile."""
    elapsed = now_ns - sent.sent_ns
    # Adjusting a clock slews it by at most one in a thousand; a difference above that is a step.
    steady = abs(clock_offset - sent.clock_offset) <= _CLOCK_TOLERANCE_NS + elapsed // 1000
    rtt = stamp - clock_offset - sent.sent_ns
    return rtt if stamp and steady and 0 <= rtt <= elapsed else elapsed
