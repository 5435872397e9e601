"""Packets cut short, over both implementations: what is there is found, the error names what ended."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from fastnet.errors import TruncatedPacket

TOPIC = "packet"


def layers(packet: Any) -> list[str]:
    return [type(layer).__name__ for layer in packet]


def test_a_header_that_is_cut_short_keeps_what_is_there(packets: ModuleType) -> None:
    options = [packets.MSS(size=9), packets.Timestamps(value=1)]
    tcp = packets.TCP(sport=5, dport=6, flags="SA", options=options)
    frame = bytes(packets.Ethernet() / packets.IPv4(src="10.0.0.1", dst="10.0.0.2") / tcp / b"data")
    for size in range(38, len(frame) - 4):
        packet = packets.parse(frame[:size])
        assert (packet.src, packet.dst, packet.sport, packet.dport) == ("10.0.0.1", "10.0.0.2", 5, 6)
        assert str(packet.error) == "IPv4 at byte 14 is cut short: the data ends too early"
        assert (layers(packet), packet.payload) == (["Ethernet", "IPv4", "TCP"], b"")
        if size >= 48:
            assert packet[packets.TCP].flags == 0x12
    assert packets.parse(frame[:58])[packets.TCP].options == tuple(options[:1])
    short = packets.parse(frame[:48])
    with pytest.raises(TruncatedPacket, match="TCP ends before its field window"):
        short[packets.TCP].window  # noqa: B018
    with pytest.raises(TruncatedPacket, match="TCP ends before its field options"):
        short[packets.TCP].options  # noqa: B018
    assert [*packets.as_dict(short)["layers"][2]["fields"]][-1] == "flags"
    assert "window" not in packets.dump(short)
    assert short.replace(packets.TCP, dport=7)[packets.TCP].dport == 7
    for changed in ({"window": 7}, {"options": []}, {"checksum": None}):
        with pytest.raises(TruncatedPacket):
            short.replace(packets.TCP, **changed)
    with pytest.raises(TruncatedPacket, match="TCP ends before its field window"):
        packets.Template(short, packets.TCP.window)
    assert packets.Template(short, packets.TCP.dport).build(7) == bytes(short.replace(packets.TCP, dport=7))
    assert bytes(packets.IPv4() / short[packets.TCP] / packets.UDP()).endswith(bytes(packets.UDP()))


def test_addresses_of_a_network_header_that_is_cut_short(packets: ModuleType) -> None:
    four = bytes(
        packets.IPv4(src="10.0.0.1", dst="10.0.0.2", options=[packets.RouterAlert()]) / packets.UDP()
    )
    six = bytes(packets.IPv6(src="::1", dst="::2") / packets.UDP())
    for data, places in ((four, (9, 16, 20)), (six, (6, 24, 40))):
        for size in range(1, places[2] + 4):
            packet = packets.parse(data[:size], "ip")
            found = [packet.protocol, packet.src, packet.dst]
            assert [value is not None for value in found] == [size > places[0]] + [
                size >= at for at in places[1:]
            ]
            assert packet.sport == (0 if size >= places[2] + 2 and data is six else None)
    cut = packets.parse(four[:18], "ip")[packets.IPv4]
    for layer in (packets.UDP(), packets.TCP()):
        assert bytes(cut / layer)[:18] == four[:18]  # no pseudo-header is made of what is not there


@pytest.mark.parametrize("size", [4, 8, 12, 19])
def test_a_first_fragment_of_a_few_bytes_has_its_ports(packets: ModuleType, size: int) -> None:
    tcp = bytes(packets.TCP(sport=5, dport=6))[:size]
    for head, network in (
        (packets.IPv4(flags="MF", protocol=6), "IPv4 at byte 0"),
        (packets.IPv6() / packets.Fragment(more=1, next_header=6), "IPv6 at byte 0"),
    ):
        data = bytes(head / tcp)
        packet = packets.parse(data + bytes(20), "ip")
        assert (packet.sport, packet.dport) == (5, 6)
        place = len(data) - size
        assert (
            str(packet.error) == f"TCP at byte {place} is cut short: the length in {network} ends too early"
        )
        assert bytes(packet) == data + bytes(20)


def test_ports_of_a_tcp_header_that_says_it_is_too_short(packets: ModuleType) -> None:
    packet = packets.parse(bytes(packets.IPv4() / packets.TCP(sport=5, data_offset=4) / b"x"), "ip")
    assert (packet.sport, packet.payload) == (5, b"x")
    assert str(packet.error) == "TCP at byte 20 has a length shorter than its own header"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: p.IPv4(total_length=24) / p.UDP(),
         "UDP at byte 20 is cut short: the length in IPv4 at byte 0"),
        (lambda p: p.IPv6(payload_length=3) / p.TCP(),
         "TCP at byte 40 is cut short: the length in IPv6 at byte 0"),
        (
            lambda p: p.IPv4(total_length=39) / p.IPv4() / p.UDP(),
            "IPv4 at byte 20 is cut short: the length in IPv4 at byte 0",
        ),
        (lambda p: p.IPv4() / p.UDP(length=40), "UDP at byte 20 is cut short: the length in IPv4 at byte 0"),
        (lambda p: p.IPv4(total_length=0) / p.UDP(length=40), "UDP at byte 20 is cut short: the data"),
        (lambda p: p.IPv4(protocol=6) / b"short",
         "TCP at byte 20 is cut short: the length in IPv4 at byte 0"),
        (lambda p: p.IPv4() / p.UDP(length=40) / p.Padding(bytes(50)),
         "UDP at byte 20 is cut short: the length in IPv4 at byte 0"),
    ],
)  # fmt: skip
def test_too_early_says_what_ended(
    packets: ModuleType, build: Callable[[ModuleType], Any], message: str
) -> None:
    assert str(packets.parse(bytes(build(packets)), "ip").error) == f"{message} ends too early"
