"""Lines of text about many addresses, made from templates.

``format_lines`` is given a kind for each of the addresses ``first``, ``first + step``, ...: ``SKIPPED``, or a
number that has two templates, 2 x kind and 2 x kind + 1. The second one, without a time, is used where the
time is negative, 2^31 or more, or not a number. Times are rounded half to even, once.
"""

from __future__ import annotations

import socket

from fastnet._contract.lines import ADDRESS, END, MAC, MS, NUMBER, SKIPPED, US, check_lines
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Iterator, Sequence

    from typing_extensions import Buffer

    from fastnet._contract.lines import Template

_MOST_MS = float(1 << 31)
_WANTED = bytes(kind != SKIPPED for kind in range(256))


def format_lines(
    templates: Sequence[Template], first: bytes, step: int, ms: Buffer, macs: bytes, kinds: bytes
) -> bytes:
    """The lines of as many addresses as there are kinds. ``ms`` are float32, ``macs`` six bytes for each.

    Raises InvalidArgument for templates or sizes that do not fit.
    """
    data = memoryview(ms).cast("B")
    times = data[: len(data) & ~3].cast("f")
    most = max(kinds.translate(None, bytes([SKIPPED])), default=-1)
    check_lines(templates, first, step, (len(kinds), len(times), len(macs)), most)
    number, family = int.from_bytes(first, "big"), socket.AF_INET if len(first) == 4 else socket.AF_INET6
    last = (1 << 8 * len(first)) - 1
    lines = []
    for place in _wanted(kinds):
        address = socket.inet_ntop(family, (number + place * step & last).to_bytes(len(first), "big"))
        is_timed = 0 <= times[place] < _MOST_MS
        template = templates[2 * kinds[place] + (not is_timed)]
        lines.append(_line(template, address, times[place], macs[6 * place : 6 * place + 6]))
    return b"".join(lines)


def _wanted(kinds: bytes) -> Iterator[int]:
    """The places of the kinds that have a line: of many, these may be few."""
    wanted = kinds.translate(_WANTED)
    place = wanted.find(1)
    while place >= 0:
        yield place
        place = wanted.find(1, place + 1)


def _line(template: Template, address: str, ms: float, mac: bytes) -> bytes:
    return b"".join(
        text + _field(field, address, ms, mac).ljust(width).encode() for text, field, width in template
    )


def _field(field: int, address: str, ms: float, mac: bytes) -> str:
    if field == ADDRESS:
        return address
    if field == MS:
        return f"{ms:.3f} ms"
    if field == NUMBER:
        return repr(round(ms, 4))
    if field == US:
        return f"{ms * 1000:.0f}"
    if field == END:
        return ""
    return mac.hex(":") if field == MAC else mac.hex(":").upper()
