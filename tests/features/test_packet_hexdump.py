"""The bytes of a packet out of what other programs print: offsets are never bytes, and nothing is guessed."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from environment import Run
from hypothesis import given
from hypothesis import strategies as st

from fastnet.errors import InvalidArgument
from fastnet.packet import ICMPEcho, IPv4, from_hex
from fastnet.packet.hexadecimal import plain_bytes
from fastnet.packet.hexdump import bytes_of

SIZES = [0, 1, 5, 6, 7, 8, 9, 12, 100]
PACKETS = [
    bytes(IPv4(src="10.0.0.2", dst="10.0.0.1") / ICMPEcho(ident=7, seq=1) / (b"ab cd ef " * 20)[:n])
    for n in SIZES
]
PACKETS.append(bytes(IPv4(src="10.0.0.2", dst="10.0.0.1") / ICMPEcho() / bytes(200)))
PROGRAMS = [
    ("xxd",),
    ("xxd", "-p"),
    ("xxd", "-i"),
    ("xxd", "-c", "8"),
    ("xxd", "-g", "1"),
    ("hexdump",),
    ("hexdump", "-C"),
    ("od", "-tx1"),
    ("od", "-x"),
    ("od", "-A", "x", "-tx1"),
    ("od", "-A", "x", "-x"),
    ("hexdump", "-x"),
    ("od", "-A", "d", "-tx1z"),
    ("od", "-tx1", "-v"),
]


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
@pytest.mark.parametrize("data", PACKETS, ids=len)
def test_what_other_programs_print(peer: Callable[[str], str], words: tuple[str, ...], data: bytes) -> None:
    printed = subprocess.run([peer(words[0]), *words[1:]], input=data, capture_output=True, check=True).stdout
    assert from_hex(printed.decode()) == data


BITS = ["", "4", "00", "45", "0000", "0010", "000010", "00000000", "0000:", "45:", "0x45", "\n00"]
BETWEEN = [" ", "  ", "\n", ":", "\r\n", "\x1c", "\u3000"]


def test_what_is_read_without_patterns_is_the_same_with_them() -> None:
    texts = map("".join, itertools.product(BITS, BETWEEN, BITS, BETWEEN, BITS))
    quick = {text: data for text in texts if (data := plain_bytes(text)) is not None}
    assert len(quick) > 1000
    assert quick == {text: bytes_of(text) for text in quick}


@given(st.text("045af:\n "))
def test_any_text_read_without_patterns_is_the_same_with_them(text: str) -> None:
    if (data := plain_bytes(text)) is not None:
        assert data == bytes_of(text)


@pytest.mark.parametrize("text", ["", "4500001c", "45 00 00 1c\n", "45:00:00:1c", "4500\n001c\n"])
def test_the_usual_plain_text_needs_no_patterns(text: str) -> None:
    assert plain_bytes(text) == bytes.fromhex("4500001c" if text else "")


OTHER_NUMBERS = [
    ("hexdump", "-b"),
    ("hexdump", "-c"),
    ("hexdump", "-d"),
    ("hexdump", "-o"),
    ("od",),
    ("od", "-b"),
    ("od", "-c"),
    ("od", "-A", "x"),
    ("od", "-A", "d", "-b"),
    ("od", "-tu1"),
    ("od", "-tu2", "-w4"),
]


@pytest.mark.parametrize("words", OTHER_NUMBERS, ids=" ".join)
@pytest.mark.parametrize("data", [*PACKETS, b"\x45\x00", bytes(6), b"\0\4\0\4"], ids=len)
def test_octal_and_decimal_dumps_are_refused(
    peer: Callable[[str], str], words: tuple[str, ...], data: bytes
) -> None:
    printed = subprocess.run([peer(words[0]), *words[1:]], input=data, capture_output=True, check=True).stdout
    with pytest.raises(InvalidArgument, match=r"^line 1: .* is octal, decimal or characters: expected"):
        from_hex(printed.decode())


def printed_by_od(od: str, words: tuple[str, ...], data: bytes) -> str:
    return subprocess.run([od, *words], input=data, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize(
    "words", [("-tx4",), ("-A", "x", "-tx4"), ("-A", "d", "-tx4"), ("-tx8",)], ids=" ".join
)
@pytest.mark.parametrize("size", [1, 4, 7, 8, 15, 16, 17, 18, 28, 33, 39, 40])
def test_words_of_four_and_eight_bytes_are_swapped(
    peer: Callable[[str], str], words: tuple[str, ...], size: int
) -> None:
    """The last one is filled with zeros: the last offset is the length."""
    data = bytes(range(1, size + 1))
    assert from_hex(printed_by_od(peer("od"), words, data)) == data


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (("-tx1",), bytes(64)),
        (("-tx4",), b"x" * 10),
        (("-tx4",), bytes(13)),
        (("-tx4",), b"x" * 14),
        (("-A", "d", "-tx4"), b"x" * 14 + b"\0\0"),
    ],
)
def test_the_base_of_the_offsets_is_not_guessed(
    peer: Callable[[str], str], words: tuple[str, ...], data: bytes
) -> None:
    with pytest.raises(InvalidArgument, match=r"^line \d: offset \d+ fits in more than one base"):
        from_hex(printed_by_od(peer("od"), words, data))


@pytest.mark.parametrize("words", [("-e",), ("-e", "-g2"), ("-e", "-g8")], ids=" ".join)
def test_words_that_xxd_swaps_are_refused(peer: Callable[[str], str], words: tuple[str, ...]) -> None:
    printed = subprocess.run([peer("xxd"), *words], input=PACKETS[-2], capture_output=True, check=True).stdout
    with pytest.raises(InvalidArgument, match="line 1: words are little-endian, as of xxd -e"):
        from_hex(printed.decode())


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (("-e",), bytes.fromhex("bb1d6d132cded6237b2ed91e3f72")),
        (("-e", "-g8"), b"nine byte"),
        (("-b",), b"\xa5"),
        (("-b",), b"ABC"),
        (("-b",), bytes(3)),
    ],
)
def test_characters_of_other_bytes_are_refused(
    peer: Callable[[str], str], words: tuple[str, ...], data: bytes
) -> None:
    printed = subprocess.run([peer("xxd"), *words], input=data, capture_output=True, check=True).stdout
    with pytest.raises(InvalidArgument, match="its characters are not those of its hexa"):
        from_hex(printed.decode())


@pytest.mark.parametrize("column", ["E .1", "E..1", "E .1  "])
def test_a_space_may_be_shown_as_a_dot(column: str) -> None:
    assert from_hex(f"0x0000:  4520 0031  {column}\n") == b"E \x001"


@pytest.mark.parametrize("behind", ["0002  zz 0", "0002  11 2", "0002  11 22 junk", "*", "1 packet captured"])
def test_what_stands_behind_a_dump_is_refused(behind: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^line 2: .* is not a line of a dump"):
        from_hex(f"0000  45 00\n{behind}\n\n")
    assert from_hex("0000  45 00\n\n \n") == b"E\0"


@pytest.mark.parametrize("text", ["{0x45, 0x00", "char packet[] = {\n 0x45,\n", "{"])
def test_an_array_that_does_not_end_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="the array does not end: expected all of it, up to }"):
        from_hex(text)


def capture(path: Path, data: bytes) -> Path:
    """A pcap file (LINKTYPE_IPV4, 228) of one packet."""
    path.write_bytes(
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 228)
        + struct.pack("<IIII", 0, 0, *(len(data),) * 2)
        + data
    )
    return path


@pytest.mark.parametrize("data", PACKETS, ids=len)
@pytest.mark.parametrize(
    "words",
    [("tcpdump", "-x"), ("tcpdump", "-X"), ("tcpdump", "-xx"), ("tcpdump", "-XX"), ("tshark", "-x")],
    ids=" ".join,
)
def test_what_sniffers_print(
    peer: Callable[[str], str], tmp_path: Path, words: tuple[str, ...], data: bytes
) -> None:
    file = capture(tmp_path / "one.pcap", data)
    command = [peer(words[0]), *words[1:], "-n", "-r", str(file)]
    printed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    assert from_hex(printed.decode()) == data


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("45 00 00 21", "45000021"),
        ("4500:0021", "45000021"),
        ("0x45 0x00", "4500"),
        ("45 0001 0x0a00", "4500010a00"),
        ("45:00:\n00:1c", "4500001c"),
        ("4500: 0021: 0000", "450000210000"),
        ("0x4500", "4500"),
        ("", ""),
        ("0000 0000 4500", "000000004500"),
        ("000000000000 0013 c3df", "0000000000000013c3df"),
        ("0000 45 00", "4500"),
        ("0000  4500", "4500"),
        ("0000: 4500", "4500"),
        ("char p[] = {0x45, /* v */ 0x0, // x\n 0x21,};", "450021"),
        ("0x45,0x00", "4500"),
        ('"\\x45\\x00"\n"\\x21"', "450021"),
        ("0000000 0045 2100\n0000004\n", "45000021"),
        ("0000000 0045 0021\n0000003\n", "450021"),
        ("0000  00 00\n*\n0006  01\n", "00000000000001"),
        (
            "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n00000020\n",
            "00" * 32,
        ),
        ("000000 " + "45" * 14 + "0001\n000010 4500", "45" * 14 + "00014500"),
    ],
)
def test_forms(text: str, data: str) -> None:
    assert from_hex(text).hex() == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0010 4500\n0012 0021", "the first column counts up"),
        ("0000  45 00\n0010  00 21", "offset 0010 after 2 bytes"),
        ("0x0000:  4500\n\n0x0000:  4500", "line 3: another packet begins"),
        ("0000  45 00\nhello\n0002  00", "'hello' is not a line of a dump"),
        ("{0x45} {0x00}", "another array begins"),
        ("0x45, 0x100", "'0x100': expected the bytes of an array"),
        ("69, 0", "'69': expected"),
        ("0000  00\n*\nffffffff  01", "offset ffffffff after 16777216 bytes"),
        ("\\x4", "expected the bytes of a string"),
        ("450", "'450': 3 hex digits, expected two"),
        ("0x4 0x5 0x0 0x0", "'4': 1 hex digit, expected two"),
        ("2:0:0:0:0:1", "'2': 1 hex digit,"),
        (" 105 000 000 034\n 012 000", "'105': 3 hex digits,"),
        ("\t0x0010:  0a00 0002 0800", "'0x0010:' looks like an offset: expected a dump from offset 0"),
        ("0x7ffe0000:\t0x45\t0x00\n0x7ffe0008:\t0x40\t0x01", "'0x7ffe0000:' looks like an offset"),
        ("0x7fffffffe3a0:\t0x45\t0x00", "'0x7fffffffe3a0:' looks like an offset"),
        ("10: 0a 00 00 02", "'10:' looks like an offset"),
        ("0010  0a 00 00 02  ....", "'0010' looks like an offset"),
        ("00000010 0a 00 00 02", "'00000010' looks like an offset"),
        ("0000000    69  7168", "line 1: '0000000    69  7168' is octal, decimal"),
        ("hello", "'hello' is not hexadecimal"),
    ],
)
def test_what_can_not_be_told_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        from_hex(text)


IPV4 = PACKETS[-1]
COLUMNS: list[tuple[str, int, int, int]] = [  # of the first column: its form, its first number, its step
    ("{:04} ", 1, 1, 4),
    ("{:04} ", 0, 1, 16),
    ("{:02} ", 1, 1, 16),
    ("0x{:02x}  ", 1, 1, 16),
    ("{:02x} ", 0, 16, 16),
    ("{:02x} ", 16, 16, 16),
    ("{:02}\t", 0, 16, 16),
    ("{:02o} ", 0, 8, 8),
    ("{:06o} ", 16, 16, 16),
    ("{:06x} ", 16, 16, 16),
    ("{:02x} ", 0, 4, 16),
    ("{:04x} ", 256, 4, 16),
]


@pytest.mark.parametrize("between", ["", " "], ids=["joined", "apart"])
@pytest.mark.parametrize(("form", "first", "step", "size"), COLUMNS)
def test_a_first_column_that_counts_up_is_refused(
    form: str, first: int, step: int, size: int, between: str
) -> None:
    lines = [
        form.format(first + step * i)
        + IPV4[size * i : size * (i + 1)].hex(between or "_", size if not between else 1)
        for i in range(3)
    ]
    with pytest.raises(
        InvalidArgument, match=r"^the first column counts up: |looks like an offset: |offset 0001 after"
    ):
        from_hex("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "0001 45 00 00 14\n0002 00 00 00 00",
        "000000 " + "00" * 16 + "\n000020 " + "00" * 16,
        "00 " + "45 " * 16 + "\n10 " + "45 " * 4,
        "00 " + "45 " * 16 + "\n10 " + "45 " * 16 + "\n20\n",
    ],
)
def test_two_lines_that_count_up_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^the first column counts up: "):
        from_hex(text)


@pytest.mark.parametrize("width", [4, 8, 16, 32])
@pytest.mark.parametrize("size", [2, 40, 256])
def test_bytes_that_count_up_are_bytes(width: int, size: int) -> None:
    data = bytes(range(size))
    assert from_hex(plain(data, width, 1)) == data
    assert from_hex("\n".join(f"{byte:02x}" for byte in data)) == data


@pytest.mark.parametrize("text", ["45 00 00 14", "45 00\n46 00", "01 00 00\n02 00 00", "00 10\n10 20"])
def test_few_lines_that_happen_to_count_up_are_bytes(text: str) -> None:
    assert from_hex(text) == bytes.fromhex(text)


def plain(data: bytes | bytearray, width: int, group: int) -> str:
    lines = (data[i : i + width] for i in range(0, len(data), width))
    return "\n".join(line.hex(" ", -group) for line in lines)


def with_offsets(form: str, data: bytes) -> str:
    return "\n".join(form.format(i) + data[i : i + 16].hex(" ") for i in range(0, len(data), 16))


@given(st.integers(0, 2**64), st.integers(1, 200), st.sampled_from([8, 16, 32]), st.sampled_from([1, 2]))
def test_plain_dumps_of_any_bytes_are_read(seed: int, size: int, width: int, group: int) -> None:
    """Unless the first column happens to count up: here it falls."""
    data = bytearray(b"\x45" + random.Random(seed).randbytes(size))
    data[width : width + 1] = bytes(len(data[width : width + 1]))
    assert from_hex(plain(data, width, group)) == data


@given(
    st.binary(min_size=1, max_size=200),
    st.sampled_from(["{:04x}  ", "{:04x}: ", "{:08x}: ", "\t0x{:04x}:  "]),
)
def test_dumps_of_any_bytes_are_read(data: bytes, form: str) -> None:
    assert from_hex(with_offsets(form, data)) == data


@given(st.text(st.sampled_from('0123456789abcfx:|*{},\\ \n"-z'), max_size=120))
def test_any_text_gives_bytes_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert len(from_hex(text)) <= 16 << 20


@pytest.mark.parametrize(
    "magic", ["d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a", "34cdb2a1", "a1b2cd34"]
)
def test_a_capture_is_recognised(fastnet: Run, tmp_path: Path, magic: str) -> None:
    file = tmp_path / "capture"
    file.write_bytes(bytes.fromhex(magic) + bytes(60))
    for words in ([str(file)], ["--raw", str(file)]):
        ran = fastnet("packet", "parse", *words)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "capture file: tcpdump -xx" in ran.stderr


@pytest.mark.parametrize(
    ("magic", "message"),
    [
        ("736e6f6f7000", "snoop capture: tshark -x -c 1 -r FILE prints a packet"),
        ("1f8b0800", "compressed by gzip: of a capture, zcat FILE | tcpdump -xx -c 1 -r - prints a packet"),
    ],
)
def test_what_else_holds_captures(fastnet: Run, tmp_path: Path, magic: str, message: str) -> None:
    file = tmp_path / "capture"
    file.write_bytes(bytes.fromhex(magic) + bytes(60))
    for words in ([str(file)], ["--raw", str(file)]):
        ran = fastnet("packet", "parse", *words)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert message in ran.stderr


def test_input_is_bounded(fastnet: Run) -> None:
    ran = fastnet("packet", "parse", input="0" * ((16 << 20) + 1))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "fastnet packet: more than 16 MiB of input: expected one packet\n"
