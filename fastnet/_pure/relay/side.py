"""One end of a connection: a socket, what waits to be sent to it, and what is known of it."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection

_ABORT = struct.pack("ii", 1, 0)


class Side:
    """One socket of a connection. ``unsent`` is what waits to be sent to it."""

    __slots__ = (
        "broken",
        "connection",
        "fd",
        "gone",
        "mask",
        "peer",
        "poller",
        "reading",
        "shut",
        "sock",
        "unsent",
    )
    peer: Side

    def __init__(self, connection: Connection, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.poller = connection.serving.poller
        self.sock = sock
        self.fd = sock.fileno()
        self.unsent = bytearray()
        self.mask = -1  # What epoll watches for; -1: it does not know the descriptor.
        self.reading = True  # Its stream has not ended.
        self.shut = False  # Ours to it has: FIN was sent.
        self.broken = False  # It failed: nothing can be sent to it any more.
        self.gone = False  # epoll reports it whatever is asked for.

    def on_event(self, events: int) -> None:
        if not self.connection.closed:
            self.connection.on_event(self, events)

    def unacknowledged(self) -> int:
        """Bytes that the kernel still holds for the other end (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])

    def shut_down(self) -> None:
        self.shut = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # The other end is gone already, which reading it will tell.
            self.broken = True

    def watch(self, mask: int) -> None:
        """Have these events reported; where it is gone, which is reported always, only if there are any."""
        if mask == 0 and self.gone:
            mask = -1
        if mask == self.mask:
            return
        if mask < 0:
            self.poller.unwatch(self.fd)
        elif self.mask < 0:
            self.poller.watch(self.fd, mask, self)
        else:
            self.poller.change(self.fd, mask)
        self.mask = mask

    def close(self, abort: bool = False) -> None:
        if self.sock.fileno() < 0:
            return
        self.gone = True
        self.watch(0)
        if abort:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.sock.close()
