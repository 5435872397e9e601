"""One rule in one loop: its listeners there, its connections' timers, and what was counted."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from fastnet._pure.http_head import Exchange
from fastnet._pure.relay.connection import Connection
from fastnet._pure.relay.poller import IN
from fastnet._pure.relay.rule import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnet._pure.relay.ground import Ground
    from fastnet._pure.relay.rule import Rule

RESET_GRACE = 2.0
"""Seconds that what was sent before a reset may take to be acknowledged before the reset is passed on."""
RESET_POLL = 0.01
LINGER = 2.0
"""Seconds that a client which was refused has to read why."""
SHORTAGE_PAUSE = 0.1
"""Seconds without accepting after descriptors ran out."""

_ACCEPTS_A_TURN = 16
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Serving:
    """What a loop does for a rule."""

    def __init__(self, ground: Ground, rule: Rule) -> None:
        self.ground = ground
        self.poller = ground.poller
        self.connections = ground.connections
        self.view = ground.view
        self.rule = rule
        self.options = options = rule._options
        self.tally = Tally()
        rule._tallies.append(self.tally)
        self.listeners: list[Listener] = []
        self.accepting = False
        self.short = False
        timer = ground.clock.timer
        self.connect_timer = timer(Connection.connect_failed, options.connect_timeout)
        self.head_timer = timer(Connection.head_late, options.head_timeout)
        self.reset_poll = timer(Connection.pass_reset, RESET_POLL)
        self.reset_grace = timer(Connection.abort, RESET_GRACE)
        self.linger_timer = timer(Connection.close, LINGER)
        self.shortage_timer = timer(Serving.recovered, SHORTAGE_PAUSE)

    def forget(self, connection: Connection) -> None:
        """Nothing is due for this connection any more."""
        for timer in (
            self.connect_timer,
            self.head_timer,
            self.reset_poll,
            self.reset_grace,
            self.linger_timer,
        ):
            timer.disarm(connection)

    # Accepting

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        for sock in sockets:
            sock.setblocking(False)
            self.listeners.append(Listener(self, sock))
        self.pause()
        self.resume()

    def pause(self) -> None:
        """Accept no more connections for now."""
        if self.accepting:
            self.accepting = False
            for listener in self.listeners:
                if listener.watched:
                    listener.watched = False
                    self.poller.unwatch(listener.sock.fileno())

    def resume(self) -> None:
        """Accept again, unless there is a reason not to."""
        full = self.rule.counters.active >= self.options.max_connections
        if not (self.accepting or full or self.short):
            self.accepting = True
            for listener in self.listeners:
                listener.watched = True
                self.poller.watch(listener.sock.fileno(), IN, listener)

    def shortage(self, error: OSError) -> None:
        """No descriptor or memory for one more connection: pause."""
        self.pause()
        self.short = True
        self.shortage_timer.arm(self)
        self.ground.shortage(f"accepting pauses at {self.rule.counters.active} connections: {error.strerror}")

    def recovered(self) -> None:
        self.short = False
        self.resume()

    def first_family(self) -> int:
        """The family of the socket that the next connection will probably need."""
        upstreams = self.rule._upstreams
        return upstreams[0].addresses[0][0] if upstreams else socket.AF_INET

    def close_listeners(self) -> None:
        self.pause()
        self.shortage_timer.disarm(self)
        for listener in self.listeners:
            listener.sock.close()
        self.listeners.clear()


class Listener:
    __slots__ = ("serving", "sock", "watched")

    def __init__(self, serving: Serving, sock: socket.socket) -> None:
        self.serving, self.sock, self.watched = serving, sock, False

    def on_event(self, _events: int) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not (self.serving.accepting and self.accept()):
                return

    def accept(self) -> bool:
        """Take one connection; False where there is none, or where no more can be had now."""
        serving = self.serving
        if serving.rule.counters.active >= serving.options.max_connections:
            serving.pause()
            return False
        spare = None
        try:
            # First the upstream's socket: a client is not accepted without a descriptor to serve it with.
            spare = _socket_for(serving.first_family())
            sock, _ = self.sock.accept()
        except OSError as error:
            if spare:
                spare.close()
            if error.errno in _SHORTAGES:
                serving.shortage(error)
            return False
        serving.tally.accepted += 1
        connection = Connection(serving, sock)
        if serving.options.rewrite:
            connection.exchange = Exchange(serving.options.rewrite, _host_of(sock))
        connection.connect(spare)
        return True


def _socket_for(family: int) -> socket.socket | None:
    """A socket of this family; None where this machine lacks the family."""
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        return None


def _host_of(sock: socket.socket) -> str:
    """The local address that the client connected to."""
    name = sock.getsockname()
    return str(name[0]) if isinstance(name, tuple) else ""
