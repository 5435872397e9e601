"""The phase in which a trusted peer's PROXY header is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnet._pure.relay.poller import IN
from fastnet._pure.relay.proxy import LONGEST, BadHeader, parse

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.side import Side


class Greeting:
    """Takes the place of whoever connected by whom the header names; without a right header, ends it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._data = b""

    def enter(self) -> None:
        self._connection.serving.greeting_timer.arm(self)
        self._connection.down.watch(IN)

    def leave(self) -> None:
        self._connection.serving.greeting_timer.disarm(self)

    def late(self) -> None:
        self._connection.deny("late head")

    def on_event(self, side: Side, _events: int) -> None:
        try:
            data = side.sock.recv(LONGEST - len(self._data))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._data += data
        try:
            header = parse(self._data)
        except BadHeader:
            data = b""
        if not data:
            self._connection.deny("denied")
        elif header:
            self._connection.client = header.source or self._connection.client
            self._connection.reached = header.destination or self._connection.reached
            self._connection.admit(early=self._data[header.size :])
