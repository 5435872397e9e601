"""The lines of a sweep's verdicts: the core, and json one record at a time."""

from __future__ import annotations

import json
import socket
from array import array
from collections.abc import Iterator

from bench._case import Case, Contender
from fastnet._backend import lines
from fastnet._contract.lines import ADDRESS, END, NUMBER

SIZE = 1 << 12
MS = array("f", [number / 4 for number in range(SIZE)])
TEMPLATE = ((b'{"address": "', ADDRESS, 0), (b'", "rtt_ms": ', NUMBER, 0), (b"}\n", END, 0))
UNTIMED = ((b"\n", END, 0),)


def ours() -> Contender:
    names = {"format": lines.format_lines, "both": [TEMPLATE, UNTIMED], "ms": MS, "kinds": bytes(SIZE)}
    return Contender(r"format(both, b'\x0a\0\0\0', 1, ms, b'', kinds)", names)


def by_json() -> Contender:
    def encoded() -> bytes:
        texts = (socket.inet_ntoa(bytes((10, 0, number >> 8, number & 255))) for number in range(SIZE))
        records = ({"address": text, "rtt_ms": ms} for text, ms in zip(texts, MS, strict=True))
        return "".join(f"{json.dumps(record)}\n" for record in records).encode()

    return Contender("encoded()", {"encoded": encoded})


def is_right(made: bytes) -> bool:
    return made.count(b"\n") == SIZE and json.loads(made.splitlines()[-1])["rtt_ms"] == MS[-1]


def cases() -> Iterator[Case]:
    yield Case("a line on an address", ours, {"json": by_json}, is_right, units=SIZE)
