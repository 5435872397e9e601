"""Packets, over both implementations: fields, building, parsing, templates, and that the twins agree."""

from __future__ import annotations

import ipaddress
import os
import pickle
import sys
from array import array
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fastnet.errors import BadChecksum, PacketError, TruncatedPacket

sys.path.append(os.path.dirname(__file__))
recipes = import_module("packet_recipes")

TOPIC = "packet"
Both = tuple[ModuleType, ModuleType]
LINKS = ("ethernet", "ip", "ipv4", "ipv6")


@pytest.fixture
def packets(core: ModuleType) -> ModuleType:
    """``fastnet.packet`` over the implementation at hand."""
    return recipes.library(core.__name__.split(".")[1].removeprefix("_"))


@pytest.fixture(scope="module")
def both() -> Both:
    if not find_spec("fastnet._native.packet"):
        pytest.skip("the native implementation is not installed: there is nothing to compare")
    return recipes.library("native"), recipes.library("pure")


def layers(packet: Any) -> list[str]:
    return [type(layer).__name__ for layer in packet]


# Building


def test_the_issue_s_example(packets: ModuleType) -> None:
    packet = packets.IPv4(dst="10.0.0.1") / packets.ICMPEcho(ident=7, seq=1) / b"hello"
    data = bytes(packet)
    assert data.hex() == "4500002100000000400170dc000000000a0000010800b4250007000168656c6c6f"
    assert packets.parse(data, link="ipv4", strict=True) == packet
    assert repr(packet) == "IPv4(dst='10.0.0.1') / ICMPEcho(ident=7, seq=1) / b'hello'"


def test_a_layer_out_of_a_packet_shows_what_was_computed(packets: ModuleType) -> None:
    packet = packets.IPv6(src="::1", dst="::2") / packets.UDP(sport=5, dport=6) / b"abc"
    assert packets.UDP().length == 0
    assert packet[packets.UDP].length == 11
    assert packet[packets.IPv6].next_header == 17
    assert packet[packets.IPv6].payload_length == 11
    assert packet[packets.UDP].checksum != 0
    # and computes it anew where it goes
    longer = packet[packets.UDP] / b"abcdef"
    assert longer[packets.UDP].length == 14


def test_given_values_are_kept(packets: ModuleType) -> None:
    header = packets.IPv4(total_length=99, protocol=200, checksum=0xBEEF, ihl=7, version=9)
    built = packets.IPv4.from_header(bytes(header / b"x")[:20])
    assert (built.total_length, built.protocol, built.checksum, built.ihl, built.version) == (
        99,
        200,
        0xBEEF,
        7,
        9,
    )
    assert header.replace(checksum=None).automatic != header.automatic


def test_udp_never_sends_a_zero_checksum_by_accident(packets: ModuleType) -> None:
    for word in range(0x10000):
        packet = packets.IPv4() / packets.UDP() / word.to_bytes(2, "big")
        if packet[packets.UDP].checksum == 0xFFFF:
            assert packets.parse(bytes(packet), "ipv4", True) == packet
            break
    else:
        pytest.fail("no payload brought the sum to 0")
    assert packets.parse(bytes(packets.IPv4() / packets.UDP(checksum=0) / b"x"), "ipv4", True).error is None
    with pytest.raises(BadChecksum, match="UDP at byte 40"):
        packets.parse(bytes(packets.IPv6() / packets.UDP(checksum=0) / b"x"), "ipv6", True)


def test_padding_counts_nowhere(packets: ModuleType) -> None:
    packet = packets.Ethernet() / packets.IPv4() / packets.UDP() / b"x" / packets.Padding(bytes(17))
    assert packet[packets.IPv4].total_length == 29
    again = packets.parse(bytes(packet), strict=True)
    assert again == packet
    assert layers(again) == ["Ethernet", "IPv4", "UDP", "Payload", "Padding"]
    with pytest.raises(PacketError, match="last"):
        packets.Padding(b"x") / packets.UDP()


def test_the_checksum_is_the_last_destination_s(packets: ModuleType) -> None:
    final = "2001:db8::9"
    plain = packets.IPv6(src="::1", dst=final) / packets.UDP(sport=1, dport=2) / b"x"
    routed = (
        packets.IPv6(src="::1", dst="2001:db8::1")
        / packets.Routing(segments_left=1, addresses=[final])
        / packets.UDP(sport=1, dport=2)
        / b"x"
    )
    assert routed[packets.UDP].checksum == plain[packets.UDP].checksum
    source_routed = (
        packets.IPv4(dst="10.0.0.1", options=[packets.LooseSourceRoute(addresses=["10.0.0.2", "10.0.0.9"])])
        / packets.UDP()
        / b"x"
    )
    direct = packets.IPv4(dst="10.0.0.9") / packets.UDP() / b"x"
    assert source_routed[packets.UDP].checksum == direct[packets.UDP].checksum
    for packet, link in ((routed, "ipv6"), (source_routed, "ipv4")):
        assert packets.parse(bytes(packet), link, strict=True) == packet


def test_a_mobile_node_s_checksum_is_that_of_its_home(packets: ModuleType) -> None:
    home, dst = "2001:db8:9::9", "2001:db8::2"
    mobile = (
        packets.IPv6(src="2001:db8:1::1", dst=dst)
        / packets.DestinationOptions(options=[packets.PadN(), packets.HomeAddress(address=home)])
        / packets.UDP(sport=1, dport=2)
        / b"x"
    )
    at_home = packets.IPv6(src=home, dst=dst) / packets.UDP(sport=1, dport=2) / b"x"
    assert mobile[packets.UDP].checksum == at_home[packets.UDP].checksum
    assert packets.parse(bytes(mobile), "ipv6", strict=True) == mobile
    elsewhere = mobile.replace(packets.IPv6, src="2001:db8:1::2")
    assert elsewhere[packets.UDP].checksum == mobile[packets.UDP].checksum
    template = packets.Template(mobile, packets.IPv6.src)
    assert template.build("2001:db8:1::2") == bytes(elsewhere)


def test_jumbograms(packets: ModuleType) -> None:
    size = 70000
    jumbo = packets.HopByHop(options=[packets.JumboPayload(payload_length=8 + 8 + size)])
    packet = packets.IPv6(dst="::1") / jumbo / packets.UDP() / bytes(size)
    assert packet[packets.IPv6].payload_length == 0
    assert packet[packets.UDP].length == 0
    assert packets.parse(bytes(packet), "ipv6", strict=True) == packet
    cut = packets.parse(bytes(packet)[:-1], "ipv6")
    assert isinstance(cut.error, TruncatedPacket)
    padded = packets.parse(bytes(packet) + b"pad", "ipv6")
    assert layers(padded)[-1] == "Padding"


@pytest.mark.parametrize("size", [65536, 70000])
def test_too_much_for_a_length_field(packets: ModuleType, size: int) -> None:
    for packet in (packets.IPv4() / bytes(size), packets.IPv6() / bytes(size), packets.UDP() / bytes(size)):
        with pytest.raises(PacketError, match="at most 65535"):
            bytes(packet)
    with pytest.raises(PacketError, match="at most 1500"):
        bytes(packets.Dot3() / packets.LLC() / bytes(1500))
    with pytest.raises(PacketError, match="at most 1500"):
        bytes(packets.Ethernet() / packets.Dot1Q() / packets.LLC() / bytes(1500))
    tagged = packets.Ethernet() / packets.Dot1Q() / packets.LLC(dsap=0x42, ssap=0x42) / bytes(35)
    assert tagged[packets.Dot1Q].type == 38
    assert packets.parse(bytes(tagged)) == tagged


# Parsing


def test_lazy_access(packets: ModuleType) -> None:
    packet = packets.parse(
        bytes(
            packets.Ethernet()
            / packets.Dot1Q(vlan=7)
            / packets.IPv6(src="fe80::1", dst="ff02::1")
            / packets.TCP(sport=3, dport=4)
            / b"x"
        )
    )
    assert (packet.src, packet.dst, packet.protocol, packet.sport, packet.dport) == (
        "fe80::1",
        "ff02::1",
        6,
        3,
        4,
    )
    assert packet.payload == b"x"
    assert packet.parsed
    assert len(packet) == 5
    assert layers(packet) == ["Ethernet", "Dot1Q", "IPv6", "TCP", "Payload"]
    assert packet[1] == packet[packets.Dot1Q] == packet[-4]
    assert packets.TCP in packet
    assert packets.UDP not in packet
    assert packet.get(packets.UDP) is None
    assert packet.get(packets.TCP).dport == 4
    with pytest.raises(KeyError, match="no UDP layer"):
        packet[packets.UDP]
    with pytest.raises(IndexError, match="this packet has 5"):
        packet[5]
    with pytest.raises(TypeError):
        packet["TCP"]
    with pytest.raises(TypeError):
        "TCP" in packet  # noqa: B015


def test_a_family_of_messages_is_found_by_its_base(packets: ModuleType) -> None:
    packet = packets.parse(bytes(packets.IPv4() / packets.ICMPEcho(seq=9)), "ip")
    assert packets.ICMP in packet
    assert type(packet[packets.ICMP]) is packets.ICMPEcho


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda p: p.ARP(), (None, None, None, None, None)),
        (lambda p: p.IPv4(src="1.2.3.4") / p.ICMPEcho(), ("1.2.3.4", "0.0.0.0", 1, None, None)),
        (lambda p: p.IPv6() / p.HopByHop() / p.ESP() / b"x", ("::", "::", 50, None, None)),
        (lambda p: p.IPv6() / p.Fragment(fragment_offset=1, next_header=17) / bytes(8),
         ("::", "::", 17, None, None)),
        (lambda p: p.IPv4(protocol=132) / bytes(20), ("0.0.0.0", "0.0.0.0", 132, None, None)),
        (lambda p: p.IPv4() / p.IPv6(src="::1") / p.UDP(), ("0.0.0.0", "0.0.0.0", 41, None, None)),
    ],
)  # fmt: skip
def test_shortcuts(
    packets: ModuleType, build: Callable[[ModuleType], Any], expected: tuple[Any, ...]
) -> None:
    built = packets.Ethernet() / build(packets)
    for packet in (built, packets.parse(bytes(built))):
        assert (packet.src, packet.dst, packet.protocol, packet.sport, packet.dport) == expected


def test_total_length_0_reaches_to_the_end(packets: ModuleType) -> None:
    data = bytes(packets.IPv4(total_length=0) / packets.UDP(sport=1, dport=2) / b"segmented later")
    packet = packets.parse(data, "ipv4")
    assert packet.error is None
    assert packet.payload == b"segmented later"


def test_payload_length_0(packets: ModuleType) -> None:
    data = bytes(packets.IPv6(payload_length=0) / packets.TCP(dport=2) / b"segmented later")
    assert packets.parse(data, "ipv6").payload == b"segmented later"
    nothing = packets.parse(bytes(packets.IPv6()) + bytes(6), "ipv6")
    assert layers(nothing) == ["IPv6", "Padding"]
    assert nothing.error is None


def test_fragments(packets: ModuleType) -> None:
    first = packets.IPv4(flags="MF") / packets.UDP(sport=1, dport=2, length=4000) / bytes(100)
    packet = packets.parse(bytes(first), "ipv4", strict=True)
    assert packet.dport == 2
    later = packets.parse(
        bytes(packets.IPv4(fragment_offset=10, protocol=17) / bytes(100)), "ipv4", strict=True
    )
    assert layers(later) == ["IPv4", "Payload"]
    assert (later.protocol, later.sport) == (17, None)


def test_quoted_packets(packets: ModuleType) -> None:
    inner = packets.IPv4(src="10.0.0.1", dst="10.0.0.2") / packets.UDP(sport=7, dport=8) / bytes(100)
    data = bytes(
        packets.IPv4(src="10.0.0.9", dst="10.0.0.1") / packets.ICMPUnreachable(code=3) / bytes(inner)[:28]
    )
    packet = packets.parse(data, "ipv4", strict=True)
    assert packet.error is None
    assert layers(packet) == ["IPv4", "ICMPUnreachable", "IPv4", "UDP"]
    assert packet.src == "10.0.0.9"
    assert packet[2].dst == "10.0.0.2"
    assert packet[packets.UDP].dport == 8
    assert packet[packets.UDP].length == 108
    quoted_tcp = bytes(packets.IPv4(dst="10.0.0.2", protocol=6, total_length=60) / bytes(8))
    packet = packets.parse(
        bytes(packets.IPv4() / packets.ICMPTimeExceeded() / quoted_tcp), "ipv4", strict=True
    )
    assert layers(packet) == ["IPv4", "ICMPTimeExceeded", "IPv4", "Payload"]


def test_extensions_behind_a_quoted_packet(packets: ModuleType) -> None:
    """RFC 4884 puts objects behind the quoted packet: they are covered by the outer lengths and checksum."""
    inner = bytes(packets.IPv4() / packets.UDP() / bytes(100))
    outer = (
        packets.Ethernet()
        / packets.IPv4()
        / packets.ICMPTimeExceeded(length=32)
        / inner
        / b"objects"
        / packets.Padding(b"pad")
    )
    packet = packets.parse(bytes(outer), strict=True)
    assert layers(packet) == [
        "Ethernet",
        "IPv4",
        "ICMPTimeExceeded",
        "IPv4",
        "UDP",
        "Payload",
        "Payload",
        "Padding",
    ]
    assert bytes(packet) == bytes(outer)


def test_tunnels(packets: ModuleType) -> None:
    packet = (
        packets.IPv4(dst="1.1.1.1") / packets.IPv6(dst="::2") / packets.IPv4(dst="3.3.3.3") / packets.TCP()
    )
    again = packets.parse(bytes(packet), "ip", strict=True)
    assert again == packet
    assert again.dst == "1.1.1.1"


def test_too_many_layers(packets: ModuleType) -> None:
    data = b"".join(bytes(packets.IPv4(protocol=4, total_length=0)) for _ in range(30))
    packet = packets.parse(data, "ipv4")
    assert str(packet.error) == "more than 17 layers"
    assert bytes(packet) == data
    with pytest.raises(PacketError, match="at most 20"):
        packets.Packet(*(packets.IPv4() for _ in range(21)))


@pytest.mark.parametrize(
    ("data", "link", "message"),
    [
        (b"", "ethernet", "Ethernet at byte 0 is cut short: the data ends too early"),
        (b"", "ip", "IPv4 at byte 0 is cut short: the data ends too early"),
        (b"\x60" + bytes(10), "ip", "IPv6 at byte 0 is cut short: the data ends too early"),
        (b"\x50" + bytes(30), "ip", "no IPv4 header at byte 0: its version is 5"),
        (b"\x45" + bytes(60), "ipv6", "no IPv6 header at byte 0: its version is 4"),
        (b"\x44" + bytes(30), "ipv4", "IPv4 at byte 0 says that it is shorter than its own header"),
        (b"\x45\0\0\x13" + bytes(30), "ipv4", "IPv4 at byte 0 says that it is shorter than its own header"),
        (
            bytes(12) + b"\x00\x40" + bytes(20),
            "ethernet",
            "802.3 at byte 0 is cut short: the data ends too early",
        ),
    ],
)
def test_what_is_wrong_is_said(packets: ModuleType, data: bytes, link: str, message: str) -> None:
    packet = packets.parse(data, link)
    assert str(packet.error) == message
    assert bytes(packet) == data
    with pytest.raises(PacketError) as raised:
        packets.parse(data, link, strict=True)
    assert str(raised.value) == message


def test_bad_checksums(packets: ModuleType) -> None:
    stack = packets.IPv4(src="10.0.0.1", dst="10.0.0.2") / packets.TCP(sport=1, dport=2) / b"payload"
    for flipped in range(len(bytes(stack))):
        data = bytearray(bytes(stack))
        data[flipped] ^= 0x10
        with pytest.raises(PacketError):
            packets.parse(data, "ipv4", strict=True)
        assert bytes(packets.parse(data, "ipv4")) == data
    with pytest.raises(BadChecksum, match=r"TCP at byte 20 has checksum 0x1234: expected 0x[0-9a-f]{4}$"):
        packets.parse(bytes(packets.IPv4() / packets.TCP(checksum=0x1234)), "ipv4", strict=True)


def test_any_contiguous_buffer(packets: ModuleType) -> None:
    data = bytes(packets.IPv4() / b"x")
    for buffer in (bytearray(data), memoryview(data), array("B", data)):
        assert packets.parse(buffer, "ipv4") == packets.parse(data, "ipv4")
    buffer = bytearray(data)
    packet = packets.parse(buffer, "ipv4")
    buffer[0] = 0
    assert packet[packets.IPv4].version == 4
    for wrong in (1, "text", None):
        with pytest.raises(TypeError):
            packets.parse(wrong)
    with pytest.raises(ValueError, match="link 'token': expected one of ethernet, ipv4, ipv6, ip"):
        packets.parse(data, "token")


# Values


def test_the_caller_s_buffer_stays_the_caller_s(packets: ModuleType) -> None:
    data = bytearray(bytes(packets.IPv4() / packets.UDP(sport=5) / b"abc"))
    packet = packets.parse(data, "ipv4")
    data[20:] = b""  # a packet that kept the buffer would not let it change its size
    assert packet.sport == 5
    assert packets.parse(memoryview(bytes(packet))[::-1], "ip").error


def test_more_than_32_bits_of_length(packets: ModuleType) -> None:
    message = "^a packet has at most 4294967295 bytes$"
    half, whole = bytes(1 << 31), bytes(1 << 32)  # zero pages, never touched
    with pytest.raises(PacketError, match=message):
        packets.parse(whole)
    with pytest.raises(PacketError, match=message):
        packets.parse(memoryview(whole))
    with pytest.raises(PacketError, match=message):
        packets.Payload.from_header(whole)
    with pytest.raises(PacketError, match=message):
        bytes(packets.Payload.from_header(half) / packets.Payload.from_header(half))


class Text(str):
    __slots__ = ()


class Octets(bytes):
    pass


def test_kinds_of_str_and_bytes(packets: ModuleType) -> None:
    assert packets.IPv4(dst=Text("10.0.0.1")) == packets.IPv4(dst=Octets(b"\x0a\0\0\1"))
    assert packets.IPv6(dst=Text("::1")).dst == "::1"
    assert packets.Ethernet(dst=Text("02:00:00:00:00:01")).dst == "02:00:00:00:00:01"
    data = Octets(bytes(packets.IPv4() / b"x"))
    assert packets.parse(data, Text("ipv4")).payload == b"x"
    for link in (None, 5, "IP"):
        with pytest.raises(ValueError, match=r"expected one of ethernet, ipv4, ipv6, ip$"):
            packets.parse(data, link)


def test_a_class_whose_header_can_t_be_of_its_kind(packets: ModuleType, core: ModuleType) -> None:
    def define(kind: int | None, fields: dict[str, Any]) -> Any:
        return type(packets.Layer)("Mine", (packets.Layer,), {"__slots__": (), **fields}, kind=kind)

    length = core.Auto(0, 16, default=None, automatic=core.LENGTH)
    with pytest.raises(ValueError, match=r"^Mine computes a field that no payload header has$"):
        define(None, {"size": length})
    with pytest.raises(ValueError, match=r"^Mine has 2 bytes: UDP headers have at least 8$"):
        define(core.UDP, {"size": core.UInt(0, 16, default=0)})
    with pytest.raises(ValueError, match=r"^Mine has 19 bytes: IPv4 headers have at least 20$"):
        define(core.IPV4, {"last": core.UInt(144, 8, default=0)})
    with pytest.raises(ValueError, match=r"^kind 99: expected 0 to 21$"):
        define(99, {})
    assert packets.UDP in packets.parse(bytes(packets.IPv4() / packets.UDP()), "ip")


def test_making_a_layer_anew_sums_it_anew(packets: ModuleType) -> None:
    layer = packets.IPv4(src="10.0.0.1")
    bytes(layer)
    layer.__init__(src="10.0.0.2")
    assert bytes(layer) == bytes(packets.IPv4(src="10.0.0.2"))


def test_numbers_are_ints(packets: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"^entries takes ints, not float$"):
        packets.IPv4Timestamp(entries=[1.0])


def test_values_are_immutable(packets: ModuleType) -> None:
    layer = packets.IPv4()
    for name in ("ttl", "src", "options", "unheard_of"):
        with pytest.raises(AttributeError):
            setattr(layer, name, 1)
    for name in ("ttl", "src", "options"):
        with pytest.raises(AttributeError, match=rf"^IPv4\.{name} can't be deleted$"):
            delattr(layer, name)
    with pytest.raises(AttributeError):
        (layer / b"x").payload = b"y"


def test_replace(packets: ModuleType) -> None:
    packet = packets.parse(bytes(packets.IPv4(dst="10.0.0.1") / packets.UDP(dport=5) / b"x"), "ipv4")
    nearer = packet.replace(packets.IPv4, ttl=1)
    assert nearer[packets.IPv4].ttl == 1
    assert packets.parse(bytes(nearer), "ipv4", strict=True) == nearer
    with pytest.raises(KeyError, match="no TCP layer"):
        packet.replace(packets.TCP, sport=1)
    longer = packets.TCP().replace(options=[packets.MSS(size=1460)])
    assert longer.data_offset == 6
    assert longer.replace(options=()).data_offset == 5
    assert longer.replace(data_offset=9, options=()).data_offset == 9


@pytest.mark.parametrize(
    "address", ["10.0.0.1", b"\x0a\0\0\x01", 0x0A000001, ipaddress.ip_address("10.0.0.1")]
)
def test_addresses_in_many_forms(packets: ModuleType, address: Any) -> None:
    assert packets.IPv4(dst=address).dst == "10.0.0.1"


BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("IPv4", {"ttl": 256}),
    ("IPv4", {"ttl": -1}),
    ("IPv4", {"ttl": 1 << 70}),
    ("IPv4", {"ttl": None}),
    ("IPv4", {"ttl": "64"}),
    ("IPv4", {"ttl": 1.5}),
    ("IPv4", {"tll": 3}),
    ("IPv4", {"src": "10.0.0"}),
    ("IPv4", {"src": "010.0.0.1"}),
    ("IPv4", {"src": "10.0.0.1\0"}),
    ("IPv4", {"src": "\udc80"}),
    ("IPv4", {"src": "::1"}),
    ("IPv4", {"src": 1 << 32}),
    ("IPv4", {"src": -1}),
    ("IPv4", {"src": b"abc"}),
    ("IPv4", {"src": 1.5}),
    ("IPv4", {"src": ipaddress.ip_address("::1")}),
    ("IPv6", {"src": "fe80::1%eth0"}),
    ("IPv6", {"src": 1 << 128}),
    ("IPv6", {"flow_label": 1 << 20}),
    ("Ethernet", {"src": "00:11:22:33:44"}),
    ("Ethernet", {"src": "00:11:22:33:44:5g"}),
    ("Ethernet", {"src": "  :11:22:33:44:55"}),
    ("Ethernet", {"src": "0:1:2:3:4:5"}),
    ("Ethernet", {"type": 65536}),
    ("ICMPEcho", {"type": 0}),
    ("TCP", {"flags": "SX"}),
    ("TCP", {"flags": 256}),
    ("IPv4", {"flags": "DF,MF"}),
    ("TCP", {"options": [1]}),
    ("TCP", {"options": 5}),
    ("MSS", {}),
    ("MSS", {"size": 65536}),
    ("AH", {"icv": b"abc"}),
    ("AH", {"icv": "abcd"}),
    ("Routing", {"addresses": b"abc"}),
    ("Routing", {"addresses": ["::1", "x"]}),
    ("SACK", {"edges": [1 << 32]}),
]


@pytest.mark.parametrize(("name", "fields"), BAD_FIELDS)
def test_bad_values_are_refused_alike(both: Both, name: str, fields: dict[str, Any]) -> None:
    outcomes = [outcome(lambda packets=packets: getattr(packets, name)(**fields)) for packets in both]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] in (PacketError, TypeError)


def outcome(action: Callable[[], Any]) -> tuple[Any, ...]:
    """What an action gives, or what it raises and says."""
    try:
        return ("gives", action())
    except Exception as error:
        return (type(error), str(error))


def test_every_bit_of_every_layer_is_a_field(packets: ModuleType) -> None:
    fields = import_module("fastnet.packet.fields")
    for name in packets.__all__:
        record = getattr(packets, name)
        if not (isinstance(record, type) and hasattr(record, "from_header") and record.fields()):
            continue
        if record in (packets.ICMP, packets.ICMPv6, packets.Layer):
            continue
        end = 0
        for field in sorted(record.fields().values(), key=lambda field: field.offset):
            assert field.offset == end, f"{name}.{field.name} begins at bit {field.offset}, not {end}"
            end += field.width
        assert end % 8 == 0, name
    assert fields.UInt is not None


def test_an_integer_field_has_at_most_64_bits(core: ModuleType) -> None:
    for offset, width in ((0, 65), (0, 0), (4, 64)):
        with pytest.raises(ValueError, match="expected 1 to 64 bits"):
            core.UInt(offset, width)
    assert core.UInt(0, 64, default=1).width == 64


def test_a_short_header_is_refused(packets: ModuleType) -> None:
    with pytest.raises(TruncatedPacket, match="TCP needs 20 bytes: got 19"):
        packets.TCP.from_header(bytes(19))
    with pytest.raises(TruncatedPacket, match="ends before its field ttl"):
        packets.IPv4.__new__(packets.IPv4).ttl  # noqa: B018


# Random packets


@given(stack=recipes.frame())
def test_parse_gives_back_what_was_built(core: ModuleType, stack: list[Any]) -> None:
    packets = recipes.library(core.__name__.split(".")[1].removeprefix("_"))
    try:
        packet = recipes.make(packets, stack)
        data = bytes(packet)
    except PacketError:
        assume(False)
    again = packets.parse(data, strict=True)
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


def everything(packets: ModuleType, data: bytes, link: str) -> list[Any]:
    """All that can be told of these bytes, in values that both implementations share."""
    packet = packets.parse(data, link)
    error = packet.error
    told: list[Any] = [
        [(type(layer).__name__, layer.header) for layer in packet],
        (type(error), str(error)),
        (packet.src, packet.dst, packet.protocol, packet.sport, packet.dport, packet.payload),
        outcome(lambda: bytes(packets.parse(data, link, True))),
        repr(packet),
        packets.dump(packet),
        packets.as_dict(packet),
        bytes(packet),
    ]
    relaid = [type(layer).from_header(layer.header, 7) for layer in packet]
    told.append(outcome(lambda: bytes(packets.Packet(*relaid))))
    told.append([outcome(lambda layer=layer: bytes(layer)) for layer in relaid])
    return told


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        if changed:
            changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - cut]) if cut < len(changed) else bytes(changed)


@settings(max_examples=300)
@given(
    stack=recipes.frame(),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 30),
)
def test_twins_agree_on_mutated_packets(
    both: Both, stack: list[Any], changes: list[tuple[int, int]], cut: int
) -> None:
    built = [outcome(lambda packets=packets: bytes(recipes.make(packets, stack))) for packets in both]
    assert built[0] == built[1]
    if built[0][0] == "gives":
        data = mutated(built[0][1], changes, cut)
        assert everything(both[0], data, "ethernet") == everything(both[1], data, "ethernet")


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
    ]
    frames = [p.Ethernet() / stack for stack in stacks]
    frames += [p.Ethernet() / p.Dot1AD() / p.Dot1Q() / stacks[0], p.Ethernet() / p.ARP()]
    return [*frames, p.Dot3() / p.LLC() / p.SNAP() / stacks[1]]


def test_every_truncation_of_every_packet(packets: ModuleType) -> None:
    for whole in whole_packets(packets):
        data = bytes(whole)
        assert packets.parse(data, strict=True) == whole
        for size in range(len(data)):
            packet = packets.parse(data[:size])
            assert isinstance(packet.error, TruncatedPacket), (whole, size)
            assert bytes(packet) == data[:size]
            kept = [layer for layer in packet if not isinstance(layer, packets.Payload)]
            for layer, complete in zip(kept, whole, strict=False):
                assert type(layer) is type(complete)
                assert complete.header.startswith(layer.header)
            assert all(getattr(layer, name) is not None for layer in packet for name in layer.fields())
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
    template = packets.Template(packet, *(varying[key] for key in chosen))
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
    outcomes = [outcome(lambda p=p: mistake(p, p.IPv4() / p.UDP() / b"x")) for p in both]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] in (PacketError, TypeError, ValueError, BufferError)
