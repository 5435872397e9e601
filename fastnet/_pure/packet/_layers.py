"""Records, layers and packets: immutable values around encoded bytes."""

from __future__ import annotations

from _collections_abc import Callable, Iterator
from itertools import islice

from fastnet._contract.values import counted, quoted
from fastnet._pure.packet._build import MAX_BYTES, Part, build, too_big
from fastnet._pure.packet._fields import Field, HeaderLength, IPv4Field, IPv6Field, Tail, UInt
from fastnet._pure.packet._kinds import (
    AUTOMATIC,
    CHECKSUM,
    ESP,
    EXTENSIONS,
    GRE,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LENGTH,
    MAX_LAYERS,
    NAMES,
    PADDING,
    PAYLOAD,
    PORTS,
    PROTOCOL,
    SCTP,
    SURPLUS,
    TRANSPORTS,
    automatic_within,
)
from fastnet._pure.packet._scan import Scan, first_kind
from fastnet._pure.packet._verify import check_options, verify
from fastnet._typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload
from fastnet.errors import InvalidArgument, PacketError, TruncatedPacket

if TYPE_CHECKING:
    from typing_extensions import Buffer

L = TypeVar("L", bound="Layer")


class Schema:
    """The fields of a class of records, in lookup tables; built once, when the class is defined."""

    __slots__ = ("automatic", "fields", "length", "required", "tail", "template")

    def __init__(self, cls: type) -> None:
        self.fields = {
            name: value
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Field)
        }
        self.required: set[str] = set()
        self.tail: Tail[Any] | None = None
        self.length: HeaderLength | None = None
        self.automatic = 0
        header = bytearray(max(((f.offset + f.width + 7) // 8 for f in self.fields.values()), default=0))
        for name, field in self.fields.items():
            self.automatic |= field.automatic
            if isinstance(field, Tail):
                self.tail = field
            if isinstance(field, HeaderLength):
                self.length = field
            if field.default is ...:
                self.required.add(name)
            elif field.default is not None:
                field.put(header, field.default)
        if self.length is not None:
            self.length.put(header, self.length.measure(len(header)))
        self.template = bytes(header)


def _copied(name: str, data: object) -> bytes:
    """A copy of the bytes of an argument that is any buffer. The size is checked before the copy."""
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidArgument(f"{name} must be bytes, not {type(data).__name__}") from None
    if view.nbytes > MAX_BYTES:
        raise too_big()
    return data if type(data) is bytes else bytes(view)


class Record:
    """An immutable value whose fields are read from ``header``, its encoded form.

    A subclass has its fields as class attributes. The constructor takes fields by name; the others have
    their defaults. Raises TypeError for an unknown or missing field, InvalidArgument for a value of a wrong
    type, PacketError for one that does not fit the field.
    """

    __slots__ = ("_automatic", "_header")
    _schema: ClassVar[Schema]

    _automatic: int
    _header: bytes

    def __new__(cls, *_: Any, **__: Any) -> Self:
        record = super().__new__(cls)
        record._header = b""
        record._automatic = 0
        return record

    def __init__(self, **fields: Any) -> None:
        schema = self._schema
        if self._header:
            raise TypeError(f"{type(self).__name__} can't be made twice: it is immutable")
        missing = schema.required - fields.keys()
        if missing:
            raise TypeError(f"{type(self).__name__} needs {', '.join(sorted(missing))}")
        self._assemble(bytearray(schema.template), schema.automatic, fields)

    def _assemble(self, header: bytearray, automatic: int, fields: dict[str, Any]) -> None:
        schema = self._schema
        least = min(len(header), len(schema.template))
        for name, value in fields.items():
            field = schema.fields.get(name)
            if field is None:
                raise TypeError(f"{type(self).__name__} has no field {name!r}: {', '.join(schema.fields)}")
            if field.automatic and value is None:
                field.put(header, 0)
                automatic |= field.automatic
            elif value is not None or field is not schema.length:
                field.put(header, value)
                automatic &= ~field.automatic
                if isinstance(field, Tail) and not field.is_given(header[field.offset // 8 :]):
                    automatic |= field.automatic
        length, tail = schema.length, schema.tail
        if length is not None:
            changed = (tail is not None and tail.name in fields) or length.name in fields
            if changed and fields.get(length.name) is None:
                length.put(header, length.measure(len(header)))
        self._adopt(bytes(header), automatic, least)

    def _adopt(self, header: bytes, automatic: int, least: int) -> None:
        self._header = header
        self._automatic = automatic

    @classmethod
    def from_header(cls, header: Buffer, automatic: int = 0, cut: bool = False, /) -> Self:
        """A record of encoded bytes; building computes the fields of the bits in ``automatic``.

        Raises TruncatedPacket if the bytes end before the fixed fields do. With ``cut`` it accepts them: then
        reading a field whose bytes are missing raises TruncatedPacket.
        """
        if not isinstance(automatic, int):
            raise InvalidArgument(f"automatic must be an int, not {type(automatic).__name__}")
        data = header if type(header) is bytes else _copied("header", header)
        if not cut:
            _check_size(cls, data, len(cls._schema.template))
        record = cls.__new__(cls)
        record._adopt(data, automatic & cls._schema.automatic, 0)
        return record

    @classmethod
    def fields(cls) -> dict[str, Field]:
        """The fields of this class by name, in their order."""
        return dict(cls._schema.fields)

    @property
    def header(self) -> bytes:
        """The encoded form; a field that building computes has its last value, or 0."""
        return self._header

    @property
    def automatic(self) -> int:
        """The bits (LENGTH, PROTOCOL, CHECKSUM) of the fields that building computes."""
        return self._automatic

    def replace(self, **fields: Any) -> Self:
        """The same record with new values for these fields; None makes a computed field automatic again.

        Raises the same errors as the constructor.
        """
        record = type(self).__new__(type(self))
        record._assemble(bytearray(self._header), self._automatic, fields)
        return record

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return type(self) is type(other) and self._header == other._header

    def __hash__(self) -> int:
        return hash(self._header)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return type(self).from_header, (self._header, self._automatic, True)


def _check_size(cls: type[Record], header: bytes, least: int) -> None:
    if len(header) < least:
        raise TruncatedPacket(
            f"{cls.__name__} needs {counted(len(cls._schema.template), 'byte')}: got {len(header)}"
        )


def define_record(record_type: type[Record], /) -> None:
    """Register the fields of a class of records; called once, when the class is defined."""
    record_type._schema = Schema(record_type)


_layer_types: list[type[Layer] | None] = [None] * len(NAMES)
_message_types: dict[tuple[int, int], type[Layer]] = {}


class Layer(Record):
    """One header, or a payload. ``/`` appends a layer, a packet or bytes and returns a packet."""

    __slots__ = ()
    kind: ClassVar[int] = PAYLOAD

    def _adopt(self, header: bytes, automatic: int, least: int) -> None:
        if len(header) > MAX_BYTES:
            raise too_big()
        _check_size(type(self), header, least)
        if self.kind == GRE or len(header) < len(self._schema.template):
            automatic = automatic_within(self.kind, header, automatic)
        super()._adopt(header, automatic, least)

    def __truediv__(self, other: Any) -> Packet:
        if not isinstance(other, Layer | Packet | bytes | bytearray | memoryview):
            return NotImplemented
        return Packet(self, other)

    def __bytes__(self) -> bytes:
        return build([Part(self.kind, self._header, self._automatic)])


def _check_kind(layer_type: type[Layer], kind: int) -> None:
    """Check that a class has its fields where building writes those of its kind."""
    if not 0 <= kind < len(NAMES):
        raise InvalidArgument(f"kind {kind}: expected 0 to {len(NAMES) - 1}")
    schema, automatic = layer_type._schema, AUTOMATIC[kind]
    least = {IPV4: 20, IPV6: 40, SCTP: 12}.get(kind, 0)
    for bit, at in zip((LENGTH, PROTOCOL, CHECKSUM), automatic, strict=False):
        if kind == GRE and bit == CHECKSUM:
            continue  # after the fixed part, if present
        if at is not None:
            least = max(least, at + 2)
        elif schema.automatic & bit:
            raise InvalidArgument(f"{layer_type.__name__} computes a field that no {NAMES[kind]} header has")
    if len(schema.template) < least:
        raise InvalidArgument(
            f"{layer_type.__name__} has {counted(len(schema.template), 'byte')}: "
            f"{NAMES[kind]} headers have at least {least}"
        )


def define_layer(layer_type: type[Layer], kind: int | None, message: int | None = None, /) -> None:
    """Register the class of layers that parsing returns for a kind, or for its messages of one type.

    With ``kind`` None the class keeps the kind that it inherits. With ``message`` it is for ICMP or ICMPv6
    messages of this type. Raises InvalidArgument if the class's fixed fields do not fit its kind of header.
    """
    _check_kind(layer_type, layer_type.kind if kind is None else kind)
    if kind is not None:
        layer_type.kind = kind
        _layer_types[kind] = layer_type
    if message is not None:
        _message_types[layer_type.kind, message] = layer_type


def _layer_type(kind: int, header: bytes) -> type[Layer]:
    layer_type = _message_types.get((kind, header[0])) if kind in (ICMP, ICMPV6) else None
    layer_type = layer_type or _layer_types[kind]
    if layer_type is None:
        raise PacketError(f"no class for {NAMES[kind]} layers is defined")
    return layer_type


def _read(layer: Layer, field: Any) -> Any:
    """A field's value; None if the layer is cut short before it."""
    try:
        return field.__get__(layer, type(layer))
    except TruncatedPacket:
        return None


_IPV4_SRC, _IPV4_DST = IPv4Field(96), IPv4Field(128)
_IPV6_SRC, _IPV6_DST = IPv6Field(64), IPv6Field(192)
_SPORT, _DPORT = UInt(0, 16), UInt(16, 16)


class Packet:
    """Layers, outermost first: an immutable stack, made by ``/`` or by ``parse``.

    Iteration yields the layers. ``packet[0]`` is a layer by position, ``packet[IPv4]`` the first of a class,
    ``packet[IPv4, 2]`` the second. An empty payload, padding or surplus is not a layer. ``bytes(packet)``
    builds a packet made by ``/`` and computes its automatic fields; layers taken from it have those values.
    Two packets are equal if the classes of their layers and their built bytes are. Raises PacketError for
    more than 20 layers or padding that is not last.
    """

    __slots__ = ("_data", "_layers", "_link", "_scan")

    _data: bytes | None
    _layers: tuple[Layer, ...] | None
    _scan: Scan | None
    _link: str | int

    def __init__(self, *layers: Layer | Packet | Buffer) -> None:
        stack: list[Layer] = []
        for layer in layers:
            if isinstance(layer, Layer):
                stack.append(layer)
            elif isinstance(layer, Packet):
                stack.extend(layer._stack())
            else:
                payload = _layer_type(PAYLOAD, b"")
                stack.append(payload.from_header(_copied("layers", layer)))
        if len(stack) > MAX_LAYERS:
            raise PacketError(f"{counted(len(stack), 'layer')}: at most {MAX_LAYERS} make a packet")
        if any(layer.kind == PADDING for layer in stack[:-1]):
            raise PacketError("padding can only be the last layer")
        self._layers = tuple(
            layer for layer in stack if layer._header or layer.kind not in (PAYLOAD, PADDING, SURPLUS)
        )
        self._data = self._scan = None
        self._link = ""

    def _stack(self) -> tuple[Layer, ...]:
        return tuple(self) if self._layers is None else self._layers

    def _build(self) -> bytes:
        if self._layers is None:
            assert self._data is not None
            return self._data
        return build([Part(layer.kind, layer._header, layer._automatic) for layer in self._layers])

    def _resolve(self) -> tuple[bytes, Scan]:
        """The bytes, and the offsets of the layers in them; a packet made by ``/`` is built once."""
        if self._data is None or self._scan is None:
            assert self._layers is not None
            self._data = self._build()
            self._scan = scan = Scan.__new__(Scan)
            scan.error = None
            scan.kinds = [layer.kind for layer in self._layers]
            scan.offsets = [0]
            for layer in self._layers:
                scan.offsets.append(scan.offsets[-1] + len(layer._header))
        return self._data, self._scan

    def _type_at(self, i: int) -> type[Layer]:
        if self._layers is not None:
            return type(self._layers[i])
        data, scan = self._resolve()
        return _layer_type(scan.kinds[i], data[scan.offsets[i] : scan.offsets[i + 1]])

    def _layer_at(self, i: int) -> Layer:
        data, scan = self._resolve()
        automatic = 0 if self._layers is None else self._layers[i]._automatic
        return self._type_at(i).from_header(data[scan.offsets[i] : scan.offsets[i + 1]], automatic, True)

    def _find(self, layer_type: type, number: int = 1) -> int:
        places = (i for i in range(len(self)) if issubclass(self._type_at(i), layer_type))
        return next(islice(places, min(number, MAX_LAYERS + 1) - 1, None), -1)

    def __len__(self) -> int:
        return len(self._resolve()[1].kinds) if self._layers is None else len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter([self._layer_at(i) for i in range(len(self))])

    def __contains__(self, layer_type: object) -> bool:
        if not isinstance(layer_type, type):
            raise InvalidArgument(f"layer_type must be a class of layers, not {type(layer_type).__name__}")
        return self._find(layer_type) >= 0

    @overload
    def __getitem__(self, key: int) -> Layer: ...
    @overload
    def __getitem__(self, key: type[L] | tuple[type[L], int]) -> L: ...
    def __getitem__(self, key: int | type[L] | tuple[type[L], int]) -> Layer:
        try:
            i = self.place(key)
        except InvalidArgument as error:
            raise TypeError(str(error)) from None
        return self._layer_at(i)

    def place(self, key: int | type[Layer] | tuple[type[Layer], int], /) -> int:
        """The position of the layer ``packet[key]``, counted from 0, the outermost first.

        ``key`` is a position (a negative one counts from the end), a class of layers, or ``(IPv4, 2)``, the
        second layer of a class. Raises IndexError or KeyError if there is none, InvalidArgument for another
        key, where ``packet[key]`` raises TypeError.
        """
        if isinstance(key, int):
            i = key + len(self) if key < 0 else key
            if not 0 <= i < len(self):
                raise IndexError(f"no layer {quoted(key)}: this packet has {len(self)}")
            return int(i)
        layer_type, number = key if isinstance(key, tuple) and len(key) == 2 else (key, 1)
        if not isinstance(layer_type, type) or not isinstance(number, int):
            raise InvalidArgument(
                f"key {quoted(key)}: expected a place, a class of layers or (class, number)"
            )
        if number < 1:
            raise KeyError(f"{layer_type.__name__} {quoted(number)}: layers of a class are counted from 1")
        i = self._find(layer_type, number)
        if i < 0:
            which = f" {number}" if number > 1 else ""
            raise KeyError(f"no {layer_type.__name__} layer{which} in this packet")
        return i

    def get(self, layer_type: type[L], number: int = 1, /) -> L | None:
        """The first layer of a class, or the one with this number, counted from 1; None if there is none."""
        if not isinstance(layer_type, type):
            raise InvalidArgument(f"layer_type must be a class of layers, not {type(layer_type).__name__}")
        if not isinstance(number, int):
            raise InvalidArgument(f"number must be an int, not {type(number).__name__}")
        i = self._find(layer_type, max(number, 1))
        return None if i < 0 else self._layer_at(i)  # type: ignore[return-value]

    def __truediv__(self, other: Any) -> Packet:
        if not isinstance(other, Layer | Packet | bytes | bytearray | memoryview):
            return NotImplemented
        return Packet(self, other)

    def __bytes__(self) -> bytes:
        return self._build()

    def _types(self) -> tuple[type[Layer], ...]:
        return tuple(self._type_at(i) for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packet):
            return NotImplemented
        return self._resolve()[0] == other._resolve()[0] and self._types() == other._types()

    def __hash__(self) -> int:
        return hash(self._resolve()[0])

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._layers is None:
            return parse, (self._data, self._link)
        return Packet, self._layers

    def __repr__(self) -> str:
        return _packet_text(self)

    def replace(self, key: int | type[Layer] | tuple[type[Layer], int], /, **fields: Any) -> Packet:
        """The same packet with new values for fields of the layer ``packet[key]``.

        In a parsed packet, lengths and checksums that were right are recomputed. Raises KeyError or
        IndexError if there is no such layer, and the errors of the layer's own ``replace``.
        """
        return _packet_replace(self, key, **fields)

    @property
    def parsed(self) -> bool:
        """Whether the packet was parsed, with all its fields as in the bytes."""
        return self._layers is None

    @property
    def error(self) -> PacketError | None:
        """The error that stopped parsing, or None: TruncatedPacket, or PacketError for an invalid header."""
        return self._resolve()[1].error

    @property
    def payload(self) -> bytes:
        """The bytes of the first payload layer; b"" if there is none."""
        data, scan = self._resolve()
        if PAYLOAD not in scan.kinds:
            return b""
        i = scan.kinds.index(PAYLOAD)
        return data[scan.offsets[i] : scan.offsets[i + 1]]

    def _network(self) -> int:
        kinds = self._resolve()[1].kinds
        return next((i for i, kind in enumerate(kinds) if kind in (IPV4, IPV6)), -1)

    def _chain_end(self) -> int:
        kinds = self._resolve()[1].kinds
        i = self._network()
        while i >= 0 and i + 1 < len(kinds) and kinds[i + 1] in EXTENSIONS:
            i += 1
        return i

    def _transport(self) -> int:
        kinds = self._resolve()[1].kinds
        i = self._chain_end() + 1
        return i if 0 < i < len(kinds) and kinds[i] in TRANSPORTS else -1

    def _address(self, ipv4: IPv4Field, ipv6: IPv6Field) -> str | None:
        i = self._network()
        if i < 0:
            return None
        layer = self._layer_at(i)
        text: str | None = _read(layer, ipv4 if layer.kind == IPV4 else ipv6)
        return text

    def _port(self, field: UInt) -> int | None:
        i = self._transport()
        if i < 0 or self._resolve()[1].kinds[i] not in PORTS:
            return None
        number: int | None = _read(self._layer_at(i), field)
        return number

    @property
    def src(self) -> str | None:
        """The source address of the outermost network header; None if there is none."""
        return self._address(_IPV4_SRC, _IPV6_SRC)

    @property
    def dst(self) -> str | None:
        """The destination address of the outermost network header; None if there is none."""
        return self._address(_IPV4_DST, _IPV6_DST)

    @property
    def protocol(self) -> int | None:
        """The protocol number after the outermost network header and its extension headers, or None."""
        i = self._chain_end()
        if i < 0:
            return None
        data, scan = self._resolve()
        if scan.kinds[i] == ESP:
            return 50
        at = scan.offsets[i] + (AUTOMATIC[scan.kinds[i]].protocol or 0)
        return data[at] if at < scan.offsets[i + 1] else None

    @property
    def sport(self) -> int | None:
        """The source port of UDP, TCP, SCTP or DCCP after the outermost IP header, or None."""
        return self._port(_SPORT)

    @property
    def dport(self) -> int | None:
        """The destination port of UDP, TCP, SCTP or DCCP after the outermost IP header, or None."""
        return self._port(_DPORT)


_packet_text: Callable[[Packet], str] = object.__repr__
_packet_replace: Callable[..., Packet]


def define_packet(text: Callable[[Packet], str], replace: Callable[..., Packet], /) -> None:
    """Set the functions that show (``text``) and change (``replace``) packets; called once."""
    global _packet_text, _packet_replace
    _packet_text, _packet_replace = text, replace


def parse(data: Buffer, link: str | int = "ethernet", strict: bool = False) -> Packet:
    """Parse a packet: find its layers. Fields are decoded only when they are read.

    ``link`` is the first header: "ethernet", "ipv4", "ipv6", "ip" or "raw" (IPv4 or IPv6, by the first four
    bits), "null" or "loop" (BSD's loopback), "sll" or "sll2" (Linux's cooked captures), or its number in pcap
    (DLT). If data is cut short or malformed, the packet has the layers before that, the rest as payload, and
    the reason as ``packet.error``. A header that is cut short is a layer: reading a field whose bytes are
    missing raises TruncatedPacket. With ``strict`` the reason is raised (TruncatedPacket, PacketError), and
    also BadChecksum for a wrong checksum and PacketError for malformed options. Raises InvalidArgument if
    data is not a buffer and for an unknown link, PacketError for more than 4294967295 bytes.
    """
    packet = Packet.__new__(Packet)
    if not isinstance(strict, bool):
        raise InvalidArgument(f"strict must be True or False, not {type(strict).__name__}")
    packet._data = _copied("data", data)
    packet._layers = None
    packet._link = link
    packet._scan = Scan(packet._data, first_kind(packet._data, link))
    if strict:
        if packet._scan.error is not None:
            raise packet._scan.error
        verify(packet._data, packet._scan)
        check_options(packet._data, packet._scan)
    return packet
