"""UDP: the flows of a datagram listener.

A flow is the datagrams between one client address and one of the listener's local addresses. It has its own
connected socket to an upstream, which receives no other flow's datagrams. Replies have as source the address
that the client sent to. Datagrams pass whole or not at all, empty ones too. One for which the kernel has no
room, or which a rate does not allow, is dropped.

A flow ends when nothing has passed for the rule's ``idle_timeout`` (60 seconds if it has none). With
``max_connections`` flows, or when descriptors or ports run out, a new flow ends the one that has been idle
longest. Each query of a client may be a new flow: refusing them would lock out all clients until some flows
expire. Many flows leave the last sixteenth of the process's descriptors free for other uses.

An ICMP error on the upstream's socket counts as a failure of the upstream. It ends a flow that has had no
answer since the last error: the client's next datagram begins another, to the upstream's next address, or
to the next upstream if this one is resting.
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

from fastnet._contract.relay import Record
from fastnet._pure.relay.loop import IN, NEVER
from fastnet._pure.relay.prefixes import MAPPED, ip_of
from fastnet._pure.relay.sockets import SHORTAGES
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _collections_abc import Iterator

    from fastnet._contract.relay import Address
    from fastnet._pure.relay.lane import Lane
    from fastnet._pure.relay.upstream import Upstream

IDLE = 60.0
"""Idle seconds that end a flow if the rule sets no limit."""
DRAINING_IDLE = 2.0
"""Idle seconds that end a flow while the loop drains."""

_A_TURN = 32
_RECEIVE_BUFFER = 4 << 20
"""Bytes of a listener's receive buffer: new flows take longer to set up than their datagrams to arrive."""
_SO_RCVBUFFORCE = 33
_RESERVE = 16
"""One of so many descriptors is kept for connections, checks and other files of the process."""
_SHORTAGES = (*SHORTAGES, errno.EAGAIN)
"""Also: no local port is free."""
_LOSSES = (errno.EAGAIN, errno.EINTR, errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM)
"""Errors of this datagram only; any other is an error of the upstream."""
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
        """By client and local address; the one that has been idle longest first."""
        self._is_wildcard = self.address[0] in _WILDCARDS
        if self._is_wildcard and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif self._is_wildcard:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._draining = False
        self._idle = lane.options.idle_timeout or IDLE
        lane.poller.watch(sock.fileno(), IN, self)

    def drain(self) -> None:
        """Begin no more flows, and end idle ones sooner."""
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
        """End the flows that were idle for too long, and set the time for the next."""
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
        """The address that the client sent to, packed; empty if the listener has only one."""
        for level, kind, data in control:
            if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
                return bytes(_IPV4_INFO.unpack(data)[1])
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                ip = bytes(_IPV6_INFO.unpack(data)[0])
                return bytes(16) if ip[0] == 0xFF else ip  # A multicast group can't be a source address.
        return b""

    def reply_from(self, local: bytes) -> list[tuple[int, int, bytes]]:
        """The control message that sets a datagram's source to this address."""
        if not self._is_wildcard:
            return []
        if self.sock.family == socket.AF_INET:
            return [(socket.IPPROTO_IP, _IP_PKTINFO, _IPV4_INFO.pack(0, local, bytes(4)))]
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6_INFO.pack(local, 0))]

    # New flows

    def _begin(self, client: tuple[Any, ...], local: bytes) -> Flow | None:
        """Begin the flow of a client that has none; None if it may have none, or no upstream is usable."""
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
            # Other loops were asked to end a flow: there may be room at the next datagram.
            if code in _SHORTAGES and lane.rule._admission.inside <= lane.counters.active:
                lane.shortage(code)
            flow.end("unreachable")
            return None
        return flow

    def open_socket(self, flow: Flow, family: int) -> socket.socket:
        """A socket for this flow; when they run out, the flow that has been idle longest is ended.

        A late answer to a flow that has ended reaches a newer flow if that has the same local port and the
        same upstream. The kernel chooses ports at random: for each flow that begins meanwhile the chance is
        one in 28,000 (ip_local_port_range, ip(7)). Keeping the ports of ended flows would take descriptors,
        which are short.
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
        """Whether this descriptor is one of those kept free for others than flows.

        The kernel returns the lowest free number, so that a high one means that few are left. With few
        flows, something else uses the descriptors.
        """
        return fd >= self._reserved and len(self.flows) > self._reserve

    def idlest(self, but: Flow | None = None) -> Flow | None:
        """The flow that has been idle longest, other than this one."""
        return next((flow for flow in self.flows.values() if flow is not but), None)

    def _idlest_of_rule(self, but: Flow | None = None) -> Flow | None:
        return self.idlest(but) or self.lane.idlest_flow(but)

    def _end_for_shortage(self, but: Flow) -> bool:
        """All rules share descriptors and ports. A rule that has flows itself ends none of another rule."""
        return self._end_or_ask(self._idlest_of_rule(but) or self._idlest_of_all(but))

    def _idlest_of_all(self, but: Flow) -> Flow | None:
        flows = (one for one in self.lane.inbox.connections if isinstance(one, Flow) and one is not but)
        return min(flows, key=lambda flow: flow.used, default=None)

    def _end_or_ask(self, idlest: Flow | None) -> bool:
        """False if there is none; then the rule's other loops are asked to end one."""
        if idlest:
            idlest.end("idle")
        else:
            self.lane.ask_for_room()
        return idlest is not None

    def _admit(self, client: Address) -> bytes | None:
        """The client's IP, counted; None if the rule or the lack of room keeps it out."""
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
        """Make room for one more flow, if necessary by ending the one that has been idle longest."""
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
        """Connect to the first upstream for which that succeeds: 0, or the errno of the last one tried."""
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
        """Whether datagrams sent there would come back to the listener."""
        family, listening = self.flows.sock.family, self.flows.address
        local = self._key[1].removeprefix(MAPPED) or ip_of((family, listening))
        return ip_of(address) == local and address[1][1] == listening[1]

    # Datagrams

    def touch(self) -> None:
        """Move it to the end of the list: it is now the newest."""
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
        """The upstream has answered, or an ICMP error came from there."""
        if self._ended:
            return  # It was ended in this turn, to make room for another.
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
        except OSError:  # This datagram is lost; the client's address can't break the listener.
            return
        self._sent_down += sent
        self.flows.lane.counters.sent_down += sent

    def _may_pass(self, size: int) -> bool:
        """Whether the rates allow a datagram, which is then counted."""
        now = time.monotonic()
        if self._rates and not self._rates.room(now):
            return False
        self._rates.take(now, size)
        return True

    def _tap(self, up: bool, data: memoryview) -> None:
        tap = self.flows.lane.options.tap
        if tap:
            tap(self.number, up, bytes(data))

    # Ending

    def _survives_failure(self) -> bool:
        """An ICMP error came: False if that ended the flow."""
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
        """Its present record."""
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
    """Grow the buffer as far as permitted; a larger one stays."""
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
