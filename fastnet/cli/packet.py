"""Look at packets: "fastnet packet parse" shows one packet's layers, their fields and all its bytes."""

import argparse
import re
import sys

from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_json
from fastnet.errors import InvalidArgument
from fastnet.packet import as_dict, dump, parse

LINKS = ("ethernet", "ip", "ipv4", "ipv6")
_MOST_TEXT = 40


PARSE = """Parse one packet and show its layers, their fields and all its bytes. Input is hexadecimal text,
with or without blanks and colons, or with --raw the bytes themselves. The exit code is 1 where, with
--strict, the packet is cut short, malformed or has a wrong checksum, 2 for input that is not hexadecimal."""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    parse_parser = actions.add_parser("parse", help="parse one packet and show its layers", description=PARSE)
    parse_parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="what to read (default: stdin)"
    )
    parse_parser.add_argument("--link", choices=LINKS, default="ethernet", help="what the packet starts with")
    form = parse_parser.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="the input is hexadecimal text (default)")
    form.add_argument("--raw", action="store_true", help="the input is the packet's bytes")
    parse_parser.add_argument("--strict", action="store_true", help="refuse a packet cut short or wrong")
    add_json(parse_parser)


def read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    with open(file, "rb") as opened:
        return opened.read()


def from_hex(text: bytes) -> bytes:
    digits = re.sub(rb"\s|:|0[xX]", b"", text)
    stranger = re.search(rb"[^0-9a-fA-F]", digits)
    if stranger:
        shown = text.decode("utf-8", "replace").split("\n")[0][:_MOST_TEXT]
        raise InvalidArgument(f"{shown!r} is not hexadecimal: give pairs of hex digits, or --raw for bytes")
    if len(digits) % 2:
        raise InvalidArgument(f"{len(digits)} hex digits: expected two for each byte")
    return bytes.fromhex(digits.decode())


def run(args: argparse.Namespace) -> int:
    data = read(args.file)
    if not args.raw:
        data = from_hex(data)
    if not data:
        raise InvalidArgument("the input is empty: expected the bytes of one packet")
    packet = parse(data, args.link, args.strict)
    if args.json:
        print_json({"link": args.link, **as_dict(packet)})
    else:
        print(dump(packet))
    return exits.YES
