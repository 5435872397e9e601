"""The probe engine: echo requests out, what answers them in, one socket a family, no reply mixed up.

An answer is believed only if its type, ident, sequence number, checksum and source are right and the
keyed cookie in its payload is the one that was sent. Errors are read from the socket's error queue
(IP_RECVERR, ip(7)), where the kernel has already matched the quoted packet with the socket.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import time
from array import array
from bisect import bisect_right
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnet._pure.checksum import checksum, verify
from fastnet.errors import InvalidArgument, NoAddress, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    _Message = tuple[bytes, dict[tuple[int, int], bytes], tuple[Any, ...]]
    """What was read: the data, the ancillary data by level and type, the address."""

ENGINES = ("raw", "datagram")
"""The ICMP sockets that there are, in the order in which ``auto`` tries them."""

PENDING, SILENT, UNREACHABLE, ALIVE, DECIDED = range(5)
"""A target's state in a sweep: not (yet) sent to, sent to, an error came back, answered."""

NOT_A_HOST = errno.EDESTADDRREQ
"""The errno of a target that is never sent to: unspecified or multicast, where nobody could answer for it."""

_COOKIE = 16
_SLOTS = 1 << 16
_ICMP = struct.Struct("!BBHHH")
_RECEIVE_BUFFER = 4 << 20

# What Python's socket module does not name, from asm-generic/socket.h, linux/in.h, in6.h, icmp.h, errqueue.h.
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 35, 33, 26
_IP_RECVERR, _IP_RECVTTL, _IPV6_RECVERR = 11, 12, 25
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_ORIGIN_LOCAL = 1

_TIMESTAMP = (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
_TIMESPEC = struct.Struct("@ll")

_NANOSECOND = 1_000_000_000
_CLOCK_TOLERANCE_NS = 50_000


class _Family(NamedTuple):
    """What differs between IPv4 and IPv6. ``offender`` is where an error's cmsg holds who reported it."""

    protocol: int
    level: int
    echo_request: int
    echo_reply: int
    ttl_option: int
    receive_ttl: int
    ttl_message: int
    receive_error: int
    header_size: int
    offender: slice
    multicast: tuple[int, int]


_FAMILIES = {
    socket.AF_INET: _Family(
        protocol=socket.IPPROTO_ICMP,
        level=socket.IPPROTO_IP,
        echo_request=8,
        echo_reply=0,
        ttl_option=socket.IP_TTL,
        receive_ttl=_IP_RECVTTL,
        ttl_message=socket.IP_TTL,
        receive_error=_IP_RECVERR,
        header_size=60,
        offender=slice(20, 24),
        multicast=(0xE0000000, 0xEFFFFFFF),
    ),
    socket.AF_INET6: _Family(
        protocol=socket.IPPROTO_ICMPV6,
        level=socket.IPPROTO_IPV6,
        echo_request=128,
        echo_reply=129,
        ttl_option=socket.IPV6_UNICAST_HOPS,
        receive_ttl=socket.IPV6_RECVHOPLIMIT,
        ttl_message=socket.IPV6_HOPLIMIT,
        receive_error=_IPV6_RECVERR,
        header_size=0,
        offender=slice(24, 40),
        multicast=(0xFF << 120, (1 << 128) - 1),
    ),
}


def is_host(family: int, number: int) -> bool:
    """Whether an address, given as a number, can be one host's: neither unspecified nor multicast."""
    first, last = _FAMILIES[socket.AddressFamily(family)].multicast
    return number != 0 and not first <= number <= last


class Answer(NamedTuple):
    """What came back for one probe: a reply, or an error where ``error`` is not None."""

    tag: int
    """The number under which the probe was sent."""
    responder: str
    """The numeric address that it came from: for an error, the router or host that reported it."""
    rtt_ns: int
    ttl: int | None
    """The TTL or hop limit with which a reply arrived."""
    error: tuple[int, int] | None
    """ICMP type and code."""
    info: int
    """What the error adds: the next hop's MTU where a packet was too big."""


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
        self._family = _FAMILIES[socket.AddressFamily(family)]
        self._socket, self.engine = _open(family, engine, source)
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
        sock, family = self._socket, self._family
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        # Without it an ICMP error is invisible to a datagram socket, and ENOBUFS to every sender.
        sock.setsockopt(family.level, family.receive_error, 1)
        sock.setsockopt(family.level, family.receive_ttl, 1)
        if ttl is not None:
            sock.setsockopt(family.level, family.ttl_option, ttl)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if self.engine == "raw":
            _pass_type(sock, self.family, family.echo_reply)
            _pass_ident(sock, self.family, self.ident)

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
        self._sent[sequence] = _Sent(tag, destination, cookie, int(timeout * _NANOSECOND))
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
                self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
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
        packet = _ICMP.pack(*fields) + payload
        if self.family == socket.AF_INET6 or self.engine == "datagram":
            return packet  # the kernel computes the checksum
        return packet[:2] + checksum(packet).to_bytes(2, "big") + packet[4:]

    def receive(self, limit: int = 256) -> list[Answer]:
        """Whatever has arrived for our probes, without waiting; ``limit`` messages are read at most."""
        answers = []
        replies = list(self._read(limit, 0))
        errors = list(self._read(limit, socket.MSG_ERRQUEUE))
        now_ns = time.monotonic_ns()
        clock_offset = time.time_ns() - now_ns
        for data, messages, address in replies:
            if (icmp := self._icmp_part(data)) and (
                sent := self._match(icmp, self._family.echo_reply, address)
            ):
                rtt = _rtt_ns(sent, messages.get(_TIMESTAMP), now_ns, clock_offset)
                ttl = self._ttl(messages)
                answers.append(Answer(sent.tag, _text(address), rtt, ttl, None, 0))
                sent.answered = True
        for data, messages, address in errors:
            sent = self._match(data, self._family.echo_request, address)
            error = messages.get((self._family.level, self._family.receive_error))
            if sent is None or error is None:
                continue
            _, origin, kind, code, info, _ = _EXTENDED_ERROR.unpack_from(error)
            if origin != _ORIGIN_LOCAL:
                offender = socket.inet_ntop(self.family, error[self._family.offender])
                rtt = _rtt_ns(sent, messages.get(_TIMESTAMP), now_ns, clock_offset)
                answers.append(Answer(sent.tag, offender, rtt, None, (kind, code), info))
        return answers

    def _read(self, limit: int, flags: int) -> Iterator[_Message]:
        size = self._family.header_size + _ICMP.size + self.size
        for _ in range(limit):
            try:
                data, ancillary, got, address = self._socket.recvmsg(size, 512, flags)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise
                continue  # an error's first notice; the error queue says it in full
            if got & socket.MSG_TRUNC and not flags:
                continue  # longer than what we sent: no echo of ours
            yield data, {(level, kind): value for level, kind, value in ancillary}, address

    def _icmp_part(self, data: bytes) -> bytes:
        """The ICMP message, or nothing where its checksum is wrong: only raw IPv4 is left to us to check."""
        if self.family == socket.AF_INET6 or self.engine == "datagram":
            return data
        icmp = data[(data[0] & 0xF) * 4 :]
        return icmp if verify(icmp) else b""

    def _match(self, icmp: bytes, kind: int, address: tuple[Any, ...]) -> _Sent | None:
        """The probe that this reply, or this request quoted by an error, belongs to."""
        if len(icmp) < _ICMP.size:
            return None
        got, code, _, ident, sequence = _ICMP.unpack_from(icmp)
        sent = self._sent.get(sequence)
        if sent is None or (got, code, ident) != (kind, 0, self.ident):
            return None
        host, scope = _identity(address)
        if host != sent.host or scope not in (0, sent.scope):
            return None
        cookie = sent.cookie[: self.size]
        returned = icmp[_ICMP.size :][: len(cookie)]
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


def _rtt_ns(sent: _Sent, timestamp: bytes | None, now_ns: int, clock_offset: int) -> int:
    """From the kernel's receive timestamp, unless the wall clock that it is of was stepped meanwhile."""
    elapsed = now_ns - sent.sent_ns
    # Adjusting a clock slews it by at most one in a thousand; a difference above that is a step.
    steady = abs(clock_offset - sent.clock_offset) <= _CLOCK_TOLERANCE_NS + elapsed // 1000
    if timestamp and steady:
        seconds, nanoseconds = _TIMESPEC.unpack(timestamp)
        rtt: int = seconds * _NANOSECOND + nanoseconds - clock_offset - sent.sent_ns
        if 0 <= rtt <= elapsed:
            return rtt
    return elapsed


def _open(family: int, engine: str, source: str) -> tuple[socket.socket, str]:
    """The first permitted socket of the ladder, bound to its source."""
    if engine != "auto" and engine not in ENGINES:
        raise InvalidArgument(f"engine {engine!r}: expected auto, {', '.join(ENGINES)}")
    for name in ENGINES if engine == "auto" else (engine,):
        kind = socket.SOCK_RAW if name == "raw" else socket.SOCK_DGRAM
        try:
            sock = socket.socket(family, kind, _FAMILIES[socket.AddressFamily(family)].protocol)
        except PermissionError:
            continue
        try:
            sock.bind((source, 0))
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise NoAddress(error.errno, f"source {source}: not an address of this machine") from None
            raise
        return sock, name
    wanted = "ICMP" if engine == "auto" else f"{engine} ICMP"
    raise NotPermitted(
        errno.EPERM,
        f"no {wanted} socket is permitted here: allow datagram ones to your group "
        "(sysctl -w net.ipv4.ping_group_range='0 2147483647'), "
        "or have the capability CAP_NET_RAW (root, or setcap cap_net_raw+ep on the interpreter)",
    )


def _pass_type(sock: socket.socket, family: int, kind: int) -> None:
    """Let the kernel drop every ICMP message of another type before it is queued."""
    if family == socket.AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ 1 << kind))
        return
    words = [0xFFFFFFFF] * 8
    words[kind // 32] ^= 1 << kind % 32
    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))


# Classic BPF (linux/filter.h) that loads a message's ident. IPv4 shows its own header first, IPv6 does not.
_LOAD_IDENT = {
    socket.AF_INET: ((0xB1, 0, 0, 0), (0x48, 0, 0, 4)),
    socket.AF_INET6: ((0x28, 0, 0, 4),),
}


def _pass_ident(sock: socket.socket, family: int, ident: int) -> None:
    """Let the kernel drop other programs' replies: a raw socket is given them all, and its queue fills."""
    jump_if_equal, accept, drop = (0x15, 0, 1, ident), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)
    program = (*_LOAD_IDENT[socket.AddressFamily(family)], jump_if_equal, accept, drop)
    code = array("B", b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    where = struct.pack("HP", len(program), code.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)


_BURST = 16
_AGE_NS = 10_000_000
_NARROWEST = 16
_REFUSALS = 100


class Sweeper:
    """One echo request to each address of ``spans``, and ``retries`` more to those that did not answer.

    ``spans`` are (first, last) intervals of addresses as integers, ascending and apart; a target is
    known by its index in them. ``states`` holds one byte a target, ``rtts_ms`` the time that an alive
    one took, ``reasons`` an errno for a target that could not be sent to and the Answer for one that an
    error came back from; all three may be read between two calls of ``run``.

    Sending is windowed by what comes back: at most ``window`` probes are out past the newest answer
    (a forward acknowledgment), and where nothing comes back they age out of the window, not out of the
    sweep. The window narrows where answers stop coming, and widens again with each of them. An answer
    counts whenever it comes; an error only if no reply does. ``rate`` is a limit in probes a second.
    """

    def __init__(
        self,
        prober: Prober,
        spans: Sequence[tuple[int, int]],
        *,
        timeout: float = 1.0,
        retries: int = 1,
        window: int = 128,
        rate: float | None = None,
    ) -> None:
        self._prober = prober
        self._spans = spans
        self._starts = list(accumulate((last - first + 1 for first, last in spans), initial=0))
        self.size = self._starts[-1]
        self.states = bytearray(self.size)
        self.rtts_ms = array("f", bytes(4 * self.size))
        self.reasons: dict[int, int | Answer] = {}
        self.finished = self.size == 0

        self._timeout = timeout
        self._passes_left = retries
        self._order: Iterator[int] = iter(range(self.size))
        self._put_back: int | None = None
        self._unanswered = 0

        self._widest = self._window = window
        self._sent = self._newest = 0
        self._sent_as = array("I", bytes(4 * self.size))
        self._answered_since_stall = False
        self._progress_ns = self._last_sent_ns = self._not_before_ns = time.monotonic_ns()
        self._gap_ns = int(_NANOSECOND / rate) if rate else 0
        self._refusals = 0
        self._poll = select.poll()
        self._poll.register(prober, select.POLLIN)

    def run(self, seconds: float) -> bool:
        """Work for about that long at most. True once every target has its verdict."""
        stop_ns = time.monotonic_ns() + int(seconds * _NANOSECOND)
        while not self.finished:
            wake_ns = min(self._send_burst(), stop_ns)
            if self._poll.poll(max(0, -(-(wake_ns - time.monotonic_ns()) // 1_000_000))):
                self._take(self._prober.receive())
            if time.monotonic_ns() >= stop_ns:
                break
        return self.finished

    def _send_burst(self) -> int:
        """Send what the window allows, and say when there is reason to look again."""
        now_ns = time.monotonic_ns()
        for _ in range(_BURST):
            if now_ns < self._not_before_ns:
                return self._not_before_ns
            if self._sent - self._newest >= self._window:
                if now_ns < self._progress_ns + _AGE_NS:
                    return self._progress_ns + _AGE_NS
                self._stall(now_ns)
            index = self._next_target()
            if index is None:
                return self._end_pass(now_ns)
            now_ns = self._probe(index)
        return now_ns

    def _stall(self, now_ns: int) -> None:
        """Nothing came back for a full window: let it age. Narrower if answers had come: some were lost."""
        narrower = max(_NARROWEST, self._window // 2)
        self._window = min(self._widest, narrower) if self._answered_since_stall else self._widest
        self._answered_since_stall = False
        self._newest = self._sent
        self._progress_ns = now_ns

    def _next_target(self) -> int | None:
        if self._put_back is not None:
            index, self._put_back = self._put_back, None
            return index
        return next((index for index in self._order if self.states[index] != ALIVE), None)

    def _end_pass(self, now_ns: int) -> int:
        """Wait for the last probe's answer, then turn to those that did not answer once more."""
        deadline_ns = self._last_sent_ns + int(self._timeout * _NANOSECOND)
        if now_ns < deadline_ns and self._unanswered:
            return deadline_ns
        self.finished = self._passes_left == 0 or self.states.count(ALIVE) == self.size
        self._passes_left -= 1
        self._order = iter(range(self.size))
        self._refusals = 0
        return now_ns

    def _probe(self, index: int) -> int:
        now_ns = time.monotonic_ns()
        destination = self._destination(index)
        if destination is None:
            self.reasons[index] = NOT_A_HOST
            return now_ns
        try:
            self._prober.send(destination, index, self._timeout)
        except OSError as error:
            self._refused(index, error.errno or 0, now_ns)
            return now_ns
        self._refusals = 0
        self._sent += 1
        self._sent_as[index] = self._sent
        self._last_sent_ns = now_ns
        self._not_before_ns = max(self._not_before_ns + self._gap_ns, now_ns - _AGE_NS)
        if self.states[index] == PENDING:
            self.states[index] = SILENT
            self.reasons.pop(index, None)
            self._unanswered += 1
        return now_ns

    def _refused(self, index: int, code: int, now_ns: int) -> None:
        """Note why it was not sent. A queue or table that is full is given time, but not for ever."""
        if self.states[index] == PENDING:
            self.reasons[index] = code
        if code == errno.ENOBUFS:
            self._refusals += 1
            self._put_back = index
            self._not_before_ns = now_ns + _AGE_NS
            if self._refusals > _REFUSALS:
                self._give_up_pass(code)

    def _give_up_pass(self, code: int) -> None:
        for index in self._order:
            if self.states[index] == PENDING:
                self.reasons.setdefault(index, code)
        self._put_back = None

    def _destination(self, index: int) -> tuple[Any, ...] | None:
        which = bisect_right(self._starts, index) - 1
        number = self._spans[which][0] + index - self._starts[which]
        family = self._prober.family
        if not is_host(family, number):
            return None
        if family == socket.AF_INET:
            return (socket.inet_ntop(family, number.to_bytes(4, "big")), 0)
        return (socket.inet_ntop(family, number.to_bytes(16, "big")), 0, 0, 0)

    def _take(self, answers: list[Answer]) -> None:
        for answer in answers:
            index = answer.tag
            self._newest = max(self._newest, self._sent_as[index])
            self._answered_since_stall = True
            self._progress_ns = time.monotonic_ns()
            self._window = min(self._widest, self._window + 1)
            if self.states[index] == ALIVE:
                continue
            if answer.error is not None:
                self.states[index] = UNREACHABLE
                self.reasons[index] = answer
                continue
            self.states[index] = ALIVE
            self.rtts_ms[index] = answer.rtt_ns / 1e6
            self.reasons.pop(index, None)
            self._unanswered -= 1
