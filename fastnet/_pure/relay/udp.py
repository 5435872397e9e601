"""UDP: the flows of a datagram listener.

A flow is what one client address exchanges with one of the listener's local addresses. It has a connected
socket to an upstream of its own, which receives nobody else's datagrams, and replies leave from the address
that the client sent to. Datagrams pass whole or not at all, empty ones too; what the kernel has no room for,
or a rate does not allow, is dropped.

A flow ends when nothing has passed for the rule's ``idle_timeout`` (60 seconds where it has none). Of
``max_connections`` flows the one that has been quiet for longest makes room for a new one: a client's every
query may be a new flow, so that refusing would lock out all until some expire.

An ICMP error on the upstream's socket counts as a failure of the upstream. It ends a flow that has had no
answer since the last one: the client's next datagram begins another, at the next of the upstream's addresses,
or at the next upstream where this one rests now.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from fastnet._pure.relay.connecting import SHORTAGES
from fastnet._pure.relay.poller import IN
from fastnet._pure.relay.prefixes import MAPPED, ip_of
from fastnet._pure.relay.rule import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastnet._pure.relay.options import Address
    from fastnet._pure.relay.rule import Upstream
    from fastnet._pure.relay.serving import Serving

IDLE = 60.0
"""Seconds of quiet that end a flow where the rule says nothing."""
DRAINING_IDLE = 2.0
"""The same once the loop is to end."""

_A_TURN = 32
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

    def __init__(self, serving: Serving, sock: socket.socket) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            sock.close()
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        self.serving = serving
        self.sock = sock
        self.address: tuple[Any, ...] = sock.getsockname()
        self.flows: dict[tuple[Any, bytes], Flow] = {}
        self._is_wildcard = self.address[0] in _WILDCARDS
        if self._is_wildcard and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif self._is_wildcard:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._draining = False
        self._idle = serving.options.idle_timeout or IDLE
        self.idle_timer = serving.ground.clock.timer(Flow.idle, self._idle)
        serving.poller.watch(sock.fileno(), IN, self)

    def drain(self) -> None:
        """Let no new flow begin, and have less patience with quiet ones."""
        if self._draining:
            return
        self._draining = True
        sooner = self.serving.ground.clock.timer(Flow.idle, min(self._idle, DRAINING_IDLE))
        for flow in self.flows.values():
            self.idle_timer.disarm(flow)
            sooner.arm(flow)
        self.idle_timer = sooner

    def close(self) -> None:
        """End all flows."""
        for flow in list(self.flows.values()):
            flow.end("closed")
        self.serving.poller.unwatch(self.sock.fileno())
        self.sock.close()

    def on_event(self, _events: int) -> None:
        view = self.serving.ground.view
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
        serving = self.serving
        if self._draining or serving.short:
            return None
        source = self._admit((self.sock.family, client))
        if source is None:
            serving.tally.denied += 1
            return None
        flow = Flow(self, client, local, source)
        return flow if flow.connect() else None

    def _admit(self, client: Address) -> bytes | None:
        """The client's IP, counted in; None where the rule or the lack of room keeps it out."""
        gate, ip = self.serving.rule._gate, ip_of(client)
        if ip is None or not self.serving.allows(client):
            return None
        limited = self.serving.options.max_per_source > 0
        if limited and not gate.take(ip):
            return None
        if self._enter():
            return ip
        if limited:
            gate.give(ip)
        return None

    def _enter(self) -> bool:
        """Make room for one more flow, if need be by the end of the one that was quiet for longest."""
        gate = self.serving.rule._gate
        if gate.enter(self.serving):
            return True
        for flow in self.idle_timer:
            if isinstance(flow, Flow) and flow.flows is self:
                flow.end("idle")
                return gate.enter(self.serving)
        return False


class Flow:
    """What a client and an upstream say to each other."""

    __slots__ = (
        *(
            "_address",
            "_answered",
            "_buckets",
            "_client",
            "_control",
            "_ended",
            "_key",
            "_opened",
            "_sent_down",
        ),
        *("_sent_up", "_source", "_started", "_upstream", "flows", "number", "sock"),
    )
    sock: socket.socket

    def __init__(self, flows: Flows, client: tuple[Any, ...], local: bytes, source: bytes) -> None:
        serving = flows.serving
        self.flows = flows
        self.number = next(serving.rule._numbers)
        self._key = client, local
        self._client = client
        self._source = source
        self._control = flows.reply_from(local)
        self._opened, self._started = time.time(), time.monotonic()
        self._sent_up = self._sent_down = 0
        self._buckets = serving.rates()
        self._address: Address | None = None
        self._upstream: Upstream | None = None
        self._answered = False
        self._ended = ""
        flows.flows[self._key] = self
        flows.idle_timer.arm(self)
        serving.ground.connections.add(self)
        serving.tally.accepted += 1
        serving.tally.active += 1

    # Connecting

    def connect(self) -> bool:
        """Connect to the first upstream that can be; where none can, the flow has ended."""
        serving = self.flows.serving
        code = 0
        for upstream in serving.rule._choice.order(serving.rule._upstreams):
            for address in _preferred_first(upstream):
                code = self._connect_to(address)
                if code == 0:
                    self._address, self._upstream = address, upstream
                    upstream._opened(serving.ground)
                    serving.poller.watch(self.sock.fileno(), IN, self)
                    return True
                if code in _SHORTAGES:
                    serving.shortage(code)
                    self.end("unreachable")
                    return False
            upstream._failed(serving.options)
        self.end("unreachable")
        return False

    def _connect_to(self, address: Address) -> int:
        """0, or an errno."""
        if ip_of(address) is None or self._is_listener(address):
            return errno.ELOOP
        try:
            self.sock = socket.socket(address[0], socket.SOCK_DGRAM)
        except OSError as error:
            return error.errno or errno.EINVAL
        self.sock.setblocking(False)
        code = self.sock.connect_ex(address[1])
        if code:
            self.sock.close()
        return code

    def _is_listener(self, address: Address) -> bool:
        """Whether what is sent there would come back to the listener."""
        family, listening = self.flows.sock.family, self.flows.address
        local = self._key[1].removeprefix(MAPPED) or ip_of((family, listening))
        return ip_of(address) == local and address[1][1] == listening[1]

    # Datagrams

    def pass_up(self, data: memoryview) -> None:
        serving = self.flows.serving
        self.flows.idle_timer.arm(self)
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
                serving.tally.sent_up += sent
                return

    def on_event(self, _events: int) -> None:
        """The upstream answers, or an ICMP error came from there."""
        view = self.flows.serving.ground.view
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
        self.flows.idle_timer.arm(self)
        if not self._may_pass(len(data)):
            return
        self._tap(False, data)
        try:
            sent = self.flows.sock.sendmsg([data], self._control, 0, self._client)
        except OSError:  # This one is lost; the client's address can't break the listener.
            return
        self._sent_down += sent
        self.flows.serving.tally.sent_down += sent

    def _may_pass(self, size: int) -> bool:
        """Whether the rates have room for a datagram."""
        if not self._buckets:
            return True
        now = time.monotonic()
        if not all(bucket.room(now) for bucket in self._buckets):
            return False
        for bucket in self._buckets:
            bucket.take(now, size)
        return True

    def _tap(self, up: bool, data: memoryview) -> None:
        tap = self.flows.serving.options.tap
        if tap:
            tap(self.number, up, bytes(data))

    # Ending

    def _survives_failure(self) -> bool:
        """An ICMP error came: False where that was the end."""
        upstream = self._upstream
        if upstream:
            upstream._failed(self.flows.serving.options)
            if not self._answered and upstream.addresses[upstream._preferred] == self._address:
                upstream._preferred = (upstream._preferred + 1) % len(upstream.addresses)
        if not self._answered:
            self.end("unreachable")
            return False
        self._answered = False
        return True

    def idle(self) -> None:
        self.end("idle")

    def stop(self) -> None:
        self.end("stopped")

    def end(self, ended: str) -> None:
        flows, serving = self.flows, self.flows.serving
        self._ended = ended
        serving.tally.timed_out += ended == "idle"
        serving.tally.unreachable += ended == "unreachable"
        serving.tally.resets += ended == "stopped"
        if self._upstream:
            serving.poller.unwatch(self.sock.fileno())
            self.sock.close()
            self._upstream._closed(serving.ground)
        flows.idle_timer.disarm(self)
        del flows.flows[self._key]
        if serving.options.max_per_source:
            serving.rule._gate.give(self._source)
        serving.ended(self)

    def abandon(self) -> None:
        """In a forked child: close the copy."""
        if self._upstream:
            self.sock.close()
            self._upstream._closed(self.flows.serving.ground)

    def record(self) -> Record:
        """How it stands now."""
        return Record(
            self.flows.serving.rule,
            self.number,
            (self.flows.sock.family, self._client),
            self._address,
            self._opened,
            time.monotonic() - self._started,
            self._sent_up,
            self._sent_down,
            self._ended,
        )


def _preferred_first(upstream: Upstream) -> Iterator[Address]:
    addresses, first = upstream.addresses, upstream._preferred
    yield from addresses[first:]
    yield from addresses[:first]
