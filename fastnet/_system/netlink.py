"""Questions to the kernel over netlink(7), its whole answers, and the attributes of its messages.

The pure twin of rtnetlink reads records with it, and what stands under both twins a value or two.
"""

import _socket as socket
import _struct as struct
import errno
import os
import sys
from _collections_abc import Iterator

from fastnet._typing import Self

# linux/netlink.h
ROUTE, GENERIC = 0, 16
_ERROR, _DONE = 2, 3
_REQUEST, DUMP, _CHANGED = 1, 0x300, 0x10
_SOL_NETLINK, _STRICT = 270, 12
_ROOM = 1 << 16
"""For one datagram; the kernel fills up to 32 KiB, and more for a message that has more."""
_TRIES = 64
_AGAIN = (errno.EAGAIN, errno.ENOBUFS)

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF

Attributes = dict[int, memoryview]


def padded(length: int) -> int:
    return length + 3 & ~3


def bad_message() -> OSError:
    return OSError(errno.EBADMSG, "a netlink message that is not formed as linux/rtnetlink.h has it")


def messages(data: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """Type, flags, sequence number and body of each message. Raises OSError, EBADMSG."""
    start = 0
    while start < len(data):
        if len(data) - start < HEADER.size:
            raise bad_message()
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        if not HEADER.size <= length <= len(data) - start:
            raise bad_message()
        yield kind, flags, sequence, data[start + HEADER.size : start + length]
        start += padded(length)


def each_attribute(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    start = 0
    while start < len(data):
        if len(data) - start < _ATTRIBUTE.size:
            raise bad_message()
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= length <= len(data) - start:
            raise bad_message()
        yield kind & _TYPE_MASK, data[start + _ATTRIBUTE.size : start + length]
        start += padded(length)


def attributes(data: memoryview) -> Attributes:
    return dict(each_attribute(data))


def split(body: memoryview, fixed: struct.Struct) -> tuple[tuple[int, ...], Attributes]:
    """A message's fixed part, and the attributes behind it."""
    if len(body) < fixed.size:
        raise bad_message()
    return fixed.unpack_from(body), attributes(body[padded(fixed.size) :])


def number(found: Attributes, kind: int, size: int, default: int = 0, *, signed: bool = False) -> int:
    """A number of so many bytes, if it is there; longer attributes are those of newer kernels."""
    if kind not in found:
        return default
    if len(found[kind]) < size:
        raise bad_message()
    return int.from_bytes(found[kind][:size], sys.byteorder, signed=signed)


def text(found: Attributes, kind: int) -> bytes | None:
    """The text of an attribute up to its NUL."""
    return bytes(found[kind]).partition(b"\0")[0] if kind in found else None


def address(found: Attributes, kind: int, family: int) -> bytes | None:
    """An address of the family; None if it is not there."""
    if kind not in found:
        return None
    if len(found[kind]) != SIZES[family]:
        raise bad_message()
    return bytes(found[kind])


SIZES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
"""Bytes of an address."""


def numeric(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a question."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(padded(length) - length)


def open_netlink(protocol: int = ROUTE) -> socket.socket:
    """A socket of the calling thread's network namespace. Raises OSError."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)


class Netlink:
    """A socket, which it owns, and the number of the last question asked over it."""

    def __init__(self, opened: socket.socket | None = None) -> None:
        self.socket = opened or open_netlink()
        self._sequence = 0
        try:
            self.socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
        except OSError as error:  # before Linux 4.20 it ignores what is asked for beside the type
            if error.errno != errno.ENOPROTOOPT:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def dump(self, kind: int, body: bytes) -> list[memoryview]:
        """The bodies of all messages of a kind. Raises OSError."""
        return [message for _, message in self.ask(kind, DUMP, body)]

    def ask_one(self, kind: int, body: bytes) -> memoryview:
        """The body of the one message that answers. Raises OSError."""
        [(_, message)] = self.ask(kind, 0, body)
        return message

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
