"""Messages written by hand, of links that no kernel here makes too; and any bytes, to both twins."""

from __future__ import annotations

import errno
import socket
import struct
from types import ModuleType
from typing import Any

import pytest
from environment import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

TOPIC = "rtnetlink"

NEW_LINK, DELETE_LINK, NEW_ADDRESS, NEW_ROUTE, DELETE_ROUTE, NEW_NEIGHBOUR = 16, 17, 20, 24, 25, 28
BRIDGE, MPLS = 7, 28
CORPUS = [path.read_bytes() for path in sorted((ROOT / "csrc/fuzz/corpus/rtnetlink").iterdir())]
NAMES = {1: "lo", 2: "eth0", 3: "br0"}


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def u32(number: int) -> bytes:
    return struct.pack("=I", number)


def link(
    link_type: int, *attributes: bytes, family: int = 0, kind: int = NEW_LINK, flags: int = 0x1003
) -> bytes:
    fixed = struct.pack("=BxHiII", family, link_type, 7, flags, 0)
    return message(kind, fixed + b"".join(attributes))


def address(family: int, length: int, flags: int, scope: int, *attributes: bytes) -> bytes:
    return message(NEW_ADDRESS, struct.pack("=BBBBi", family, length, flags, scope, 9) + b"".join(attributes))


def route(kind: int, fixed: tuple[int, ...], *attributes: bytes) -> bytes:
    """``fixed``: family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""
    return message(kind, struct.pack("=BBBBBBBBI", *fixed) + b"".join(attributes))


def named(name: str, kind: str, *more: bytes) -> tuple[bytes, ...]:
    info = attribute(1, kind.encode() + b"\0")
    return (attribute(3, name.encode() + b"\0"), attribute(0x8000 | 18, info), *more)


LINKS: list[tuple[bytes, dict[str, Any]]] = [
    (
        link(32, *named("ib0", "ipoib", attribute(1, bytes(range(20))), attribute(2, b"\xff" * 20))),
        {
            "name": "ib0",
            "link_type": "infiniband",
            "kind": "ipoib",
            "mac": bytes(range(20)).hex(":"),
            "broadcast": ":".join(["ff"] * 20),
        },
    ),
    (
        link(776, *named("sit0", "sit", attribute(1, bytes((192, 0, 2, 1))), attribute(2, bytes(4)))),
        {"link_type": "sit", "mac": "192.0.2.1", "broadcast": "0.0.0.0"},
    ),
    (
        link(768, *named("tunl0", "ipip", attribute(1, bytes((192, 0, 2, 1))))),
        {"link_type": "ipip", "mac": "192.0.2.1", "broadcast": None},
    ),
    (
        link(769, *named("ip6tnl0", "ip6tnl", attribute(1, bytes(15) + b"\1"))),
        {"link_type": "tunnel6", "mac": "::1"},
    ),
    (link(778, *named("gre0", "gre", attribute(1, bytes(4)))), {"link_type": "gre", "mac": "0.0.0.0"}),
    (
        link(24, *named("fw0", "", attribute(1, bytes(8)))),
        {"link_type": "ieee1394", "kind": "", "mac": "00:00:00:00:00:00:00:00"},
    ),
    (link(280, *named("vcan0", "vcan")), {"link_type": "can", "mac": None, "kind": "vcan"}),
    (link(65534, *named("wg0", "wireguard")), {"link_type": "none", "kind": "wireguard", "mac": None}),
    (link(4711, *named("new0", "new")), {"link_type": "4711"}),
    (
        link(1, *named("eth0.5", "vlan", attribute(5, u32(2)), attribute(10, u32(3)))),
        {"peer": "eth0", "peer_ifindex": 2, "master": "br0", "master_ifindex": 3, "link_namespace": None},
    ),
    (
        link(1, *named("veth7", "veth", attribute(5, u32(2)), attribute(37, struct.pack("=i", -1)))),
        {"peer": None, "peer_ifindex": 2, "link_namespace": -1},
    ),
    (
        link(1, *named("p0", "macsec", attribute(16, b"\5"), attribute(33, b"\0"), attribute(54, bytes(6)))),
        {"operational_state": "dormant", "carrier": False, "permanent_mac": "00:00:00:00:00:00"},
    ),
    (link(1, *named("odd", "x", attribute(16, b"\x63"))), {"operational_state": "99"}),
    (link(1, attribute(3, b"\xff\xfe\xc3\xa9\0")), {"name": "\udcff\udcfeé", "kind": None}),
    (link(1, *named("gone", "dummy"), kind=DELETE_LINK), {"name": "gone", "ifindex": 7}),
    (
        link(1, *named("far", "x"), flags=0x80071043),
        {"flags": ("UP", "BROADCAST", "RUNNING", "MULTICAST", "LOWER_UP", "DORMANT", "ECHO", "0x80000000")},
    ),
]


@pytest.mark.parametrize(("data", "expected"), LINKS, ids=range(len(LINKS)))
def test_links_of_every_kind(core: ModuleType, data: bytes, expected: dict[str, Any]) -> None:
    [(kind, record)] = core.parse(data, NAMES)
    assert kind in (NEW_LINK, DELETE_LINK)
    assert {name: getattr(record, name) for name in expected} == expected


def test_what_is_no_record_of_ours(core: ModuleType) -> None:
    port = link(1, *named("port", "veth"), family=BRIDGE, kind=DELETE_LINK)
    table = message(NEW_NEIGHBOUR, struct.pack("=BxxxiHBB", BRIDGE, 2, 2, 0, 0) + attribute(2, bytes(6)))
    label = route(NEW_ROUTE, (MPLS, 20, 0, 0, 254, 4, 0, 1, 0), attribute(1, bytes(4)))
    rule = message(32, bytes(12))
    found = core.parse(port + table + label + rule, NAMES)
    assert found == [(DELETE_LINK, None), (NEW_NEIGHBOUR, None), (NEW_ROUTE, None), (32, None)]


def test_names_that_another_message_has(core: ModuleType) -> None:
    own_text = attribute(1, b"\xfe\x80" + bytes(14))
    given = address(socket.AF_INET6, 64, 0x41, 253, own_text)
    default = route(DELETE_ROUTE, (socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0), attribute(4, u32(9)))
    (_, own), (_, way) = core.parse(given + default, NAMES)
    assert (own.interface, own.label, own.ifindex) == ("", "", 9)
    assert own.flags == ("temporary", "tentative")
    assert (way.interface, way.ifindex, way.is_default) == (None, 9, True)
    assert core.parse(given, {9: "w"})[0].record.text == "fe80::%w"
    assert core.parse(given, {9: "w b%\udcff"})[0].record.text == "fe80::%9"


def test_routes_that_go_into_a_tunnel_or_by_the_other_family(core: ModuleType) -> None:
    via = struct.pack("=H", socket.AF_INET6) + b"\xfe\x80" + bytes(13) + b"\1"
    leg = struct.pack("=HBBi", 8 + 8, 1, 4, 2) + attribute(5, bytes((192, 0, 2, 9)))
    data = route(
        NEW_ROUTE,
        (socket.AF_INET, 24, 0, 8, 252, 77, 253, 1, 4 | 16),
        attribute(1, bytes((192, 0, 2, 0))),
        attribute(18, via),
        attribute(15, u32(70000)),
        attribute(21, struct.pack("=H", 1)),
        attribute(9, leg),
        attribute(0x8000 | 8, attribute(2, u32(1400))),
    )
    [(_, way)] = core.parse(data, NAMES)
    assert (way.destination, way.gateway, way.table) == ("192.0.2.0/24", "fe80::1", 70000)
    assert (way.encapsulation, way.protocol, way.mtu, way.tos) == ("mpls", "77", 1400, 8)
    assert way.flags == ("onlink", "linkdown")
    assert [tuple(each) for each in way.legs] == [("eth0", 2, "192.0.2.9", 5, ("dead",))]


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        bytes(16),
        link(1, *named("x", "y"))[:-1],
        link(1, attribute(4, b"\1\2\3")),
        link(1, struct.pack("=HH", 3, 1)),
        link(1, struct.pack("=HH", 400, 1)),
        link(1, attribute(18, struct.pack("=HH", 400, 1))),
        link(1, attribute(52, struct.pack("=HH", 400, 53))),
        message(NEW_ADDRESS, bytes(7)),
        address(socket.AF_INET, 24, 0, 0),
        address(socket.AF_INET, 33, 0, 0, attribute(2, bytes(4))),
        address(socket.AF_INET, 24, 0, 0, attribute(2, bytes(5))),
        route(NEW_ROUTE, (2, 0, 0, 0, 0, 0, 0, 1, 0), attribute(9, bytes(8))),
        route(NEW_ROUTE, (2, 0, 0, 0, 0, 0, 0, 1, 0), attribute(18, bytes(6))),
        message(NEW_NEIGHBOUR, struct.pack("=BxxxiHBB", 2, 2, 2, 0, 0)),
    ],
    ids=range(15),
)
def test_what_is_not_formed_right_is_refused(core: ModuleType, data: bytes) -> None:
    with pytest.raises(OSError, match="not formed as") as caught:
        core.parse(data, NAMES)
    assert caught.value.errno == errno.EBADMSG


def outcome(core: ModuleType, data: bytes) -> object:
    try:
        return core.parse(data, NAMES)
    except OSError as error:
        return error.errno, str(error)


def changed(base: bytes, changes: list[tuple[int, int]]) -> bytes:
    data = bytearray(base)
    for place, value in changes:
        data[place % len(data)] = value
    return bytes(data)


somewhere = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6)


@settings(max_examples=1000, deadline=None)
@given(base=st.sampled_from(CORPUS), changes=somewhere, cut=st.integers(0, 4096))
def test_twins_agree_on_messages_with_wrong_bytes(
    twins: tuple[ModuleType, ModuleType], base: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    native, pure = twins
    data = changed(base, changes)[: cut or None]
    assert outcome(native, data) == outcome(pure, data)


@settings(max_examples=500, deadline=None)
@given(kind=st.sampled_from((NEW_LINK, NEW_ADDRESS, NEW_ROUTE, NEW_NEIGHBOUR)), body=st.binary(max_size=80))
def test_twins_agree_on_any_bytes(twins: tuple[ModuleType, ModuleType], kind: int, body: bytes) -> None:
    native, pure = twins
    assert outcome(native, message(kind, body)) == outcome(pure, message(kind, body))
