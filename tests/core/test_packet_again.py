"""Packets made again, over both implementations: by their text, by ``replace`` and by templates."""

from __future__ import annotations

from types import ModuleType

import pytest

from fastnet.errors import PacketError

TOPIC = "packet"
HOME = b"\xc9\x10" + bytes(15) + b"\x09"


def text_again(packets: ModuleType, data: bytes) -> None:
    """The text of a packet, and of each of its layers, is code that builds the same bytes."""
    packet = packets.parse(data, "ip")
    again = eval(repr(packet), vars(packets))
    assert (bytes(again), again == packet) == (data, True)
    for layer in packet:
        assert eval(repr(layer), vars(packets)).header == layer.header


@pytest.mark.parametrize(
    "options",
    [
        HOME,
        HOME + b"\1\2\0\0",
        HOME + b"\5\2\0\0",
        HOME + b"\xe6\xd8",
        b"\0\5\2\0\0\0",
        b"\1\0\xc2\4\0\1\0\0",
    ],
    ids=bytes.hex,
)
@pytest.mark.parametrize("header", ["HopByHop", "DestinationOptions"])
def test_the_text_of_options_where_building_never_puts_them(
    packets: ModuleType, header: str, options: bytes
) -> None:
    extension = getattr(packets, header)(options=[packets.MalformedIPv6Options(data=options)])
    text_again(packets, bytes(packets.IPv6() / extension / packets.UDP()))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 8, 19, 28, 29, 34, 0xF988, 0xF98A])
@pytest.mark.parametrize("size", [4, 5, 8, 10, 18])
@pytest.mark.parametrize("kind", [253, 254])
def test_an_experiment_is_no_option_of_its_number(
    packets: ModuleType, kind: int, number: int, size: int
) -> None:
    data = number.to_bytes(2, "big") + bytes(range(size - 4))
    given = packets.UnknownTCPOption(kind=kind, data=data)
    packet = bytes(packets.IPv4() / packets.TCP(options=[given]))
    assert packets.parse(packet, "ip", strict=True)[packets.TCP].options[0] == given
    text_again(packets, packet)


UNKNOWN = [
    "IPv4(protocol=89) / b'ospf'",
    "IPv4(protocol=17, fragment_offset=2) / b'fragment'",
    "IPv4(protocol=2, options=[RouterAlert()]) / bytes(8)",
    "IPv4(total_length=0) / UDP() / b'segmented by the card'",
    "IPv4() / IPv4(protocol=89) / b'ospf'",
    "IPv4() / ICMPTimeExceeded() / IPv4(protocol=89, checksum=1) / b'12345678'",
    "IPv4() / UDP() / SCTP(checksum=7) / b'wrong within what is right'",
]


@pytest.mark.parametrize("code", UNKNOWN)
def test_a_right_checksum_beside_a_protocol_that_is_not_known_is_computed_anew(
    packets: ModuleType, code: str
) -> None:
    data = bytes(eval(code, vars(packets)))
    text_again(packets, data)
    changed = packets.parse(data, "ip").replace(packets.IPv4, ttl=1)
    assert changed[0].ttl == 1
    assert rest_of_sum(changed[0].header) == 0


def rest_of_sum(header: bytes) -> int:
    """What is left of the sum of a header with its checksum: 0 where that is right."""
    return sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2)) % 0xFFFF


def test_a_checksum_around_a_wrong_one_is_computed_anew(packets: ModuleType) -> None:
    quoted = packets.IPv4(protocol=89, checksum=1) / b"12345678"
    packet = packets.parse(bytes(packets.IPv4() / packets.ICMPTimeExceeded() / quoted), "ip", strict=True)
    changed = packet.replace(packets.ICMPTimeExceeded, code=1).replace(packets.IPv4, ttl=3)
    assert packets.parse(bytes(changed), "ip", strict=True)[packets.IPv4, 2].checksum == 1


@pytest.mark.parametrize("field", ["segments_left", "type"])
@pytest.mark.parametrize("inner", ["UDP", "TCP", "ICMPv6Echo", "DCCP"])
def test_a_template_does_not_vary_what_chooses_the_last_destination(
    packets: ModuleType, field: str, inner: str
) -> None:
    routed = packets.IPv6(src="::1", dst="::2") / packets.Routing(segments_left=1, addresses=["::3"])
    message = packets.DestinationOptions() / getattr(packets, inner)() / b"x"
    varied = getattr(packets.Routing, field)
    for packet in (routed / message, packets.parse(bytes(routed / message), "ipv6")):
        with pytest.raises(PacketError, match=f"{field} can't vary: a checksum that can't be"):
            packets.Template(packet, varied)
        assert packets.Template(packet, packets.Routing.specific).build(5)
    around = routed / packets.IPv6(src="::4") / message  # has a destination of its own
    assert packets.Template(around, varied).build(0) == bytes(around.replace(packets.Routing, **{field: 0}))
