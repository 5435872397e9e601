"""What all connections of a loop share, and the calls from other threads to it."""

from __future__ import annotations

import threading
from collections import deque

from fastnet._pure.relay.loop import IN, Clock, Poller, Timed, Waker
from fastnet._pure.relay.records import Records
from fastnet._typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _collections_abc import Callable

    from fastnet._contract.relay import Record

BUFFER_SIZE = 262144
"""Bytes of one read: the most that a direction holds for a slow reader."""


class Relayed(Protocol):
    """A connection, or a flow of datagrams."""

    def record(self) -> Record:
        """Its present record."""

    def stop(self) -> None:
        """Reset it, since the loop ends."""

    def abandon(self) -> None:
        """In a forked child: close the copies."""


class Inbox:
    """A loop's descriptors, timers, connections and read buffer, its records, and its inbox."""

    def __init__(self, shortage: Callable[[str], None]) -> None:
        self.poller = Poller()
        self.clock = Clock()
        self.connections: set[Relayed] = set()
        self.view = memoryview(bytearray(BUFFER_SIZE))
        self.shortage = shortage
        self.records = Records()
        self.waker = Waker()
        try:
            self.poller.watch(self.waker.fd, IN, self.waker)
        except BaseException:
            self.close()
            raise
        self.draining = False
        self.between_requests: set[Timed] = set()
        self.ended = False
        self._inbox: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    @property
    def load(self) -> int:
        """The number of connections, those on their way from another loop included."""
        return len(self.connections) + len(self._inbox)

    def drain(self) -> None:
        """End each connection between two requests, now or later."""
        self.draining = True
        for connection in list(self.between_requests):
            connection.on_time()

    def post(self, call: Callable[[], None]) -> bool:
        """Call this in the loop's thread in its next turn; False if the loop has ended. For any thread."""
        with self._lock:
            if self.ended:
                return False
            self._inbox.append(call)
        self.waker.wake()
        return True

    def read_inbox(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def end(self) -> None:
        """Accept no more calls. Those in the inbox are still made, with ``ended`` set."""
        with self._lock:
            self.ended = True
        self.read_inbox()

    def close(self) -> None:
        self.waker.close()
        self.poller.close()

    def abandon(self) -> None:
        """In a forked child: close the copies, without taking locks that other threads may hold."""
        self._lock = threading.Lock()
        self.ended = True
        self._inbox.clear()
        self.connections.clear()
        self.poller.close()
        self.waker.abandon()
