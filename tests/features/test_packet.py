"""``fastnet packet``, and what ``fastnet.packet`` adds to the core: options, text, memory that stays flat."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environment import ROOT

from fastnet import implementation
from fastnet import packet as packets
from fastnet.packet import (
    MSS,
    TCP,
    UDP,
    Ethernet,
    HopByHop,
    ICMPEcho,
    IPv4,
    IPv6,
    MalformedTCPOptions,
    PadN,
    Routing,
    TCPEnd,
    TCPNop,
    Timestamps,
    UnknownTCPOption,
    WindowScale,
    dump,
    parse,
)

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PACKET = (
    Ethernet(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IPv4(src="192.0.2.1", dst="192.0.2.2", flags="DF")
    / TCP(sport=1234, dport=80, flags="S", options=[MSS(size=1460), TCPNop(), WindowScale(shift=7)])
    / b"hello"
)
DATA = bytes(PACKET)
VIEW = """\
Ethernet, bytes 0 to 13
  dst   02:00:00:00:00:02
  src   02:00:00:00:00:01
  type  0x0800
IPv4, bytes 14 to 33
  version          4
  ihl              5
  dscp             0
  ecn              0
  total_length     53
  ident            0
  flags            DF
  fragment_offset  0
  ttl              64
  protocol         6
  checksum         IPSUM
  src              192.0.2.1
  dst              192.0.2.2
  options          none
TCP, bytes 34 to 61
  sport           1234
  dport           80
  seq             0
  ack             0
  data_offset     7
  reserved        0
  flags           S
  window          8192
  checksum        CHECKSUM
  urgent_pointer  0
  options         MSS(size=1460), TCPNop(), WindowScale(shift=7)
Payload, bytes 62 to 66
  data  5 bytes

0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00 45 00  ..............E.
"""


def test_dump() -> None:
    expected = VIEW.replace("CHECKSUM", f"{PACKET[TCP].checksum:#06x}").replace(
        "IPSUM", f"{PACKET[IPv4].checksum:#06x}"
    )
    assert dump(PACKET).startswith(expected)
    assert dump(parse(DATA)) == dump(PACKET)
    assert dump(PACKET).endswith("0040  6c 6c 6f                                         llo")
    assert "\nerror: IPv4 at byte 14 is cut short" in dump(parse(DATA[:50]))
    assert dump(ICMPEcho(seq=9)).startswith("ICMPEcho, bytes 0 to 7\n")


def options(data: bytes) -> Any:
    return TCP.from_header(bytes(TCP(options=[MalformedTCPOptions(data=data)]).header)).options


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("020405b4", (MSS(size=1460),)),
        ("020405b400000000", (MSS(size=1460), TCPEnd(ignored=bytes(3)))),
        ("0303070000000000", (WindowScale(shift=7), TCPEnd(ignored=bytes(4)))),
        ("00020405b4000000", (TCPEnd(ignored=bytes.fromhex("020405b4000000")),)),
        ("010100ff", (TCPNop(), TCPNop(), TCPEnd(ignored=b"\xff"))),
        ("03030700", (WindowScale(shift=7),)),
        ("0101080a0000000100000002", (TCPNop(), TCPNop(), Timestamps(value=1, echo=2))),
        ("020305ff", (UnknownTCPOption(kind=2, data=b"\x05"), MalformedTCPOptions(data=b"\xff"))),
        ("fe04abcd", (UnknownTCPOption(kind=254, data=b"\xab\xcd"),)),
        ("02000000", (MalformedTCPOptions(data=b"\x02\0\0\0"),)),
        ("01010820", (TCPNop(), TCPNop(), MalformedTCPOptions(data=b"\x08\x20"))),
        ("050a00000001000000020000", (packets.SACK(edges=[1, 2]),)),
    ],
)
def test_tcp_options(data: str, expected: tuple[Any, ...]) -> None:
    raw = bytes.fromhex(data)
    assert options(raw) == expected
    assert TCP(options=expected).header[20:] == raw
    assert eval(repr(expected), vars(packets)) == expected


def test_nothing_is_read_behind_the_end_of_ipv4_options() -> None:
    given = packets.MalformedIPv4Options(data=bytes.fromhex("0007070401020304"))
    header = IPv4.from_header(IPv4(options=[given]).header)
    assert header.options == (packets.IPv4End(ignored=bytes.fromhex("07070401020304")),)
    assert IPv4(options=header.options).header == header.header


@pytest.mark.parametrize("before", range(9))
def test_ipv6_options_stand_where_they_must(before: int) -> None:
    """RFC 8200, section 4.2: x n + y from the header's start; nothing is added where they do already."""
    first = [] if not before else [packets.Pad1()] if before == 1 else [PadN(data=bytes(before - 2))]
    for option, multiple, rest in (
        (packets.HomeAddress(address="::9"), 8, 6),
        (packets.JumboPayload(payload_length=70000), 4, 2),
        (packets.IPv6RouterAlert(), 2, 0),
    ):
        layer = packets.DestinationOptions(options=[*first, option])
        assert layer.header.index(option.header) % multiple == rest
        assert option in layer.options
        assert packets.DestinationOptions(options=layer.options).header == layer.header


def test_extension_header_options_are_padded() -> None:
    header = HopByHop(options=[packets.JumboPayload(payload_length=70000)])
    assert len(header.header) == 8
    assert HopByHop().options == ()
    assert HopByHop().header == bytes.fromhex("0000010400000000")
    assert HopByHop(options=[PadN(data=bytes(8))]).length == 1
    assert Routing(addresses=b"12345678").addresses == b"12345678"


def test_what_can_be_composed() -> None:
    assert len(IPv4() / UDP() / b"x" / bytearray(b"y") / memoryview(b"z")) == 5
    with pytest.raises(TypeError):
        IPv4() / "text"  # type: ignore[operator]
    with pytest.raises(TypeError):
        b"x" / IPv4()  # type: ignore[operator]
    packet = (IPv4() / UDP()) / (IPv6() / UDP())
    assert [type(layer) for layer in packet] == [IPv4, UDP, IPv6, UDP]


def test_fields_have_types() -> None:
    """``typing.dataclass_transform``: a type checker sees each constructor's arguments."""
    assert IPv4.ttl.width == 8
    assert IPv4(dst="10.0.0.1").ttl == 64
    assert type(IPv4().src) is str


def test_the_page_s_examples() -> None:
    page = ROOT / "docs" / "packet.md"
    text = page.read_text().replace("```", "")
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    outcome = runner.run(doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0))
    assert outcome.attempted > 10
    assert outcome.failed == 0


# The command


def test_command_shows_a_packet(fastnet: Run) -> None:
    done = fastnet("packet", "parse", input=DATA.hex())
    assert (done.returncode, done.stdout, done.stderr) == (0, dump(PACKET) + "\n", "")


@pytest.mark.parametrize("text", [DATA.hex(" "), DATA.hex(":").upper(), "0x" + DATA.hex("\n", 16)])
def test_command_reads_hex_as_people_write_it(fastnet: Run, text: str) -> None:
    assert fastnet("packet", "parse", "--hex", "-", input=text).stdout == dump(PACKET) + "\n"


def test_command_reads_files(fastnet: Run, tmp_path: Path) -> None:
    file = tmp_path / "packet"
    file.write_bytes(DATA[14:])
    done = fastnet("packet", "parse", "--raw", "--link", "ip", "--strict", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == dump(parse(DATA[14:], "ip")) + "\n"


def test_command_takes_links_by_name_and_number(fastnet: Run) -> None:
    data = bytes(packets.SLL() / IPv4(src="192.0.2.1") / UDP(dport=9))
    for link, said in (("sll", "sll"), ("113", 113)):
        done = fastnet("packet", "parse", "--json", "--strict", "--link", link, input=data.hex())
        record = json.loads(done.stdout)
        assert (record["link"], [each["layer"] for each in record["layers"]]) == (
            said,
            ["SLL", "IPv4", "UDP"],
        )
    for link in ("token", "147", "-1", "²"):
        done = fastnet("packet", "parse", f"--link={link}", input=data.hex())
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected one of ethernet, ipv4, ipv6, ip, raw, null, loop, sll, sll2, or a DLT" in done.stderr
    assert "sll2 or a DLT number" in " ".join(fastnet("packet", "parse", "--help").stdout.split())


def test_command_json(fastnet: Run) -> None:
    done = fastnet("packet", "parse", "--json", input=DATA.hex())
    record = json.loads(done.stdout)
    assert [*record] == ["kind", "time", "link", "length_bytes", "layers", "error"]
    assert (record["link"], record["length_bytes"], record["error"]) == ("ethernet", len(DATA), None)
    assert [(layer["layer"], layer["offset_bytes"], layer["length_bytes"]) for layer in record["layers"]] == [
        ("Ethernet", 0, 14),
        ("IPv4", 14, 20),
        ("TCP", 34, 28),
        ("Payload", 62, 5),
    ]
    tcp = record["layers"][2]["fields"]
    assert (tcp["sport"], tcp["flags"]) == (1234, 2)
    assert tcp["options"][0] == {"option": "MSS", "kind": 2, "length": 4, "size": 1460}
    assert record["layers"][3]["fields"] == {"data": b"hello".hex()}


def test_command_cut_short(fastnet: Run) -> None:
    done = fastnet("packet", "parse", input=DATA[:50].hex())
    assert (done.returncode, done.stderr) == (0, "")
    assert "error: IPv4 at byte 14 is cut short: the data ends too early\n" in done.stdout
    done = fastnet("packet", "parse", "--strict", input=DATA[:50].hex())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "fastnet packet: IPv4 at byte 14 is cut short: the data ends too early\n"
    record = json.loads(fastnet("packet", "parse", "--json", input=DATA[:20].hex()).stdout)
    assert record["error"] == "IPv4 at byte 14 is cut short: the data ends too early"


def test_command_bad_checksum(fastnet: Run) -> None:
    wrong = DATA[:-1] + b"p"
    assert fastnet("packet", "parse", input=wrong.hex()).returncode == 0
    done = fastnet("packet", "parse", "--strict", input=wrong.hex())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fastnet packet: TCP at byte 34 has checksum 0x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "'hello' is not hexadecimal: give pairs of hex digits, or --raw for bytes"),
        ("45 0", "'0': 1 hex digit, expected two for each byte"),
        ("", "the input is empty: expected the bytes of one packet"),
        (" \n", "the input is empty: expected the bytes of one packet"),
    ],
)
def test_command_bad_input(fastnet: Run, text: str, message: str) -> None:
    done = fastnet("packet", "parse", input=text)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"fastnet packet: {message}\n")


@pytest.mark.parametrize(
    "arguments",
    [(), ("show",), ("parse", "--link", "token"), ("parse", "--hex", "--raw"), ("parse", "a", "b")],
)
def test_command_bad_usage(fastnet: Run, arguments: tuple[str, ...]) -> None:
    done = fastnet("packet", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("--help)\n")
    assert done.stderr.count("\n") == 1


def test_command_without_its_file(fastnet: Run, tmp_path: Path) -> None:
    done = fastnet("packet", "parse", str(tmp_path / "absent"))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"fastnet packet: {tmp_path / 'absent'}: No such file or directory\n"


# Memory

LEAK = """
import sys
from fastnet.packet import *

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

packet = Ethernet() / IPv4(src="10.0.0.1", dst="10.0.0.2") / TCP(options=[MSS(size=9)]) / b"payload"
data = bytes(packet)
template = Template(packet, IPv4.dst, TCP.sport)

def work(rounds):
    for i in range(rounds):
        assert bytes(packet) == data
        parsed = parse(data)
        parsed.src, parsed.dst, parsed.protocol, parsed.sport, parsed.payload
        if i % 100 == 0:
            assert parse(data, strict=True) == packet == eval(repr(parsed))
            parsed[TCP].options, dump(parsed), list(parsed), parse(data[:i % len(data)]).error
            template.build("1.2.3.4", 5), template.build_many([1, 2], [3, 4])
            cut = data[:9]
            for bad in (lambda: IPv4(ttl=999), lambda: parse(cut, strict=True), lambda: template.build(1)):
                try:
                    bad()
                except (ValueError, TypeError):
                    continue
                raise SystemExit("no error")

rounds = int(sys.argv[1])
work(rounds // 10)
before = resident()
work(rounds)
print(resident() - before)
"""


def test_memory_stays_flat() -> None:
    rounds = 1_000_000 if implementation("packet") == "native" else 20_000
    done = subprocess.run(
        [sys.executable, "-c", LEAK, str(rounds)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert int(done.stdout) < 1 << 20
