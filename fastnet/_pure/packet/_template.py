"""Templates: many packets from one."""

from __future__ import annotations

from _collections_abc import Iterable

from fastnet._contract.values import counted
from fastnet._pure.packet._build import covers, has_pseudo_header
from fastnet._pure.packet._fields import Field, HeaderLength, Tail
from fastnet._pure.packet._kinds import (
    CHECKSUM,
    DCCP,
    EXTENSIONS,
    GRE,
    ICMP_EXTENSIONS,
    NEEDS_PSEUDO,
    ROUTING,
    SCTP,
    UDP,
    checksum_at,
)
from fastnet._pure.packet._layers import Layer, Packet
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.errors import InvalidArgument, PacketError

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_FIELDS = 8


class _Piece:
    """Bytes that vary: their offset, and the checksums that cover them (each with: from an odd byte)."""

    __slots__ = ("covered", "offset", "size")

    def __init__(self, offset: int, size: int, covered: list[tuple[_Checksum, bool]]) -> None:
        self.offset = offset
        self.size = size
        self.covered = covered

    def write(self, data: bytearray, sums: dict[_Checksum, int], value: int) -> None:
        held = int.from_bytes(data[self.offset : self.offset + self.size], "big")
        data[self.offset : self.offset + self.size] = (held | value).to_bytes(self.size, "big")
        self.add(sums, value)

    def add(self, sums: dict[_Checksum, int], value: int) -> None:
        for checksum, odd in self.covered:
            sums[checksum] += value << 8 if odd else value


class _Checksum:
    """One updated checksum: its owner, and the sum of the bytes that it covers except the fields."""

    __slots__ = ("at", "never_zero", "owner", "piece", "sum")

    def __init__(self, owner: int, at: int, never_zero: bool, total: int) -> None:
        self.owner = owner
        self.at = at
        self.never_zero = never_zero
        self.sum = total

    piece: _Piece

    def value(self, total: int) -> int:
        value = 0xFFFF ^ (total and (total % 0xFFFF or 0xFFFF))
        return value or (0xFFFF if self.never_zero else 0)


def _checked(fields: tuple[Any, ...]) -> tuple[Field, ...]:
    if not fields:
        raise InvalidArgument("fields: a template varies at least one")
    if len(fields) > MAX_FIELDS:
        raise PacketError(f"{counted(len(fields), 'field')}: a template varies at most {MAX_FIELDS}")
    for field in fields:
        if not isinstance(field, Field):
            raise InvalidArgument(f"fields must be fields, as IPv4.dst, not {type(field).__name__}")
        if field.automatic or isinstance(field, HeaderLength):
            raise PacketError(f"{field.name} can't vary: it is computed")
        if isinstance(field, Tail):
            raise PacketError(f"{field.name} can't vary: its size does")
        if sum(field is other for other in fields) > 1:
            raise PacketError(f"{field.name} is given twice")
    return fields


def _place(layers: list[Layer], field: Field) -> int:
    for i, layer in enumerate(layers):
        if any(field is other for other in layer.fields().values()):
            return i
    raise PacketError(f"no layer of this packet has this field {field.name}")


def _updated(packet: Packet, layer: Layer) -> bool:
    if not packet.parsed:
        return bool(layer.automatic & CHECKSUM)
    at = {UDP: 6, ICMP_EXTENSIONS: 2}.get(layer.kind)
    return at is None or layer.header[at : at + 2] != b"\0\0"


def _chooses_destination(layers: list[Layer], owner: int, i: int, field: Field) -> bool:
    """Whether this field of a routing header selects the address in the owner's pseudo-header."""
    if layers[owner].kind not in NEEDS_PSEUDO or layers[i].kind != ROUTING or not 16 <= field.offset < 32:
        return False
    return all(layer.kind in EXTENSIONS for layer in layers[i + 1 : owner])


def _refuses(layers: list[Layer], owner: int, i: int, field: Field) -> bool:
    """Whether the owner's checksum can't be updated if this field of layer i changes."""
    kind, header = layers[owner].kind, layers[owner].header
    if i < owner:
        return _chooses_destination(layers, owner, i, field)
    if kind == DCCP:
        return bool(header[5] & 15) or (i == owner and field.offset // 8 == 5)
    return kind == SCTP or (kind == GRE and i == owner and field.offset == 0)


def _check_followed(layers: list[Layer], owner: int, places: list[int], fields: tuple[Field, ...]) -> None:
    """Refuse fields for which the owner's checksum can't be updated."""
    for place, field in zip(places, fields, strict=True):
        if _refuses(layers, owner, place, field):
            raise PacketError(f"{field.name} can't vary: a checksum that can't be updated depends on it")


def _values(column: Iterable[Any]) -> list[Any]:
    if not isinstance(column, Iterable):
        raise InvalidArgument(f"columns must be iterables of values, not {type(column).__name__}")
    return list(column)


class Template:
    """Many packets from one, equal except in some fields; checksums are updated (RFC 1624).

    ``fields`` are up to 8 fields of classes: ``Template(packet, IPv4.dst, UDP.sport)``; each is in the first
    layer that has it. In a packet made by ``/``, automatic checksums are updated; in a parsed packet all are,
    except a UDP checksum of 0: right ones stay right and wrong ones wrong. Raises PacketError for a field
    that no layer has, that is computed, that is given twice or whose size varies; InvalidArgument for an
    argument that is not a packet or not a field, or without fields.
    """

    __slots__ = ("_checksums", "_data", "_fields", "_packet", "_pieces")

    def __init__(self, packet: Packet, *fields: Field) -> None:
        if not isinstance(packet, Packet):
            raise InvalidArgument(f"packet must be a packet, not {type(packet).__name__}")
        self._packet = packet
        self._fields = _checked(fields)
        layers = list(packet)
        places = [_place(layers, field) for field in self._fields]
        for i, layer in enumerate(layers):
            if checksum_at(layer.kind, layer.header) is not None and _updated(packet, layer):
                _check_followed(layers, i, places, self._fields)
        if not packet.parsed:
            for place, field in zip(places, self._fields, strict=True):
                layers[place] = layers[place].replace(**{field.name: 0})
            layers = list(Packet(*layers))
        self._data = bytearray(b"".join(layer.header for layer in layers))
        self._find_checksums(packet, layers)
        self._find_pieces(layers, places)

    def _find_checksums(self, packet: Packet, layers: list[Layer]) -> None:
        self._checksums: list[_Checksum] = []
        for i in range(len(layers) - 1, -1, -1):
            layer = layers[i]
            at = checksum_at(layer.kind, layer.header)
            if at is None or not _updated(packet, layer):
                continue
            if layer.kind != SCTP and (layer.kind not in NEEDS_PSEUDO or has_pseudo_header(layers, i)):
                held = int.from_bytes(layer.header[at : at + 2], "big")
                never_zero = layer.kind in (UDP, ICMP_EXTENSIONS)
                self._checksums.append(_Checksum(i, at, never_zero, 0xFFFF ^ held))
        for checksum in self._checksums:
            checksum.piece = self._piece(layers, checksum.owner, checksum.at, 2)
            checksum.piece.covered = [pair for pair in checksum.piece.covered if pair[0] is not checksum]
        for checksum in self._checksums:
            self._remove(checksum.piece)

    def _find_pieces(self, layers: list[Layer], places: list[int]) -> None:
        self._pieces: list[_Piece] = []
        for field, place in zip(self._fields, places, strict=True):
            field._bytes(layers[place])
            first = field.offset // 8
            piece = self._piece(layers, place, first, (field.offset + field.width + 7) // 8 - first)
            mask = ((1 << field.width) - 1) << (-(field.offset + field.width) % 8)
            self._remove(piece, mask)
            self._pieces.append(piece)

    def _piece(self, layers: list[Layer], place: int, first: int, size: int) -> _Piece:
        starts = [sum(len(layer.header) for layer in layers[:i]) for i in range(len(layers))]
        covered = []
        for checksum in self._checksums:
            if covers(layers, checksum.owner, place, first):
                start = starts[min(place, checksum.owner)]
                covered.append((checksum, (starts[place] + first + size - start) % 2 == 1))
        return _Piece(starts[place] + first, size, covered)

    def _remove(self, piece: _Piece, mask: int = -1) -> None:
        """Subtract a piece's value from the sums; with a mask, only its bits, and clear them in the data."""
        where = slice(piece.offset, piece.offset + piece.size)
        held = int.from_bytes(self._data[where], "big")
        for checksum, odd in piece.covered:
            part = held & mask
            checksum.sum += -(part << 8 if odd else part) % 0xFFFF
        if mask != -1:
            self._data[where] = (held & ~mask).to_bytes(piece.size, "big")

    @property
    def size(self) -> int:
        """The size of each packet in bytes."""
        return len(self._data)

    def __reduce__(self) -> tuple[type[Template], tuple[Packet | Field, ...]]:
        return type(self), (self._packet, *self._fields)

    def __repr__(self) -> str:
        names = ", ".join(field.name for field in self._fields)
        return f"<Template: {counted(self.size, 'byte')}, varying {names}>"

    def build(self, *values: Any) -> bytes:
        """The packet with these values, one for each field, in the order of the fields.

        Raises InvalidArgument for a wrong number of values, and the errors of the fields for a value.
        """
        if len(values) != len(self._fields):
            raise InvalidArgument(
                f"{counted(len(values), 'value')}: expected {len(self._fields)}, one for each field"
            )
        numbers = []
        for field, piece, value in zip(self._fields, self._pieces, values, strict=True):
            encoded = bytearray(field.offset // 8 + piece.size)
            field.put(encoded, value)
            numbers.append(int.from_bytes(encoded[field.offset // 8 :], "big"))
        data = bytearray(self._data)
        sums = {checksum: checksum.sum for checksum in self._checksums}
        for piece, number in zip(self._pieces, numbers, strict=True):
            piece.write(data, sums, number)
        for checksum in self._checksums:
            value = checksum.value(sums[checksum])
            data[checksum.piece.offset : checksum.piece.offset + 2] = value.to_bytes(2, "big")
            checksum.piece.add(sums, value)
        return bytes(data)

    def build_many(self, *columns: Iterable[Any]) -> bytes:
        """All packets of these columns, concatenated.

        A column has the values of one field. It is any iterable; ``array("Q")`` is fastest for a field of at
        most 64 bits. Raises InvalidArgument if columns differ in length, and the errors of ``build``.
        """
        if len(columns) != len(self._fields):
            raise InvalidArgument(
                f"{counted(len(columns), 'column')}: expected {len(self._fields)}, one for each field"
            )
        lists = [_values(column) for column in columns]
        if len({len(column) for column in lists}) > 1:
            raise InvalidArgument(
                f"columns of {', '.join(str(len(column)) for column in lists)} values: expected one length"
            )
        return b"".join(map(self.build, *lists))

    def build_into(self, buffer: Buffer, *columns: Iterable[Any]) -> int:
        """Write the result of ``build_many`` to the start of a buffer; return the number of packets.

        Raises BufferError if the buffer is read-only or too small.
        """
        data = self.build_many(*columns)
        try:
            view = memoryview(buffer)
        except TypeError:
            raise InvalidArgument(f"buffer must be a buffer, not {type(buffer).__name__}") from None
        if view.readonly or not view.c_contiguous:
            raise BufferError("buffer must be writable and contiguous")
        view = view.cast("B")
        if len(view) < len(data):
            raise BufferError(f"the buffer has {counted(len(view), 'byte')}: {len(data)} are needed")
        view[: len(data)] = data
        return len(data) // self.size if self.size else 0
