"""Parse packets: "fastnet packet parse" shows one packet's layers, their fields and all its bytes."""

import sys

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_json, print_line
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import InvalidArgument
from fastnet.packet import LINK_NUMBERS, LINKS, Packet, as_dict, dump, from_hex, parse

if TYPE_CHECKING:
    from fastnet import _records as records

MAX_INPUT = 16 << 20
CAPTURES = (
    *(b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"),
    *(b"\x34\xcd\xb2\xa1", b"\xa1\xb2\xcd\x34"),
    b"\x0a\x0d\x0d\x0a",
)
"""Magic numbers of pcap files, in either byte order: micro- or nanoseconds, or modified; and pcapng's."""
SNOOP = b"snoop\0"
GZIP = b"\x1f\x8b"


PARSE = """Parse one packet and show its layers, their fields and all its bytes. Input is hexadecimal text,
with or without blanks and colons, what tcpdump -x, tshark -x, xxd, hexdump and od -tx1 print, or a C
array; with --raw it is the bytes themselves. At most 16 MiB are read. The exit code is 1 if, with
--strict, the packet is cut short, malformed or has a wrong checksum, 2 for input that is not hexadecimal."""


def configure(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    parse_parser = actions.add_parser(
        "parse", help="layers, fields and bytes of one packet", description=PARSE
    )
    parse_parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="file to read (default: stdin)"
    )
    parse_parser.add_argument(
        "--link",
        type=link,
        default="ethernet",
        metavar="LINK",
        help=f"first layer of the packet: {', '.join(LINKS)} or a DLT number (default: ethernet)",
    )
    form = parse_parser.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="input in hexadecimal text (default)")
    form.add_argument("--raw", action="store_true", help="input in binary")
    parse_parser.add_argument(
        "--strict",
        action="store_true",
        help="exit code 1 for a truncated or malformed packet, or a wrong checksum",
    )
    add_json(parse_parser)


def link(text: str) -> str | int:
    named = int(text) if text.isascii() and text.isdigit() else text
    if named not in LINKS and named not in LINK_NUMBERS:
        numbers = ", ".join(map(str, LINK_NUMBERS))
        raise InvalidArgument(f"{text!r}: expected one of {', '.join(LINKS)}, or a DLT number of {numbers}")
    return named


def read(file: str) -> bytes:
    if file == "-":
        return bounded(sys.stdin.buffer.read(MAX_INPUT + 1))
    with open(file, "rb") as opened:
        return bounded(opened.read(MAX_INPUT + 1))


def bounded(data: bytes) -> bytes:
    if len(data) > MAX_INPUT:
        raise InvalidArgument(f"more than {MAX_INPUT >> 20} MiB of input: expected one packet")
    return data


def refuse_capture(data: bytes) -> None:
    if data.startswith(CAPTURES):
        raise InvalidArgument(
            "this is a capture file: tcpdump -xx -c 1 -r FILE prints a packet of it, which is read here"
        )
    if data.startswith(SNOOP):
        raise InvalidArgument(
            "this is a snoop capture: tshark -x -c 1 -r FILE prints a packet of it, which is read here"
        )
    if data.startswith(GZIP):
        raise InvalidArgument(
            "this is compressed by gzip: of a capture, zcat FILE | tcpdump -xx -c 1 -r - prints a packet"
        )


def run(args: Arguments) -> int:
    data = read(args.file)
    if not args.raw:
        refuse_capture(data)
        data = from_hex(data.decode("utf-8-sig", "replace"))
    refuse_capture(data)
    if not data:
        raise InvalidArgument("the input is empty: expected the bytes of one packet")
    packet = parse(data, args.link, args.strict)
    if args.json:
        print_packet_json(packet, args.link)
    else:
        for line in dump(packet).split("\n"):
            print_line(line, at_once=False)
    return exits.YES


def print_packet_json(packet: Packet, link: str | int) -> None:
    found = as_dict(packet)
    record: records.Packet = {
        "kind": "packet",
        "time": now(),
        "link": link,
        "length_bytes": found["length_bytes"],
        "layers": found["layers"],
        "error": found["error"],
    }
    print_json(record)
