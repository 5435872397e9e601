"""One side of a connection: a socket, the bytes to be sent to it, and its state."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios

from fastnet._pure.relay.sockets import abort as abort_socket
from fastnet._pure.relay.sockets import prepare
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnet._pure.relay.connection import Connection


class Side:
    """One socket of a connection. ``unsent`` has the bytes to be sent to it."""

    __slots__ = (
        *("_poller", "broken", "connection", "fd", "gone", "mask", "peer", "reading", "sent"),
        *("shut", "sock", "unsent"),
    )
    peer: Side

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        sock.setblocking(False)
        prepare(sock, connection.lane.options)
        self.sock = sock
        self.fd = sock.fileno()
        self.connection = connection
        self._poller = connection.lane.inbox.poller
        self.unsent = bytearray()
        self.sent = 0
        self.mask = -1  # The events that epoll watches; -1: it does not watch the descriptor.
        self.reading = True  # The stream from it has not ended.
        self.shut = False  # The stream to it has ended: FIN was sent.
        self.broken = False  # It failed: nothing can be sent to it any more.
        self.gone = False  # epoll always reports it.

    @property
    def closed(self) -> bool:
        return self.fd < 0

    def on_event(self, events: int) -> None:
        if self.fd >= 0:  # It may have been closed in this turn.
            self.connection.resume((self, events))

    def unacknowledged(self) -> int:
        """Bytes in the kernel's send queue (SIOCOUTQ, tcp(7))."""
        return self._queued(termios.TIOCOUTQ)

    def unread(self) -> int:
        """Bytes in the kernel's receive queue (SIOCINQ, tcp(7))."""
        return self._queued(termios.FIONREAD)

    def _queued(self, request: int) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self.fd, request, b"\0" * 4))[0])

    def send(self, data: bytes | memoryview | bytearray) -> int:
        """Send as much as the kernel takes; returns the bytes sent, 0 if the side is broken or breaks now."""
        if self.broken:
            return 0
        try:
            sent = self.sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self.fail()
            return 0
        self.sent += sent
        return sent

    def fail(self) -> None:
        """Nothing more can be sent to it; bytes that it sent before can still be read."""
        self.broken = True
        self.unsent.clear()

    def shut_down(self) -> None:
        """Send FIN."""
        self.shut = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # The other end has already closed; a read will report that.
            self.broken = True

    def watch(self, mask: int, anyhow: bool = False) -> None:
        """Watch these events; a side that has hung up, which epoll always reports, only if there are any.

        Raises OSError if epoll has no room or memory for it; with ``anyhow`` it is watched once there is.
        """
        if mask == 0 and self.gone:
            mask = -1
        if mask == self.mask:
            return
        if mask < 0:
            self._poller.unwatch(self.fd)
        elif self.mask < 0:
            (self._poller.watch_soon if anyhow else self._poller.watch)(self.fd, mask, self)
        else:
            self._poller.change(self.fd, mask)
        self.mask = mask

    def close(self, abort: bool = False) -> None:
        if self.closed:
            return
        self.gone = True
        self.watch(0)
        self.fd = -1
        if abort:
            abort_socket(self.sock)
        else:
            self.sock.close()
