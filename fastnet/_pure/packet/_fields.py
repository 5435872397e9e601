"""Fields: the offset of a value in a record's bytes, and how to read and write it."""

from __future__ import annotations

import socket

from fastnet._contract.values import counted, quoted
from fastnet._typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload
from fastnet.errors import InvalidArgument, PacketError, TruncatedPacket

if TYPE_CHECKING:
    from _collections_abc import Callable

    from fastnet._pure.packet._layers import Record

T = TypeVar("T")


class Packed(Protocol):
    """An address object of ``ipaddress``, which has its own bytes."""

    @property
    def packed(self) -> bytes: ...


Address = str | bytes | int | Packed


class Field:
    """One field of a record, a descriptor: on a record it decodes the value, on the class it is the field.

    ``offset`` and ``width`` are in bits, as in RFC diagrams. ``default`` is the value in a new record, or
    Ellipsis if a value is required. ``automatic`` is the bit (LENGTH, PROTOCOL or CHECKSUM) of a field that
    building computes unless it is set. ``show`` is the format in which a value is shown.
    """

    __slots__ = ("_owner", "automatic", "default", "name", "offset", "show", "width")

    def __init__(
        self, offset: int, width: int, *, default: Any = ..., automatic: int = 0, show: str = ""
    ) -> None:
        if offset < 0 or width < 0:
            raise ValueError(f"a field of {counted(width, 'bit')} at bit {offset}: expected 0 or more")
        self.offset: int = offset
        self.width: int = width
        self.default: Any = default
        self.automatic: int = automatic
        self.show: str = show
        self.name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner
        self.name = name

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type, str]]:
        return getattr, (self._owner, self.name)

    def __set__(self, record: Record, value: Any) -> None:
        raise AttributeError(
            f"{type(record).__name__}.{self.name} can't be set: use replace({self.name}=...)"
        )

    def __delete__(self, record: Record) -> None:
        raise AttributeError(f"{type(record).__name__}.{self.name} can't be deleted")

    def put(self, header: bytearray, value: Any) -> None:
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        raise NotImplementedError

    def _check(self, header: bytearray) -> None:
        if len(header) < (self.offset + self.width + 7) // 8:
            raise TruncatedPacket(
                f"a header of {counted(len(header), 'byte')} ends before its field {self.name}"
            )

    def _bytes(self, record: Record) -> bytes:
        start, end = self.offset // 8, (self.offset + self.width + 7) // 8
        if len(record.header) < end:
            raise TruncatedPacket(f"{type(record).__name__} ends before its field {self.name}")
        return record.header[start:end]

    def _store(self, header: bytearray, data: bytes) -> None:
        self._check(header)
        start = self.offset // 8
        header[start : start + len(data)] = data


class UInt(Field):
    """An unsigned integer of up to 64 bits in at most 8 bytes."""

    __slots__ = ()

    def __init__(
        self, offset: int, width: int, *, default: Any = ..., automatic: int = 0, show: str = ""
    ) -> None:
        super().__init__(offset, width, default=default, automatic=automatic, show=show)
        if not width > 0 or (offset + width + 7) // 8 - offset // 8 > 8:
            raise ValueError(
                f"an integer of {counted(width, 'bit')} at bit {offset}: "
                "expected 1 to 64 bits in at most 8 bytes"
            )

    @overload
    def __get__(self, record: None, owner: type) -> Self: ...
    @overload
    def __get__(self, record: Record, owner: type) -> int: ...
    def __get__(self, record: Record | None, owner: type) -> Self | int:
        if record is None:
            return self
        data = self._bytes(record)
        return int.from_bytes(data, "big") >> (-(self.offset + self.width) % 8) & ((1 << self.width) - 1)

    if TYPE_CHECKING:

        def __set__(self, record: Record, value: int) -> None: ...

    def put(self, header: bytearray, value: Any) -> None:
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        if not isinstance(value, int):
            raise InvalidArgument(f"{self.name} must be an int, not {type(value).__name__}")
        limit = (1 << self.width) - 1
        if not 0 <= value <= limit:
            raise PacketError(f"{self.name} {quoted(value)}: expected 0 to {limit}")
        self._check(header)
        first, end = self.offset // 8, (self.offset + self.width + 7) // 8
        shift = -(self.offset + self.width) % 8
        held = int.from_bytes(header[first:end], "big") & ~(limit << shift)
        header[first:end] = (held | value << shift).to_bytes(end - first, "big")


class Auto(UInt):
    """An unsigned integer that building computes if it is None; until then it reads as 0."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __set__(self, record: Record, value: int | None) -> None: ...


class HeaderLength(UInt):
    """The record's length in units of ``unit`` bytes, minus ``less`` units; computed unless set."""

    __slots__ = ("less", "unit")

    def __init__(self, offset: int, width: int, *, default: None, unit: int = 1, less: int = 0) -> None:
        super().__init__(offset, width, default=default)
        self.unit: int = unit
        self.less: int = less

    if TYPE_CHECKING:

        def __set__(self, record: Record, value: int | None) -> None: ...

    def measure(self, length: int) -> int:
        """The field's value for a record of ``length`` bytes."""
        return -(-length // self.unit) - self.less


def _packed(name: str, value: Any, size: int, what: str) -> bytes | None:
    """The address as bytes; None for text, which each field parses itself."""
    if isinstance(value, str):
        return None
    if isinstance(value, int):
        if not 0 <= value < 1 << size * 8:
            raise PacketError(f"{name} {quoted(value)}: expected {what}")
        return value.to_bytes(size, "big")
    data = value if isinstance(value, bytes) else getattr(value, "packed", None)
    if not isinstance(data, bytes):
        raise InvalidArgument(
            f"{name} must be a str, bytes, int or an address object, not {type(value).__name__}"
        )
    if len(data) != size:
        raise PacketError(f"{name} has {counted(len(data), 'byte')}: expected {what}")
    return data


class _AddressField(Field):
    __slots__ = ()
    _size = 0
    _what = ""

    def __init__(self, offset: int, *, default: Any = ...) -> None:
        super().__init__(offset, self._size * 8, default=default)

    @overload
    def __get__(self, record: None, owner: type) -> Self: ...
    @overload
    def __get__(self, record: Record, owner: type) -> str: ...
    def __get__(self, record: Record | None, owner: type) -> Self | str:
        return self if record is None else self._text(self._bytes(record))

    if TYPE_CHECKING:

        def __set__(self, record: Record, value: Address) -> None: ...

    def _text(self, data: bytes) -> str:
        raise NotImplementedError

    def _parse(self, text: str) -> bytes:
        raise NotImplementedError

    def put(self, header: bytearray, value: Any) -> None:
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        data = _packed(self.name, value, self._size, self._what)
        if data is None:
            try:
                data = self._parse(value)
            except (OSError, ValueError):
                raise PacketError(f"{self.name} {quoted(value)}: expected {self._what}") from None
        self._store(header, data)


class IPv4Field(_AddressField):
    """An IPv4 address: read as str, set as str, 4 bytes, int or ipaddress.IPv4Address."""

    __slots__ = ()
    _size = 4
    _what = "an IPv4 address, as 192.0.2.1"

    def _text(self, data: bytes) -> str:
        return socket.inet_ntop(socket.AF_INET, data)

    def _parse(self, text: str) -> bytes:
        return socket.inet_pton(socket.AF_INET, text)


class IPv6Field(_AddressField):
    """An IPv6 address: read as str, set as str, 16 bytes, int or ipaddress.IPv6Address."""

    __slots__ = ()
    _size = 16
    _what = "an IPv6 address"

    def _text(self, data: bytes) -> str:
        return socket.inet_ntop(socket.AF_INET6, data)

    def _parse(self, text: str) -> bytes:
        return socket.inet_pton(socket.AF_INET6, text)


class MACField(_AddressField):
    """An Ethernet address: read as str with colons, set as str with colons or hyphens, 6 bytes or int."""

    __slots__ = ()
    _size = 6
    _what = "an Ethernet address"

    def _text(self, data: bytes) -> str:
        return data.hex(":")

    def _parse(self, text: str) -> bytes:
        octets = text.replace("-", ":").split(":")
        if any(len(octet) != 2 for octet in octets):
            raise ValueError
        data = bytes.fromhex("".join(octets))
        if len(octets) != 6 or len(data) != 6:
            raise ValueError
        return data


class Tail(Field, Generic[T]):
    """All bytes from ``offset`` to the record's end, as one value that ``decode`` and ``encode`` convert.

    If it is ``automatic``, building computes its first two bytes unless they are set.
    """

    __slots__ = ()

    def __init__(self, offset: int, *, default: Any = ..., automatic: int = 0) -> None:
        super().__init__(offset, 0, default=default, automatic=automatic)

    def is_given(self, data: bytes | bytearray) -> bool:
        """Whether the first two bytes are set: building computes them if they are 0."""
        return data[:2] != b"\0\0"

    @overload
    def __get__(self, record: None, owner: type) -> Self: ...
    @overload
    def __get__(self, record: Record, owner: type) -> T: ...
    def __get__(self, record: Record | None, owner: type) -> Self | T:
        if record is None:
            return self
        self._bytes(record)
        return self.decode(record.header[self.offset // 8 :])

    if TYPE_CHECKING:

        def __set__(self, record: Record, value: T) -> None: ...

    def decode(self, data: bytes) -> T:
        """The value that these bytes stand for."""
        raise NotImplementedError

    def encode(self, value: T) -> bytes:
        """The bytes that stand for the value. Raises PacketError, or InvalidArgument for a wrong type."""
        raise NotImplementedError

    def put(self, header: bytearray, value: T) -> None:
        """Write a value into a header. Raises PacketError, or InvalidArgument for a wrong type."""
        self._check(header)
        header[self.offset // 8 :] = self.encode(value)
