"""Packets at random: what is built is parsed again, the twins agree, cut short at every byte, templates."""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import packet_recipes as recipes
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fastnet.errors import InvalidArgument, PacketError, TruncatedPacket

TOPIC = "packet"
Both = tuple[ModuleType, ModuleType]
LINKS = ("ethernet", "ip", "ipv4", "ipv6", "raw", "null", "loop", "sll", "sll2", 1, 113)


def layers(packet: Any) -> list[str]:
    return [type(layer).__name__ for layer in packet]


# Random packets

NAMES = {
    "HopByHop": "hop-by-hop", "DestinationOptions": "destination", "IPv4": "IPv4", "TCP": "TCP",
    "ICMPExtensions": "ICMP extensions",
}  # fmt: skip
ERRORS = ("ICMPRedirect", "Unreachable", "Exceeded", "Problem", "Quench", "TooBig")


def is_malformed(option: Any) -> bool:
    """Whether it can't be one, or is of a known kind without being of its form."""
    name, family = type(option).__name__, type(option).__mro__[1]
    if name.startswith("Unknown"):
        number = option.number_of(option.header)
        return number in family._members and not (family.__name__ == "NDPOption" and number in (1, 2))
    empty = (name == "SACK" and not option.edges) or (name == "RecursiveDNSServers" and not option.addresses)
    wrong_cookie = name == "FastOpen" and len(option.cookie) not in (0, *range(4, 17, 2))
    return name.startswith("Malformed") or empty or wrong_cookie


def malformed_options(packet: Any) -> str:
    """The first layer that has some; what an ICMP error quotes does not count."""
    quoted = False
    for layer in packet:
        name = type(layer).__name__
        options = getattr(layer, "objects", () if quoted else getattr(layer, "options", ()))
        if any(map(is_malformed, options)):
            return NAMES.get(name, "ICMPv6")
        quoted = quoted or name.endswith(ERRORS)
    return ""


@given(stack=recipes.linked())
def test_parse_gives_back_what_was_built(core: ModuleType, stack: list[Any]) -> None:
    packets = recipes.library(core.__name__.split(".")[1].removeprefix("_"))
    try:
        packet = recipes.make(packets, stack)
        data = bytes(packet)
    except PacketError:
        assume(False)
    malformed = malformed_options(packet)
    if malformed:
        with pytest.raises(
            PacketError, match=f"^{malformed} at byte [0-9]+ has malformed options at byte [0-9]+(: .+)?$"
        ):
            packets.parse(data, recipes.link_of(packet), strict=True)
    again = packets.parse(data, recipes.link_of(packet), strict=not malformed)
    assert again == packet
    assert hash(again) == hash(packet)
    assert list(again) == list(packet)
    assert bytes(again) == data
    namespace = vars(packets)
    for each in (packet, again):
        assert eval(repr(each), dict(namespace)) == packet
    for layer in again:
        assert eval(repr(layer), dict(namespace)) == layer


def test_packets_and_layers_are_pickled() -> None:
    packets = import_module("fastnet.packet")
    packet = packets.Ethernet() / packets.IPv4() / packets.TCP(options=[packets.MSS(size=9)]) / b"x"
    for each in (packet, packets.parse(bytes(packet))):
        assert pickle.loads(pickle.dumps(each)) == packet
    layer = pickle.loads(pickle.dumps(packet[packets.TCP]))
    assert layer == packet[packets.TCP]
    assert layer.automatic == packet[packets.TCP].automatic
    for size in range(20, len(bytes(packet))):
        cut = packets.parse(bytes(packet)[:size])
        assert [pickle.loads(pickle.dumps(each)) for each in (cut, *cut)] == [cut, *cut]


def everything(packets: ModuleType, data: bytes, link: str) -> list[Any]:
    """All results for these bytes, in values that both implementations share."""
    packet = packets.parse(data, link)
    error = packet.error
    told: list[Any] = [
        [(type(layer).__name__, layer.header) for layer in packet],
        (type(error), str(error)),
        (packet.src, packet.dst, packet.protocol, packet.sport, packet.dport, packet.payload),
        recipes.outcome(lambda: bytes(packets.parse(data, link, True))),
        repr(packet),
        packets.dump(packet),
        packets.as_dict(packet),
        bytes(packet),
    ]
    relaid = [type(layer).from_header(layer.header, 7, True) for layer in packet]
    told.append(recipes.outcome(lambda: bytes(packets.Packet(*relaid))))
    told.append([recipes.outcome(lambda layer=layer: bytes(layer)) for layer in relaid])
    return told


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        if changed:
            changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - cut]) if cut < len(changed) else bytes(changed)


@settings(max_examples=300)
@given(
    stack=recipes.linked(),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 30),
)
def test_twins_agree_on_mutated_packets(
    both: Both, stack: list[Any], changes: list[tuple[int, int]], cut: int
) -> None:
    built = [recipes.outcome(lambda packets=packets: bytes(recipes.make(packets, stack))) for packets in both]
    assert built[0] == built[1]
    if built[0][0] == "gives":
        data = mutated(built[0][1], changes, cut)
        link = recipes.link_of(recipes.make(both[0], stack))
        assert everything(both[0], data, link) == everything(both[1], data, link)


@settings(max_examples=200)
@given(data=st.binary(max_size=120), link=st.sampled_from(LINKS))
@example(data=b"\x46\0\0\0\0\0\0\0\0\x11" + bytes(30), link="ip")
@example(data=b"\x60\0\0\0\0\0\0\x40" + bytes(60), link="ipv6")
def test_twins_agree_on_any_bytes(both: Both, data: bytes, link: str) -> None:
    native = everything(both[0], data, link)
    assert native == everything(both[1], data, link)
    assert native[7] == data


# Cut short at every byte


def whole_packets(packets: ModuleType) -> list[Any]:
    p = packets
    tcp = p.TCP(
        options=[p.MSS(size=1460), p.SACKPermitted(), p.Timestamps(value=1, echo=2), p.WindowScale(shift=7)]
    )
    ipv4 = p.IPv4(options=[p.RecordRoute(addresses=["10.0.0.1", "0.0.0.0"]), p.IPv4Nop()])
    chain = (
        p.IPv6()
        / p.HopByHop(options=[p.IPv6RouterAlert()])
        / p.DestinationOptions()
        / p.Routing(addresses=["::1"])
    )
    discovery = p.NeighborSolicitation(options=[p.SourceLinkLayerAddress(address="00:11:22:33:44:55")])
    stacks = [
        ipv4 / tcp / b"payload",
        p.IPv4() / p.UDP() / b"payload",
        p.IPv4() / p.ICMPEcho() / b"payload",
        p.IPv4() / p.ICMPTimestamp(),
        p.IPv4() / p.ICMPUnreachable() / ipv4 / p.UDP() / b"payload",
        p.IPv4() / p.IPv6() / p.UDP() / b"x",
        chain / p.Fragment(more=1) / p.AH(icv=bytes(12)) / tcp / b"payload",
        p.IPv6() / p.ESP() / b"encrypted",
        p.IPv6() / p.Mobility(data=bytes(10)),
        p.IPv6() / discovery,
        p.IPv6() / p.RouterAdvertisement(options=[p.MTU(mtu=1500), p.PrefixInformation(prefix="2001:db8::")]),
        p.IPv6() / p.ICMPv6PacketTooBig() / p.IPv6() / p.TCP() / b"x",
        p.IPv4() / p.SCTP() / b"chunk",
        p.IPv6() / p.DCCP(extended=1, rest=bytes(11)) / b"data",
        p.IPv4() / p.GRE(key_present=1, optional=bytes(4)) / p.Ethernet() / p.IPv6() / p.UDP() / b"x",
        p.MPLS() / p.MPLS() / p.IPv6() / p.UDP() / b"x",
        p.PPPoE(session=5) / p.PPP() / p.IPv4() / p.TCP() / b"x",
    ]
    frames = [p.Ethernet() / stack for stack in stacks]
    frames += [p.Ethernet() / p.Dot1AD() / p.Dot1Q() / stacks[0], p.Ethernet() / p.ARP()]
    return [*frames, p.Dot3() / p.LLC() / p.SNAP() / stacks[1]]


def check_fields(layer: Any, complete: Any) -> None:
    """Of a layer that is cut short, fields whose bytes are there are read as they were, the others raise."""
    for name, field in layer.fields().items():
        if len(layer.header) * 8 < field.offset + field.width:
            with pytest.raises(TruncatedPacket, match=f"{type(layer).__name__} ends before its field {name}"):
                getattr(layer, name)
        else:
            value = getattr(layer, name)
            assert value == getattr(complete, name) or hasattr(field, "decode")
            assert hasattr(field, "decode") or getattr(layer.replace(**{name: value}), name) == value


def test_every_truncation_of_every_packet(packets: ModuleType) -> None:
    for whole in whole_packets(packets):
        data = bytes(whole)
        assert packets.parse(data, strict=True) == whole
        stack = 14 + 4 * sum(type(layer) is packets.MPLS for layer in whole)
        for size in range(len(data)):
            if packets.MPLS in whole and size == stack:
                continue  # nothing names what follows the last label
            packet = packets.parse(data[:size])
            assert isinstance(packet.error, TruncatedPacket), (whole, size)
            assert bytes(packet) == data[:size]
            kept = [layer for layer in packet if not isinstance(layer, packets.Payload)]
            for layer, complete in zip(kept, whole, strict=False):
                assert complete.header.startswith(layer.header)
                if size >= 14:  # before that, Ethernet's type is not known
                    assert type(layer) is type(complete)
                    check_fields(layer, complete)
            assert eval(repr(packet), dict(vars(packets))) == packet
            with pytest.raises(TruncatedPacket):
                packets.parse(data[:size], strict=True)


# Templates


@given(stack=recipes.frame(), data=st.data())
def test_a_template_builds_what_replacing_does(
    core: ModuleType, stack: list[Any], data: st.DataObject
) -> None:
    packets = recipes.library(core.__name__.split(".")[1].removeprefix("_"))
    try:
        packet = recipes.make(packets, stack)
        bytes(packet)
    except PacketError:
        assume(False)
    fields = import_module("fastnet.packet.fields")
    fixed = {each.__name__ for each in (fields.Constant, fields.Auto, fields.HeaderLength)}
    # segments_left decides whose checksum it is, so it is no field that only changes a value
    varying = {
        (type(layer), name): field
        for layer in list(packet)
        for name, field in layer.fields().items()
        if type(field).__name__ not in fixed
        and not field.automatic
        and not hasattr(field, "decode")
        and name not in ("segments_left", "type", "specific", "version")
    }
    assume(varying)
    chosen = data.draw(
        st.lists(st.sampled_from(sorted(varying, key=str)), min_size=1, max_size=3, unique=True)
    )
    chosen = [key for key in chosen if key == next(k for k in chosen if varying[k] is varying[key])]
    values = [data.draw(st.integers(0, (1 << varying[key].width) - 1)) for key in chosen]
    expected = packet
    for (layer_type, name), value in zip(chosen, values, strict=True):
        first = next(type(layer) for layer in packet if varying[layer_type, name] in layer.fields().values())
        expected = expected.replace(first, **{name: value})
    fields_chosen = [varying[key] for key in chosen]
    if packets.SCTP in packet or packets.DCCP in packet:
        made = recipes.outcome(lambda: packets.Template(packet, *fields_chosen))
        assume(made[0] == "gives" or "can't be updated depends on it" not in made[1])
    template = packets.Template(packet, *fields_chosen)
    assert template.build(*values) == bytes(expected)
    assert template.size == len(bytes(packet))


def test_template_of_a_parsed_packet(packets: ModuleType) -> None:
    packet = packets.IPv4(dst="10.0.0.1") / packets.UDP(dport=9) / b"payload"
    template = packets.Template(packets.parse(bytes(packet), "ipv4"), packets.IPv4.dst, packets.UDP.sport)
    for dst, sport in (("10.9.8.7", 1), ("0.0.0.0", 0), ("255.255.255.255", 65535)):
        data = template.build(dst, sport)
        assert data == bytes(packet.replace(packets.IPv4, dst=dst).replace(packets.UDP, sport=sport))
    unsummed = packets.parse(bytes(packet.replace(packets.UDP, checksum=0)), "ipv4")
    again = packets.parse(packets.Template(unsummed, packets.IPv4.dst).build("1.2.3.4"), "ipv4", strict=True)
    assert again[packets.UDP].checksum == 0


def test_many_from_a_template(packets: ModuleType) -> None:
    packet = packets.IPv6(dst="::1") / packets.UDP() / b"payload"
    template = packets.Template(packet, packets.UDP.sport, packets.IPv6.dst)
    ports, addresses = range(50), [f"2001:db8::{number:x}" for number in range(50)]
    expected = b"".join(template.build(*row) for row in zip(ports, addresses, strict=True))
    assert template.build_many(ports, addresses) == expected
    assert template.build_many(array("Q", ports), iter(addresses)) == expected
    buffer = bytearray(len(expected) + 3)
    assert template.build_into(buffer, ports, addresses) == 50
    assert buffer == expected + bytes(3)
    assert template.build_many([], []) == b""


BAD_TEMPLATES: list[Callable[[ModuleType, Any], Any]] = [
    lambda p, packet: p.Template(packet),
    lambda p, packet: p.Template(packet, "ttl"),
    lambda p, packet: p.Template(packet, p.IPv4.checksum),
    lambda p, packet: p.Template(packet, p.IPv4.ihl),
    lambda p, packet: p.Template(packet, p.IPv4.options),
    lambda p, packet: p.Template(packet, p.TCP.sport),
    lambda p, packet: p.Template(packet, p.IPv4.ttl, p.IPv4.ttl),
    lambda p, packet: p.Template(packet, *[p.IPv4.ttl] * 9),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build(),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build(256),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build(-1),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build("1"),
    lambda p, packet: p.Template(packet, p.IPv4.dst).build("::1"),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build_many([1], [2]),
    lambda p, packet: p.Template(packet, p.IPv4.ttl, p.IPv4.dst).build_many([1], [2, 3]),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build_many(array("Q", [1, 256])),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build_into(bytearray(10), [1]),
    lambda p, packet: p.Template(packet, p.IPv4.ttl).build_into(bytes(100), [1]),
]


@pytest.mark.parametrize("mistake", BAD_TEMPLATES)
def test_templates_are_refused_alike(both: Both, mistake: Callable[..., Any]) -> None:
    outcomes = [recipes.outcome(lambda p=p: mistake(p, p.IPv4() / p.UDP() / b"x")) for p in both]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] in (PacketError, InvalidArgument, BufferError)
