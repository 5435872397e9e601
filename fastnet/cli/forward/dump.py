"""``--dump``: the bytes that pass, as the recipe prints them, and who sent them."""

import sys

from fastnet.cli.output import print_json
from fastnet.forward import Rule

_NAMED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_READABLE = range(0x20, 0x7F)
_ESCAPES = {
    byte: _NAMED.get(chr(byte), f"\\x{byte:02x}")
    for byte in range(256)
    if byte not in _READABLE or chr(byte) in _NAMED
}


def readable(data: bytes) -> str:
    """The bytes as ASCII; what is none, or can't be seen, as the escapes of a Python literal."""
    return data.decode("latin-1").translate(_ESCAPES)


def dump_text(rule: Rule, number: int, up: bool, data: bytes) -> None:
    """A line of output for each line of data: rule, connection, direction and bytes."""
    arrow = "->" if up else "<-"
    for line in data.splitlines(keepends=True):
        print(f"{rule.name} {number} {arrow} {readable(line)}")
    sys.stdout.flush()


def dump_json(rule: Rule, number: int, up: bool, data: bytes) -> None:
    """The same as one JSON Lines record."""
    whose = {"event": "data", "rule": rule.name, "number": number}
    print_json({**whose, "direction": "up" if up else "down", "data": readable(data)})
