"""One rule in one loop: its listeners there, its connections' timers, and what was counted."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from fastnet._pure.relay.bucket import BURST, Bucket
from fastnet._pure.relay.connecting import Connecting
from fastnet._pure.relay.connection import Connection
from fastnet._pure.relay.greeting import Greeting
from fastnet._pure.relay.listener import Listener
from fastnet._pure.relay.poller import IN
from fastnet._pure.relay.prefixes import Prefixes
from fastnet._pure.relay.refusal import Refusal
from fastnet._pure.relay.relaying import Relaying
from fastnet._pure.relay.rewriting import Rewriting
from fastnet._pure.relay.rule import Tally
from fastnet._pure.relay.udp import Flows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnet._pure.relay.ground import Ground, Relayed
    from fastnet._pure.relay.options import Address
    from fastnet._pure.relay.rule import Rule

RESET_GRACE = 2.0
"""Seconds that what was sent before a reset may take to be acknowledged before the reset is passed on."""
RESET_POLL = 0.01
LINGER = 2.0
"""Seconds that a client which was refused has to read why."""
SHORTAGE_PAUSE = 0.1
"""Seconds without accepting after descriptors or ports ran out."""
RETRY_PAUSE = 0.02
NEXT_ADDRESS = 0.25
"""Seconds without an answer after which the next address is connected to as well (RFC 8305, section 5)."""


class Serving:
    """What a loop does for a rule."""

    def __init__(self, ground: Ground, rule: Rule) -> None:
        self.ground = ground
        self.poller = ground.poller
        self.rule = rule
        self.options = options = rule._options
        self.allowed, self.denied = Prefixes(options.allow), Prefixes(options.deny)
        self.trusted = Prefixes(options.trust_proxy)
        self.tally = Tally()
        rule._tallies.append(self.tally)
        self.listeners: list[Listener] = []
        self.datagrams: list[Flows] = []
        self.accepting = False
        self.short = False
        timer = ground.clock.timer
        self.greeting_timer = timer(Greeting.late, options.head_timeout)
        self.connect_timer = timer(Connecting.late, options.connect_timeout)
        self.next_timer = timer(Connecting.next_address, NEXT_ADDRESS)
        self.retry_timer = timer(Connecting.begin, RETRY_PAUSE)
        self.head_timer = timer(Rewriting.head_late, options.head_timeout)
        self.throttle_timer = timer(Relaying.go_on, BURST / 2)
        self.reset_poll = timer(Relaying.pass_reset, RESET_POLL)
        self.reset_grace = timer(Relaying.reset, RESET_GRACE)
        self.idle_timer = timer(Relaying.idle, options.idle_timeout) if options.idle_timeout else None
        self.half_closed_timer = (
            timer(Relaying.half_closed, options.half_closed_timeout) if options.half_closed_timeout else None
        )
        self.linger_timer = timer(Refusal.over, LINGER)
        self._relaying_timers = [
            timer
            for timer in (
                *(self.head_timer, self.throttle_timer, self.reset_poll, self.reset_grace),
                *(self.idle_timer, self.half_closed_timer),
            )
            if timer is not None
        ]
        self.shortage_timer = timer(Serving._recovered, SHORTAGE_PAUSE)

    @property
    def busy(self) -> bool:
        """Whether it has a listener or a connection."""
        return bool(self.listeners or self.datagrams or self.tally.active)

    def rates(self) -> list[Bucket]:
        """The byte rates that a new connection keeps to."""
        own = [Bucket(self.options.connection_rate)] if self.options.connection_rate else []
        return own + self.rule._rates

    def forget(self, relaying: Relaying) -> None:
        """Nothing is due for it any more."""
        for timer in self._relaying_timers:
            timer.disarm(relaying)

    def allows(self, client: Address) -> bool:
        """Whether the rule's prefixes let this client in."""
        return client not in self.denied and (not self.allowed or client in self.allowed)

    # Connections

    def adopt(self, sock: socket.socket, client: Any, spare: socket.socket | None) -> None:
        """Serve a connection that some loop accepted; ``spare`` is a socket to connect with."""
        connection = Connection(self, sock, client)
        if self.ground.ended:
            if spare:
                spare.close()
            connection.end("stopped", abort=True)
        else:
            connection.begin(spare)

    def ended(self, connection: Relayed) -> None:
        self.tally.active -= 1
        self.ground.connections.discard(connection)
        if self.options.record:
            self.ground.note(connection.record())
        self.freed()

    def freed(self) -> None:
        """There is room for one more connection: tell who waits for it."""
        for serving in self.rule._gate.leave():
            if serving is self:
                self.resume()
            else:
                serving.ground.post(serving.resume)

    # Accepting

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        self.pause()
        for sock in sockets:
            sock.setblocking(False)
            if sock.type == socket.SOCK_DGRAM:
                self.datagrams.append(Flows(self, sock))
            else:
                self.listeners.append(Listener(self, sock))
        if self.listeners and self not in self.rule._servings:
            self.rule._servings.append(self)
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
            for listener in self.listeners:
                self.poller.watch(listener.sock.fileno(), IN, listener)

    def shortage(self, code: int) -> None:
        """Descriptors, memory or ports ran out: pause, and say so."""
        self.pause()
        self.short = True
        self.shortage_timer.arm(self)
        active = self.rule.counters.active
        self.ground.shortage(f"accepting pauses at {active} connections: {os.strerror(code)}")

    def _recovered(self) -> None:
        self.short = False
        self.resume()

    def unlisten(self) -> None:
        """Close the listeners: connections go on, but flows of datagrams can't."""
        self._close_listeners()
        for flows in self.datagrams:
            flows.close()
        self.datagrams.clear()

    def drain(self) -> None:
        """Accept no more; what there is may end."""
        self._close_listeners()
        for flows in self.datagrams:
            flows.drain()

    def _close_listeners(self) -> None:
        self.pause()
        self.shortage_timer.disarm(self)
        self.short = False
        if self.listeners:
            self.rule._servings.remove(self)
        for listener in self.listeners:
            listener.sock.close()
        self.listeners.clear()

    def abandon(self) -> None:
        """In a forked child: close the copies, and forget the connections."""
        for listener in self.listeners:
            listener.sock.close()
        for flows in self.datagrams:
            flows.sock.close()
        if self in self.rule._servings:
            self.rule._servings.remove(self)
        self.rule._gate.reset()
        self.tally.active = 0

    def least_loaded(self) -> Serving:
        """Whose loop has the fewest connections, of the rule's: this one, where no other is better."""
        best = self
        if len(self.rule._servings) > 1:
            for serving in list(self.rule._servings):
                if serving.ground.load < best.ground.load:
                    best = serving
        return best

    def first_family(self) -> int:
        """The family of the socket that the next connection will probably need."""
        upstreams = self.rule._upstreams
        return upstreams[0].addresses[0][0] if upstreams else socket.AF_INET
