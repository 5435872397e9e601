"""What checksums cover, over both implementations: pseudo-headers, and what lies beyond a length."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from fastnet.errors import BadChecksum, PacketError

TOPIC = "packet"
FIRST, LAST = ["2001:db8:a::1", "2001:db8:a::2"], ["2001:db8:b::1", "2001:db8:b::2"]


@pytest.mark.parametrize(
    ("routes", "final"),
    [
        ([(0, 1, FIRST), (0, 1, LAST)], LAST[1]),
        ([(0, 1, FIRST), (0, 0, LAST)], FIRST[1]),
        ([(0, 0, FIRST), (0, 1, LAST)], LAST[1]),
        ([(0, 0, FIRST), (0, 0, LAST)], "2001:db8::1"),
        ([(0, 2, FIRST), (4, 1, LAST)], LAST[0]),
        ([(4, 1, FIRST), (0, 1, LAST)], LAST[1]),
        ([(4, 1, FIRST), (4, 0, LAST)], FIRST[0]),
        ([(2, 1, FIRST[:1]), (4, 0, LAST), (99, 1, LAST)], FIRST[0]),
        ([(0, 1, FIRST), (2, 1, LAST[:1])], LAST[0]),
        ([(0, 1, []), (0, 1, [])], "2001:db8::1"),
    ],
)
def test_behind_several_routing_headers_the_innermost_one_that_is_followed_counts(
    packets: ModuleType, routes: list[tuple[int, int, list[str]]], final: str
) -> None:
    """RFC 8200, 8.1: the final destination's address; the outer headers are followed first (4.4)."""
    headers = [
        layer
        for kind, left, addresses in routes
        for layer in (
            packets.DestinationOptions(),
            packets.Routing(type=kind, segments_left=left, addresses=addresses),
        )
    ]
    udp = packets.UDP(sport=1, dport=2) / b"x"
    routed = packets.Packet(packets.IPv6(src="::1", dst="2001:db8::1"), *headers, udp)
    direct = packets.IPv6(src="::1", dst=final) / udp
    assert routed[packets.UDP].checksum == direct[packets.UDP].checksum
    assert packets.parse(bytes(routed), "ipv6", strict=True) == routed
    moved = packets.Template(routed, packets.IPv6.dst).build("2001:db8::2")
    assert moved == bytes(routed.replace(packets.IPv6, dst="2001:db8::2"))


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


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("payload", [b"", b"x", b"data"])
def test_what_lies_between_the_ends_of_udp_and_ip_is_surplus(
    packets: ModuleType, size: int, payload: bytes
) -> None:
    """RFC 9868: no padding, as IP's length counts it; no payload, as UDP's length and checksum do not."""
    surplus = packets.Surplus(bytes(range(1, size + 1)))
    for head in (packets.IPv4(src="10.0.0.1"), packets.IPv6(src="::1"), packets.IPv6() / packets.HopByHop()):
        plain = packets.Ethernet() / head / packets.UDP(sport=1, dport=2) / payload
        packet = plain / surplus / packets.Padding(b"pad")
        assert packet[packets.UDP] == plain[packets.UDP]
        again = packets.parse(bytes(packet), strict=True)
        assert again == packet
        assert (again.payload, again[packets.Surplus], again[-1]) == (
            payload,
            surplus,
            packets.Padding(b"pad"),
        )
        assert len(bytes(packet)) == len(bytes(plain)) + size + 3
        changed = again.replace(packets.UDP, dport=3)
        assert packets.parse(bytes(changed), strict=True)[packets.UDP].dport == 3
        for each in (packet, again):
            template = packets.Template(each, packets.UDP.dport)
            assert template.build(3) == bytes(changed)
        assert eval(repr(again), dict(vars(packets))) == packet


def test_surplus_within_a_tunnel_is_covered_by_what_is_around_it(packets: ModuleType) -> None:
    inner = packets.IPv4() / packets.UDP() / b"x" / packets.Surplus(b"options")
    quoted = packets.IPv4() / packets.ICMPUnreachable() / inner
    assert packets.parse(bytes(quoted), "ip", strict=True) == quoted
    assert packets.parse(bytes(packets.IPv6() / inner), "ip", strict=True) == packets.IPv6() / inner
    assert bytes(packets.TCP() / packets.Surplus(b"odd")) == bytes(packets.TCP()) + b"odd"
    deep = bytes(packets.Packet(*[packets.IPv4()] * 16, packets.UDP(length=9), b"payload"))
    assert packets.parse(deep, "ip")[-1] == packets.Padding(b"ayload")
    assert packets.Surplus() / b"" == packets.Packet()
    for behind in (packets.Surplus(b"odd") / packets.Surplus(b"two"), packets.Surplus(b"odd") / b"two"):
        split = packets.IPv4() / packets.UDP() / b"x" / behind / packets.Padding(b"pad")
        joined = packets.IPv4() / packets.UDP() / b"x" / packets.Surplus(b"oddtwo") / packets.Padding(b"pad")
        assert bytes(split) == bytes(joined)


MALFORMED = [
    ("IPv4(options=[MalformedIPv4Options(data=bytes([7, 1, 0, 0]))])", "IPv4 at byte 0", 20),
    ("IPv4(options=[IPv4Nop(), MalformedIPv4Options(data=bytes([7, 9, 0]))])", "IPv4 at byte 0", 21),
    ("IPv4() / TCP(options=[MalformedTCPOptions(data=bytes([2, 0, 0, 0]))])", "TCP at byte 20", 40),
    ("IPv4() / TCP(options=[TCPNop(), TCPNop(), TCPNop(), MalformedTCPOptions(data=bytes([8]))])",
     "TCP at byte 20", 43),
    ("IPv6() / HopByHop(options=[Pad1(), MalformedIPv6Options(data=bytes([5, 9, 0, 0, 1]))])",
     "hop-by-hop at byte 40", 43),
    ("IPv6() / DestinationOptions(options=[PadN(data=bytes(3)), MalformedIPv6Options(data=bytes([7]))])",
     "destination at byte 40", 47),
    ("IPv6(hop_limit=255) / RouterSolicitation(options=[MalformedNDPOptions(data=bytes(8))])",
     "ICMPv6 at byte 40", 48),
    ("IPv6() / NeighborSolicitation(options=[MTU(mtu=9), MalformedNDPOptions(data=bytes([1]))])",
     "ICMPv6 at byte 40", 72),
    ("IPv6() / ICMPv6Redirect(options=[MalformedNDPOptions(data=bytes([1, 2, 0, 0, 0, 0, 0, 0]))])",
     "ICMPv6 at byte 40", 80),
]  # fmt: skip


@pytest.mark.parametrize(("code", "layer", "place"), MALFORMED)
def test_strict_refuses_malformed_options(packets: ModuleType, code: str, layer: str, place: int) -> None:
    packet = eval(code, dict(vars(packets)))
    assert packets.parse(bytes(packet), "ip").error is None
    with pytest.raises(PacketError) as raised:
        packets.parse(bytes(packet), "ip", strict=True)
    assert type(raised.value) is PacketError
    assert str(raised.value) == f"{layer} has malformed options at byte {place}"
    quote = packets.ICMPUnreachable() if layer.startswith(("IPv4", "TCP")) else packets.ICMPv6Unreachable()
    outer = packets.IPv4() if layer.startswith(("IPv4", "TCP")) else packets.IPv6()
    assert packets.parse(bytes(outer / quote / packet), "ip", strict=True).error is None


def test_strict_takes_unknown_options(packets: ModuleType) -> None:
    for packet in (
        packets.IPv4() / packets.TCP(options=[packets.UnknownTCPOption(kind=30, data=b"x")]),
        packets.IPv4() / packets.TCP(options=[packets.TCPEnd(ignored=bytes([2, 0, 0]))]),
        packets.IPv4(options=[packets.UnknownIPv4Option(type=99, data=b"ab")]) / b"x",
        packets.IPv6() / packets.HopByHop(options=[packets.UnknownIPv6Option(type=99)]),
        packets.IPv6() / packets.RouterSolicitation(options=[packets.UnknownNDPOption(type=99)]),
    ):
        assert packets.parse(bytes(packet), "ip", strict=True) == packet


# Of each option: the bytes that it may have, up to 40, and how an error names them.
FORMS = {
    "TCP": {
        2: ("MSS", {4}, "4"), 3: ("WindowScale", {3}, "3"), 4: ("SACKPermitted", {2}, "2"),
        5: ("SACK", {10, 18, 26, 34}, "10, 18, ..."), 8: ("Timestamps", {10}, "10"),
        19: ("MD5Signature", {18}, "18"), 28: ("UserTimeout", {4}, "4"),
        29: ("AuthenticationOption", set(range(4, 41)), "4 or more"),
        34: ("FastOpen", {2, 6, 8, 10, 12, 14, 16, 18}, "6, 8, ... 18"),
    },
    "IPv4": {
        7: ("RecordRoute", set(range(3, 41, 4)), "3, 7, ..."),
        68: ("IPv4Timestamp", set(range(4, 41, 4)), "4, 8, ..."),
        131: ("LooseSourceRoute", set(range(3, 41, 4)), "3, 7, ..."),
        137: ("StrictSourceRoute", set(range(3, 41, 4)), "3, 7, ..."), 148: ("RouterAlert", {4}, "4"),
    },
    "IPv6": {
        5: ("IPv6RouterAlert", {4}, "4"), 0xC2: ("JumboPayload", {6}, "6"), 0xC9: ("HomeAddress", {18}, "18"),
    },
    "NDP": {
        3: ("PrefixInformation", {32}, "32"), 5: ("MTU", {8}, "8"),
        25: ("RecursiveDNSServers", {24, 40}, "24, 40, ..."),
    },
}  # fmt: skip
FREE = {"TCP": {0, 1, 0x1F989}, "IPv4": {0, 1}, "IPv6": {0, 1}, "NDP": {1, 2, 4}}


def with_option(packets: ModuleType, family: str, number: int, data: bytes) -> list[tuple[Any, str, int]]:
    """Packets with this option, and of each the layer that has it and the option's place."""
    name = "kind" if family == "TCP" else "type"
    option = getattr(packets, f"Unknown{family}Option")(**{name: number, "data": data})
    if family == "TCP":
        return [(packets.IPv4() / packets.TCP(options=[packets.TCPNop(), option]), "TCP at byte 20", 41)]
    if family == "IPv4":
        return [(packets.IPv4(protocol=253, options=[option]) / b"x", "IPv4 at byte 0", 20)]
    if family == "NDP":
        return [(packets.IPv6() / packets.RouterAdvertisement(options=[option]), "ICMPv6 at byte 40", 56)]
    hops, destination = packets.HopByHop(options=[option]), packets.DestinationOptions(options=[option])
    return [
        (packets.IPv6() / hops / b"x", "hop-by-hop at byte 40", 42),
        (packets.IPv6() / destination / b"x", "destination at byte 40", 42),
    ]


def sizes_of(family: str) -> range:
    """The sizes that an option of this family may have in a header with a little room for others."""
    return range(8, 49, 8) if family == "NDP" else range(2, 40)


@pytest.mark.parametrize("family", FORMS)
def test_strict_refuses_known_options_without_their_form(packets: ModuleType, family: str) -> None:
    """Every size of every option that has a form."""
    assert set(FORMS[family]) == set(getattr(packets, f"{family}Option")._members) - FREE[family]
    for number, (name, sizes, expected) in FORMS[family].items():
        for size in sizes_of(family):
            for packet, layer, place in with_option(packets, family, number, bytes(size - 2)):
                data = bytes(packet)
                assert packets.parse(data, "ip") == packet
                if size in sizes:
                    assert packets.parse(data, "ip", strict=True) == packet
                    continue
                with pytest.raises(PacketError) as raised:
                    packets.parse(data, "ip", strict=True)
                assert type(raised.value) is PacketError
                wrong = f"{name} of {size} bytes, expected {expected}"
                assert str(raised.value) == f"{layer} has malformed options at byte {place}: {wrong}"


@pytest.mark.parametrize("family", FORMS)
def test_strict_takes_any_size_of_what_has_no_form(packets: ModuleType, family: str) -> None:
    """MPTCP's options and others of unknown kinds, and link-layer addresses of other links than Ethernet."""
    for number in ({30, 99} | FREE[family]) - {0, 1, 0x1F989} | ({1} if family == "NDP" else set()):
        for size in sizes_of(family):
            for packet, _, _ in with_option(packets, family, number, bytes(size - 2)):
                assert packets.parse(bytes(packet), "ip", strict=True) == packet


@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_a_pseudo_header_whose_sum_carries_twice(packets: ModuleType, version: str) -> None:
    """The sum of its words is 0x1ffff for one of these sources: folding that gives 0x10000, and then 1."""
    for last in range(0xFFC0, 0x10000):
        src = bytes(2) + b"\xff\xff" + last.to_bytes(2, "big")
        network = packets.IPv4(src=src[2:]) if version == "IPv4" else packets.IPv6(src=bytes(10) + src)
        packet = packets.parse(bytes(network / packets.TCP()), "ip", strict=True)
        wrong = packet.replace(packets.TCP, checksum=packet[packets.TCP].checksum ^ 1)
        with pytest.raises(BadChecksum):
            packets.parse(bytes(wrong), "ip", strict=True)
