"""The loop that a thread runs."""

from __future__ import annotations

import os
import threading
import time
import weakref

from fastnet._contract.relay import MAX_SPIN
from fastnet._pure.relay.connection import Connection
from fastnet._pure.relay.inbox import Inbox
from fastnet._pure.relay.lane import Lane
from fastnet._pure.relay.rule import Rule
from fastnet._pure.relay.sockets import peername
from fastnet._typing import TYPE_CHECKING
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    import socket
    from _collections_abc import Callable, Sequence

    from fastnet._contract.relay import Record
    from fastnet._pure.relay.counters import Counters

WARNING_PAUSE = 60.0
"""Minimum seconds between two shortage warnings."""


class Loop:
    """One thread's relays.

    ``listen`` and ``join`` add sockets, then ``run`` serves them until nothing is left: no listener
    and no connection. Methods for any thread wait for the running loop's next turn, except for
    ``drain`` and ``stop``, which return at once and may also be called from a signal handler.

    ``spin`` is the time in seconds after an event for which it polls instead of sleeping: lower latency for
    a busy core. ``warn`` is called in the loop's thread with a line of text when accepting
    pauses because descriptors or ports ran out. Raises InvalidArgument for a ``spin`` out of range.

    A forked child process closes its copies of all descriptors, so that it keeps no connection open.
    """

    def __init__(self, *, spin: float = 0.0, warn: Callable[[str], None] = lambda text: None) -> None:
        if not 0 <= spin <= MAX_SPIN:
            raise InvalidArgument(f"spin {spin}: expected seconds, 0 to {MAX_SPIN}")
        self._spin = spin
        self._spin_until = 0.0
        self._warn = warn
        self._next_warning = 0.0
        self._inbox = Inbox(self._shortage)
        self._lanes: dict[Rule, Lane] = {}
        self._deadline = float("inf")
        self._draining = False
        self._lock = threading.Lock()
        self._thread: int | None = None
        _loops.add(self)

    # Listeners and connections

    def listen(self, rule: Rule, listeners: Sequence[socket.socket]) -> None:
        """Serve connections to these listening sockets by this rule. The loop takes ownership of the sockets.

        May be called in any thread, before and while it runs. Raises RuntimeError if it has ended.
        """
        if not self._do(lambda: self._lane(rule).listen(listeners)):
            raise RuntimeError("this loop has ended: make another one")

    def unlisten(self, rule: Rule) -> None:
        """Close this rule's listeners here; its connections go on. May be called in any thread."""
        self._do(lambda: self._unlisten(rule))

    def join(self, first: socket.socket, second: socket.socket, rule: Rule | None = None) -> Counters:
        """Relay between two connected sockets; the loop takes ownership of both. Call it before ``run``."""
        rule = rule or Rule(())
        lane = self._lane(rule)
        rule._admission.enter_anyway()
        Connection(lane, first, peername(first)).join(second)
        return rule.counters

    def _unlisten(self, rule: Rule) -> None:
        if rule in self._lanes:
            self._lanes[rule].unlisten()

    def _lane(self, rule: Rule) -> Lane:
        if rule not in self._lanes:
            self._lanes = {kept: lane for kept, lane in self._lanes.items() if lane.busy}
            self._lanes[rule] = Lane(self._inbox, rule)
        return self._lanes[rule]

    # Running

    def run(self) -> bool:
        """Relay until nothing is left, or the time to ``drain`` is over; then close every socket.

        True if every connection had ended by itself, False if one was reset.
        """
        with self._lock:
            self._thread = threading.get_ident()
        try:
            while not self._over():
                self._turn()
            return not self._inbox.connections
        finally:
            self.close()

    def drain(self, timeout: float) -> None:
        """Accept no more; ``run`` returns when all connections have ended, or after ``timeout`` seconds."""
        self._deadline = time.monotonic() + timeout
        self._draining = True
        self._inbox.waker.wake()

    def stop(self) -> None:
        """Let ``run`` reset all connections and return."""
        self.drain(0.0)

    def close(self) -> None:
        """Reset all connections and close everything; for a loop that is not running."""
        self._inbox.end()
        self._drain()
        for connection in list(self._inbox.connections):
            connection.stop()
        for lane in self._lanes.values():
            lane.unlisten()
        self._inbox.close()

    def _over(self) -> bool:
        """Whether nothing is left to do, or the time to drain is over."""
        self._inbox.read_inbox()
        if self._draining:
            self._drain()
            if time.monotonic() >= self._deadline:
                return True
            self._inbox.drain()
        return not (self._inbox.connections or self._listening())

    def _turn(self) -> None:
        called = self._inbox.poller.poll(self._wait())
        for handler, events in called:
            handler.on_event(events)
        if called and self._spin:
            self._spin_until = time.monotonic() + self._spin
        self._inbox.clock.run()

    def _wait(self) -> float:
        """Seconds until something is due; -1 if nothing is."""
        if self._spin and time.monotonic() < self._spin_until:
            return 0
        due = min(self._inbox.clock.due, self._deadline)
        return -1 if due == float("inf") else max(0.0, due - time.monotonic())

    def _listening(self) -> bool:
        if self._draining:
            return False
        return any(lane.listeners or lane.datagrams for lane in self._lanes.values())

    def _drain(self) -> None:
        for lane in self._lanes.values():
            lane.drain()

    def _do(self, call: Callable[[], object]) -> bool:
        """Call this in the loop's thread, or at once if it does not run; False if it has ended."""
        with self._lock:
            if self._thread in (None, threading.get_ident()):
                if not self._inbox.ended:
                    call()
                return not self._inbox.ended
        asked = _Asked(self._inbox, call)
        if not self._inbox.post(asked.answer):
            return False
        return asked.wait()

    # Records and warnings

    def records(self) -> list[Record]:
        """The connections that have ended since the last call, oldest first. For one thread at a time.

        Only those of rules with ``record``. At most 16384 are kept; others are dropped and counted.
        """
        return self._inbox.records.take()

    @property
    def lost_records(self) -> int:
        """The number of records dropped for lack of room."""
        return self._inbox.records.lost

    def connections(self) -> list[Record]:
        """The connections that are open now. May be called in any thread."""
        found: list[Record] = []
        self._do(lambda: found.extend([connection.record() for connection in self._inbox.connections]))
        return found

    def _shortage(self, text: str) -> None:
        """Warn that accepting pauses, unless the last shortage was less than ``WARNING_PAUSE`` ago."""
        now = time.monotonic()
        if now >= self._next_warning:
            self._warn(text)
        self._next_warning = now + WARNING_PAUSE

    def _abandon(self) -> None:
        """In a forked child: close the copies, and change nothing that is shared with the parent."""
        self._lock = threading.Lock()
        for lane in self._lanes.values():
            lane.abandon()
        for connection in self._inbox.connections:
            connection.abandon()
        self._inbox.abandon()
        self._lanes.clear()


class _Asked:
    """A call that another thread requests from the loop's thread, and its result."""

    def __init__(self, inbox: Inbox, call: Callable[[], object]) -> None:
        self._inbox = inbox
        self._call = call
        self._answered = threading.Event()
        self._done = False
        self._error: Exception | None = None

    def answer(self) -> None:
        try:
            if not self._inbox.ended:
                self._call()
                self._done = True
        except Exception as error:  # The asking thread raises it.
            self._error = error
        self._answered.set()

    def wait(self) -> bool:
        self._answered.wait()
        if self._error:
            raise self._error
        return self._done


_loops: weakref.WeakSet[Loop] = weakref.WeakSet()


def _abandon_loops() -> None:
    for loop in list(_loops):
        loop._abandon()


os.register_at_fork(after_in_child=_abandon_loops)
