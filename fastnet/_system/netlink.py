"""Requests to the kernel over rtnetlink(7), and its answers."""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

Attributes = dict[int, bytes]

# linux/netlink.h, rtnetlink.h
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
NUMBER = struct.Struct("=I")
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP, _CHANGED = 1, 0x300, 0x10
_ROOM = 1 << 16
_TRIES = 8


def open_netlink() -> socket.socket:
    """A socket that answers for the network namespace of the calling thread."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def dump(kernel: socket.socket, kind: int, question: bytes) -> list[bytes]:
    """All messages of a kind. Raises OSError, EAGAIN where they changed each time while they were read."""
    for _ in range(_TRIES):
        found = [*answers(kernel, kind, _DUMP, question)]
        if not any(flags & _CHANGED for flags, _ in found):
            return [message for _, message in found]
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def ask(kernel: socket.socket, kind: int, question: bytes) -> bytes:
    """The one message that answers a question. Raises OSError."""
    _, answer = next(answers(kernel, kind, 0, question))
    return answer


def answers(kernel: socket.socket, kind: int, flags: int, question: bytes) -> Iterator[tuple[int, bytes]]:
    """Each message's flags and what is behind its header, up to the end of a dump."""
    kernel.send(_HEADER.pack(_HEADER.size + len(question), kind, _REQUEST | flags, 0, 0) + question)
    while True:
        data, start = kernel.recv(_ROOM), 0
        while start < len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, start)
            message = data[start + _HEADER.size : start + length]
            if kind in (_DONE, _ERROR):
                code = -int.from_bytes(message[:4], sys.byteorder, signed=True)
                if code:
                    raise OSError(code, os.strerror(code))
                return
            yield flags, message
            start += length + 3 & ~3


def attribute(which: int, value: bytes) -> bytes:
    """An attribute of a question; ``value`` is padded already, as addresses are."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), which) + value


def attributes(message: bytes, start: int) -> Attributes:
    """What is behind a message's fixed part."""
    found = {}
    while start < len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        found[kind] = message[start + _ATTRIBUTE.size : start + length]
        start += length + 3 & ~3
    return found


def number(said: Attributes, which: int, default: int = 0) -> int:
    """An attribute that is a number."""
    value: int = NUMBER.unpack(said[which])[0] if which in said else default
    return value
