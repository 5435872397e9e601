"""Questions to the kernel over a netlink socket, and its whole answers."""

import errno
import os
import socket
import sys

from fastnet._pure.rtnetlink.attributes import HEADER, bad_message, messages

# linux/netlink.h
ROUTE, GENERIC = 0, 16
_ERROR, _DONE = 2, 3
_REQUEST, DUMP, _CHANGED = 1, 0x300, 0x10
_SOL_NETLINK, _STRICT = 270, 12
_ROOM = 1 << 16
"""For one datagram; the kernel fills up to 32 KiB, and more for a message that has more."""
_TRIES = 64
_AGAIN = (errno.EAGAIN, errno.ENOBUFS)


def open_netlink(protocol: int) -> int:
    """A socket of the calling thread's network namespace. Raises OSError."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).detach()


class Netlink:
    """A socket, which it owns, and the number of the last question asked over it."""

    def __init__(self, opened: int) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0, opened)
        self._sequence = 0
        try:
            self.socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
        except OSError as error:  # before Linux 4.20 it ignores what is asked for beside the type
            if error.errno != errno.ENOPROTOOPT:
                raise

    def ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, memoryview]]:
        """The type and body of each message that answers.

        A dump that changed while it was read is repeated. Raises OSError: what the kernel answered, and
        EAGAIN if it changed each time.
        """
        for _ in range(_TRIES):
            self._sequence += 1
            header = HEADER.pack(HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0)
            try:
                self.socket.sendto(header + body, (0, 0))
                found = self._gather(flags & DUMP == DUMP)
            except OSError as error:
                if error.errno not in _AGAIN:
                    raise
                found = None
            if found is not None:
                return found
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _gather(self, is_dump: bool) -> list[tuple[int, memoryview]] | None:
        """One answer, read to its end; None if it changed meanwhile."""
        found: list[tuple[int, memoryview]] = []
        has_changed = False
        while True:
            for kind, flags, sequence, body in messages(self._receive()):
                if sequence != self._sequence:
                    continue
                has_changed |= bool(flags & _CHANGED)
                if kind in (_DONE, _ERROR):
                    _check_ending(kind, body)
                    return None if has_changed else found
                found.append((kind, body))
                if not is_dump:
                    return found

    def _receive(self) -> memoryview:
        """One datagram of the kernel."""
        while True:
            room = self.socket.recv_into(bytearray(_ROOM), 0, socket.MSG_PEEK | socket.MSG_TRUNC)
            data, (port, _) = self.socket.recvfrom(max(room, _ROOM))
            if port == 0:
                return memoryview(data)


def _check_ending(kind: int, body: memoryview) -> None:
    """Raises OSError if an answer ends with an errno."""
    if len(body) < 4 and kind == _ERROR:
        raise bad_message()
    code = int.from_bytes(body[:4], sys.byteorder, signed=True) if len(body) >= 4 else 0
    if code < 0:
        raise OSError(-code, os.strerror(-code))
