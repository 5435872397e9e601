"""Packets, over both implementations: fields, building, parsing, templates, and that the twins agree."""

from __future__ import annotations

import ipaddress
from array import array
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import packet_recipes as recipes
import pytest

from fastnet.errors import BadChecksum, InvalidArgument, PacketError, TruncatedPacket

TOPIC = "packet"
Both = tuple[ModuleType, ModuleType]
LINKS = ("ethernet", "ip", "ipv4", "ipv6")


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
    with pytest.raises(TypeError, match="key"):
        packet["TCP"]
    with pytest.raises(InvalidArgument, match="layer_type"):
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
        (lambda p: p.IPv4(protocol=200) / bytes(20), ("0.0.0.0", "0.0.0.0", 200, None, None)),
        (lambda p: p.IPv4() / p.SCTP(sport=5, dport=6), ("0.0.0.0", "0.0.0.0", 132, 5, 6)),
        (lambda p: p.IPv6() / p.DCCP(sport=5, dport=6), ("::", "::", 33, 5, 6)),
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
    assert layers(packet) == ["IPv4", "ICMPTimeExceeded", "IPv4", "TCP"]


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
        (b"\x44" + bytes(30), "ipv4", "IPv4 at byte 0 has a length shorter than its own header"),
        (b"\x45\0\0\x13" + bytes(30), "ipv4", "IPv4 at byte 0 has a length shorter than its own header"),
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
        with pytest.raises(InvalidArgument, match="data must be bytes"):
            packets.parse(wrong)
    with pytest.raises(ValueError, match="link 'token': expected one of ethernet, ipv4, ipv6, ip"):
        packets.parse(data, "token")


@pytest.mark.parametrize("fill", [bytes(18), b"\xff" * 4])
def test_what_fills_a_frame_behind_arp_is_padding(packets: ModuleType, fill: bytes) -> None:
    for head in (packets.Ethernet(), packets.Ethernet() / packets.Dot1Q(vlan=5)):
        packet = packets.parse(bytes(head / packets.ARP()) + fill, strict=True)
        assert (layers(packet)[-2:], packet.payload) == (["ARP", "Padding"], b"")


def test_arp_for_other_protocols_has_no_ipv4_addresses(packets: ModuleType) -> None:
    frame = bytearray(bytes(packets.Ethernet() / packets.ARP()))
    frame[16:18] = b"\x80\x9b"
    assert layers(packets.parse(bytes(frame))) == ["Ethernet", "Payload"]


@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8, 0x9100, 0x9200, 0x9300])
def test_vlan_tags_of_all_types(packets: ModuleType, ethertype: int) -> None:
    inner = bytes(packets.Dot1Q(vlan=7) / packets.IPv4() / packets.ICMPEcho())
    frame = bytes(12) + ethertype.to_bytes(2, "big") + b"\0\x76\x81\0" + inner
    packet = packets.parse(frame, strict=True)
    outer = "Dot1AD" if ethertype == 0x88A8 else "Dot1Q"
    assert layers(packet) == ["Ethernet", outer, "Dot1Q", "IPv4", "ICMPEcho"]
    assert (packet[0].type, packet[packets.Dot1Q, 1 if outer == "Dot1AD" else 2].vlan) == (ethertype, 7)
    assert bytes(packet.replace(packets.IPv4, ttl=3))[:18] == frame[:18]


def test_the_second_layer_of_a_class(packets: ModuleType) -> None:
    packet = packets.IPv4(ttl=1) / packets.IPv4(ttl=2) / packets.UDP()
    for each in (packet, packets.parse(bytes(packet), "ip")):
        assert [each[packets.IPv4, number].ttl for number in (1, 2)] == [1, 2]
        assert each.get(packets.IPv4, 2) == each[1]
        assert each.get(packets.IPv4, 3) is None
        assert [each.place(key) for key in (0, -1, packets.UDP, (packets.IPv4, 2))] == [0, 2, 2, 1]
        for key in (1, (packets.IPv4, 2), -2):
            changed = each.replace(key, ttl=9)
            assert [changed[packets.IPv4, number].ttl for number in (1, 2)] == [1, 9]
            assert packets.parse(bytes(changed), "ip", strict=True) == changed
        with pytest.raises(KeyError, match="no IPv4 layer 3 in this packet"):
            each[packets.IPv4, 3]
        with pytest.raises(KeyError, match="counted from 1"):
            each[packets.IPv4, 0]
        for wrong in ("IPv4", (packets.IPv4,), (packets.IPv4, "2"), None, 1.0, slice(1, None)):
            for refused, way in ((TypeError, each.__getitem__), (InvalidArgument, each.place)):
                with pytest.raises(refused, match=r"key .*: expected a place, a class of layers or"):
                    way(wrong)
        with pytest.raises(IndexError, match="no layer 3: this packet has 3"):
            each.replace(3, ttl=1)


def test_a_payload_without_a_byte_is_no_layer(packets: ModuleType) -> None:
    bare = packets.IPv4() / packets.UDP()
    for empty in (b"", bytearray(), packets.Payload(), packets.Padding(b"")):
        packet = bare / empty
        assert packet == bare == packets.parse(bytes(packet), "ip")
        assert len(packet) == 2
    assert layers(packets.IPv4() / b"" / packets.UDP() / b"x") == ["IPv4", "UDP", "Payload"]


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
    for link in (None, 5, "IP", [1], 1.5):
        with pytest.raises(
            InvalidArgument, match=r"expected one of ethernet, ipv4, ipv6, ip, raw, null, loop, s"
        ):
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
    with pytest.raises(ValueError, match=r"^kind 99: expected 0 to 33$"):
        define(99, {})
    assert packets.UDP in packets.parse(bytes(packets.IPv4() / packets.UDP()), "ip")


def test_a_layer_can_not_be_made_twice(packets: ModuleType) -> None:
    packet = packets.IPv4(src="10.0.0.1") / packets.UDP()
    built, layer = bytes(packet), packet[packets.IPv4]
    for each in (layer, packets.IPv4(), packets.MSS(size=1460)):
        before = hash(each)
        with pytest.raises(TypeError, match=f"^{type(each).__name__} can't be made twice: it is immutable$"):
            each.__init__()
        assert hash(each) == before
    assert bytes(packet) == built


def test_numbers_are_ints(packets: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match=r"^entries takes ints, not float$"):
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
    outcomes = [recipes.outcome(lambda packets=packets: getattr(packets, name)(**fields)) for packets in both]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] in (PacketError, InvalidArgument, TypeError)


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


@pytest.mark.parametrize("name", ["Field", "UInt", "Auto", "IPv4Field", "IPv6Field", "MACField", "Tail"])
def test_a_field_begins_within_its_header(core: ModuleType, name: str) -> None:
    words = (-8, 8) if name in ("Field", "UInt", "Auto") else (-8,)
    with pytest.raises(ValueError, match="at bit -8: expected 0 or more"):
        getattr(core, name)(*words, default=0)


def test_a_short_header_is_refused(packets: ModuleType) -> None:
    with pytest.raises(TruncatedPacket, match="TCP needs 20 bytes: got 19"):
        packets.TCP.from_header(bytes(19))
    with pytest.raises(TruncatedPacket, match="ends before its field ttl"):
        packets.IPv4.__new__(packets.IPv4).ttl  # noqa: B018
