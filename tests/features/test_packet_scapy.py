"""Packets beside scapy's: the same bytes when built, the same fields when parsed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fastnet.errors import EngineMissing, InvalidArgument, PacketError
from fastnet.packet import (
    AH,
    ARP,
    ESP,
    GRE,
    LLC,
    MSS,
    MTU,
    PPP,
    SACK,
    SCTP,
    SLL,
    SLL2,
    SNAP,
    TCP,
    UDP,
    DestinationOptions,
    Dot1AD,
    Dot1Q,
    Dot3,
    Ethernet,
    FastOpen,
    Fragment,
    HomeAddress,
    HopByHop,
    ICMPEcho,
    ICMPEchoReply,
    ICMPParameterProblem,
    ICMPRedirect,
    ICMPTimeExceeded,
    ICMPTimestamp,
    ICMPUnreachable,
    ICMPv6Echo,
    ICMPv6EchoReply,
    ICMPv6PacketTooBig,
    ICMPv6ParameterProblem,
    ICMPv6Redirect,
    ICMPv6TimeExceeded,
    ICMPv6Unreachable,
    IPv4,
    IPv4Nop,
    IPv6,
    IPv6RouterAlert,
    JumboPayload,
    LooseSourceRoute,
    NeighborAdvertisement,
    NeighborSolicitation,
    Null,
    Packet,
    PadN,
    PPPoE,
    PrefixInformation,
    RecordRoute,
    RecursiveDNSServers,
    RedirectedHeader,
    RouterAdvertisement,
    RouterAlert,
    RouterSolicitation,
    Routing,
    SACKPermitted,
    SourceLinkLayerAddress,
    StrictSourceRoute,
    TargetLinkLayerAddress,
    TCPNop,
    Timestamps,
    UserTimeout,
    WindowScale,
    from_scapy,
    parse,
    to_scapy,
)

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
A4, B4 = "192.0.2.1", "198.51.100.7"
A6, B6 = "2001:db8::1", "2001:db8:0:1::7"

ether = Ethernet(src=A, dst=B)
ip = IPv4(src=A4, dst=B4)
ip6 = IPv6(src=A6, dst=B6)
on_link = ip6.replace(hop_limit=255)
"""What neighbour discovery demands (RFC 4861); scapy sets it by itself."""

Scapy = Callable[[Any], Any]


def frame(s: Any) -> Any:
    return s.Ether(src=A, dst=B)


def v4(s: Any, **fields: Any) -> Any:
    return s.IP(src=A4, dst=B4, **{"id": 0, **fields})


def v6(s: Any, **fields: Any) -> Any:
    return s.IPv6(src=A6, dst=B6, **fields)


CASES: dict[str, tuple[Any, Scapy]] = {
    "arp": (
        ether / ARP(op=2, hwsrc=A, psrc=A4, hwdst=B, pdst=B4),
        lambda s: frame(s) / s.ARP(op=2, hwsrc=A, psrc=A4, hwdst=B, pdst=B4),
    ),
    "vlan": (
        ether / Dot1AD(vlan=5) / Dot1Q(pcp=3, dei=1, vlan=100) / ip / UDP() / b"x",
        lambda s: frame(s)
        / s.Dot1AD(vlan=5)
        / s.Dot1Q(prio=3, dei=1, vlan=100)
        / v4(s)
        / s.UDP(sport=0, dport=0)
        / b"x",
    ),
    "802.3": (
        Dot3(src=A, dst=B) / LLC() / SNAP() / ip / UDP(sport=1, dport=2) / b"odd",
        lambda s: s.Dot3(src=A, dst=B) / s.LLC() / s.SNAP() / v4(s) / s.UDP(sport=1, dport=2) / b"odd",
    ),
    "ipv4 fields": (
        IPv4(src=A4, dst=B4, dscp=10, ecn=1, ident=7, flags="DF", ttl=3, protocol=253) / b"x",
        lambda s: v4(s, tos=41, id=7, flags="DF", ttl=3, proto=253) / b"x",
    ),
    "ipv4 options": (
        ip.replace(options=[RecordRoute(addresses=[A4, "0.0.0.0"]), IPv4Nop(), RouterAlert()]) / UDP() / b"x",
        lambda s: v4(
            s, options=[s.IPOption_RR(routers=[A4, "0.0.0.0"]), s.IPOption_NOP(), s.IPOption_Router_Alert()]
        )
        / s.UDP(sport=0, dport=0)
        / b"x",
    ),
    "loose source route": (
        ip.replace(options=[LooseSourceRoute(addresses=["10.0.0.1", "10.0.0.9"])]) / TCP(sport=20, dport=80),
        lambda s: v4(s, options=[s.IPOption_LSRR(routers=["10.0.0.1", "10.0.0.9"])]) / s.TCP(flags=0),
    ),
    "strict source route": (
        ip.replace(options=[StrictSourceRoute(addresses=["10.0.0.1"])]) / b"x",
        lambda s: v4(s, options=[s.IPOption_SSRR(routers=["10.0.0.1"])]) / b"x",
    ),
    "fragment": (
        IPv4(src=A4, dst=B4, flags="MF", fragment_offset=5, protocol=17) / bytes(16),
        lambda s: v4(s, flags="MF", frag=5, proto=17) / bytes(16),
    ),
    "tunnel": (
        ip / ip6 / UDP(sport=3, dport=4) / b"x",
        lambda s: v4(s) / v6(s) / s.UDP(sport=3, dport=4) / b"x",
    ),
    "udp": (ip / UDP(sport=5, dport=53) / b"odd", lambda s: v4(s) / s.UDP(sport=5, dport=53) / b"odd"),
    "udp over ipv6": (ip6 / UDP(sport=5, dport=53) / b"x", lambda s: v6(s) / s.UDP(sport=5, dport=53) / b"x"),
    "udp without a checksum": (
        ip / UDP(sport=5, dport=53, checksum=0) / b"x",
        lambda s: v4(s) / s.UDP(sport=5, dport=53, chksum=0) / b"x",
    ),
    "tcp": (
        ip / TCP(sport=1, dport=2, seq=3, ack=4, flags="SAE", window=5, urgent_pointer=6, reserved=2) / b"x",
        lambda s: v4(s)
        / s.TCP(sport=1, dport=2, seq=3, ack=4, flags="SAE", window=5, urgptr=6, reserved=1)
        / b"x",
    ),
    "tcp options": (
        ip6
        / TCP(
            sport=20,
            dport=80,
            flags="S",
            options=[
                MSS(size=1460), SACKPermitted(), Timestamps(value=1, echo=2), TCPNop(), WindowScale(shift=7),
                SACK(edges=[1, 2]), UserTimeout(timeout=9),
            ],
        ),
        lambda s: v6(s)
        / s.TCP(
            flags="S",
            options=[
                ("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7),
                ("SAck", (1, 2)), ("UTO", 9),
            ],
        ),
    ),
    "tcp fast open": (
        ip / TCP(sport=20, dport=80, flags="S", options=[FastOpen(cookie=bytes(range(8)))]),
        lambda s: v4(s) / s.TCP(flags="S", options=[("TFO", (0x00010203, 0x04050607))]),
    ),
    "icmp echo": (
        ip / ICMPEcho(ident=7, seq=1) / b"hello",
        lambda s: v4(s) / s.ICMP(id=7, seq=1) / b"hello",
    ),
    "icmp echo reply": (ip / ICMPEchoReply(ident=7), lambda s: v4(s) / s.ICMP(type=0, id=7)),
    "icmp unreachable": (
        ip / ICMPUnreachable(code=4, mtu=1400) / ip / UDP(sport=1, dport=2) / b"x",
        lambda s: v4(s) / s.ICMP(type=3, code=4, nexthopmtu=1400) / v4(s) / s.UDP(sport=1, dport=2) / b"x",
    ),
    "icmp time exceeded": (
        ip / ICMPTimeExceeded() / ip / TCP(sport=20, dport=80),
        lambda s: v4(s) / s.ICMP(type=11) / v4(s) / s.TCP(flags=0),
    ),
    "icmp redirect": (
        ip / ICMPRedirect(code=1, gateway="10.0.0.1") / ip / UDP(),
        lambda s: v4(s) / s.ICMP(type=5, code=1, gw="10.0.0.1") / v4(s) / s.UDP(sport=0, dport=0),
    ),
    "icmp parameter problem": (
        ip / ICMPParameterProblem(pointer=20) / ip / b"x",
        lambda s: v4(s) / s.ICMP(type=12, ptr=20) / v4(s) / b"x",
    ),
    "icmp timestamp": (
        ip / ICMPTimestamp(ident=1, seq=2, originate=3, receive=4, transmit=5),
        lambda s: v4(s) / s.ICMP(type=13, id=1, seq=2, ts_ori=3, ts_rx=4, ts_tx=5),
    ),
    "ipv6 fields": (
        IPv6(src=A6, dst=B6, traffic_class=0xB8, flow_label=0x12345, hop_limit=1) / b"x",
        lambda s: v6(s, tc=0xB8, fl=0x12345, hlim=1) / b"x",
    ),
    "hop-by-hop": (
        ip6 / HopByHop(options=[IPv6RouterAlert(), PadN()]) / UDP() / b"x",
        lambda s: v6(s)
        / s.IPv6ExtHdrHopByHop(options=[s.RouterAlert(), s.PadN()])
        / s.UDP(sport=0, dport=0)
        / b"x",
    ),
    "jumbo option": (
        ip6 / HopByHop(options=[JumboPayload(payload_length=70000)]) / UDP() / b"x",
        lambda s: v6(s)
        / s.IPv6ExtHdrHopByHop(options=[s.Jumbo(jumboplen=70000)])
        / s.UDP(sport=0, dport=0)
        / b"x",
    ),
    "destination options": (
        ip6 / DestinationOptions(options=[PadN(data=bytes(2)), HomeAddress(address=A6)]) / b"x",
        lambda s: v6(s)
        / s.IPv6ExtHdrDestOpt(autopad=0, options=[s.PadN(optdata=bytes(2)), s.HAO(hoa=A6)])
        / b"x",
    ),
    "sctp": (
        ether / ip / SCTP(sport=20, dport=80, tag=7) / b"\x0b\0\0\4",
        lambda s: frame(s) / v4(s) / s.SCTP(sport=20, dport=80, tag=7) / b"\x0b\0\0\4",
    ),
    "gre": (
        ether / ip / GRE(key_present=1, optional=b"\0\0\0\7") / ip6 / UDP(sport=1, dport=2) / b"x",
        lambda s: frame(s) / v4(s) / s.GRE(key_present=1, key=7) / v6(s) / s.UDP(sport=1, dport=2) / b"x",
    ),
    "gre checksum": (
        ether
        / ip
        / GRE(checksum_present=1, key_present=1, optional=bytes(4) + b"\0\0\0\7")
        / ip6
        / UDP(sport=1, dport=2)
        / b"x",
        lambda s: frame(s)
        / v4(s)
        / s.GRE(chksum_present=1, key_present=1, key=7)
        / v6(s)
        / s.UDP(sport=1, dport=2)
        / b"x",
    ),
    "gre ethernet": (
        ether / ip6 / GRE() / ether / ip / UDP(sport=1, dport=2) / b"x",
        lambda s: frame(s) / v6(s) / s.GRE() / frame(s) / v4(s) / s.UDP(sport=1, dport=2) / b"x",
    ),
    "pppoe": (
        ether / PPPoE(session=7) / PPP() / ip6 / UDP(sport=1, dport=2) / b"x",
        lambda s: frame(s) / s.PPPoE(sessionid=7) / s.PPP() / v6(s) / s.UDP(sport=1, dport=2) / b"x",
    ),
    "two routing headers": (
        ip6
        / Routing(segments_left=1, addresses=["2001:db8::9"])
        / Routing(segments_left=1, addresses=["2001:db8::10", "2001:db8::11"])
        / TCP(sport=20, dport=80),
        lambda s: v6(s)
        / s.IPv6ExtHdrRouting(segleft=1, addresses=["2001:db8::9"])
        / s.IPv6ExtHdrRouting(segleft=1, addresses=["2001:db8::10", "2001:db8::11"])
        / s.TCP(flags=0),
    ),
    "routing": (
        ip6 / Routing(segments_left=1, addresses=["2001:db8::9"]) / TCP(sport=20, dport=80),
        lambda s: v6(s) / s.IPv6ExtHdrRouting(segleft=1, addresses=["2001:db8::9"]) / s.TCP(flags=0),
    ),
    "ipv6 fragment": (
        ip6 / Fragment(fragment_offset=3, more=1, ident=9, next_header=17) / bytes(8),
        lambda s: v6(s) / s.IPv6ExtHdrFragment(offset=3, m=1, id=9, nh=17) / bytes(8),
    ),
    "esp": (ip6 / ESP(spi=1, seq=2) / b"data", lambda s: v6(s) / s.ESP(spi=1, seq=2, data=b"data")),
    "ah": (
        ip / AH(spi=1, seq=2, icv=bytes(12), next_header=253) / b"x",
        lambda s: v4(s) / s.AH(spi=1, seq=2, icv=bytes(12), nh=253, payloadlen=4) / b"x",
    ),
    "icmpv6 echo": (
        ip6 / ICMPv6Echo(ident=7, seq=1) / b"hello",
        lambda s: v6(s) / s.ICMPv6EchoRequest(id=7, seq=1, data=b"hello"),
    ),
    "icmpv6 echo reply": (
        ip6 / ICMPv6EchoReply(ident=7, seq=1) / b"hello",
        lambda s: v6(s) / s.ICMPv6EchoReply(id=7, seq=1, data=b"hello"),
    ),
    "icmpv6 unreachable": (
        ip6 / ICMPv6Unreachable(code=4) / ip6 / UDP(sport=1, dport=2) / b"x",
        lambda s: v6(s) / s.ICMPv6DestUnreach(code=4) / v6(s) / s.UDP(sport=1, dport=2) / b"x",
    ),
    "icmpv6 packet too big": (
        ip6 / ICMPv6PacketTooBig(mtu=1400) / ip6 / b"x",
        lambda s: v6(s) / s.ICMPv6PacketTooBig(mtu=1400) / v6(s) / b"x",
    ),
    "icmpv6 time exceeded": (
        ip6 / ICMPv6TimeExceeded() / ip6 / b"x",
        lambda s: v6(s) / s.ICMPv6TimeExceeded() / v6(s) / b"x",
    ),
    "icmpv6 parameter problem": (
        ip6 / ICMPv6ParameterProblem(code=1, pointer=6) / ip6 / b"x",
        lambda s: v6(s) / s.ICMPv6ParamProblem(code=1, ptr=6) / v6(s) / b"x",
    ),
    "router solicitation": (
        on_link / RouterSolicitation(options=[SourceLinkLayerAddress(address=A)]),
        lambda s: v6(s) / s.ICMPv6ND_RS() / s.ICMPv6NDOptSrcLLAddr(lladdr=A),
    ),
    "router advertisement": (
        on_link
        / RouterAdvertisement(
            hop_limit=64,
            managed=1,
            preference=1,
            router_lifetime=9,
            reachable_time=8,
            retrans_timer=7,
            options=[
                MTU(mtu=1280),
                PrefixInformation(prefix="2001:db8::", valid_lifetime=5, preferred_lifetime=4),
                RecursiveDNSServers(lifetime=3, addresses=[A6, B6]),
            ],
        ),
        lambda s: v6(s)
        / s.ICMPv6ND_RA(chlim=64, M=1, prf=1, routerlifetime=9, reachabletime=8, retranstimer=7)
        / s.ICMPv6NDOptMTU(mtu=1280)
        / s.ICMPv6NDOptPrefixInfo(prefix="2001:db8::", validlifetime=5, preferredlifetime=4)
        / s.ICMPv6NDOptRDNSS(lifetime=3, dns=[A6, B6]),
    ),
    "neighbor solicitation": (
        on_link / NeighborSolicitation(target=B6, options=[SourceLinkLayerAddress(address=A)]),
        lambda s: v6(s) / s.ICMPv6ND_NS(tgt=B6) / s.ICMPv6NDOptSrcLLAddr(lladdr=A),
    ),
    "neighbor advertisement": (
        on_link
        / NeighborAdvertisement(
            router=1, solicited=1, target=B6, options=[TargetLinkLayerAddress(address=A)]
        ),
        lambda s: v6(s) / s.ICMPv6ND_NA(R=1, S=1, O=0, tgt=B6) / s.ICMPv6NDOptDstLLAddr(lladdr=A),
    ),
    "icmpv6 redirect": (
        on_link
        / ICMPv6Redirect(
            target=A6, destination=B6, options=[RedirectedHeader(data=bytes(ip6 / bytes(8)))]
        ),
        lambda s: v6(s)
        / s.ICMPv6ND_Redirect(tgt=A6, dst=B6)
        / s.ICMPv6NDOptRedirectedHdr(pkt=v6(s) / bytes(8)),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def scapy(reference: Callable[[str], ModuleType]) -> ModuleType:
    return reference("scapy.all")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_built_alike(scapy: ModuleType, name: str) -> None:
    ours, theirs = CASES[name]
    assert bytes(ours).hex() == bytes(theirs(scapy)).hex()


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(scapy: ModuleType, name: str) -> None:
    ours, _ = CASES[name]
    there = to_scapy(ours)
    assert bytes(there) == bytes(ours)
    assert from_scapy(there) == ours


FIELD_NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "Ethernet": ("Ether", {"src": "src", "dst": "dst", "type": "type"}),
    "Dot3": ("Dot3", {"src": "src", "dst": "dst", "length": "len"}),
    "LLC": ("LLC", {"dsap": "dsap", "ssap": "ssap", "control": "ctrl"}),
    "SNAP": ("SNAP", {"oui": "OUI", "type": "code"}),
    "Dot1Q": ("Dot1Q", {"pcp": "prio", "dei": "dei", "vlan": "vlan", "type": "type"}),
    "Dot1AD": ("Dot1AD", {"pcp": "prio", "dei": "dei", "vlan": "vlan", "type": "type"}),
    "ARP": ("ARP", {
        name: name
        for name in ("hwtype", "ptype", "hwlen", "plen", "op", "hwsrc", "psrc", "hwdst", "pdst")
    }),
    "IPv4": ("IP", {
        "version": "version", "ihl": "ihl", "total_length": "len", "ident": "id", "flags": "flags",
        "fragment_offset": "frag", "ttl": "ttl", "protocol": "proto", "checksum": "chksum", "src": "src",
        "dst": "dst",
    }),
    "IPv6": ("IPv6", {
        "version": "version", "traffic_class": "tc", "flow_label": "fl", "payload_length": "plen",
        "next_header": "nh", "hop_limit": "hlim", "src": "src", "dst": "dst",
    }),
    "UDP": ("UDP", {"sport": "sport", "dport": "dport", "length": "len", "checksum": "chksum"}),
    "TCP": ("TCP", {
        "sport": "sport", "dport": "dport", "seq": "seq", "ack": "ack", "data_offset": "dataofs",
        "window": "window", "checksum": "chksum", "urgent_pointer": "urgptr",
    }),
    "HopByHop": ("IPv6ExtHdrHopByHop", {"next_header": "nh", "length": "len"}),
    "DestinationOptions": ("IPv6ExtHdrDestOpt", {"next_header": "nh", "length": "len"}),
    "Routing": ("IPv6ExtHdrRouting", {
        "next_header": "nh", "length": "len", "type": "type", "segments_left": "segleft",
    }),
    "Fragment": ("IPv6ExtHdrFragment", {
        "next_header": "nh", "fragment_offset": "offset", "more": "m", "ident": "id", "reserved": "res1",
    }),
    "ICMPEcho": ("ICMP", {"type": "type", "code": "code", "checksum": "chksum", "ident": "id", "seq": "seq"}),
    "ICMPTimestamp": ("ICMP", {
        "ident": "id", "originate": "ts_ori", "receive": "ts_rx", "transmit": "ts_tx",
    }),
    "ICMPRedirect": ("ICMP", {"type": "type", "code": "code", "checksum": "chksum", "gateway": "gw"}),
    "ICMPUnreachable": ("ICMP", {
        "type": "type", "code": "code", "checksum": "chksum", "mtu": "nexthopmtu",
    }),
    "ICMPv6Echo": ("ICMPv6EchoRequest", {"type": "type", "checksum": "cksum", "ident": "id", "seq": "seq"}),
    "ICMPv6PacketTooBig": ("ICMPv6PacketTooBig", {"type": "type", "checksum": "cksum", "mtu": "mtu"}),
    "NeighborSolicitation": ("ICMPv6ND_NS", {"type": "type", "checksum": "cksum", "target": "tgt"}),
    "NeighborAdvertisement": ("ICMPv6ND_NA", {
        "router": "R", "solicited": "S", "override": "O", "target": "tgt",
    }),
    "RouterAdvertisement": ("ICMPv6ND_RA", {
        "hop_limit": "chlim", "managed": "M", "other": "O", "preference": "prf",
        "router_lifetime": "routerlifetime", "reachable_time": "reachabletime",
        "retrans_timer": "retranstimer",
    }),
}  # fmt: skip
"""What scapy calls our layers and their fields."""
QUOTING = (
    ICMPParameterProblem, ICMPRedirect, ICMPTimeExceeded, ICMPUnreachable, ICMPv6PacketTooBig,
    ICMPv6ParameterProblem, ICMPv6TimeExceeded, ICMPv6Unreachable,
)  # fmt: skip
"""Layers behind which scapy's have other classes."""


def numbers(packet: Any) -> list[int]:
    """Which one of its class each layer is, counted from 1 as scapy does."""
    names = [type(layer).__name__ for layer in packet]
    return [names[: i + 1].count(name) for i, name in enumerate(names)]


@pytest.mark.parametrize("name", CASES)
def test_parsed_alike(scapy: ModuleType, name: str) -> None:
    ours = CASES[name][0]
    theirs = to_scapy(ours)
    link = "ethernet" if ours[0].kind in (Ethernet.kind, Dot3.kind) else "ip"
    packet = parse(bytes(ours), link, strict=True)
    compared = 0
    for layer, number in zip(packet, numbers(packet), strict=True):
        scapy_name, names = FIELD_NAMES.get(type(layer).__name__, ("", {}))
        for field, scapy_field in names.items():
            their_layer = theirs[getattr(scapy, scapy_name) : number]
            assert getattr(layer, field) == getattr(their_layer, scapy_field), f"{layer}.{field}"
            compared += 1
        if isinstance(layer, QUOTING):
            break
    assert compared


def test_what_scapy_can_t_start_with(scapy: ModuleType) -> None:
    with pytest.raises(PacketError, match="HopByHop"):
        to_scapy(HopByHop())
    for ours, name in (
        (SLL(packet_type=4), "CookedLinux"),
        (Null(family=2), "Loopback"),
        (SLL2(), "CookedLinuxV2"),
    ):
        there = to_scapy(ours / ip / UDP(dport=9))
        assert (type(there).__name__, from_scapy(there)) == (name, ours / ip / UDP(dport=9))
    with pytest.raises(InvalidArgument, match="packet Raw: expected one of scapy's Ether, Dot3, IP, IPv6"):
        from_scapy(scapy.Raw(b"x"))
    assert to_scapy(UDP(sport=9)).sport == 9
    assert isinstance(from_scapy(scapy.IP()), Packet)


def test_without_scapy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    for name in ("scapy", "scapy.all"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(EngineMissing, match="package scapy is missing: pip install"):
        to_scapy(ip)
