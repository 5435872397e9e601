"""A client's connection from its acceptance to its end, and what is told of it.

It goes through phases, each of which is told what the sockets report: a PROXY header is awaited, an upstream
is connected to, bytes are relayed; or the client is refused with an HTTP response.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from fastnet._pure.relay.connecting import Connecting
from fastnet._pure.relay.greeting import Greeting
from fastnet._pure.relay.prefixes import ip_of
from fastnet._pure.relay.refusal import Refusal
from fastnet._pure.relay.relaying import Relaying
from fastnet._pure.relay.rewriting import Rewriting
from fastnet._pure.relay.rule import Record
from fastnet._pure.relay.side import NOTHING, Phase, Side

if TYPE_CHECKING:
    from fastnet._pure.relay.options import Address
    from fastnet._pure.relay.rule import Upstream
    from fastnet._pure.relay.serving import Serving


class Connection:
    """``client`` is who connected, ``reached`` where to: as a trusted PROXY header says, if there was one."""

    __slots__ = (
        *("_opened", "_phase", "_source", "_started", "_upstream", "address", "client", "down", "ended"),
        *("number", "reached", "serving", "up"),
    )

    def __init__(self, serving: Serving, sock: socket.socket, client: Any) -> None:
        self.serving = serving
        self.number = next(serving.rule._numbers)
        self.client: Address = (sock.family, client)
        self.reached: Address = (sock.family, sock.getsockname())
        self.address: Address | None = None
        self.ended = ""
        self._opened = time.time()
        self._started = time.monotonic()
        self._upstream: Upstream | None = None
        self._source: bytes | None = None
        self._phase: Phase = NOTHING
        self.up: Side | None = None
        self.down = Side(sock, serving.poller, self._phase, serving.options.congestion)
        serving.ground.connections.add(self)
        serving.tally.active += 1

    # From phase to phase

    def begin(self, spare: socket.socket | None) -> None:
        """Take up a connection that was accepted; ``spare`` is a socket to connect with."""
        if self.client in self.serving.trusted:
            if spare:
                spare.close()
            self._enter(Greeting(self))
        else:
            self.admit(spare)

    def admit(self, spare: socket.socket | None = None, early: bytes = b"") -> None:
        """Now that it is known who the client is, deny it or connect. ``early``: what it sent already."""
        if self._may_enter():
            self._enter(Connecting(self, spare, early))
        else:
            if spare:
                spare.close()
            self.deny("denied")

    def deny(self, ended: str) -> None:
        self.serving.tally.denied += 1
        self.end(ended, abort=True)

    def join(self, up: Side, address: Address, upstream: Upstream | None = None, early: bytes = b"") -> None:
        """This is the upstream's side, connected: relay."""
        self.up = up
        self.address = address
        if upstream:
            self._upstream = upstream
            upstream._opened(self.serving.ground)
        rewrite = self.serving.options.rewrite
        self._enter(Rewriting(self, up, early, rewrite) if rewrite else Relaying(self, up, early))

    def unreachable(self) -> None:
        self.serving.tally.unreachable += 1
        if self.serving.options.rewrite:
            self.refuse(502, "the upstream can't be connected to", "unreachable")
        else:
            self.end("unreachable", abort=True)

    def refuse(self, status: int, reason: str, ended: str) -> None:
        """Answer instead of the upstream, and close once the client has had time to read it."""
        self.ended = ended
        if self.up:
            self.up.close(abort=True)
        self._enter(Refusal(self, status, reason))

    def end(self, ended: str, abort: bool = False) -> None:
        """Close both sides, by a reset or not, for this reason if there was none before."""
        self._phase.leave()
        self._phase = NOTHING
        self.ended = self.ended or ended
        self.down.close(abort)
        if self.up:
            self.up.close(abort)
            del self.down.peer, self.up.peer  # No cycle is left for the garbage collector.
        if self._upstream:
            self._upstream._closed(self.serving.ground)
        if self._source:
            self.serving.rule._gate.give(self._source)
        self.serving.ended(self)

    def stop(self) -> None:
        """End it by a reset, since the loop is to end."""
        if isinstance(self._phase, Relaying):
            self._phase.stop()
        else:
            self.end("stopped", abort=True)

    def abandon(self) -> None:
        """In a forked child: close the copies."""
        self.down.sock.close()
        if self.up:
            self.up.sock.close()
        if isinstance(self._phase, Connecting):
            self._phase.abandon()
        if self._upstream:
            self._upstream._closed(self.serving.ground)

    def _enter(self, phase: Phase) -> None:
        self._phase.leave()
        self._phase = self.down.phase = phase
        phase.enter()

    def _may_enter(self) -> bool:
        """Whether the client is allowed, and has not too many connections yet."""
        ip = ip_of(self.client)
        if ip is None:  # A Unix socket's mode says who may connect to it.
            return True
        if not self.serving.allows(self.client):
            return False
        if self.serving.options.max_per_source:
            if not self.serving.rule._gate.take(ip):
                return False
            self._source = ip
        return True

    # What is told

    def record(self) -> Record:
        """How it stands now."""
        return Record(
            self.serving.rule,
            self.number,
            self.client,
            self.address,
            self._opened,
            time.monotonic() - self._started,
            self.up.sent if self.up else 0,
            self.down.sent,
            self.ended,
        )
