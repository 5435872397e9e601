"""``fastnet ipv6 explain``: the type, scope and other properties of addresses."""

from _collections_abc import Iterator

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING, cast
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_json, print_line
from fastnet.cli.quick_parser import SUPPRESS, Actions, Arguments
from fastnet.ipv6 import PREFIX_ENGINES, EmbeddedIPv4, Explanation, explain

if TYPE_CHECKING:
    from fastnet import _records as records

EXPLAIN = """Explain addresses, IPv6 or IPv4: type, scope, IANA's registration, embedded IPv4 and MAC
addresses, the name in the DNS, and the interfaces of this machine that have the address."""

_REACHABLE = {True: "globally", False: "not globally", None: "unknown"}


def configure(actions: Actions) -> None:
    parser = actions.add_parser("explain", help="what addresses are", description=EXPLAIN)
    parser.add_argument(
        "addresses", nargs="+", metavar="ADDRESS", help="address, as fe80::1 or fe80::1%%eth0"
    )
    parser.add_argument(
        "--engine",
        choices=PREFIX_ENGINES,
        default=SUPPRESS,  # the command's own arguments before this action keep their values
        help="what computes (default fastnet)",
    )
    add_json(parser, default=SUPPRESS)


def run(args: Arguments) -> int:
    explained = [explain(address, engine=args.engine) for address in args.addresses]
    for number, found in enumerate(explained):
        if args.json:
            print_explanation_json(found)
            continue
        if number:
            print_line("")
        print_line(found.address + (f"%{found.zone}" if found.zone else ""))
        for name, value in facts(found):
            print_line(f"{f'  {name}:':17}{value}")
    return exits.YES


def print_explanation_json(found: Explanation) -> None:
    print_json(cast("records.Explanation", {"kind": "explanation", "time": now(), **found.as_dict()}))


def facts(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "type", found.type
    yield "scope", found.scope or "none"
    yield "reachable", _REACHABLE[found.globally_reachable]
    if found.special:
        yield "block", f"{found.special.prefix} {found.special.name} (RFC {found.special.rfc})"
    if found.mac:
        yield "MAC address", found.mac
    for each in found.ipv4:
        yield "IPv4 address", embedded(each)
    yield "name", found.reverse_name
    temporary = " (temporary)" if found.temporary else ""
    yield (
        "interfaces",
        f"{', '.join(found.interfaces)}{temporary}" if found.interfaces else "none of this machine",
    )


def embedded(found: EmbeddedIPv4) -> str:
    port = "" if found.port is None else f", port {found.port}"
    return f"{found.address} ({found.form}{port})"
