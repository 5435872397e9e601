"""UDP: the flows of a datagram listener.

A flow is what one client address exchanges with one of the listener's local addresses. It has a connected
socket to an upstream of its own, which receives nobody else's datagrams, and replies leave from the address
that the client sent to. Datagrams pass whole or not at all, empty ones too; what the kernel has no room for,
or a rate does not allow, is dropped.

A flow ends when nothing has passed for the rule's ``idle_timeout`` (60 seconds where it has none). Of
``max_connections`` flows the one that has been quiet for longest makes room for a new one, and so it does
where descriptors or ports run out: a client's every query may be a new flow, so that refusing would lock
out all until some expire. Where there are many flows, they leave the last sixteenth of the process's
descriptors to others.

An ICMP error on the upstream's socket counts as a failure of the upstream. It ends a flow that has had no
answer since the last one: the client's next datagram begins another, at the next of the upstream's addresses,
or at the next upstream where this one rests now.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
import sys
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fastnet._contract.relay import Record
from fastnet._pure.relay.loop import IN, NEVER
from fastnet._pure.relay.prefixes import MAPPED, ip_of
from fastnet._pure.relay.sockets import SHORTAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastnet._contract.relay import Address
    from fastnet._pure.relay.lane import Lane
    from fastnet._pure.relay.upstream import Upstream

IDLE = 60.0
"""Seconds of quiet that end a flow where the rule sets none."""
DRAINING_IDLE = 2.0
"""The same once the loop is to end."""

_A_TURN = 32
_RECEIVE_BUFFER = 4 << 20
"""Bytes of a listener's receive buffer: a flow takes longer to begin than a datagram to come."""
_SO_RCVBUFFORCE = 33
_RESERVE = 16
"""One of so many descriptors is for connections, checks, and whatever else the process has open."""
_SHORTAGES = (*SHORTAGES, errno.EAGAIN)
"""Also: no local port is free."""
_LOSSES = (errno.EAGAIN, errno.EINTR, errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM)
"""Errors that mean this datagram only; any other is the upstream's."""
_IP_PKTINFO = 8
_WILDCARDS = ("0.0.0.0", "::")
_IPV4_INFO = struct.Struct("=I4s4s")
_IPV6_INFO = struct.Struct("=16sI")
_CONTROL_SIZE = socket.CMSG_SPACE(_IPV6_INFO.size)


class Flows:
    """A datagram listener, with its clients' flows."""

    def __init__(self, lane: Lane, sock: socket.socket) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            sock.close()
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        self.lane = lane
        self.sock = sock
        _enlarge_buffer(sock)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            descriptors = sys.maxsize
        self._reserve = descriptors // _RESERVE
        self._reserved = descriptors - self._reserve
        self.address: tuple[Any, ...] = sock.getsockname()
        self.flows: OrderedDict[tuple[Any, bytes], Flow] = OrderedDict()
        """By client and local address; the one that was quiet for longest first."""
        self._is_wildcard = self.address[0] in _WILDCARDS
        if self._is_wildcard and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif self._is_wildcard:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._draining = False
        self._idle = lane.options.idle_timeout or IDLE
        lane.poller.watch(sock.fileno(), IN, self)

    def drain(self) -> None:
        """Let no new flow begin, and have less patience with quiet ones."""
        if self._draining:
            return
        self._draining = True
        self._idle = min(self._idle, DRAINING_IDLE)
        for flow in list(self.flows.values()):
            flow.touch()
        self.on_time()

    def close(self) -> None:
        """End all flows."""
        for flow in list(self.flows.values()):
            flow.end("closed")
        self.lane.inbox.clock.set(self, NEVER)
        self.lane.poller.unwatch(self.sock.fileno())
        self.sock.close()

    def on_time(self) -> None:
        """End the flows that were quiet for too long; again when the next one may have been."""
        now = time.monotonic()
        for flow in list(self.flows.values()):
            due = flow.used + self._idle
            if due > now:
                self.lane.inbox.clock.set(self, due)
                return
            flow.end("idle")

    def on_event(self, _events: int) -> None:
        view = self.lane.inbox.view
        for _ in range(_A_TURN):
            try:
                size, control, _, client = self.sock.recvmsg_into([view], _CONTROL_SIZE)
            except OSError:  # None left.
                return
            key = client, self._local(control)
            flow = self.flows.get(key) or self._begin(*key)
            if flow:
                flow.pass_up(view[:size])

    def _local(self, control: list[tuple[int, int, bytes]]) -> bytes:
        """The address that the client sent to, packed; empty where there is only one."""
        for level, kind, data in control:
            if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
                return bytes(_IPV4_INFO.unpack(data)[1])
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                ip = bytes(_IPV6_INFO.unpack(data)[0])
                return bytes(16) if ip[0] == 0xFF else ip  # A group can't be answered from.
        return b""

    def reply_from(self, local: bytes) -> list[tuple[int, int, bytes]]:
        """What makes a datagram leave from this address."""
        if not self._is_wildcard:
            return []
        if self.sock.family == socket.AF_INET:
            return [(socket.IPPROTO_IP, _IP_PKTINFO, _IPV4_INFO.pack(0, local, bytes(4)))]
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6_INFO.pack(local, 0))]

    # New flows

    def _begin(self, client: tuple[Any, ...], local: bytes) -> Flow | None:
        """The flow of a client that has none; None where it may have none, or there is no upstream for it."""
        lane = self.lane
        if self._draining or lane.short:
            return None
        source = self._admit((self.sock.family, client))
        if source is None:
            lane.counters.denied += 1
            return None
        flow = Flow(self, client, local, source)
        if len(self.flows) == 1:
            self.on_time()
        code = flow.connect()
        if code in _SHORTAGES and self._end_for_shortage(flow):
            code = flow.connect()
        if code:
            # Other loops that have flows were asked for room: the next datagram may find it.
            if code in _SHORTAGES and lane.rule._admission.inside <= lane.counters.active:
                lane.shortage(code)
            flow.end("unreachable")
            return None
        return flow

    def open_socket(self, flow: Flow, family: int) -> socket.socket:
        """A socket for this flow; where they run out, the flow that was quiet for longest makes room.

        An answer that is late for a flow which has ended reaches another flow where that has its local port
        by then, and the same upstream. The kernel takes ports at random: for each flow that begins meanwhile
        the odds are one in 28,000 (ip_local_port_range, ip(7)). To keep the ports of ended flows would cost
        the descriptors that are short.
        """
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            if error.errno not in _SHORTAGES or not self._end_for_shortage(flow):
                raise
        else:
            if not self._is_reserved(sock.fileno()) or not self._end_for_shortage(flow):
                return sock
            sock.close()
        return socket.socket(family, socket.SOCK_DGRAM)

    def _is_reserved(self, fd: int) -> bool:
        """Whether a descriptor belongs to others than flows.

        The system gives the lowest that is free, so that a high one means that few are left. Few flows are
        not to blame for that.
        """
        return fd >= self._reserved and len(self.flows) > self._reserve

    def idlest(self, but: Flow | None = None) -> Flow | None:
        """The flow that was quiet for longest, but for this one."""
        return next((flow for flow in self.flows.values() if flow is not but), None)

    def _idlest_of_rule(self, but: Flow | None = None) -> Flow | None:
        return self.idlest(but) or self.lane.idlest_flow(but)

    def _end_for_shortage(self, but: Flow) -> bool:
        """What is short is shared by all rules. One that has flows of its own ends none of another's."""
        return self._end_or_ask(self._idlest_of_rule(but) or self._idlest_of_all(but))

    def _idlest_of_all(self, but: Flow) -> Flow | None:
        flows = (one for one in self.lane.inbox.connections if isinstance(one, Flow) and one is not but)
        return min(flows, key=lambda flow: flow.used, default=None)

    def _end_or_ask(self, idlest: Flow | None) -> bool:
        """False where there is none: the rule's other loops are asked to end one then."""
        if idlest:
            idlest.end("idle")
        else:
            self.lane.ask_for_room()
        return idlest is not None

    def _admit(self, client: Address) -> bytes | None:
        """The client's IP, counted in; None where the rule or the lack of room keeps it out."""
        admission, ip = self.lane.rule._admission, ip_of(client)
        if ip is None or not self.lane.allows(client):
            return None
        limited = self.lane.options.max_per_source > 0
        if limited and not admission.take(ip):
            return None
        if self._enter():
            return ip
        if limited:
            admission.give(ip)
        return None

    def _enter(self) -> bool:
        """Make room for one more flow, if need be by the end of the one that was quiet for longest."""
        enter = self.lane.rule._admission.enter
        return enter(self.lane) or (self._end_or_ask(self._idlest_of_rule()) and enter(self.lane))


class Flow:
    """Datagrams between a client and an upstream."""

    __slots__ = (
        *(
            "_address",
            "_answered",
            "_rates",
            "_client",
            "_control",
            "_ended",
            "_key",
            "_opened",
            "_sent_down",
        ),
        *("_sent_up", "_source", "_started", "_upstream", "flows", "number", "sock", "used"),
    )
    sock: socket.socket

    def __init__(self, flows: Flows, client: tuple[Any, ...], local: bytes, source: bytes) -> None:
        lane = flows.lane
        self.flows = flows
        self.number = next(lane.rule._numbers)
        self._key = client, local
        self._client = client
        self._source = source
        self._control = flows.reply_from(local)
        self._opened, self._started = time.time(), time.monotonic()
        self._sent_up = self._sent_down = 0
        self._rates = lane.rates()
        self._address: Address | None = None
        self._upstream: Upstream | None = None
        self._answered = False
        self._ended = ""
        flows.flows[self._key] = self
        self.touch()
        lane.inbox.connections.add(self)
        lane.counters.accepted += 1
        lane.counters.active += 1

    # Connecting

    def connect(self) -> int:
        """Connect to the first upstream that can be: 0, or the errno of the last that was tried."""
        lane = self.flows.lane
        code = errno.EADDRNOTAVAIL
        for upstream in lane.rule._choice.order(lane.rule._upstreams):
            for address in _preferred_first(upstream):
                code = self._connect_to(address)
                if code == 0:
                    self._address, self._upstream = address, upstream
                    upstream._opened(lane.inbox)
                if code == 0 or code in _SHORTAGES:
                    return code
            upstream._failed(lane.options)
            lane.rule._report_failure()
        return code

    def _connect_to(self, address: Address) -> int:
        """0, or an errno."""
        if ip_of(address) is None or self._is_listener(address):
            return errno.ELOOP
        try:
            self.sock = self.flows.open_socket(self, address[0])
        except OSError as error:
            return error.errno or errno.EINVAL
        self.sock.setblocking(False)
        code = self.sock.connect_ex(address[1])
        try:
            if not code:
                self.flows.lane.poller.watch(self.sock.fileno(), IN, self)
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code:
            self.sock.close()
        return code

    def _is_listener(self, address: Address) -> bool:
        """Whether what is sent there would come back to the listener."""
        family, listening = self.flows.sock.family, self.flows.address
        local = self._key[1].removeprefix(MAPPED) or ip_of((family, listening))
        return ip_of(address) == local and address[1][1] == listening[1]

    # Datagrams

    def touch(self) -> None:
        """It is the one that was quiet for the shortest time."""
        self.used = time.monotonic()
        self.flows.flows.move_to_end(self._key)

    def pass_up(self, data: memoryview) -> None:
        lane = self.flows.lane
        self.touch()
        if not self._may_pass(len(data)):
            return
        self._tap(True, data)
        while True:
            try:
                sent = self.sock.send(data)
            except OSError as error:
                if error.errno in _LOSSES or not self._survives_failure():
                    return
            else:
                self._sent_up += sent
                lane.counters.sent_up += sent
                return

    def on_event(self, _events: int) -> None:
        """The upstream answers, or an ICMP error came from there."""
        if self._ended:
            return  # It has made room for another one in this turn.
        view = self.flows.lane.inbox.view
        for _ in range(_A_TURN):
            try:
                size = self.sock.recv_into(view)
            except BlockingIOError:
                return
            except OSError:
                self._survives_failure()
                return
            self._answered = True
            if self._upstream:
                self._upstream._failures = 0
            self._pass_down(view[:size])

    def _pass_down(self, data: memoryview) -> None:
        self.touch()
        if not self._may_pass(len(data)):
            return
        self._tap(False, data)
        try:
            sent = self.flows.sock.sendmsg([data], self._control, 0, self._client)
        except OSError:  # This one is lost; the client's address can't break the listener.
            return
        self._sent_down += sent
        self.flows.lane.counters.sent_down += sent

    def _may_pass(self, size: int) -> bool:
        """Whether the rates have room for a datagram, which they count then."""
        if self._rates and not self._rates.room():
            return False
        self._rates.take(size)
        return True

    def _tap(self, up: bool, data: memoryview) -> None:
        tap = self.flows.lane.options.tap
        if tap:
            tap(self.number, up, bytes(data))

    # Ending

    def _survives_failure(self) -> bool:
        """An ICMP error came: False where that was the end."""
        upstream = self._upstream
        if upstream:
            upstream._failed(self.flows.lane.options)
            self.flows.lane.rule._report_failure()
            if not self._answered and upstream.addresses[upstream._preferred] == self._address:
                upstream._preferred = (upstream._preferred + 1) % len(upstream.addresses)
        if not self._answered:
            self.end("unreachable")
            return False
        self._answered = False
        return True

    def stop(self) -> None:
        self.end("stopped")

    def end(self, ended: str) -> None:
        flows, lane = self.flows, self.flows.lane
        self._ended = ended
        lane.counters.timed_out += ended == "idle"
        lane.counters.unreachable += ended == "unreachable"
        lane.counters.resets += ended == "stopped"
        if self._upstream:
            lane.poller.unwatch(self.sock.fileno())
            self.sock.close()
            self._upstream._closed(lane.inbox)
        del flows.flows[self._key]
        if lane.options.max_per_source:
            lane.rule._admission.give(self._source)
        lane.ended(self)

    def abandon(self) -> None:
        """In a forked child: close the copy."""
        if self._upstream:
            self.sock.close()
            self._upstream._closed(self.flows.lane.inbox)

    def record(self) -> Record:
        """How it stands now."""
        return Record(
            self.flows.lane.rule,
            self.number,
            (self.flows.sock.family, self._client),
            self._address,
            self._opened,
            time.monotonic() - self._started,
            self._sent_up,
            self._sent_down,
            self._ended,
        )


def _enlarge_buffer(sock: socket.socket) -> None:
    """As much as is permitted; one that is larger already stays."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= _RECEIVE_BUFFER:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _preferred_first(upstream: Upstream) -> Iterator[Address]:
    addresses, first = upstream.addresses, upstream._preferred
    yield from addresses[first:]
    yield from addresses[:first]
