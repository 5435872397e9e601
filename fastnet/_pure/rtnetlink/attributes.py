"""The attributes of a message, by their types."""

import errno
import socket
import struct
import sys
from collections.abc import Iterator

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
