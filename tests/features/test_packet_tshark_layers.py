"""Links, tunnels, SCTP, DCCP and ICMP extensions beside tshark's reading of them, native and pure."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import packet_recipes as recipes
import pytest

from fastnet.errors import BadChecksum
from fastnet.packet import (
    DCCP,
    GRE,
    LLC,
    MPLS,
    PPP,
    SCTP,
    SLL,
    SLL2,
    TCP,
    UDP,
    Dot1Q,
    Ethernet,
    ExperimentalFastOpen,
    ICMPExtensions,
    ICMPTimeExceeded,
    ICMPUnreachable,
    ICMPv6TimeExceeded,
    IPv4,
    IPv6,
    Loop,
    MPLSLabels,
    Null,
    Packet,
    Payload,
    PPPoE,
)
from fastnet.packet.record import held

E = Ethernet(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
IP4 = IPv4(src="192.0.2.1", dst="198.51.100.7")
IP6 = IPv6(src="2001:db8::1", dst="2001:db8:0:1::7")
CHUNK = bytes.fromhex("0b000004")  # COOKIE ACK
TRANSPORTS = [
    UDP(sport=40001, dport=40002) / b"datagram",
    TCP(sport=40003, dport=40004, flags="S", options=[ExperimentalFastOpen(cookie=b"cookie42")]) / b"",
    SCTP(sport=40005, dport=40006, tag=0xC0FFEE) / CHUNK,
    DCCP(sport=40007, dport=40008, extended=1, type=0, rest=bytes(6) + b"\7serv"),
    DCCP(sport=40007, dport=40008, rest=b"\0\0\7", coverage=2) / b"sixteen bytes...",
]
TUNNELS: list[list[Any]] = [
    [MPLS(label=16)],
    [MPLS(label=16, tc=1), MPLS(label=17), MPLS(label=1000, ttl=1)],
    [PPPoE(session=7), PPP()],
    [Dot1Q(vlan=5), MPLS(label=16)],
    [IP4, GRE()],
    [IP6, GRE(checksum_present=1, optional=bytes(4))],
    [IP6, GRE(key_present=1, sequence_present=1, optional=bytes(7) + b"\1")],
    [IP4, GRE(), E],
    [IP4, MPLS(label=18)],
]
LABELS = ICMPExtensions(objects=[MPLSLabels(labels=[MPLS(label=0x659F0, ttl=1), MPLS(label=5, tc=2)])])
FRAMES: dict[str, list[Any]] = {
    "ethernet": [
        *(Packet(E, ip, transport) for ip in (IP4, IP6) for transport in TRANSPORTS),
        *(Packet(E, *tunnel, ip, each) for tunnel in TUNNELS for ip in (IP4, IP6) for each in TRANSPORTS),
    ],
    "sll": [SLL(address="02:00:00:00:00:0a") / ip / each for ip in (IP4, IP6) for each in TRANSPORTS],
    "sll2": [SLL2(interface=3, packet_type=4) / ip / each for ip in (IP4, IP6) for each in TRANSPORTS],
    "null": [Null() / IP4 / TRANSPORTS[0], *(Null(family=f) / IP6 / TRANSPORTS[1] for f in (24, 28, 30))],
    "loop": [Loop() / IP4 / TRANSPORTS[0], *(Loop(family=f) / IP6 / TRANSPORTS[1] for f in (24, 28, 30))],
    "raw": [IP4 / TRANSPORTS[0], IP6 / TRANSPORTS[2]],
}  # fmt: skip
FRAMES["sll"].append(SLL(packet_type=2) / LLC(dsap=0x42, ssap=0x42) / bytes(35))
NUMBERS = {"ethernet": 1, "null": 0, "loop": 108, "sll": 113, "sll2": 276, "raw": 101}
NAMES = {
    "Ethernet": "eth", "Dot1Q": "vlan", "IPv4": "ip", "IPv6": "ipv6", "UDP": "udp", "TCP": "tcp",
    "SCTP": "sctp", "DCCP": "dccp", "MPLS": "mpls", "PPPoE": "pppoes", "PPP": "ppp", "GRE": "gre",
    "LLC": "llc", "SLL": "sll", "SLL2": "sll", "Null": "null", "Loop": "null",
}  # fmt: skip
PORTS = {"udp": "udp.srcport", "tcp": "tcp.srcport", "sctp": "sctp.srcport", "dccp": "dccp.srcport"}
COLUMNS = [
    *("frame.protocols", "_ws.malformed", "mpls.label", "gre.key", "pppoe.session_id", *PORTS.values()),
    *("icmp.mpls.label", "icmp.checksum.status", "icmp.ext.checksum.status", "tcp.options.tfo.cookie"),
    *("sctp.checksum.status", "dccp.checksum.status", "udp.checksum.status", "tcp.checksum.status"),
]
PREFERENCES = ["sctp.checksum:CRC 32c", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"]
IMPLEMENTATIONS = [
    name for name in ("native", "pure") if name == "pure" or find_spec("fastnet._native.packet")
]
Reading = dict[str, list[str]]


@pytest.fixture(params=IMPLEMENTATIONS)
def library(request: pytest.FixtureRequest) -> ModuleType:
    return recipes.library(request.param)  # type: ignore[no-any-return]


def read(tshark: str, path: Path, link: str, frames: list[bytes]) -> list[Reading]:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0x40000, NUMBERS[link]))
        for frame in frames:
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    command = [tshark, "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [word for preference in PREFERENCES for word in ("-o", preference)]
    command += [word for column in COLUMNS for word in ("-e", column)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [
        {
            column: text.split(",") if text else []
            for column, text in zip(COLUMNS, line.split("|"), strict=True)
        }
        for line in done.stdout.splitlines()
    ]


def names(packet: Any) -> list[str]:
    """As tshark lists them: a stack of labels is one protocol, and what ICMP quotes is listed with it."""
    found = [NAMES[name] for layer in packet if (name := type(layer).__name__) in NAMES]
    return [name for i, name in enumerate(found) if found[i - 1 : i] != [name] or name != "mpls"]


def their_names(reading: Reading) -> list[str]:
    known = {*NAMES.values()}
    return [name for name in "".join(reading["frame.protocols"]).split(":") if name in known]


@pytest.mark.parametrize("link", FRAMES)
def test_layers_ports_and_checksums(
    library: ModuleType, link: str, peer: Callable[[str], str], tmp_path: Path
) -> None:
    frames = [bytes(packet) for packet in FRAMES[link]]
    for frame, reading in zip(frames, read(peer("tshark"), tmp_path / "a.pcap", link, frames), strict=True):
        packet = library.parse(frame, NUMBERS[link], strict=True)
        assert names(packet) == their_names(reading), packet
        assert reading["_ws.malformed"] == []
        for name, column in PORTS.items():
            ports = [str(layer.sport) for layer in packet if NAMES.get(type(layer).__name__) == name]
            assert ports == reading[column], packet
        for column in ("sctp", "dccp", "udp", "tcp"):
            assert "0" not in reading[f"{column}.checksum.status"], packet
        labels = [str(layer.label) for layer in packet if type(layer).__name__ == "MPLS"]
        assert labels == reading["mpls.label"]
        assert [str(each.session) for each in packet if "session" in each.fields()] == [
            str(int(text, 16)) for text in reading["pppoe.session_id"]
        ]


def test_extensions_are_read_alike(library: ModuleType, peer: Callable[[str], str], tmp_path: Path) -> None:
    """tshark reads them behind quotes that are whole, or in ICMPv6."""
    quote = bytes(IPv4(src="198.51.100.7", dst="192.0.2.1") / UDP(sport=1, dport=33434) / bytes(100))
    quote6 = bytes(IPv6(src="::1", dst="::2") / UDP(sport=1, dport=33434) / bytes(80))
    frames = [
        bytes(E / IP4 / ICMPTimeExceeded(length=32) / Payload(quote) / LABELS),
        bytes(E / IP4 / ICMPUnreachable(code=3, length=32) / Payload(quote) / LABELS),
        bytes(E / IP6 / ICMPv6TimeExceeded(length=16) / Payload(quote6) / LABELS),
    ]
    found = read(peer("tshark"), tmp_path / "a.pcap", "ethernet", frames)
    for frame, reading in zip(frames, found, strict=True):
        (labels,) = library.parse(frame, strict=True)[library.ICMPExtensions].objects
        assert [each.label for each in labels.labels] == [int(text, 0) for text in reading["icmp.mpls.label"]]
        assert "0" not in reading["icmp.checksum.status"] + reading["icmp.ext.checksum.status"]


@pytest.mark.parametrize("place", [2, 3])
def test_wrong_checksums_are_seen_alike(
    library: ModuleType, place: int, peer: Callable[[str], str], tmp_path: Path
) -> None:
    whole = bytes(E / IP4 / TRANSPORTS[place])
    frames = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(34, len(whole))]
    name = "sctp" if place == 2 else "dccp"
    found = read(peer("tshark"), tmp_path / "a.pcap", "ethernet", frames)
    verdicts, told = [], 0
    for frame, reading in zip(frames, found, strict=True):
        refused = recipes.outcome(lambda frame=frame: library.parse(frame, strict=True))
        if refused[0] not in ("gives", BadChecksum):
            continue  # a length that can't be, or one behind the end
        wrong = refused[0] is BadChecksum
        verdicts.append(wrong)
        assert not wrong or refused[1].lower().startswith(name)
        if reading[f"{name}.checksum.status"] in (["0"], ["1"]):
            told += 1
            assert wrong == (reading[f"{name}.checksum.status"] == ["0"])
    assert min(verdicts.count(True), told) > 10


@pytest.mark.parametrize("snap", [54, 64, 68, 96])
def test_ports_of_snapped_packets(
    library: ModuleType, snap: int, peer: Callable[[str], str], tmp_path: Path
) -> None:
    frames = [bytes(packet)[:snap] for packet in FRAMES["ethernet"]]
    found = read(peer("tshark"), tmp_path / "a.pcap", "ethernet", frames)
    for frame, reading in zip(frames, found, strict=True):
        ours = [str(layer.sport) for layer in library.parse(frame) if "sport" in held(layer)]
        theirs = [port for column in PORTS.values() for port in reading[column]]
        assert theirs in ([], ours), library.parse(frame)
