"""The phase in which a trusted peer's PROXY header is awaited."""

from __future__ import annotations

import time

from fastnet._pure.relay.loop import IN, PRI
from fastnet._pure.relay.proxy import LONGEST, BadHeader, parse
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection
    from fastnet._pure.relay.steps import Steps


def greet(connection: Connection) -> Steps[bytes]:
    """Replace the peer's addresses by those in the header; returns the bytes after the header."""
    late = time.monotonic() + connection.lane.options.head_timeout
    connection.down.watch(IN | PRI)
    data = b""
    while event := (yield late):
        _, events = event
        try:
            more = connection.down.sock.recv(LONGEST - len(data))
        except BlockingIOError:
            if not events & PRI:
                continue
            more = b""
        except OSError:
            more = b""
        data += more
        try:
            header = parse(data)
        except BadHeader:
            more = b""
        # Urgent data within a header is no part of one.
        if not more or (events & PRI and not header):
            raise connection.denied("denied")
        if header:
            connection.client = header.source or connection.client
            connection.destination = header.destination or connection.destination
            return data[header.size :]
    raise connection.denied("late head")
