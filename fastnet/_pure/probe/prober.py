"""Single probes, and the matching of answers to them."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from hashlib import blake2b

from fastnet._contract.probe import ALL_WAIT, COOKIE, Answer, check_payload, check_time, has_host, not_numeric
from fastnet._pure.checksum import checksum, verify
from fastnet._pure.probe.reading import (
    ICMP,
    Departure,
    Failure,
    forget_error,
    read,
    read_errors,
    stamp_of,
)
from fastnet._pure.probe.timing import NANOSECOND
from fastnet._system.icmp_sockets import FAMILIES, TIMESTAMP, filler_of, number_departures, open_probing
from fastnet._system.names import host_by_system
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from _collections_abc import Iterable

_SEQUENCES = 1 << 16
_IDENTIFIER = (1 << 64) - 1
"""The bits of an interface identifier."""
_FIRST_PORT = 33434
"""traceroute's first port, which is usually closed."""
_PORTS = (1 << 16) - _FIRST_PORT
_CLOCK_TOLERANCE_NS = 50_000
_REMEMBERED = 4096
"""Minimum number of remembered probes: late answers and duplicates are matched to them."""


def may_be_anycast(family: int, known: tuple[int, ...], number: int) -> bool:
    """Whether an address may be that of all routers of an IPv6 subnet (RFC 4291, 2.6.1).

    Its interface identifier of 64 bits (2.5.1) is 0, or it is one of the known addresses.
    """
    return family == socket.AF_INET6 and (number & _IDENTIFIER == 0 or number in known)


class _Sent:
    __slots__ = (
        *("answered", "clock_offset", "cookie", "held_until", "host", "left_wall_ns", "scope", "sent_ns"),
        "tag",
    )

    def __init__(self, tag: int, to: tuple[bytes, int], cookie: bytes, timeout_ns: int) -> None:
        self.tag = tag
        self.host, self.scope = to
        self.cookie = cookie
        self.answered = False
        self.left_wall_ns = 0
        """The kernel's transmit timestamp, by the wall clock; 0 while unknown."""
        self.clock_offset = time.time_ns() - time.monotonic_ns()
        self.sent_ns = 0
        self.held_until = time.monotonic_ns() + timeout_ns


class Prober:
    """An open socket that sends probes of ``size`` payload bytes and matches answers to them.

    ``family`` is AF_INET or AF_INET6. ``engine`` is ``raw`` or ``datagram``, which send ICMP echo requests;
    ``auto``, the first of these two that is permitted (``.engine`` has it); or ``udp``, which needs no
    privilege: datagrams to ports from 33434 on, which only errors answer, the destination's by port
    unreachable. ``source`` is a numeric address to send from, ``interface`` the only one to use, ``mark``
    a firewall mark, ``ttl`` the TTL or hop limit, ``tos`` the TOS byte or traffic class. ``dont_fragment``
    True sends packets up to the interface's MTU unfragmented, regardless of the kernel's path MTU, so that
    a router that can't forward one reports it; False permits fragmentation; None is the kernel's default,
    except that packets within the minimum MTU are sent unfragmented and without an IP id.
    ``pattern`` is repeated to fill the payload after the cookie, which takes 16 bytes. With
    ``transmit_timestamps``, round-trip times start when the kernel passes a probe to the driver, else
    directly before it is sent. ``notes`` lists optional socket options that the system refused.

    The routers of an IPv6 subnet share the address with interface identifier 0 (RFC 4291, 2.6.1), and one
    of them replies from its own address: such a reply is accepted if it has the whole cookie. ``anycast`` has
    those addresses of our own links' longer prefixes, as numbers. One thread at a time may call it. Raises
    NotPermitted, which names the remedies, NoAddress if source is not an address of this machine,
    NoSuchInterface, InvalidArgument for an unknown engine, OSError.
    """

    __slots__ = (
        *("_departed", "_departing", "_family", "_filler", "_key", "_oldest", "_sent", "_serial", "_slots"),
        *("_socket", "anycast", "engine", "family", "ident", "notes", "size"),
    )

    def __init__(
        self,
        family: int,
        engine: str = "auto",
        *,
        source: str = "",
        interface: str = "",
        mark: int = 0,
        ttl: int | None = None,
        tos: int = 0,
        dont_fragment: bool | None = None,
        size: int = 56,
        pattern: bytes = b"",
        transmit_timestamps: bool = False,
    ) -> None:
        check_payload(pattern, size)
        self.family = family
        self.size = size
        self.engine: str
        self.ident: int
        self.notes: tuple[str, ...]
        self.anycast: tuple[int, ...]
        self._family = FAMILIES[socket.AddressFamily(family)]
        self._socket, self.engine, self.ident, has_departures, self.notes, self.anycast = open_probing(
            family,
            engine,
            source=source,
            interface=interface,
            mark=mark,
            ttl=ttl,
            tos=tos,
            dont_fragment=dont_fragment,
            size=size,
            transmit_timestamps=transmit_timestamps,
        )
        self._key = os.urandom(32)
        self._slots = _PORTS if self.engine == "udp" else _SEQUENCES
        self._serial = -1 if self.engine == "udp" else int.from_bytes(os.urandom(2), "big")
        self._oldest = self._serial + 1
        self._sent: dict[int, _Sent] = {}
        self._departing: dict[int, _Sent] | None = {} if has_departures else None
        """Probes whose transmit timestamp the kernel has not reported yet, by its number."""
        self._departed = 0
        self._filler = filler_of(pattern, size)

    def fileno(self) -> int:
        """The socket's descriptor, readable when there is something to ``receive``."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(
        self,
        destination: tuple[Any, ...],
        tag: int,
        timeout: float,
        *,
        ttl: int | None = None,
        size: int | None = None,
    ) -> None:
        """Send one probe to a socket address; its answers have this ``tag``.

        It may have another TTL or hop limit, and a smaller payload than the prober's. No other probe uses its
        sequence number or port for ``timeout`` seconds, or until it is answered. Raises OSError if it was not
        sent: ENOBUFS or ENOMEM if the send queue or the neighbour table is full, EAGAIN if all sequence
        numbers are in use; InvalidArgument for a payload larger than the prober's, or a host that is not a
        numeric address.
        """
        size = self.size if size is None else size
        if not isinstance(size, int) or not 0 <= size <= self.size:
            raise InvalidArgument(f"size {size}: expected 0 to {self.size}")
        check_time("timeout", timeout)
        to = identity(self.family, destination)
        slot = self._free_slot()
        cookie = self._cookie(to)[:size]
        packet = cookie + self._filler[: max(0, size - COOKIE)]
        if self.engine == "udp":
            destination = (destination[0], _FIRST_PORT + slot, *destination[2:])
        else:
            packet = self._request(slot, packet)
        sent = self._sent[slot] = _Sent(tag, to, cookie, int(timeout * NANOSECOND))
        try:
            self._send_packet(sent, packet, self._ttl_message(ttl), destination)
        except OSError:
            del self._sent[slot]
            if self._departing is not None:
                # The kernel may have counted this one or not: it depends on where it failed.
                self._departing, self._departed = {}, 0
                number_departures(self._socket)
            raise
        if self._departing is not None:
            self._departing[self._departed] = sent
            # A packet that never leaves (the neighbour is absent) is never reported.
            self._departing.pop(self._departed - _REMEMBERED & 0xFFFFFFFF, None)
            self._departed = self._departed + 1 & 0xFFFFFFFF

    def _ttl_message(self, ttl: int | None) -> list[tuple[int, int, bytes]]:
        if ttl is None:
            return []
        return [(self._family.level, self._family.ttl_message, ttl.to_bytes(4, sys.byteorder))]

    def _send_packet(
        self, sent: _Sent, packet: bytes, messages: list[tuple[int, int, bytes]], destination: tuple[Any, ...]
    ) -> None:
        # The next call on the socket reports the error of an earlier probe, which also stays in the
        # error queue. An error that is reported again is this packet's own.
        for _ in range(2):
            try:
                sent.sent_ns = time.monotonic_ns()
                self._socket.sendmsg([packet], messages, 0, destination)
                return
            except BlockingIOError:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)) from None
            except OSError:
                forget_error(self._socket)
        sent.sent_ns = time.monotonic_ns()
        self._socket.sendmsg([packet], messages, 0, destination)

    def _free_slot(self) -> int:
        now = time.monotonic_ns()
        for _ in range(self._slots):
            self._serial += 1
            sent = self._sent.get(self._serial % self._slots)
            if sent is None or sent.answered or sent.held_until <= now:
                self._forget_oldest(now)
                return self._serial % self._slots
        raise OSError(errno.EAGAIN, ALL_WAIT)

    def _forget_oldest(self, now: int) -> None:
        """At most two for each probe that is sent: memory stays bounded however long it runs."""
        for _ in range(2):
            slot = self._oldest % self._slots
            if self._serial - self._oldest < _REMEMBERED or (
                slot in self._sent and self._sent[slot].held_until > now
            ):
                return
            self._sent.pop(slot, None)
            self._oldest += 1

    def _is_of(self, sent: _Sent, address: tuple[Any, ...]) -> bool:
        """Whether a probe was sent to this address."""
        host, scope = identity(self.family, address)
        return host == sent.host and scope in (0, sent.scope)

    def _may_be_one_of(self, sent: _Sent, address: tuple[Any, ...]) -> bool:
        """Whether a reply from this address may be to a probe to another one: that of a subnet's routers."""
        _, scope = identity(self.family, address)
        in_its_scope = not sent.scope or scope in (0, sent.scope)
        to = int.from_bytes(sent.host, "big")
        return len(sent.cookie) == COOKIE and in_its_scope and may_be_anycast(self.family, self.anycast, to)

    def _cookie(self, to: tuple[bytes, int]) -> bytes:
        hashed = f"{self._serial} {to}".encode()
        return blake2b(hashed, key=self._key, digest_size=COOKIE).digest()

    def _request(self, sequence: int, payload: bytes) -> bytes:
        fields = (self._family.echo_request, 0, 0, self.ident, sequence)
        packet = ICMP.pack(*fields) + payload
        if self.family == socket.AF_INET6 or self.engine == "datagram":
            return packet  # the kernel computes the checksum
        return packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:]

    def receive(self, limit: int = 256) -> list[Answer]:
        """The answers that have arrived, without waiting; at most ``limit`` messages are read."""
        answers = []
        size = self._family.header_size + ICMP.size + self.size
        replies = list(read(self._socket, size, limit))
        # A transmit timestamp comes before the reply: after so many more probes, it will not come.
        errors = list(read_errors(self._socket, size, limit if self._departing is None else 2 * limit))
        now_ns = time.monotonic_ns()
        clock_offset = time.time_ns() - now_ns
        self._note_departures(each for each in errors if isinstance(each, Departure))
        for data, messages, address in replies:
            if sent := self._replied(data, address):
                rtt = _rtt_ns(sent, stamp_of(messages.get(TIMESTAMP)), now_ns, clock_offset)
                answers.append(Answer(sent.tag, _text(address), rtt, self._ttl(messages), None, 0))
                sent.answered = True
        for failure in errors:
            if isinstance(failure, Failure) and (sent := self._failed(failure)):
                rtt = _rtt_ns(sent, failure.stamp, now_ns, clock_offset)
                reporter = _text((failure.reporter, 0, 0, failure.scope))
                answers.append(Answer(sent.tag, reporter, rtt, None, failure.error, failure.info))
        return answers

    def _note_departures(self, departures: Iterable[Departure]) -> None:
        for departure in departures:
            sent = self._departing.pop(departure.number, None) if self._departing else None
            if sent:
                sent.left_wall_ns = departure.stamp

    def _replied(self, data: bytes, address: tuple[Any, ...]) -> _Sent | None:
        """The probe to which this message is a reply."""
        if self.engine == "udp":
            return None
        icmp = self._icmp_part(data)
        return self._match(icmp, self._family.echo_reply, address)

    def _failed(self, failure: Failure) -> _Sent | None:
        """The probe that this error quotes."""
        if failure.error[0] in self._family.no_errors:
            return None
        if self.engine != "udp":
            return self._match(failure.quoted, self._family.echo_request, failure.address)
        sent = self._sent.get(failure.address[1] - _FIRST_PORT)
        if sent is None or not self._is_of(sent, failure.address):
            return None
        return sent if sent.cookie.startswith(failure.quoted[: len(sent.cookie)]) else None

    def _icmp_part(self, data: bytes) -> bytes:
        """The ICMP message, or nothing if its checksum is wrong: the kernel checks all but raw IPv4."""
        if self.family == socket.AF_INET6 or self.engine == "datagram":
            return data
        icmp = data[(data[0] & 0xF) * 4 :]
        return icmp if verify(icmp) else b""

    def _match(self, icmp: bytes, kind: int, address: tuple[Any, ...]) -> _Sent | None:
        """The probe of this reply, or of this request that an error quotes."""
        if len(icmp) < ICMP.size:
            return None
        got, code, _, ident, sequence = ICMP.unpack_from(icmp)
        sent = self._sent.get(sequence)
        if sent is None or (got, code, ident) != (kind, 0, self.ident):
            return None
        is_reply = kind == self._family.echo_reply
        if not (self._is_of(sent, address) or (is_reply and self._may_be_one_of(sent, address))):
            return None
        cookie = sent.cookie
        returned = icmp[ICMP.size :][: len(cookie)]
        # A router need not quote the payload (RFC 792); a reply must return it.
        whole = len(returned) == len(cookie) or not is_reply
        return sent if whole and cookie.startswith(returned) else None

    def _ttl(self, messages: dict[tuple[int, int], bytes]) -> int | None:
        value = messages.get((self._family.level, self._family.ttl_message))
        return int.from_bytes(value, sys.byteorder) if value else None


def identity(family: int, address: tuple[Any, ...]) -> tuple[bytes, int]:
    """The key of a socket address: the host, and its scope, or 0. Raises InvalidArgument."""
    if not has_host(address):
        raise not_numeric(address)
    try:
        host = socket.inet_pton(family, address[0].partition("%")[0])
    except (OSError, ValueError):
        raise not_numeric(address) from None
    return host, address[3] if len(address) > 3 else 0


def _text(address: tuple[Any, ...]) -> str:
    """A socket address as text, with its scope if it has one."""
    if len(address) > 3 and address[3]:
        return host_by_system(address, socket.NI_NUMERICHOST)
    return str(address[0].partition("%")[0])


def _rtt_ns(sent: _Sent, stamp: int, now_ns: int, clock_offset: int) -> int:
    """The time between the kernel's timestamps, unless the wall clock was stepped meanwhile."""
    elapsed = now_ns - sent.sent_ns
    # Clock adjustment slews by at most one in a thousand; a larger difference is a step.
    steady = abs(clock_offset - sent.clock_offset) <= _CLOCK_TOLERANCE_NS + elapsed // 1000
    sent_wall_ns = sent.sent_ns + clock_offset
    if not (stamp and steady and sent_wall_ns <= stamp <= now_ns + clock_offset):
        return elapsed
    # A timestamp with a wrong number, because a packet was refused, is from another time.
    return stamp - (sent.left_wall_ns if sent_wall_ns <= sent.left_wall_ns <= stamp else sent_wall_ns)
