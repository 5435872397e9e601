"""Show which IPv6 support works, and the prefix of every address; or compute the prefix of one
address; or explain addresses ("fastnet ipv6 explain"). The exit code is 0 if IPv6 works: loopback, an
address beyond the link, and a way out by the kernel's routes. Nothing is sent."""

from _collections_abc import Iterable, Iterator

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING, cast
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.ipv6 import explained
from fastnet.cli.output import print_json, print_line, print_table
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import InvalidArgument
from fastnet.interfaces import InterfaceAddress
from fastnet.ipv6 import ENGINES, Ipv6Support, Prefix, WayOut, addresses, prefix, support

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    parser.add_argument(
        "--prefix",
        metavar="ADDRESS",
        help="only address to print the prefix of, as fe80::1%%eth0/64 (or bare, if this machine's)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="source of the addresses (fastnet, netifaces) and of the prefixes (fastnet, netaddr)",
    )
    add_json(parser)
    explained.configure(parser.add_subparsers(dest="action", metavar="ACTION"))


def run(args: Arguments) -> int:
    if args.action == "explain":
        if args.prefix is not None:
            raise InvalidArgument("--prefix: not with explain, which takes addresses itself")
        return explained.run(args)
    return show_support(args) if args.prefix is None else show_prefix(args)


def show_support(args: Arguments) -> int:
    found = support()
    listed = addresses(engine=args.engine)
    if args.json:
        print_support_json(found)
        print_addresses_json(listed)
    else:
        print_support(found)
        print_line("")
        print_table(
            ("INTERFACE", "VERSION", "ADDRESS", "NETWORK", "SCOPE"),
            (
                (each.label, each.version, each, f"{each.network}/{each.prefix_length}", each.scope)
                for each in listed
            ),
        )
    return exits.YES if found.works else exits.NO


def print_support_json(found: Ipv6Support) -> None:
    print_json(cast("records.Support", {"kind": "support", "time": now(), **found.as_dict()}))


def print_addresses_json(listed: Iterable[InterfaceAddress]) -> None:
    for each in listed:
        record = {"kind": "ipv6_address", "time": now(), **each.as_dict()}
        print_json(cast("records.Ipv6Address", record))


def print_support(found: Ipv6Support) -> None:
    for name, value in (
        ("built into Python", yes(found.built_in)),
        ("in the kernel", yes(found.kernel)),
        ("turned on for", ", ".join(found.enabled) or "no interface"),
        ("turned off for", ", ".join(found.disabled) or "no interface"),
        ("loopback ::1", yes(found.loopback)),
        ("link-local addresses", ", ".join(found.link_local) or "none"),
        ("addresses beyond the link", ", ".join(found.addresses) or "none"),
        *(("way out", words) for words in ways_out(found.ways)),
        ("works", "yes" if found.works else f"no: {'; '.join(found.reasons)}"),
    ):
        print_line(f"{name + ':':27}{value}")


def ways_out(ways: Iterable[WayOut]) -> Iterator[str]:
    """Each way once, with its destinations if there are several."""
    found: dict[WayOut, list[str]] = {}
    for way in ways:
        found.setdefault(way._replace(destination=""), []).append(way.destination)
    for way, destinations in found.items():
        router = f" and router {way.gateway}" if way.gateway else ""
        words = f"none: {way.obstacle}" if way.obstacle else f"by {way.interface}{router}, from {way.source}"
        yield words if len(found) == 1 else f"to {', '.join(destinations)}: {words}"


def yes(value: bool) -> str:
    return "yes" if value else "no"


def show_prefix(args: Arguments) -> int:
    found = prefix(args.prefix, engine=args.engine)
    if args.json:
        print_prefix_json(found)
    else:
        print_line(str(found))
    return exits.YES


def print_prefix_json(found: Prefix) -> None:
    record: records.Prefix = {
        "kind": "prefix",
        "time": now(),
        "address": found.address,
        "zone": found.zone,
        "prefix_length": found.prefix_length,
        "network": found.network,
        "version": found.version,
    }
    print_json(record)
