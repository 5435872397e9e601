"""``--dump``: the bytes that pass, with their sender."""

from fastnet._clock import now
from fastnet._forward import Rule
from fastnet._typing import TYPE_CHECKING
from fastnet.cli.output import print_json, print_line

if TYPE_CHECKING:
    from fastnet import _records as records

_NAMED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_READABLE = range(0x20, 0x7F)
_ESCAPES = {
    byte: _NAMED.get(chr(byte), f"\\x{byte:02x}")
    for byte in range(256)
    if byte not in _READABLE or chr(byte) in _NAMED
}


def readable(data: bytes) -> str:
    """The bytes as ASCII; others and unprintable ones as the escapes of a Python literal."""
    return data.decode("latin-1").translate(_ESCAPES)


def dump_text(rule: Rule, number: int, up: bool, data: bytes) -> None:
    """A line of output for each line of data: rule, connection, direction and bytes."""
    arrow = "->" if up else "<-"
    for line in data.splitlines(keepends=True):
        print_line(f"{rule.name} {number} {arrow} {readable(line)}")


def dump_json(rule: Rule, number: int, up: bool, data: bytes) -> None:
    """The same as one JSON Lines record."""
    record: records.Data = {
        "kind": "data",
        "time": now(),
        "rule": rule.name,
        "number": number,
        "direction": "up" if up else "down",
        "data": readable(data),
    }
    print_json(record)
