"""Packets beside tshark's reading of them: layers, addresses, ports, lengths and the verdicts on checksums.

The packets are many but always the same: hand-picked ones, random ones, and both again cut short or with
bytes changed. One capture file holds them all and tshark reads it once, without reassembly.
"""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import packet_recipes as recipes
import pytest

from fastnet.errors import BadChecksum
from fastnet.packet import (
    AH,
    ARP,
    ESP,
    LLC,
    MSS,
    MTU,
    SACK,
    SNAP,
    TCP,
    UDP,
    DestinationOptions,
    Dot1AD,
    Dot1Q,
    Dot3,
    Ethernet,
    Fragment,
    HomeAddress,
    HopByHop,
    ICMPEcho,
    ICMPEchoReply,
    ICMPOther,
    ICMPParameterProblem,
    ICMPRedirect,
    ICMPSourceQuench,
    ICMPTimeExceeded,
    ICMPTimestamp,
    ICMPTimestampReply,
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
    IPv4Timestamp,
    IPv6,
    IPv6RouterAlert,
    JumboPayload,
    Layer,
    LooseSourceRoute,
    Mobility,
    NeighborAdvertisement,
    NeighborSolicitation,
    Packet,
    Padding,
    PrefixInformation,
    RecordRoute,
    RecursiveDNSServers,
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
    WindowScale,
)
from fastnet.packet.record import held

SEED = 20240229
E = Ethernet(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
IP4 = IPv4(src="192.0.2.1", dst="198.51.100.7")
IP6 = IPv6(src="2001:db8::1", dst="2001:db8:0:1::7")
OTHERS = ["2001:db8:7::7", "2001:db8:8::8"]
SEGMENTS = ["2001:db8:5::5", "2001:db8:6::6"]


def network(version: int, *extensions: Layer) -> Packet:
    return Packet(E, IP4 if version == 4 else IP6, *extensions)


def transports(version: int) -> Iterator[Packet]:
    icmp = ICMPEcho if version == 4 else ICMPv6Echo
    yield UDP(sport=40001, dport=40002) / b"datagram"
    yield UDP(sport=40001, dport=40002) / b"odd"
    yield Packet(UDP(sport=40001, dport=40002))
    yield TCP(sport=40003, dport=40004, flags="SA") / b"segment"
    yield Packet(TCP(sport=40003, dport=40004, flags="S", options=[
        MSS(size=1460), SACKPermitted(), Timestamps(value=1), TCPNop(), WindowScale(shift=7)]))  # fmt: skip
    yield Packet(
        TCP(sport=40003, dport=40004, flags="A", options=[TCPNop(), TCPNop(), SACK(edges=(1, 2, 3, 4))])
    )
    yield icmp(ident=7, seq=1) / b"hello, world"
    yield Packet(ESP(spi=1, seq=2)) / bytes(24)


def plain() -> Iterator[Packet]:
    for version in (4, 6):
        for transport in transports(version):
            yield network(version) / transport
    for tags in (
        [Dot1Q(vlan=5)],
        [Dot1AD(vlan=6), Dot1Q(vlan=7)],
        [Dot1Q(vlan=1), Dot1Q(vlan=2), Dot1Q(vlan=3)],
    ):
        yield Packet(E, *tags, IP4) / UDP(sport=40001, dport=40002) / b"tagged"
        yield Packet(E, *tags, IP6) / UDP(sport=40001, dport=40002) / b"tagged"
    yield Packet(E, ARP(psrc="192.0.2.1", pdst="192.0.2.2"))
    yield Packet(E, ARP(psrc="192.0.2.1", pdst="192.0.2.2"), Padding(bytes(18)))
    yield Packet(E, Dot1Q(vlan=9), ARP(psrc="192.0.2.1", pdst="192.0.2.2"))
    ethernet3 = Dot3(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
    yield (
        Packet(ethernet3, LLC(dsap=0xAA, ssap=0xAA, control=3), SNAP(), IP4)
        / UDP(sport=40001, dport=40002)
        / b"snap"
    )
    yield Packet(ethernet3, LLC(dsap=0xF0, ssap=0xF0, control=3)) / b"unnumbered information"


def ipv4() -> Iterator[Packet]:
    udp = UDP(sport=40001, dport=40002)
    route = {"addresses": ["203.0.113.1", "203.0.113.2"]}
    for options in (
        [RouterAlert()],
        [IPv4Nop(), RecordRoute(**route)],
        [LooseSourceRoute(**route)],
        [LooseSourceRoute(pointer=8, **route)],
        [LooseSourceRoute(pointer=12, **route)],
        [StrictSourceRoute(**route)],
        [IPv4Timestamp(entries=(1, 2, 3))],
    ):
        yield Packet(E, IP4.replace(options=options), udp) / b"options"
    yield Packet(E, IP4.replace(flags="MF"), udp) / bytes(16)
    yield Packet(E, IP4.replace(flags="MF", fragment_offset=3, protocol=17)) / bytes(16)
    yield Packet(E, IP4.replace(fragment_offset=3, protocol=6)) / bytes(16)
    yield Packet(E, IP4.replace(flags="DF", ttl=1, dscp=46, ecn=1), udp)
    yield Packet(E, IP4.replace(total_length=0), TCP(sport=40003, dport=40004)) / bytes(3000)
    yield Packet(E, IP4.replace(total_length=19), udp) / b"short"
    yield Packet(E, IP4.replace(total_length=400), udp) / b"long"
    yield Packet(E, IP4, udp, b"padded", Padding(bytes(12)))
    yield Packet(E, IP4.replace(total_length=60), TCP(sport=40003, dport=40004)) / bytes(100)
    yield Packet(E, IP4.replace(checksum=0x1234), udp) / b"wrong"
    yield Packet(E, IP4, UDP(sport=40001, dport=40002, checksum=0)) / b"no checksum"
    yield Packet(E, IP4, UDP(sport=40001, dport=40002, checksum=1)) / b"wrong"
    yield Packet(E, IP4, TCP(sport=40003, dport=40004, checksum=0)) / b"wrong"
    yield Packet(E, IP4, UDP(sport=40001, dport=40002, length=4)) / b"short"
    yield Packet(E, IP4, UDP(sport=40001, dport=40002, length=400)) / b"long"
    yield Packet(E, IP4, UDP(sport=40001, dport=40002, length=12)) / b"more than that"
    yield Packet(E, IP4, IPv4(src="10.0.0.1", dst="10.0.0.2"), udp) / b"tunnel"
    yield Packet(E, IP4, IP6, udp) / b"tunnel"
    yield Packet(E, IP4, AH(spi=1, icv=bytes(12)), udp) / b"authentic"
    yield Packet(E, IP4.replace(protocol=200)) / b"who knows"
    for message in (
        ICMPEchoReply(ident=1, seq=2), ICMPTimestamp(ident=1), ICMPTimestampReply(ident=1, originate=9),
        ICMPOther(type=200, rest=1), ICMPEcho(checksum=7), ICMPEcho(ident=0, seq=0),
    ):  # fmt: skip
        yield network(4) / message
    quoted = IPv4(src="198.51.100.7", dst="192.0.2.1") / UDP(sport=40005, dport=40006) / b"quoted"
    for message in (
        ICMPUnreachable(code=3), ICMPUnreachable(code=4, mtu=1400), ICMPSourceQuench(),
        ICMPRedirect(code=1, gateway="192.0.2.9"), ICMPTimeExceeded(), ICMPParameterProblem(pointer=20),
    ):  # fmt: skip
        yield network(4) / message / quoted
        yield network(4) / message / bytes(quoted)[:28]
        yield network(4) / message / bytes(quoted)[:13]


def ipv6() -> Iterator[Packet]:
    udp = UDP(sport=40001, dport=40002)
    for headers in (
        [HopByHop(options=[IPv6RouterAlert()])],
        [DestinationOptions(options=[HomeAddress(address="2001:db8:9::9")])],
        [Routing(type=0, segments_left=2, addresses=SEGMENTS)],
        [Routing(type=0, segments_left=0, addresses=SEGMENTS)],
        [Routing(type=2, segments_left=1, addresses=SEGMENTS[:1])],
        [Routing(type=4, segments_left=1, specific=0x01000000, addresses=SEGMENTS)],
        [Routing(type=4, segments_left=0, specific=0x01000000, addresses=SEGMENTS)],
        *(
            [
                Routing(type=0, segments_left=outer, addresses=SEGMENTS),
                Routing(type=kind, segments_left=inner, specific=0x01000000 if kind else 0, addresses=OTHERS),
            ]
            for outer in (0, 1)
            for inner in (0, 1)
            for kind in (0, 4)
        ),
        [Fragment(ident=5)],
        [Fragment(ident=5, more=1)],
        [AH(spi=1, icv=bytes(16))],
        [HopByHop(), DestinationOptions(), Routing(), Fragment(), AH(), DestinationOptions()],
    ):
        yield network(6, *headers) / udp / bytes(16)
        yield network(6, *headers) / TCP(sport=40003, dport=40004) / bytes(16)
        yield network(6, *headers) / ICMPv6Echo(ident=1, seq=2) / bytes(16)
        yield network(6, *headers, udp.replace(checksum=0x1111)) / bytes(16)
    yield network(6, Fragment(ident=5, fragment_offset=2, next_header=17)) / bytes(16)
    yield network(6, Mobility(type=5, data=bytes(10)))
    yield network(6, Mobility(type=0, checksum=5))
    yield network(6, ESP(spi=1)) / bytes(16)
    yield Packet(E, IP6.replace(payload_length=0), udp) / b"to be segmented"
    yield Packet(E, IP6.replace(payload_length=0), TCP(sport=40003, dport=40004)) / bytes(3000)
    yield Packet(E, IP6.replace(next_header=59)) / b"nothing"
    yield Packet(E, IP6.replace(next_header=59, payload_length=0))
    yield Packet(E, IP6.replace(payload_length=4), udp) / b"short"
    yield Packet(E, IP6.replace(payload_length=400), udp) / b"long"
    yield Packet(E, IP6, udp, b"padded", Padding(bytes(12)))
    yield Packet(E, IP6, udp.replace(checksum=0)) / b"no checksum"
    yield Packet(E, IP6, IP4, udp) / b"tunnel"
    yield Packet(E, IP6, IPv6(src="2001:db8::5", dst="2001:db8::6"), udp) / b"tunnel"
    yield network(6, HopByHop(options=[JumboPayload(payload_length=70024)]), udp) / bytes(70008)
    yield network(6, HopByHop(options=[JumboPayload(payload_length=66028)]), TCP(), bytes(66010))
    yield network(6, ICMPv6EchoReply(ident=1, seq=2)) / b"reply"
    yield network(6, ICMPv6Echo(checksum=3)) / b"wrong"
    quoted = IPv6(src="2001:db8:0:1::7", dst="2001:db8::1") / UDP(sport=40005, dport=40006) / b"quoted"
    for error in (
        ICMPv6Unreachable(code=4), ICMPv6PacketTooBig(mtu=1300), ICMPv6TimeExceeded(),
        ICMPv6ParameterProblem(pointer=6),
    ):  # fmt: skip
        yield network(6, error) / quoted
        yield network(6, error) / bytes(quoted)[:48]
        yield network(6, error) / bytes(quoted)[:30]
    lladdr = SourceLinkLayerAddress(address="02:00:00:00:00:0a")
    for message in (
        RouterSolicitation(options=[lladdr]),
        RouterAdvertisement(options=[
            lladdr, MTU(mtu=1500), PrefixInformation(prefix="2001:db8::", prefix_length=64),
            RecursiveDNSServers(addresses=["2001:db8::53"]),
        ]),
        NeighborSolicitation(target="2001:db8::1", options=[lladdr]),
        NeighborAdvertisement(
            target="2001:db8::1", options=[TargetLinkLayerAddress(address="02:00:00:00:00:0b")]
        ),
        ICMPv6Redirect(target="2001:db8::1", destination="2001:db8::2"),
    ):  # fmt: skip
        yield network(6, message)


def damaged(frames: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Each frame cut short at some place, and with some of the bytes behind the Ethernet header changed."""
    for frame in frames:
        yield frame[: chance.randrange(len(frame))][:2000]
        changed = bytearray(frame[:2000])
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(14, len(changed))] = chance.choice(
                [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
            )
        yield bytes(changed)


def captured() -> list[bytes]:
    whole = [bytes(packet) for packets in (plain(), ipv4(), ipv6()) for packet in packets]
    return [*whole, *damaged(whole, random.Random(SEED))]


FRAMES = captured()

STATUSES = {name: f"{name}.checksum.status" for name in ("ip", "tcp", "udp", "icmp", "icmpv6")}
LISTS = {
    "vlan.id": "vlan", "arp.src.proto_ipv4": "psrc", "arp.dst.proto_ipv4": "pdst", "ip.src": "src",
    "ip.dst": "dst",
    "ip.proto": "protocol", "ip.hdr_len": "ihl", "ip.len": "total_length", "ipv6.src": "src",
    "ipv6.dst": "dst",
    "ipv6.plen": "payload_length", "ipv6.hlim": "hop_limit", "tcp.srcport": "sport", "tcp.dstport": "dport",
    "tcp.hdr_len": "data_offset", "udp.srcport": "sport", "udp.dstport": "dport", "udp.length": "length",
    "icmp.type": "type", "icmpv6.type": "type",
}  # fmt: skip
"""Columns of tshark, one value for each layer of that name, and our field for it."""
COLUMNS = ["frame.protocols", "_ws.malformed", "tcp.len", *LISTS, *STATUSES.values()]
PREFERENCES = [
    "ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE", "ip.defragment:FALSE",
    "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE", "ip.tso_support:TRUE",
    "ipv6.tso_support:TRUE",
]  # fmt: skip
BAD, ILLEGAL = "0", "4"

NAMES = {
    "Ethernet": "eth", "Dot3": "eth", "LLC": "llc", "Dot1Q": "vlan", "Dot1AD": "ieee8021ad", "ARP": "arp",
    "IPv4": "ip", "IPv6": "ipv6", "HopByHop": "ipv6.hopopts", "DestinationOptions": "ipv6.dstopts",
    "Routing": "ipv6.routing", "Fragment": "ipv6.fraghdr", "AH": "ah", "ESP": "esp", "Mobility": "mipv6",
    "UDP": "udp", "TCP": "tcp",
}  # fmt: skip
UNITS = {"ihl": 4, "data_offset": 4}

IMPLEMENTATIONS = [
    name for name in ("native", "pure") if name == "pure" or find_spec("fastnet._native.packet")
]


def write_capture(path: Path, frames: list[bytes], snap: int = 0x40000) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, 1))
        for frame in frames:
            file.write(struct.pack("<IIII", 0, 0, len(frame[:snap]), len(frame)) + frame[:snap])


Reading = dict[str, list[str]]


def read(tshark: str, path: Path, columns: list[str]) -> list[Reading]:
    command = [tshark, "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [word for preference in PREFERENCES for word in ("-o", preference)]
    command += [word for column in columns for word in ("-e", column)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [
        {
            column: text.split(",") if text else []
            for column, text in zip(columns, line.split("|"), strict=True)
        }
        for line in done.stdout.splitlines()
    ]


@pytest.fixture(scope="module")
def readings(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> list[Reading]:
    """What tshark reads in each frame."""
    path = tmp_path_factory.mktemp("tshark") / "frames.pcap"
    write_capture(path, FRAMES)
    found = read(peer("tshark"), path, COLUMNS)
    assert len(found) == len(FRAMES)
    return found


def name_of(layer: Any) -> str | None:
    name = type(layer).__name__
    if name.startswith(("ICMPv6", "Neighbor", "Router")):
        return "icmpv6"
    return "icmp" if name.startswith("ICMP") else NAMES.get(name)


def layers_of(packet: Any) -> list[tuple[str, Any]]:
    return [(name, layer) for layer in packet if (name := name_of(layer))]


def their_layers(reading: Reading) -> list[str]:
    known = {*NAMES.values(), "icmp", "icmpv6"}
    return [name for name in "".join(reading["frame.protocols"]).split(":") if name in known]


def is_choice(packet: Any) -> bool:
    """Where we differ because we want to.

    tshark finds the protocols of one version of IP inside the other, too; it stops at malformed options, of
    which we report and read on, since their header's length is known; and it reads ARP for other protocols
    than IPv4, which is payload here.
    """
    foreign = {0, 43, 44, 58, 60, 135} if "ip" in dict(layers_of(packet)) else {1}
    malformed = any(
        "Malformed" in repr(layer) for layer in packet if name_of(layer) in ("ipv6.hopopts", "ipv6.dstopts")
    )
    other_arp = ARP not in packet and any(
        layer.type == 0x0806 for layer in packet if "type" in held(layer) and name_of(layer)
    )
    return packet.protocol in foreign or malformed or other_arp


def is_cut(packet: Any) -> bool:
    """Whether the last header is not whole, be it of a quoted packet, where that is no error."""
    quotes = any(name_of(layer) in ("icmp", "icmpv6") for layer in packet)
    return packet.error is not None or quotes


def differences(packet: Any, reading: Reading) -> list[str]:
    ours, theirs = layers_of(packet), their_layers(reading)
    names = [name for name, _ in ours]
    found = []
    # Of a header that is cut short one of the two may see nothing yet.
    if names != theirs and not (is_cut(packet) and (names == theirs[:-1] or names[:-1] == theirs)):
        found.append(f"layers {names}, tshark {theirs}")
    for column, field in LISTS.items():
        values = [
            str(getattr(layer, field) * UNITS[field] if field in UNITS else getattr(layer, field))
            for name, layer in ours
            if name == column.split(".")[0] and field in held(layer)
        ]
        said = reading[column][: len(values)]
        # Behind what is wrong tshark may be silent; and where a length is 0 it shows what there is.
        same = values[: len(said)] == said if packet.error else values == said
        same = same or (column == "ip.dst" and is_source_routed(packet))
        if not same and not (field in ("total_length", "payload_length") and "0" in values):
            found.append(f"{column} {values}, tshark {said}")
    # tshark does not print it for a fragment.
    if (
        names[-1:] == ["tcp"]
        and not packet.error
        and reading["tcp.len"] not in ([], [str(len(packet.payload))])
    ):
        found.append(f"{len(packet.payload)} bytes in the segment, tshark {reading['tcp.len']}")
    return found


def is_source_routed(packet: Any) -> bool:
    """tshark's ip.dst is then the route's last address; ours is what the field holds."""
    return any("SourceRoute" in repr(layer.options) for name, layer in layers_of(packet) if name == "ip")


def bad_checksums(reading: Reading) -> set[str]:
    """The outermost protocols whose checksum tshark finds wrong; what ICMP quotes comes behind them."""
    return {name for name, column in STATUSES.items() if reading[column][:1] in ([BAD], [ILLEGAL])}


def our_bad_checksum(library: ModuleType, frame: bytes) -> str | None:
    try:
        library.parse(frame, strict=True)
    except BadChecksum as error:
        return {"IPv4": "ip"}.get(str(error).split()[0], str(error).split()[0].lower())
    return None


@pytest.fixture(params=IMPLEMENTATIONS)
def library(request: pytest.FixtureRequest) -> ModuleType:
    return recipes.library(request.param)  # type: ignore[no-any-return]


def test_the_same_layers_and_fields_are_read(library: ModuleType, readings: list[Reading]) -> None:
    parsed = [library.parse(frame) for frame in FRAMES]
    choices = [packet for packet in parsed if is_choice(packet)]
    assert len(choices) < len(FRAMES) / 50
    found = {
        number: different
        for number, (packet, reading) in enumerate(zip(parsed, readings, strict=True))
        if not is_choice(packet) and (different := differences(packet, reading))
    }
    assert found == {}


def test_what_tshark_finds_malformed_we_do(library: ModuleType, readings: list[Reading]) -> None:
    for frame, reading in zip(FRAMES, readings, strict=True):
        packet = library.parse(frame)
        if reading["_ws.malformed"] and not is_choice(packet):
            assert is_cut(packet), packet


def test_the_same_checksums_are_wrong(library: ModuleType, readings: list[Reading]) -> None:
    verdicts = []
    for frame, reading in zip(FRAMES, readings, strict=True):
        packet = library.parse(frame)
        if packet.error is None and not is_choice(packet):
            ours, theirs = our_bad_checksum(library, frame), bad_checksums(reading)
            if ours != "mobility":  # which tshark does not verify
                verdicts.append(ours)
                assert ours in theirs if ours else not theirs, (packet, ours, theirs)
    assert verdicts.count(None) > 100
    assert {"ip", "udp", "tcp", "icmp", "icmpv6"} <= set(verdicts)


def with_ports() -> Iterator[bytes]:
    """Frames of many shapes whose ports stand at many places."""
    syn = [MSS(size=1460), SACKPermitted(), Timestamps(value=1), TCPNop(), WindowScale(shift=7)]
    sack = [TCPNop(), TCPNop(), Timestamps(value=1), TCPNop(), TCPNop(), SACK(edges=(1, 2, 3, 4))]
    transports = [UDP(sport=40001, dport=53), *(
        TCP(sport=40003, dport=443, flags="SA", options=options) for options in ([], syn, sack)
    )]  # fmt: skip
    stacks: list[list[Layer]] = [
        *([IP4.replace(options=options)] for options in (
            [], [RouterAlert()], [RecordRoute(addresses=["0.0.0.0"] * 4)],
            [RecordRoute(addresses=["0.0.0.0"] * 9)], [IPv4Timestamp(entries=[0] * 4)],
            [LooseSourceRoute(addresses=["203.0.113.1"])],
        )),
        [IP4.replace(flags="MF")],
        [IP4.replace(flags="DF"), IP4], [IP4, IP6], [IP4, AH(icv=bytes(12))],
        [IP6], [IP6, HopByHop(options=[IPv6RouterAlert()])], [IP6, DestinationOptions()],
        [IP6, Routing(type=0, segments_left=0, addresses=SEGMENTS)], [IP6, Fragment(more=1)],
        [IP6, AH(icv=bytes(12))], [IP6, HopByHop(), DestinationOptions(), Fragment()], [IP6, IP4], [IP6, IP6],
    ]  # fmt: skip
    tags: list[list[Layer]] = [[], [Dot1Q(vlan=5)], [Dot1AD(vlan=6), Dot1Q(vlan=7)]]
    for stack in stacks:
        for transport in transports:
            for tag in tags:
                for size in (0, 12, 200):
                    yield bytes(Packet(E, *tag, *stack, transport, bytes(size)))
    for stack in ([IP4.replace(flags="MF", protocol=6)], [IP6, Fragment(more=1, next_header=6)]):
        yield bytes(Packet(E, *stack, bytes(transports[2])[:8]))


SNAPPED = [*with_ports()]


def ports_found(library: ModuleType, frame: bytes) -> str | None:
    ports = (str(layer.sport) for layer in library.parse(frame) if "sport" in held(layer))
    return next(ports, None)


@pytest.mark.parametrize("snap", [54, 64, 68, 96])
def test_ports_of_snapped_packets(
    library: ModuleType, snap: int, peer: Callable[[str], str], tmp_path: Path
) -> None:
    """Wherever tshark finds ports in what a capture's snap length has left, they are found."""
    write_capture(tmp_path / "snapped.pcap", SNAPPED, snap)
    found = read(peer("tshark"), tmp_path / "snapped.pcap", ["tcp.srcport", "udp.srcport"])
    ours = [ports_found(library, frame[:snap]) for frame in SNAPPED]
    theirs = [next(iter(each["tcp.srcport"] + each["udp.srcport"]), None) for each in found]
    assert len(theirs) == len(SNAPPED)
    missed = [
        frame.hex()
        for frame, our, their in zip(SNAPPED, ours, theirs, strict=True)
        if their not in (None, our)
    ]
    assert missed == []
    assert len(SNAPPED) - ours.count(None) >= len(SNAPPED) - theirs.count(None) > 100
