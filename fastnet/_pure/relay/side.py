"""One end of a connection: a socket, what waits to be sent to it, and what is known of it."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fastnet._pure.relay.poller import Poller

_ABORT = struct.pack("ii", 1, 0)


class Phase(Protocol):
    """What a connection is about now, and so who is told what its sockets report."""

    def on_event(self, side: Side, events: int) -> None: ...

    def enter(self) -> None:
        """It begins."""

    def leave(self) -> None:
        """It is over: nothing is due for it any more."""


class _Nothing:
    def on_event(self, side: Side, events: int) -> None:
        pass

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass


NOTHING = _Nothing()
"""The phase before the first one, and after the last."""


class Side:
    """One socket of a connection. ``unsent`` is what waits to be sent to it."""

    __slots__ = (
        *("broken", "fd", "gone", "mask", "peer", "phase", "poller", "reading", "sent"),
        *("shut", "sock", "unsent"),
    )
    peer: Side

    def __init__(self, sock: socket.socket, poller: Poller, phase: Phase, congestion: str = "") -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if congestion:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        self.sock = sock
        self.fd = sock.fileno()
        self.poller = poller
        self.phase = phase
        self.unsent = bytearray()
        self.sent = 0
        self.mask = -1  # What epoll watches for; -1: it does not know the descriptor.
        self.reading = True  # Its stream has not ended.
        self.shut = False  # Ours to it has: FIN was sent.
        self.broken = False  # It failed: nothing can be sent to it any more.
        self.gone = False  # epoll reports it whatever is asked for.

    @property
    def closed(self) -> bool:
        return self.sock.fileno() < 0

    def on_event(self, events: int) -> None:
        self.phase.on_event(self, events)

    def unacknowledged(self) -> int:
        """Bytes that the kernel still holds for the other end (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])

    def send(self, data: bytes | memoryview | bytearray) -> int:
        """Send what the kernel takes of it now; 0 also where the side is broken, or breaks by this."""
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
        """Nothing more can be sent to it; what it sent before can still be read."""
        self.broken = True
        self.unsent.clear()

    def shut_down(self) -> None:
        """Send FIN."""
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
        if self.closed:
            return
        self.phase = NOTHING  # There may be events of it in this turn still.
        self.gone = True
        self.watch(0)
        if abort:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.sock.close()
