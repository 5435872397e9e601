"""Links, tunnels, SCTP, DCCP and extensions of ICMP and TCP, over both implementations."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from fastnet.errors import BadChecksum, InvalidArgument, PacketError, TruncatedPacket

TOPIC = "packet"


def layers(packet: Any) -> list[str]:
    return [type(layer).__name__ for layer in packet]


# Links


@pytest.mark.parametrize(
    ("links", "head"),
    [
        (("ethernet", 1), "02000000000b02000000000a0800"),
        (("ipv4", "ip", "raw", 228, 101, 12, 14), ""),
        (("null", 0), "02000000"),
        (("null", 0), "00000002"),
        (("loop", 108), "00000002"),
        (("sll", 113), "0004000100060200000000 0a00000800"),
        (("sll2", 276), "08000000 00000003 0001040602000000000a0000"),
    ],
)
def test_links_by_name_and_number(packets: ModuleType, links: tuple[Any, ...], head: str) -> None:
    whole = bytes.fromhex(head) + bytes(packets.IPv4(src="10.0.0.1", dst="10.0.0.2") / packets.UDP(dport=9))
    for link in links:
        packet = packets.parse(whole, link, strict=True)
        assert (packet.src, packet.dst, packet.dport) == ("10.0.0.1", "10.0.0.2", 9)
        assert eval(repr(packet), dict(vars(packets))) == packet
        assert bytes(packet.replace(packets.UDP, dport=7))[: len(head) // 2] == whole[: len(head) // 2]
        for size in range(1, len(bytes.fromhex(head))):
            cut = packets.parse(whole[:size], link)
            assert (len(cut), len(cut[0].header)) == (1, size)
            assert isinstance(cut.error, TruncatedPacket)


@pytest.mark.parametrize("family", [10, 23, 24, 28, 30])
def test_loopback_families_of_ipv6(packets: ModuleType, family: int) -> None:
    six = packets.IPv6(src="::1", dst="::2") / packets.UDP()
    for layer, link in ((packets.Null(family=family), "null"), (packets.Loop(family=family), "loop")):
        packet = packets.parse(bytes(layer / six), link, strict=True)
        assert packet == layer / six
        assert packet[0].family == family
    assert packets.Null(family=family).header[0] == family
    assert packets.parse(bytes(packets.Loop(family=family) / six), "null")[0].family == family
    assert layers(packets.parse(bytes(packets.Null(family=99) / six), "null")) == ["Null", "Payload"]


def test_what_cooked_captures_hold(packets: ModuleType) -> None:
    for link, head in (("sll", packets.SLL), ("sll2", packets.SLL2)):
        for behind in (
            packets.ARP(),
            packets.Dot1Q(vlan=5) / packets.IPv6() / packets.TCP(),
            packets.LLC(dsap=0x42, ssap=0x42) / b"spanning tree",
            packets.MPLS(label=16) / packets.IPv4() / packets.UDP(),
        ):
            packet = head(address="02:00:00:00:00:01", packet_type=4) / behind
            assert packets.parse(bytes(packet), link, strict=True) == packet
        netlink = bytes(head(hardware_type=824, type=0x0800) / packets.IPv4())
        assert layers(packets.parse(netlink, link)) == [head.__name__, "Payload"]


def test_an_unknown_link_is_refused_with_a_list_of_them(packets: ModuleType) -> None:
    for link in ("token", 147, -1, None, "1", b"ip"):
        with pytest.raises(InvalidArgument) as raised:
            packets.parse(b"", link)
        assert str(raised.value) == (
            f"link {link!r}: expected one of ethernet, ipv4, ipv6, ip, raw, null, loop, sll, sll2, or a DLT "
            "number of 0, 1, 12, 14, 101, 108, 113, 228, 229, 276"
        )


# Tunnels


def test_label_stacks(packets: ModuleType) -> None:
    for inner in (packets.IPv4(src="10.0.0.1") / packets.UDP(), packets.IPv6(src="::1") / packets.TCP()):
        packet = (
            packets.Ethernet() / packets.MPLS(label=16, tc=3) / packets.MPLS(label=0xFFFFF, ttl=1) / inner
        )
        assert [packet[packets.MPLS, number].bottom for number in (1, 2)] == [0, 1]
        again = packets.parse(bytes(packet), strict=True)
        assert again == packet
        assert (again.src, again[packets.MPLS, 2].label) == (inner.src, 0xFFFFF)
        assert bytes(packet)[12:14] == b"\x88\x47"
        assert packets.parse(bytes(packet)[:13] + b"\x48" + bytes(packet)[14:])[3] == again[3]
        for around in (packets.IPv4(), packets.IPv6(), packets.IPv4() / packets.GRE()):
            tunnel = around / packets.MPLS() / inner
            assert packets.parse(bytes(tunnel), "ip", strict=True) == tunnel
    assert layers(packets.parse(bytes(packets.Ethernet() / packets.MPLS() / b"\0control word"))) == [
        "Ethernet", "MPLS", "Payload",
    ]  # fmt: skip
    given = packets.MPLS(bottom=0) / packets.IPv4()
    assert given[packets.MPLS].bottom == 0


def test_pppoe_sessions(packets: ModuleType) -> None:
    for inner in (
        packets.IPv4(src="10.0.0.1") / packets.UDP(dport=5),
        packets.IPv6(src="::1") / packets.TCP(),
    ):
        packet = packets.Ethernet() / packets.PPPoE(session=7) / packets.PPP() / inner
        whole = packet / packets.Padding(bytes(9))
        assert packet[packets.PPPoE].length == 2 + len(bytes(inner))
        assert packets.parse(bytes(whole), strict=True) == whole
        assert packets.parse(bytes(whole)).src == inner.src
    for ending in (packets.PPP(protocol=0xC021) / b"LCP", packets.Payload(b"\x21compressed")):
        other = packets.Ethernet() / packets.PPPoE() / ending
        assert packets.parse(bytes(other), strict=True) == other
    cut = packets.parse(bytes(packet)[:-1])
    assert str(cut.error) == "PPPoE at byte 14 is cut short: the data ends too early"


def test_gre(packets: ModuleType) -> None:
    inner = packets.IPv6(src="::1") / packets.UDP(dport=5) / b"x"
    for gre, read in (
        (packets.GRE(), (None, None, None)),
        (packets.GRE(key_present=1, optional=b"\0\0\0\7"), (None, 7, None)),
        (packets.GRE(sequence_present=1, optional=b"\0\0\0\7"), (None, None, 7)),
        (packets.GRE(key_present=1, sequence_present=1, optional=b"\0\0\0\7\0\0\0\x08"), (None, 7, 8)),
    ):
        for tunneled in (inner, packets.Ethernet() / packets.Dot1Q() / inner):
            packet = packets.IPv4(src="10.0.0.1") / gre / tunneled
            again = packets.parse(bytes(packet), "ip", strict=True)
            assert again == packet
            assert (again.src, again.protocol, again[packets.UDP].dport) == ("10.0.0.1", 47, 5)
            found = again[packets.GRE]
            assert (found.checksum, found.key, found.sequence) == read
            moved = packets.Template(again, packets.UDP.dport).build(9)
            assert moved == bytes(packet.replace(packets.UDP, dport=9))
    routed = packets.GRE(routing_present=1, optional=bytes(4) + b"\x08\0\0\4abcd" + bytes(4)) / inner
    assert layers(packets.parse(bytes(packets.IPv4() / routed), "ip"))[:3] == ["IPv4", "GRE", "IPv6"]
    endless = packets.parse(
        bytes(packets.IPv4() / packets.GRE(routing_present=1, optional=b"12345678")), "ip"
    )
    assert (layers(endless), type(endless.error)) == (["IPv4", "GRE"], TruncatedPacket)
    pptp = packets.GRE(version=1, key_present=1, acknowledgment_present=1, protocol=0x880B, optional=bytes(8))
    packet = packets.IPv4() / pptp / b"\xff\3\0\x21"
    assert packets.parse(bytes(packet), "ip", strict=True) == packet


@pytest.mark.parametrize("key", [b"", b"\0\0\0\7"], ids=["checksum", "and key"])
def test_a_gre_checksum_is_computed_verified_and_updated(packets: ModuleType, key: bytes) -> None:
    inner = packets.IPv4(src="10.0.0.1") / packets.UDP(dport=5) / b"odd"
    gre = packets.GRE(checksum_present=1, key_present=len(key) // 4, optional=bytes(4) + key)
    packet = packets.IPv4() / gre / inner / packets.Padding(b"not covered")
    data = bytes(packet)
    covered = data[20 : -len("not covered")] + b"\0" * ((len(key) + 1) % 2)
    assert sum(int.from_bytes(covered[at : at + 2], "big") for at in range(0, len(covered), 2)) % 0xFFFF == 0
    parsed = packets.parse(data, "ip", strict=True)
    right = parsed[packets.GRE].checksum
    assert right
    assert (parsed, packet[packets.GRE].checksum) == (packet, right)
    for each in (packet, parsed):
        assert repr(each) == repr(packet)
        moved = packets.Template(each, packets.UDP.dport, packets.UDP.sport).build(65535, 1)
        assert packets.parse(moved, "ip", strict=True)[packets.UDP].dport == 65535
        assert moved == bytes(each.replace(packets.UDP, dport=65535, sport=1))
        with pytest.raises(PacketError, match="checksum_present can't vary: a checksum that can't be"):
            packets.Template(each, packets.GRE.checksum_present)
    for wrong in (right ^ 1, 0):
        false = packets.parse(data[:24] + wrong.to_bytes(2, "big") + data[26:], "ip")
        text = f"GRE at byte 20 has checksum {wrong:#06x}: expected {right:#06x}"
        for each in (false, eval(repr(false), vars(packets)), false.replace(packets.IPv4, ttl=1)):
            with pytest.raises(BadChecksum, match=text):
                packets.parse(bytes(each), "ip", strict=True)


def test_gre_without_a_checksum_computes_none(packets: ModuleType) -> None:
    """Where it would stand, the key stands."""
    for gre in (
        packets.GRE(key_present=1, optional=b"\0\0\0\7"),
        packets.GRE(checksum_present=1, optional=b"\0\0"),
        packets.GRE(checksum_present=1, optional=b"\0\1\0\0"),
        packets.GRE(checksum_present=1, optional=bytes(4)).replace(checksum_present=0),
    ):
        assert gre.automatic == packets.GRE.protocol.automatic
        built = (gre / b"payload")[packets.GRE]
        assert built.optional == gre.optional
        assert eval(repr(built), vars(packets)).optional == gre.optional
    again = packets.GRE(checksum_present=1, optional=b"\0\1\0\0").replace(optional=bytes(4))
    assert (again / b"payload")[packets.GRE].checksum


# Transport


def test_sctp_s_checksum(packets: ModuleType) -> None:
    packet = packets.IPv4() / packets.SCTP(sport=5, dport=6, tag=7) / b"chunk"
    again = packets.parse(bytes(packet) + bytes(4), "ip", strict=True)
    assert (again.sport, again.dport, again.protocol, again[packets.SCTP].tag) == (5, 6, 132, 7)
    assert again.payload == b"chunk"
    held = again[packets.SCTP].checksum
    wrong = packet.replace(packets.SCTP, checksum=held ^ 1)
    with pytest.raises(
        BadChecksum, match=f"SCTP at byte 20 has checksum {held ^ 1:#010x}: expected {held:#010x}"
    ):
        packets.parse(bytes(wrong), "ip", strict=True)
    fragment = bytes(packets.IPv4(flags="MF") / packets.SCTP(checksum=1) / bytes(12))
    assert packets.parse(fragment, "ip", strict=True).sport == 0
    for field in (packets.SCTP.sport, packets.SCTP.tag):
        for each in (packet, again):
            with pytest.raises(PacketError, match="can't vary: a checksum that can't be"):
                packets.Template(each, field)
    moved = packets.Template(again, packets.IPv4.dst).build("10.0.0.9")
    assert packets.parse(moved, "ip", strict=True).dst == "10.0.0.9"
    assert bytes(packet.replace(packets.SCTP, dport=9))[28:32] != bytes(packet)[28:32]
    udp = packets.UDP() / packets.SCTP() / b"x"  # RFC 6951: what is around it covers it
    assert packets.parse(bytes(packets.IPv4() / udp), "ip", strict=True).error is None


@pytest.mark.parametrize("coverage", range(16))
@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_dccp_s_checksum(packets: ModuleType, version: str, coverage: int) -> None:
    rest = b"\0\0\0\0\0\0\7"
    dccp = packets.DCCP(sport=5, dport=6, coverage=coverage, extended=1, type=0, rest=rest + b"serv")
    packet = getattr(packets, version)() / dccp / bytes(range(21))
    data = bytes(packet)
    again = packets.parse(data, "ip", strict=True)
    assert again == packet
    assert (again.sport, again.dport, again[packets.DCCP].sequence, again.protocol) == (5, 6, 7, 33)
    covered = len(data) if coverage == 0 else len(data) - 21 + (coverage - 1) * 4
    for at in range(len(data) - 21, len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if at < covered:
            with pytest.raises(BadChecksum, match="DCCP"):
                packets.parse(changed, "ip", strict=True)
        else:
            packets.parse(changed, "ip", strict=True)
    address = getattr(packets, version).src
    moved = packets.Template(again, address).build(address.__get__(packet[0], type(packet[0])))
    assert moved == data
    with pytest.raises(PacketError, match="coverage can't vary"):
        packets.Template(packet, packets.DCCP.coverage)


def test_short_dccp_headers(packets: ModuleType) -> None:
    short = packets.parse(bytes(packets.IPv4() / packets.DCCP(sport=5, data_offset=2) / b"x"), "ip")
    assert (short.sport, str(short.error)) == (
        5,
        "DCCP at byte 20 has a length shorter than its own header",
    )
    plain = packets.parse(bytes(packets.IPv4() / packets.DCCP(rest=b"\0\0\5")), "ip", strict=True)
    assert plain[packets.DCCP].sequence == 5
    cut = packets.parse(bytes(packets.IPv4() / packets.DCCP(sport=5, dport=6))[:24], "ip")
    assert (cut.sport, cut.dport) == (5, 6)


# ICMP extensions

LABELS = bytes.fromhex("2000 7856 0008 0101 659f 0101")


def quote(packets: ModuleType, size: int) -> bytes:
    whole = packets.IPv4(src="10.0.0.1", dst="10.0.0.9", ttl=1) / packets.UDP(dport=33434) / bytes(400)
    return bytes(whole)[:size]


@pytest.mark.parametrize("error", ["ICMPUnreachable", "ICMPTimeExceeded", "ICMPParameterProblem"])
@pytest.mark.parametrize("size", [128, 132, 256])
def test_extensions_stand_where_length_says(packets: ModuleType, error: str, size: int) -> None:
    message = getattr(packets, error)(length=size // 4)
    outer = (
        packets.IPv4() / message / packets.Payload(quote(packets, size) + LABELS) / packets.Padding(b"pad")
    )
    packet = packets.parse(bytes(outer), "ip", strict=True)
    assert layers(packet) == ["IPv4", error, "IPv4", "UDP", "Payload", "ICMPExtensions", "Padding"]
    extensions = packet[packets.ICMPExtensions]
    assert extensions.header == LABELS
    (labels,) = extensions.objects
    assert [(each.label, each.tc, each.bottom, each.ttl) for each in labels.labels] == [(0x659F0, 0, 1, 1)]
    assert packets.as_dict(packet)["layers"][5]["fields"]["objects"][0]["labels"][0]["label"] == 0x659F0
    built = packets.ICMPExtensions(objects=[packets.MPLSLabels(labels=[packets.MPLS(label=0x659F0, ttl=1)])])
    assert packets.Packet(built)[0].header == LABELS
    assert bytes(outer.replace(-1, data=b"")) == bytes(
        packets.IPv4() / message / packets.Payload(quote(packets, size)) / built
    )


def test_extensions_of_icmpv6(packets: ModuleType) -> None:
    whole = bytes(packets.IPv6() / packets.UDP() / bytes(400))
    for error in (packets.ICMPv6Unreachable, packets.ICMPv6TimeExceeded):
        for size, length in ((128, 16), (128, 0), (136, 17)):
            outer = packets.IPv6() / error(length=length) / packets.Payload(whole[:size] + LABELS)
            packet = packets.parse(bytes(outer), "ip", strict=True)
            assert layers(packet)[-3:] == ["UDP", "Payload", "ICMPExtensions"]
    too_big = packets.IPv6() / packets.ICMPv6PacketTooBig() / packets.Payload(whole[:128] + LABELS)
    assert packets.ICMPExtensions not in packets.parse(bytes(too_big), "ip")


def test_extensions_behind_128_bytes_that_nothing_announces(packets: ModuleType) -> None:
    """RFC 4884, 5.5: some routers set no length; then the checksum decides."""
    for labels, found in ((LABELS, True), (LABELS[:-1] + b"\2", False), (b"\x20\0\0\0" + LABELS[4:], False)):
        outer = packets.IPv4() / packets.ICMPTimeExceeded() / packets.Payload(quote(packets, 128) + labels)
        packet = packets.parse(bytes(outer), "ip", strict=True)
        assert (packets.ICMPExtensions in packet) is found
    for error in (packets.ICMPSourceQuench(), packets.ICMPRedirect()):
        outer = packets.IPv4() / error / packets.Payload(quote(packets, 128) + LABELS)
        assert packets.ICMPExtensions not in packets.parse(bytes(outer), "ip", strict=True)


def test_a_short_packet_is_quoted_with_what_fills_it(packets: ModuleType) -> None:
    inner = packets.IPv4() / packets.UDP() / b"data"
    filled = bytes(inner) + bytes(128 - len(bytes(inner)))
    outer = packets.IPv4() / packets.ICMPTimeExceeded(length=32) / packets.Payload(filled + LABELS)
    packet = packets.parse(bytes(outer), "ip", strict=True)
    assert layers(packet)[2:] == ["IPv4", "UDP", "Payload", "Payload", "ICMPExtensions"]
    assert packet[-3] == packets.Payload(b"data")


def test_wrong_and_malformed_extensions(packets: ModuleType) -> None:
    def parsed(extensions: bytes, strict: bool = True) -> Any:
        payload = packets.Payload(quote(packets, 128) + extensions)
        outer = packets.IPv4() / packets.ICMPTimeExceeded(length=32) / payload
        return packets.parse(bytes(outer), "ip", strict=strict)

    with pytest.raises(BadChecksum, match="ICMP extensions at byte 156 has checksum 0x0001: expected 0x7856"):
        parsed(LABELS[:2] + b"\0\1" + LABELS[4:])
    assert parsed(LABELS[:2] + b"\0\0" + LABELS[4:]).error is None  # none was sent
    for objects in (b"\0\3\1\1", b"\0\x09\1\1abcd", b"\0\4"):
        with pytest.raises(
            PacketError, match="ICMP extensions at byte 156 has malformed options at byte 160"
        ):
            parsed(b"\x20\0\0\0" + objects)
        (malformed,) = parsed(b"\x20\0\0\0" + objects, False)[packets.ICMPExtensions].objects
        assert malformed == packets.MalformedICMPObjects(data=objects)
    for unknown, strict in ((b"\0\x08\2\x0babcd", True), (b"\0\6\1\1ab", False)):
        (found,) = parsed(b"\x20\0\0\0" + unknown, strict)[packets.ICMPExtensions].objects
        assert (type(found), found.header) == (packets.UnknownICMPObject, unknown)
    with pytest.raises(PacketError, match=r"at byte 160: MPLSLabels of 6 bytes, expected 4, 8, \.\.\.$"):
        parsed(b"\x20\0\0\0\0\6\1\1ab")
    assert layers(parsed(b"objects"))[-1] == "Payload"
    cut = packets.parse(
        bytes(packets.IPv4() / packets.ICMPTimeExceeded(length=60) / quote(packets, 128)), "ip"
    )
    assert (layers(cut)[-1], cut.error) == ("Payload", None)
    with pytest.raises(InvalidArgument, match="labels takes MPLS labels, not int"):
        packets.MPLSLabels(labels=[5])


# TCP options


@pytest.mark.parametrize("kind", [253, 254])
def test_the_experimental_fast_open_option(packets: ModuleType, kind: int) -> None:
    for cookie in (b"", b"\1\2\3\4", bytes(16)):
        option = packets.ExperimentalFastOpen(kind=kind, cookie=cookie)
        assert option.header == bytes([kind, 4 + len(cookie), 0xF9, 0x89]) + cookie
        tcp = packets.TCP.from_header(packets.TCP(flags="S", options=[packets.MSS(size=9), option]).header)
        assert tcp.options == (packets.MSS(size=9), option)
        assert eval(repr(tcp.options), dict(vars(packets))) == tcp.options
    for other in (b"\xab\xcd", b"\xf9", b""):
        unknown = packets.UnknownTCPOption(kind=kind, data=other)
        tcp = packets.TCP.from_header(packets.TCP(options=[unknown]).header)
        assert tcp.options[0] == unknown


def test_what_is_not_known_has_the_number_of_nothing(packets: ModuleType) -> None:
    payload = packets.Payload(b"x")
    assert (packets.IPv4() / payload)[packets.IPv4].protocol == 0
    assert (packets.IPv6() / payload)[packets.IPv6].next_header == 59
    assert (packets.PPPoE() / packets.PPP() / payload)[packets.PPP].protocol == 0
    assert (packets.Ethernet() / payload)[packets.Ethernet].type == 0x9000
