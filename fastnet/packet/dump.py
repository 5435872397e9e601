"""Packets as readable text, and as plain values for JSON."""

from _collections_abc import Iterator

from fastnet._backend import packet as _core
from fastnet._contract.values import counted
from fastnet._typing import Any
from fastnet.packet.fields import Field, Flags
from fastnet.packet.layer import Packet, whole
from fastnet.packet.record import held, shown

_LINE = 16


def _text(record: _core.Record, name: str, field: Field) -> str:
    value = getattr(record, name)
    if isinstance(field, Flags):
        return field.text(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(each if isinstance(each, str) else repr(each) for each in value) or "none"
    return value if isinstance(value, str) else shown(field, value)


def _layer_lines(layer: _core.Layer, start: int) -> Iterator[str]:
    end = start + len(layer.header)
    yield f"{type(layer).__name__}, bytes {start} to {end - 1}" if end > start else type(layer).__name__
    fields = held(layer)
    width = max(map(len, fields), default=0)
    for name, field in fields.items():
        if name == "data":
            yield f"  {name:{width}}  {counted(len(layer.header) - field.offset // 8, 'byte')}"
        else:
            yield f"  {name:{width}}  {_text(layer, name, field)}"


def _hex_lines(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), _LINE):
        line = data[start : start + _LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        yield f"{start:04x}  {line.hex(' '):{3 * _LINE - 1}}  {text}"


def dump(packet: Packet | _core.Layer) -> str:
    """The packet as text of several lines: the fields of each layer, then all bytes in hexadecimal and ASCII.

    If parsing stopped early, the error is printed between them. Fields beyond the end of a header that is cut
    short are left out. Raises PacketError if the packet can't be built.
    """
    packet = whole(packet)
    lines: list[str] = []
    start = 0
    for layer in packet:
        lines += _layer_lines(layer, start)
        start += len(layer.header)
    if packet.error is not None:
        lines.append(f"error: {packet.error}")
    return "\n".join((*lines, "", *_hex_lines(bytes(packet))))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, _core.Record):
        return {"option": type(value).__name__, **_fields(value)}
    return value


def _fields(record: _core.Record) -> dict[str, Any]:
    return {name: _plain(getattr(record, name)) for name in held(record)}


def as_dict(packet: Packet | _core.Layer) -> dict[str, Any]:
    """The packet as plain values: its length in bytes; its layers' names, offsets and fields; and the error.

    Bytes are hexadecimal text. Fields beyond the end of a header that is cut short are left out.
    Raises PacketError if the packet can't be built.
    """
    packet = whole(packet)
    layers = []
    start = 0
    for layer in packet:
        place = {"layer": type(layer).__name__, "offset_bytes": start, "length_bytes": len(layer.header)}
        layers.append({**place, "fields": _fields(layer)})
        start += len(layer.header)
    error = None if packet.error is None else str(packet.error)
    return {"length_bytes": start, "layers": layers, "error": error}
