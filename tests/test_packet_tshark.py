"""Packets as Wireshark reads them: checksums that it finds right, the same lengths where headers say 0."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fastnet.packet import (
    ARP,
    LLC,
    MSS,
    SNAP,
    TCP,
    UDP,
    DestinationOptions,
    Dot1AD,
    Dot1Q,
    Dot3,
    Ethernet,
    Fragment,
    HopByHop,
    ICMPEcho,
    ICMPUnreachable,
    ICMPv6Echo,
    ICMPv6PacketTooBig,
    IPv4,
    IPv6,
    IPv6RouterAlert,
    JumboPayload,
    LooseSourceRoute,
    NeighborSolicitation,
    Packet,
    Routing,
    SourceLinkLayerAddress,
    Timestamps,
    WindowScale,
    parse,
)

Tshark = Callable[..., list[list[str]]]

ether = Ethernet(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
ip = IPv4(src="192.0.2.1", dst="198.51.100.7")
ip6 = IPv6(src="2001:db8::1", dst="2001:db8:0:1::7")
tcp = TCP(
    sport=50000, dport=9, flags="S", options=[MSS(size=1460), Timestamps(value=1), WindowScale(shift=7)]
)
udp = UDP(sport=50000, dport=9)

FRAMES: list[Packet] = [
    ether / ip / tcp / b"odd",
    ether / ip / udp / b"payload",
    ether / Dot1AD(vlan=5) / Dot1Q(vlan=7) / ip6 / tcp / b"payload",
    ether / ip6 / udp / b"odd",
    ether / ip6 / HopByHop(options=[IPv6RouterAlert()]) / DestinationOptions() / udp / b"x",
    ether / ip6 / Routing(segments_left=1, addresses=["2001:db8::9"]) / udp / b"x",
    ether / ip6 / Fragment(ident=1) / udp / b"x",
    ether / ip.replace(options=[LooseSourceRoute(addresses=["10.0.0.1", "10.0.0.9"])]) / tcp,
    ether / ip / ICMPEcho(ident=7, seq=1) / b"hello",
    ether / ip / ICMPUnreachable(code=3) / ip / udp / b"x",
    ether / ip6 / ICMPv6Echo(ident=7, seq=1) / b"hello",
    ether / ip6 / ICMPv6PacketTooBig(mtu=1400) / ip6 / udp / b"x",
    ether
    / ip6.replace(hop_limit=255)
    / NeighborSolicitation(target="fe80::1", options=[SourceLinkLayerAddress(address="02:00:00:00:00:0a")]),
    ether / ip / ip6 / udp / b"x",
    Dot3(dst="02:00:00:00:00:0b") / LLC() / SNAP() / ip / udp / b"x",
    ether / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
]
CHECKSUMS = [f"{layer}.checksum.status" for layer in ("ip", "tcp", "udp", "icmp", "icmpv6")]
GOOD = "1"


@pytest.fixture
def tshark(peer: Callable[[str], str], tmp_path: Path) -> Tshark:
    """``tshark(frames, fields)``: what Wireshark says of each; of several values the outermost layer's."""
    program = peer("tshark")

    def run(frames: Sequence[bytes], fields: Sequence[str]) -> list[list[str]]:
        capture = tmp_path / "frames.pcap"
        records = (struct.pack("<IIII", 0, 0, len(data), len(data)) + data for data in frames)
        capture.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + b"".join(records))
        preferences = [f"{layer}.check_checksum:TRUE" for layer in ("ip", "tcp", "udp")]
        preferences += ["ip.tso_support:TRUE", "ipv6.tso_support:TRUE"]
        done = subprocess.run(
            [
                *(program, "-n", "-r", str(capture), "-T", "fields", "-E", "separator=|"),
                *(word for option in preferences for word in ("-o", option)),
                *(word for field in fields for word in ("-e", field)),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return [line.split("|") for line in done.stdout.splitlines()]

    return run


def test_wireshark_finds_nothing_wrong(tshark: Tshark) -> None:
    rows = tshark([bytes(frame) for frame in FRAMES], ["_ws.malformed", *CHECKSUMS])
    assert len(rows) == len(FRAMES)
    for frame, (malformed, *statuses) in zip(FRAMES, rows, strict=True):
        assert malformed == "", frame
        assert {one for status in statuses if status for one in status.split(",")} <= {GOOD}, frame
    assert {status for row in rows for status in row[1:]} >= {"", GOOD}


def test_wireshark_reads_the_same(tshark: Tshark) -> None:
    fields = ["ip.src", "ipv6.src", "tcp.srcport", "udp.srcport", "tcp.dstport", "udp.dstport"]
    for frame, row in zip(FRAMES, tshark([bytes(frame) for frame in FRAMES], fields), strict=True):
        src4, src6, *ports = (value.split(",")[0] for value in row)
        packet = parse(bytes(frame))
        assert (packet.src or "") == (src4 or src6), frame
        if packet.sport is not None:
            assert [str(packet.sport), str(packet.dport)] == [port for port in ports if port], frame


def lengths(data: bytes) -> str:
    return str(len(parse(data).payload))


@pytest.mark.parametrize(
    "frame",
    [
        ether / ip.replace(total_length=0) / tcp / bytes(3000),
        ether / ip6.replace(payload_length=0) / tcp / bytes(3000),
        ether
        / IPv4(src="192.0.2.1", dst="192.0.2.2", total_length=60)
        / tcp.replace(options=())
        / bytes(100),
        ether
        / ip6.replace(payload_length=0)
        / HopByHop(options=[JumboPayload(payload_length=8 + 20 + 66000)])
        / tcp.replace(options=())
        / bytes(66010),
    ],
    ids=["TSO", "IPv6 without a length", "padded", "jumbogram"],
)
def test_wireshark_ends_the_payload_where_we_do(tshark: Tshark, frame: Any) -> None:
    data = bytes(frame)
    [[length]] = tshark([data], ["tcp.len"])
    assert lengths(data) == length
