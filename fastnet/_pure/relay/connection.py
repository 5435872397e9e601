"""A client's connection from its acceptance to its end, and its record.

One generator runs its phases: it awaits a PROXY header, connects to an upstream and relays bytes, or sends
the client a refusal as an HTTP response.
"""

from __future__ import annotations

import socket
import time

from fastnet._contract.relay import Record
from fastnet._pure.relay.connecting import connect
from fastnet._pure.relay.greeting import greet
from fastnet._pure.relay.loop import NEVER
from fastnet._pure.relay.prefixes import ip_of
from fastnet._pure.relay.refusing import refuse
from fastnet._pure.relay.relaying import Relaying
from fastnet._pure.relay.rewriting import Rewriting
from fastnet._pure.relay.side import Side
from fastnet._pure.relay.sockets import peername
from fastnet._pure.relay.steps import Ended, Refused
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet._contract.relay import Address
    from fastnet._pure.relay.lane import Lane
    from fastnet._pure.relay.steps import Event, Steps
    from fastnet._pure.relay.upstream import Upstream


class Connection:
    """``client`` and ``destination`` are the addresses of a trusted PROXY header or else of the socket.

    ``spare`` is a socket for the next connect, ``attempts`` are the sides that are connecting to an upstream.
    """

    __slots__ = (
        *("_due", "_opened", "_source", "_started", "_steps", "_upstream", "address", "admitted", "attempts"),
        *("client", "destination", "down", "ended", "lane", "number", "spare", "up"),
    )

    def __init__(self, lane: Lane, sock: socket.socket, client: Any) -> None:
        self.lane = lane
        self.number = next(lane.rule._numbers)
        self.client: Address = (sock.family, client)
        self.destination: Address = (sock.family, sock.getsockname())
        self.address: Address | None = None
        self.ended = ""
        self.spare: socket.socket | None = None
        self.attempts: dict[Side, Address] = {}
        self.up: Side | None = None
        self._opened = time.time()
        self._started = self.admitted = time.monotonic()
        self._upstream: Upstream | None = None
        self._source: bytes | None = None
        self._due = NEVER
        self._steps = self._live(self._serve())
        self.down = Side(sock, self)
        lane.inbox.connections.add(self)
        lane.counters.active += 1

    # Its phases

    def _serve(self) -> Steps[None]:
        early = (yield from greet(self)) if self.client in self.lane.trusted else b""
        self.admitted = time.monotonic()
        if not self._may_enter():
            raise self.denied("denied")
        up = yield from connect(self)
        yield from self._relay(up, early)

    def _relay(self, up: Side, early: bytes) -> Steps[None]:
        rewrite = self.lane.options.rewrite
        relaying = Rewriting(self, up, rewrite) if rewrite else Relaying(self, up)
        return relaying.steps(early)

    def _live(self, steps: Steps[None]) -> Steps[None]:
        """Run these steps until the connection ends."""
        refused = None
        try:
            try:
                yield from steps
            except Refused as answer:
                refused = answer
            if refused:
                self.ended = refused.ended
                if self.up:
                    self.up.close(abort=refused.status != 0)
                yield from refuse(self, refused.status, refused.reason)
            self._end("refused")
        except Ended as end:
            self._end(end.ended, end.abort)

    def begin(self) -> None:
        """Begin to serve an accepted connection. Raises OSError if epoll has no room for it."""
        self.resume(None)

    def join(self, second: socket.socket) -> None:
        """Relay to this connected socket."""
        up = Side(second, self)
        self.connected(up, (second.family, peername(second)))
        self._steps = self._live(self._relay(up, b""))
        self.resume(None)

    def resume(self, event: Event | None) -> None:
        """Continue with the events of a side, or because the time has come."""
        try:
            due = self._steps.send(event)
        except StopIteration:
            return
        if due != self._due:
            self._due = due
            self.lane.inbox.clock.set(self, due)

    def on_time(self) -> None:
        self._due = NEVER
        self.resume(None)

    def fail(self) -> None:
        """End it because epoll has no room for it."""
        self._end("unreachable", abort=True)

    def stop(self) -> None:
        """Reset it, since the loop ends."""
        try:
            self._steps.throw(Ended("stopped", abort=True))
        except StopIteration:
            pass
        except Ended as end:  # Its steps had not begun, or have failed.
            self._end(end.ended, end.abort)

    # Called by its phases

    def connected(self, up: Side, address: Address, upstream: Upstream | None = None) -> None:
        self.up, self.address, self._upstream = up, address, upstream
        self.down.peer, up.peer = up, self.down
        if upstream:
            upstream._opened(self.lane.inbox)

    def denied(self, ended: str) -> Ended:
        """The exception that ends it if the client may not be served."""
        self.lane.counters.denied += 1
        return Ended(ended, abort=True)

    def drop_attempts(self) -> None:
        """Close all attempts, and the spare socket if it was not used."""
        while self.attempts:
            self.attempts.popitem()[0].close()
        spare, self.spare = self.spare, None
        if spare:
            spare.close()

    def _may_enter(self) -> bool:
        """Whether the client is allowed, and has not too many connections yet."""
        ip = ip_of(self.client)
        if ip is None:  # The mode of a Unix socket controls who may connect to it.
            return True
        if not self.lane.allows(self.client):
            return False
        if self.lane.options.max_per_source:
            if not self.lane.rule._admission.take(ip):
                return False
            self._source = ip
        return True

    def _end(self, ended: str, abort: bool = False) -> None:
        """Close both sides, by a reset or not, for this reason if there was none before.

        Even without ``abort``, a client that did not get all of its bytes is reset.
        """
        abort = abort or bool(self.down.unsent)
        self.lane.inbox.clock.set(self, NEVER)
        self.lane.inbox.between_requests.discard(self)
        self.drop_attempts()
        self.ended = self.ended or ended
        self.down.close(abort)
        if self.up:
            self.up.close(abort)
            del self.down.peer, self.up.peer  # Breaks the reference cycle.
        if self._upstream:
            self._upstream._closed(self.lane.inbox)
        if self._source:
            self.lane.rule._admission.give(self._source)
        self.lane.ended(self)

    def abandon(self) -> None:
        """In a forked child: close the copies."""
        for side in (self.down, self.up, *self.attempts):
            if side:
                side.sock.close()
        if self.spare:
            self.spare.close()
        if self._upstream:
            self._upstream._closed(self.lane.inbox)

    def record(self) -> Record:
        """Its present record."""
        return Record(
            self.lane.rule,
            self.number,
            self.client,
            self.address,
            self._opened,
            time.monotonic() - self._started,
            self.up.sent if self.up else 0,
            self.down.sent,
            self.ended,
        )
