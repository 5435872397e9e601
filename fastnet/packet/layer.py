"""Layers, payloads, and packets of them."""

from fastnet._backend import packet as _core
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.errors import InvalidArgument, PacketError
from fastnet.packet.fields import Data
from fastnet.packet.record import Typed, held

Packet = _core.Packet
if TYPE_CHECKING:  # type checkers see the pure twin; the native one has the same types
    from fastnet._pure.packet import parse as parse
else:
    parse = _core.parse


class Layer(Typed, _core.Layer):
    """One header of a packet. Fields are set by name; building computes an automatic field unless it is set.

    Layers are immutable: ``replace`` returns a new one. Two are equal if their classes and all their fields
    are. ``/`` appends a layer, a packet or bytes.

    Parsing returns a subclass with ``kind=`` for that kind of layer; one with ``message=`` only for ICMP or
    ICMPv6 messages of that type.
    """

    __slots__ = ()

    def __init_subclass__(cls, kind: int | None = None, message: int | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        _core.define_layer(cls, kind, message)


class _Signature:
    """The constructor's arguments, which some Pythons would take from ``__new__``."""

    def __get__(self, layer: object, owner: type["_Bytes"]) -> Any:
        from inspect import signature

        return signature(owner.__init__.__get__(owner))


class _Bytes(Layer):
    __slots__ = ()

    data: Data = Data(0, default=b"")
    __signature__: Any = _Signature()

    def __init__(self, data: bytes = b"", /) -> None:
        super().__init__(data=data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data!r})"


class Payload(_Bytes, kind=_core.PAYLOAD):
    """Bytes that are not parsed as a header. ``layer / b"..."`` makes one."""

    __slots__ = ()


class Padding(_Bytes, kind=_core.PADDING):
    """Bytes after the packet's end, as in Ethernet frames below 60 bytes: in no length or checksum."""

    __slots__ = ()


class Surplus(_Bytes, kind=_core.SURPLUS):
    """Bytes between the end of UDP and the end of IP, the place of UDP options (RFC 9868).

    The length of IP includes them; the length and the checksum of UDP do not.
    """

    __slots__ = ()


def _all_automatic(layer: _core.Layer) -> int:
    bits = 0
    for field in held(layer).values():
        bits |= field.automatic
    return bits


def _differing(layer: _core.Layer, built: _core.Layer) -> int:
    """The bits of the automatic fields in which two layers of one class differ."""
    bits = 0
    for name, field in held(layer).items():
        if field.automatic and getattr(layer, name) != getattr(built, name):
            bits |= field.automatic
    return bits


def automatic(layers: tuple[_core.Layer, ...]) -> tuple[_core.Layer, ...]:
    """The same layers, with each field automatic for which building computes the value that it has."""
    masks = [_all_automatic(layer) for layer in layers]
    while True:
        tried = tuple(
            type(layer).from_header(layer.header, mask, True)
            for layer, mask in zip(layers, masks, strict=True)
        )
        try:
            built = tuple(_core.Packet(*tried))
        except PacketError:
            return layers
        wrong = [
            _differing(layer, other) & mask for layer, other, mask in zip(layers, built, masks, strict=True)
        ]
        if not any(wrong):
            return tried
        masks = [mask & ~bits for mask, bits in zip(masks, _first_wrong(wrong), strict=True)]


def _first_wrong(wrong: list[int]) -> list[int]:
    """The wrong fields of each layer that are not wrong because of another field.

    Checksums cover lengths, protocols and later checksums: one may be right for the values in the packet.
    """
    if any(bits & ~_core.CHECKSUM for bits in wrong):
        return [bits & ~_core.CHECKSUM for bits in wrong]
    innermost = max(place for place, bits in enumerate(wrong) if bits)
    return [bits if place == innermost else 0 for place, bits in enumerate(wrong)]


def whole(packet: object) -> Packet:
    """An argument that is a packet, or one layer. Raises InvalidArgument for anything else."""
    if isinstance(packet, Packet):
        return packet
    if not isinstance(packet, _core.Layer):
        raise InvalidArgument(f"packet must be a packet or a layer, not {type(packet).__name__}")
    return _core.Packet(packet)


def _composed(packet: Packet) -> list[_core.Layer]:
    """The packet's layers, with automatic fields, from which building makes the same packet."""
    return list(automatic(tuple(packet))) if packet.parsed else list(packet)


def _text(packet: Packet) -> str:
    """The Python expression that builds the same packet."""
    layers = _composed(packet)
    if len(layers) < 2:
        return f"Packet({', '.join(map(repr, layers))})"
    first, *others = layers
    words = [repr(layer.data) if type(layer) is Payload else repr(layer) for layer in others]
    return " / ".join((repr(first), *words))


def _replace(
    packet: Packet, key: int | type[_core.Layer] | tuple[type[_core.Layer], int], /, **fields: Any
) -> Packet:
    layers = _composed(packet)
    place = packet.place(key)
    layers[place] = layers[place].replace(**fields)
    return Packet(*layers)


_core.define_packet(_text, _replace)
