"""Field types of layers and options: the core's, and those for constants, names and long values."""

from _collections_abc import Iterable

from fastnet._backend import packet as _core
from fastnet._contract.values import counted, quoted
from fastnet._typing import TYPE_CHECKING, Any, TypeVar
from fastnet.errors import InvalidArgument, PacketError

if TYPE_CHECKING:
    from fastnet.packet.options import Option

Auto = _core.Auto
Field = _core.Field
HeaderLength = _core.HeaderLength
IPv4Field = _core.IPv4Field
IPv6Field = _core.IPv6Field
MACField = _core.MACField
Tail = _core.Tail
UInt = _core.UInt

T = TypeVar("T")
O = TypeVar("O", bound="Option")  # noqa: E741


def each_of(name: str, value: Iterable[T], words: str) -> tuple[T, ...]:
    """The values of a field that takes several. Raises InvalidArgument for what is not iterable."""
    if not isinstance(value, Iterable):
        raise InvalidArgument(f"{name} takes {words}, not {type(value).__name__}")
    return tuple(value)


class Constant(UInt):
    """An integer that is the same in every record of the class: an ICMP message's type, an option's kind."""

    __slots__ = ()

    def put(self, header: bytearray, value: Any) -> None:
        """Write the constant. Raises PacketError for any other value."""
        if value != self.default:
            raise PacketError(f"{self.name} {quoted(value)}: it is always {self.default}")
        super().put(header, value)


class Flags(UInt):
    """Bits with names, lowest first: read as int, set as int or as names (``"SA"``, ``"DF+MF"``)."""

    __slots__ = ("names",)

    def __init__(self, offset: int, width: int, *, names: Iterable[str], default: Any = ...) -> None:
        super().__init__(offset, width, default=default)
        self.names: tuple[str, ...] = tuple(names)

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: int | str) -> None: ...

    def _separator(self) -> str:
        return "+" if max(map(len, self.names)) > 1 else ""

    def put(self, header: bytearray, value: Any) -> None:
        """Write the bits. Raises PacketError for an unknown name or a value out of range."""
        if isinstance(value, str):
            value = self.number(value)
        super().put(header, value)

    def number(self, text: str) -> int:
        """The bits that these names stand for. Raises PacketError for an unknown name."""
        wanted = text.split(self._separator()) if self._separator() and text else list(text)
        unknown = [name for name in wanted if name not in self.names]
        if unknown:
            raise PacketError(f"{self.name} {quoted(text)}: expected some of {' '.join(self.names)}")
        return sum(1 << self.names.index(name) for name in set(wanted))

    def text(self, value: int) -> str:
        """The names of the bits that are set."""
        return self._separator().join(name for bit, name in enumerate(self.names) if value >> bit & 1)


class Data(Tail[bytes]):
    """The rest of a record as bytes; the whole record is a multiple of ``unit`` bytes."""

    __slots__ = ("_unit",)

    def __init__(self, offset: int, *, default: Any = ..., automatic: int = 0, unit: int = 1) -> None:
        super().__init__(offset, default=default, automatic=automatic)
        self._unit = unit

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: bytes | bytearray | memoryview) -> None: ...

    def decode(self, data: bytes) -> bytes:
        """The bytes unchanged."""
        return data

    def encode(self, value: bytes | bytearray | memoryview) -> bytes:
        """The buffer's bytes. Raises InvalidArgument if it is not a buffer, PacketError for a wrong size."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidArgument(f"{self.name} must be bytes, not {type(value).__name__}")
        if (self.offset // 8 + len(value)) % self._unit:
            raise PacketError(
                f"{self.name} has {counted(len(value), 'byte')}: the whole must be a multiple of {self._unit}"
            )
        return bytes(value)


class Numbers(Tail[tuple[int, ...]]):
    """The rest of a record as unsigned integers of 32 bits."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: Iterable[int]) -> None: ...

    def decode(self, data: bytes) -> tuple[int, ...]:
        """The integers."""
        return tuple(int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4))

    def encode(self, value: Iterable[int]) -> bytes:
        """Encode each as four bytes. Raises InvalidArgument if one is no int, PacketError if out of range."""
        numbers = each_of(self.name, value, "ints")
        for number in numbers:
            if not isinstance(number, int):
                raise InvalidArgument(f"{self.name} takes ints, not {type(number).__name__}")
            if not 0 <= number <= 0xFFFFFFFF:
                raise PacketError(f"{self.name} {quoted(number)}: expected 0 to {0xFFFFFFFF}")
        return b"".join(number.to_bytes(4, "big") for number in numbers)


class Addresses(Tail[tuple[str, ...]]):
    """The rest of a record as addresses of one family."""

    __slots__ = ("_address", "_size")

    def __init__(
        self, offset: int, address: type[IPv4Field] | type[IPv6Field], *, default: Any = ...
    ) -> None:
        super().__init__(offset, default=default)
        self._address = address(0)
        self._size = self._address.width // 8

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: Iterable[str | bytes]) -> None: ...

    def decode(self, data: bytes) -> tuple[str, ...]:
        """The addresses as text."""
        carriers = (
            _Carrier.from_header(data[at : at + self._size]) for at in range(0, len(data), self._size)
        )
        return tuple(self._address.__get__(carrier, _Carrier) for carrier in carriers)

    def encode(self, value: Iterable[str | bytes]) -> bytes:
        """The addresses' bytes. Raises PacketError for an invalid address."""
        encoded = bytearray()
        for address in (value,) if isinstance(value, str) else each_of(self.name, value, "addresses"):
            self._address.__set_name__(_Carrier, self.name)
            data = bytearray(self._size)
            self._address.put(data, address)
            encoded += data
        return bytes(encoded)


class _Carrier(_core.Record):
    """A record of any bytes, from which one address is read."""

    __slots__ = ()


_core.define_record(_Carrier)


class Options(Tail[tuple[O, ...]]):
    """The rest of a record as options of one family, padded as that family requires."""

    __slots__ = ("_family",)

    def __init__(self, offset: int, family: type[O], *, default: Any = ...) -> None:
        super().__init__(offset, default=default)
        self._family = family

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: Iterable[O]) -> None: ...

    def decode(self, data: bytes) -> tuple[O, ...]:
        """The options; from the first invalid one on, the bytes are kept unchanged."""
        return self._family.parse_all(data, self.offset // 8)

    def encode(self, value: Iterable[O]) -> bytes:
        """The options' bytes and their padding. Raises InvalidArgument for an option of another family."""
        options = each_of(self.name, value, f"{self._family.__name__}s")
        for option in options:
            if not isinstance(option, self._family):
                raise InvalidArgument(
                    f"{self.name} takes {self._family.__name__}s, not {type(option).__name__}"
                )
        offset = self.offset // 8
        return self._family.pad(self._family.join(options, offset), offset)
