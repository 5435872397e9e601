"""What the packet tests share: the library over either implementation, and random packets as recipes.

A recipe is a class's name and its fields, so that both libraries can make the same packet of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from hypothesis import strategies as st

from fastnet import _backend


@cache
def library(name: str) -> ModuleType:
    """``fastnet.packet`` over this implementation, whichever one the process runs."""
    if _backend.implementation("packet") == name:
        return import_module("fastnet.packet")
    ours = {key: sys.modules.pop(key) for key in list(sys.modules) if key.startswith("fastnet.packet")}
    core = _backend.packet
    _backend.packet = import_module(f"fastnet._{name}.packet")
    try:
        return import_module("fastnet.packet")
    finally:
        for key in [key for key in sys.modules if key.startswith("fastnet.packet")]:
            del sys.modules[key]
        sys.modules.update(ours)
        _backend.packet = core
        if "fastnet.packet" in ours:
            import_module("fastnet").packet = ours["fastnet.packet"]


class Recipe(NamedTuple):
    name: str
    fields: dict[str, Any]

    def make(self, packets: ModuleType) -> Any:
        if self.name == "Surplus":
            return packets.Surplus(self.fields["data"])
        return getattr(packets, self.name)(
            **{name: _made(packets, value) for name, value in self.fields.items()}
        )


def _made(packets: ModuleType, value: Any) -> Any:
    if isinstance(value, Recipe):
        return value.make(packets)
    return [_made(packets, each) for each in value] if isinstance(value, list) else value


Stack = list[Any]


def make(packets: ModuleType, stack: Stack) -> Any:
    """The packet of these recipes; bytes are payload."""
    return packets.Packet(*(layer if isinstance(layer, bytes) else layer.make(packets) for layer in stack))


PACKETS = import_module("fastnet.packet")
FIELDS = import_module("fastnet.packet.fields")
PACKETS_LABELS = type(PACKETS.MPLSLabels.labels)
FAMILIES = ("IPv4Option", "IPv6Option", "NDPOption", "TCPOption", "ICMPObject")


def members(family: str) -> list[str]:
    base = getattr(PACKETS, family)
    return [
        name
        for name in PACKETS.__all__
        if isinstance(value := getattr(PACKETS, name), type) and issubclass(value, base) and value is not base
    ]


MEMBERS = {family: members(family) for family in FAMILIES}


def _option(family: str) -> st.SearchStrategy[Recipe]:
    return st.sampled_from(MEMBERS[family]).flatmap(record)


def _value(field: Any) -> st.SearchStrategy[Any] | None:
    if isinstance(field, FIELDS.Constant | FIELDS.HeaderLength | FIELDS.Auto):
        return None
    if isinstance(field, FIELDS.Options):
        return st.lists(_option(field._family.__name__), max_size=2)
    if isinstance(field, FIELDS.Addresses):
        return st.lists(st.binary(min_size=field._size, max_size=field._size), max_size=2)
    if isinstance(field, FIELDS.Numbers):
        return st.lists(st.integers(0, 0xFFFFFFFF), max_size=2)
    if isinstance(field, PACKETS_LABELS):
        return st.lists(record("MPLS"), max_size=2)
    if isinstance(field, FIELDS.Data):
        first = -(field.offset // 8) % field._unit
        sizes = [first + field._unit * i for i in range(3)]
        return st.sampled_from(sizes).flatmap(lambda size: st.binary(min_size=size, max_size=size))
    return st.integers(0, (1 << field.width) - 1)


def record(name: str, **fixed: Any) -> st.SearchStrategy[Recipe]:
    """Random fields for a class; those named in ``fixed`` have that value."""
    strategies = {}
    for field_name, field in getattr(PACKETS, name).fields().items():
        strategy = _value(field)
        if field_name not in fixed and strategy is not None:
            strategies[field_name] = strategy
    always = {**required(name), **fixed}
    return st.fixed_dictionaries({}, optional=strategies).map(lambda some: Recipe(name, {**always, **some}))


def required(name: str) -> dict[str, Any]:
    """A value for each field that has no default."""
    return {key: 1 for key, field in getattr(PACKETS, name).fields().items() if field.default is ...}


surplus = st.sampled_from([[], [], [Recipe("Surplus", {"data": b"options"})]])
payload = st.lists(st.binary(min_size=1, max_size=40), max_size=1)


PLAIN_GRE = {
    "checksum_present": 0, "routing_present": 0, "key_present": 1, "sequence_present": 0, "version": 0,
    "optional": b"key!",
}  # fmt: skip
labels = st.lists(record("MPLS"), min_size=1, max_size=3)


@st.composite
def extended(draw: st.DrawFn, version: int) -> Stack:
    """An ICMP error with a quote of 128 bytes and extensions behind it."""
    extensions = draw(record("ICMPExtensions", version=2))
    name = draw(st.sampled_from(["Unreachable", "TimeExceeded"]))
    if version == 4:
        quote = [Recipe("IPv4", {"src": "10.0.0.1"}), draw(st.binary(min_size=108, max_size=108))]
        return [draw(record(f"ICMP{name}", length=32)), *quote, extensions]
    quote = [Recipe("IPv6", {"src": "::1"}), draw(st.binary(min_size=88, max_size=88))]
    return [draw(record(f"ICMPv6{name}", length=16)), *quote, extensions]


@st.composite
def transport(draw: st.DrawFn, version: int, quoting: bool = False) -> Stack:
    """What an IP header carries."""
    kinds = ["UDP", "TCP", "payload", "ESP", "echo", "SCTP", "DCCP"]
    kinds += [] if quoting else ["error", "message", "GRE", "MPLS", "extended"]
    kind = draw(st.sampled_from(kinds))
    if kind == "UDP":
        return [draw(record(kind)), *draw(payload), *draw(surplus)]
    if kind in ("TCP", "ESP", "SCTP"):
        return [draw(record(kind)), *draw(payload)]
    if kind == "DCCP":
        return [draw(record("DCCP", extended=0)), *draw(payload)]
    if kind == "GRE":
        return [draw(record("GRE", **PLAIN_GRE)), *draw(network(quoting=True))]
    if kind == "MPLS":
        return [*draw(labels), *draw(network(quoting=True))]
    if kind == "extended":
        return draw(extended(version))
    if kind == "payload":
        return draw(payload)
    icmp = "ICMP" if version == 4 else "ICMPv6"
    if kind == "echo":
        return [draw(record(f"{icmp}{draw(st.sampled_from(['Echo', 'EchoReply']))}")), *draw(payload)]
    if kind == "error":
        errors = ["Unreachable", "TimeExceeded", "ParameterProblem"]
        errors += ["Redirect", "SourceQuench"] if version == 4 else ["PacketTooBig"]
        return [draw(record(icmp + draw(st.sampled_from(errors)))), *draw(network(version, quoting=True))]
    if version == 4:
        name = draw(st.sampled_from(["ICMPTimestamp", "ICMPTimestampReply", "ICMPOther"]))
        return [draw(record(name, type=200) if name == "ICMPOther" else record(name)), *draw(payload)]
    discovery = ["RouterSolicitation", "RouterAdvertisement", "NeighborSolicitation", "NeighborAdvertisement"]
    name = draw(st.sampled_from([*discovery, "ICMPv6Redirect", "ICMPv6Other"]))
    if name == "ICMPv6Other":
        return [draw(record(name, type=200)), *draw(payload)]
    return [draw(record(name))]


EXTENSIONS = ["HopByHop", "DestinationOptions", "Routing", "AH", "Mobility", "Fragment"]


@st.composite
def network(draw: st.DrawFn, version: int | None = None, quoting: bool = False) -> Stack:
    """An IP packet, whole."""
    version = version or draw(st.sampled_from([4, 6]))
    if version == 4:
        header = draw(record("IPv4", version=4, fragment_offset=0))
        return [header, *draw(transport(4, quoting))]
    extensions = draw(st.lists(st.sampled_from(EXTENSIONS), max_size=3, unique=True))
    headers = [
        draw(record(name, fragment_offset=0) if name == "Fragment" else record(name)) for name in extensions
    ]
    return [draw(record("IPv6", version=6)), *headers, *draw(transport(6, quoting))]


@st.composite
def frame(draw: st.DrawFn) -> Stack:
    """An Ethernet frame, whole."""
    kind = draw(st.sampled_from(["plain", "tagged", "snap", "arp", "MPLS", "PPPoE"]))
    if kind == "snap":
        return [draw(record("Dot3")), Recipe("LLC", {}), Recipe("SNAP", {}), *draw(network())]
    head = [draw(record("Ethernet"))]
    if kind == "MPLS":
        return [*head, *draw(labels), *draw(network())]
    if kind == "PPPoE":
        return [*head, draw(record("PPPoE", code=0)), Recipe("PPP", {}), *draw(network())]
    if kind == "tagged":
        head += [draw(record(name)) for name in draw(st.sampled_from([["Dot1Q"], ["Dot1AD", "Dot1Q"]]))]
    if kind == "arp":
        return [*head, draw(record("ARP", ptype=0x0800, hwlen=6, plen=4))]
    return [*head, *draw(network())]


@st.composite
def linked(draw: st.DrawFn) -> Stack:
    """A packet of any link, whole."""
    name = draw(st.sampled_from(["Ethernet", "SLL", "SLL2", "Null", "Loop", "raw"]))
    if name == "Ethernet":
        return draw(frame())
    if name in ("SLL", "SLL2"):
        return [draw(record(name, hardware_type=1)), *draw(network())]
    version = draw(st.sampled_from([4, 6]))
    head = [] if name == "raw" else [Recipe(name, {"family": 2 if version == 4 else 30})]
    return [*head, *draw(network(version))]


def link_of(packet: Any) -> str:
    """What the packet starts with."""
    names = {"SLL": "sll", "SLL2": "sll2", "Null": "null", "Loop": "loop", "IPv4": "ip", "IPv6": "raw"}
    return names.get(type(packet[0]).__name__, "ethernet")


def outcome(action: Callable[[], Any]) -> tuple[Any, ...]:
    """The result of an action, or its exception and message."""
    try:
        return ("gives", action())
    except Exception as error:
        return (type(error), str(error))
