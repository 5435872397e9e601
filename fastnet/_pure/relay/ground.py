"""What all of a loop's relays share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnet._pure.relay.poller import Clock, Poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnet._pure.relay.connection import Connection

BUFFER_SIZE = 262144
"""Bytes of one read, and so the bytes that a direction holds for a slow reader at most."""


class Ground:
    """A loop's descriptors, timers, connections and read buffer, and whom to tell of a shortage."""

    def __init__(self, shortage: Callable[[str], None]) -> None:
        self.poller = Poller()
        self.clock = Clock()
        self.connections: set[Connection] = set()
        self.view = memoryview(bytearray(BUFFER_SIZE))
        self.shortage = shortage
