"""Print the JSON Schema of one kind of the records that --json prints; without KIND, list the kinds."""

import os

import fastnet
from fastnet.cli import exits
from fastnet.cli.output import print_line, print_table
from fastnet.cli.quick_parser import Arguments, Parser

FOLDER = os.path.join(os.path.dirname(fastnet.__file__), "schemas")


def configure(parser: Parser) -> None:
    parser.add_argument("kind", nargs="?", choices=kinds(), metavar="KIND", help="kind of record, as reply")


def run(args: Arguments) -> int:
    if args.kind is None:
        print_table(("KIND", "RECORD"), ((kind, description(kind)) for kind in kinds()))
    else:
        for line in schema(args.kind).splitlines():
            print_line(line, at_once=False)
    return exits.YES


def kinds() -> list[str]:
    return sorted(name.removesuffix(".json") for name in os.listdir(FOLDER))


def schema(kind: str) -> str:
    with open(os.path.join(FOLDER, f"{kind}.json"), encoding="ascii") as file:
        return file.read()


def description(kind: str) -> str:
    import json  # only here: a schema is printed without it

    found: str = json.loads(schema(kind))["description"]
    return found.removesuffix(".")
