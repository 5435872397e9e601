"""Lines about many addresses: the same from both implementations, and by json and ipaddress."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from array import array
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastnet._contract.lines import ADDRESS, END, MAC, MS, NUMBER, SKIPPED, UPPER_MAC, US
from fastnet.errors import InvalidArgument

TOPIC = "lines"
ALL = (
    (b'{"address": "', ADDRESS, 0),
    (b'", "rtt_ms": ', NUMBER, 0),
    (b', "us": ', US, 0),
    (b', "ms": "', MS, 12),
    (b'", "mac": "', MAC, 20),
    (b'", "MAC": "', UPPER_MAC, 0),
    (b'"}\n', END, 0),
)
UNTIMED = ((b'{"address": "', ADDRESS, 40), (b'"}\n', END, 0))
SHORT = ((b"", ADDRESS, 0), (b"\n", END, 0))

times = (
    st.floats(0, 1e9, width=32) | st.floats(0, 100, width=32) | st.sampled_from([math.nan, -1.0, math.inf])
)
addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(
    first=addresses,
    step=st.integers(1, 1 << 40),
    ms=st.lists(times, max_size=20),
    data=st.data(),
)
@example(ipaddress.ip_address("255.255.255.250"), 1, [0.0005, 0.0015, 1.00005, 2.5, 1e-30, 1e9], None)
def test_a_line_is_what_json_and_ipaddress_make_of_it(
    twins: tuple[ModuleType, ModuleType], first: Any, step: int, ms: list[float], data: Any
) -> None:
    kinds = bytes(len(ms))
    macs = bytes(range(6)) * len(ms)
    if data is not None:
        drawn = data.draw(st.binary(min_size=len(ms), max_size=len(ms)))
        kinds = bytes((0, 1, SKIPPED)[each % 3] for each in drawn)
        macs = data.draw(st.binary(min_size=6 * len(ms), max_size=6 * len(ms)))
    templates = [ALL, UNTIMED, SHORT, SHORT]
    native, pure = (
        module.format_lines(templates, first.packed, step, array("f", ms), macs, kinds) for module in twins
    )
    assert native == pure
    lines = iter(native.decode().splitlines())
    for place, (kind, time) in enumerate(zip(kinds, array("f", ms), strict=True)):
        if kind == SKIPPED:
            continue
        number = int(first) + place * step & (1 << first.max_prefixlen) - 1
        address = str(type(first)(number))
        line = next(lines)
        if kind:
            assert ipaddress.ip_address(line) == type(first)(number)
        elif not 0 <= time < 1 << 31:
            assert line.startswith('{"address": "')
        else:
            check(line, time, macs[6 * place : 6 * place + 6], address)
    assert next(lines, None) is None


def check(line: str, time: float, mac: bytes, address: str) -> None:
    found = json.loads(line)
    assert ipaddress.ip_address(found["address"]) == ipaddress.ip_address(address)
    assert re.search(r'"rtt_ms": ([^,]*)', line)[1] == json.dumps(round(time, 4))  # type: ignore[index]
    assert found["ms"] == f"{time:.3f} ms".ljust(12)
    assert found["us"] == round(time * 1000)
    assert (found["mac"], found["MAC"]) == (mac.hex(":").ljust(20), mac.hex(":").upper())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templates": [SHORT]}, "expected less than 0"),
        ({"templates": [SHORT[:1], SHORT]}, "END"),
        ({"templates": [((b"", END, 0), *SHORT), SHORT]}, "END"),
        ({"templates": [((b"", 7, 0), *SHORT), SHORT]}, "fields to 6"),
        ({"templates": [((b"", ADDRESS, 65), *SHORT), SHORT]}, "widths to 64"),
        ({"templates": [SHORT, ALL]}, "a time where there is none"),
        ({"first": b"12345"}, "expected an address"),
        ({"step": 0}, "1 to 2"),
        ({"step": 1 << 63}, "1 to 2"),
        ({"kinds": b"\1"}, "less than 1"),
        ({"kinds": b"\0\0"}, "1 time, 0 bytes of MACs for 2 addresses"),
        ({"templates": [((b"", MAC, 0), *SHORT), SHORT]}, "0 bytes of MACs"),
        ({"ms": b"123"}, "0 times"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(core: ModuleType, change: dict[str, Any], message: str) -> None:
    given = {
        "templates": [SHORT, SHORT],
        "first": bytes(4),
        "step": 1,
        "ms": array("f", [1]),
        "macs": b"",
        "kinds": b"\0",
    }
    assert core.format_lines(**given) == b"0.0.0.0\n"
    with pytest.raises(InvalidArgument, match=message):
        core.format_lines(**{**given, **change})


def test_nothing_is_no_line(core: ModuleType) -> None:
    assert core.format_lines([], bytes(4), 1, b"", b"", b"") == b""
