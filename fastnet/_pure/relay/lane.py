"""One rule in one loop: its listeners, connections and counters there."""

from __future__ import annotations

import errno
import os
import socket
import time

from fastnet._contract.values import counted
from fastnet._pure.relay.bucket import Bucket, Rates
from fastnet._pure.relay.connection import Connection
from fastnet._pure.relay.counters import LaneCounters
from fastnet._pure.relay.listener import Listener
from fastnet._pure.relay.loop import IN, NEVER
from fastnet._pure.relay.prefixes import Prefixes
from fastnet._pure.relay.sockets import abort
from fastnet._pure.relay.udp import Flow, Flows
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _collections_abc import Sequence

    from fastnet._contract.relay import Address
    from fastnet._pure.relay.inbox import Inbox, Relayed
    from fastnet._pure.relay.rule import Rule

SHORTAGE_PAUSE = 0.1
"""Seconds that accepting pauses after descriptors or ports ran out."""


class Lane:
    """The part of a loop that serves one rule."""

    def __init__(self, inbox: Inbox, rule: Rule) -> None:
        self.inbox = inbox
        self.poller = inbox.poller
        self.rule = rule
        self.options = options = rule._options
        self.allowed, self.denied = Prefixes(options.allow), Prefixes(options.deny)
        self.trusted = Prefixes(options.trust_proxy)
        self.counters = LaneCounters()
        rule._parts.append(self.counters)
        self.listeners: list[Listener] = []
        self.datagrams: list[Flows] = []
        self.accepting = False
        self.short = False

    @property
    def busy(self) -> bool:
        """Whether it has a listener or a connection."""
        return bool(self.listeners or self.datagrams or self.counters.active)

    def rates(self) -> Rates:
        """The byte rates that limit a new connection."""
        own = [Bucket(self.options.connection_rate)] if self.options.connection_rate else []
        return Rates(own + self.rule._rates)

    def allows(self, client: Address) -> bool:
        """Whether the rule's prefixes admit this client."""
        return client not in self.denied and (not self.allowed or client in self.allowed)

    # Connections

    def adopt(self, sock: socket.socket, client: Any, spare: socket.socket | None) -> None:
        """Serve a connection that this or another loop accepted; ``spare`` is a socket for its connect."""
        try:
            connection = Connection(self, sock, client)
        except OSError as error:
            abort(sock)
            if spare:
                spare.close()
            self.freed()
            self.shortage(error.errno or errno.ENOMEM)
            return
        self.counters.accepted += 1
        connection.spare = spare
        if self.inbox.ended:
            connection.stop()
            return
        try:
            connection.begin()
        except OSError as error:  # no room in epoll
            connection.fail()
            self.shortage(error.errno or errno.ENOMEM)

    def ended(self, connection: Relayed) -> None:
        self.counters.active -= 1
        self.inbox.connections.discard(connection)
        if self.options.record:
            self.inbox.records.add(connection.record())
        self.freed()

    def freed(self) -> None:
        """There is room for one more connection: wake the lanes that wait for it."""
        for lane in self.rule._admission.leave():
            if lane is self:
                self.resume()
            else:
                lane.inbox.post(lane.resume)

    # Accepting

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        self.pause()
        try:
            for sock in sockets:
                sock.setblocking(False)
                if sock.type == socket.SOCK_DGRAM:
                    self.datagrams.append(Flows(self, sock))
                else:
                    self.listeners.append(Listener(self, sock))
        except OSError:
            listening = [one.sock for one in self.listeners] + [one.sock for one in self.datagrams]
            for sock in sockets:
                if sock not in listening:
                    sock.close()
            raise
        finally:
            if (self.listeners or self.datagrams) and self not in self.rule._lanes:
                self.rule._lanes.append(self)
            self.resume()

    def pause(self) -> None:
        """Accept no more connections for now."""
        if self.accepting:
            self.accepting = False
            for listener in self.listeners:
                self.poller.unwatch(listener.sock.fileno())

    def resume(self) -> None:
        """Accept again, unless there is a reason not to."""
        if self.listeners and not (self.accepting or self.short):
            self.accepting = True
            try:
                for listener in self.listeners:
                    self.poller.watch(listener.sock.fileno(), IN, listener)
            except OSError as error:
                self.shortage(error.errno or errno.ENOMEM)

    def shortage(self, code: int) -> None:
        """Descriptors, memory or ports ran out: pause, and warn."""
        self.pause()
        self.short = True
        self.inbox.clock.set(self, time.monotonic() + SHORTAGE_PAUSE)
        active = self.rule.counters.active
        self.inbox.shortage(f"accepting pauses at {counted(active, 'connection')}: {os.strerror(code)}")

    def on_time(self) -> None:
        """The shortage may be over."""
        self.short = False
        self.resume()

    # Room for flows of datagrams

    def idlest_flow(self, but: Flow | None = None) -> Flow | None:
        """The flow of any listener that has been idle longest, other than this one."""
        found = [flow for flow in (flows.idlest(but) for flows in self.datagrams) if flow]
        return min(found, key=lambda flow: flow.used, default=None)

    def ask_for_room(self) -> None:
        """Ask each of the rule's other loops to end its flow that has been idle longest."""
        for lane in list(self.rule._lanes):
            if lane is not self:
                lane.inbox.post(lane._yield)

    def _yield(self) -> None:
        flow = self.idlest_flow()
        if flow:
            flow.end("idle")

    def unlisten(self) -> None:
        """Close the listeners: connections go on, but flows of datagrams can't."""
        self._close_listeners()
        for flows in self.datagrams:
            flows.close()
        self.datagrams.clear()

    def drain(self) -> None:
        """Accept no more; open connections may end by themselves."""
        self._close_listeners()
        for flows in self.datagrams:
            flows.drain()

    def _close_listeners(self) -> None:
        self.pause()
        self.inbox.clock.set(self, NEVER)
        self.short = False
        if self in self.rule._lanes:
            self.rule._lanes.remove(self)
        for listener in self.listeners:
            listener.sock.close()
        self.listeners.clear()

    def abandon(self) -> None:
        """In a forked child: close the copies and drop the connections."""
        for listener in self.listeners:
            listener.sock.close()
        for flows in self.datagrams:
            flows.sock.close()
        if self in self.rule._lanes:
            self.rule._lanes.remove(self)
        self.rule._admission.reset()
        self.counters.active = 0

    def least_loaded(self) -> Lane:
        """The rule's lane whose loop has the fewest connections; this one if it has as few."""
        best = self
        if len(self.rule._lanes) > 1:
            for lane in list(self.rule._lanes):
                if lane.inbox.load < best.inbox.load:
                    best = lane
        return best

    def first_family(self) -> int:
        """The family of the socket that the next connection will probably need."""
        upstreams = self.rule._upstreams
        return upstreams[0].addresses[0][0] if upstreams else socket.AF_INET
