"""List the kernel's routes, default routes first; or show the route that it selects for one address,
which sends nothing. The exit code is 1 if there is none."""

import _socket as socket
import errno
from _collections_abc import Iterator

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING, cast
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, add_netns
from fastnet.cli.output import escaped_word, print_json, print_table, remark
from fastnet.cli.parts import restrictions, route_fields
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import InvalidArgument
from fastnet.interfaces import NextHop, Route, route_to, routes

if TYPE_CHECKING:
    from fastnet import _records as records

_LOCAL_TABLE = 255
_VERSIONS = {socket.AF_INET: (4,), socket.AF_INET6: (6,)}
TABLES = {253: "default", 254: "main", 255: "local"}
_REJECTED = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
"""The kernel's errors if it has no route, or one that rejects packets."""


def configure(parser: Parser) -> None:
    parser.add_argument(
        "destination", nargs="?", metavar="ADDRESS", help="only address to show the kernel's route to"
    )
    parser.add_argument(
        "-a", "--all", action="store_true", help="also routes to this machine's own addresses (table 255)"
    )
    add_family(parser)
    add_netns(parser)
    add_json(parser)


def run(args: Arguments) -> int:
    if args.destination is not None:
        return show_route_to(args)
    versions = _VERSIONS.get(args.family, (4, 6))
    found = [
        route
        for route in routes(args.netns)
        if route.version in versions and (args.all or route.table != _LOCAL_TABLE)
    ]
    print_routes(sorted(found, key=order), args.json)
    return exits.YES


def order(route: Route) -> tuple[int, bool, int]:
    """By family; default routes first, by their metric, then the others as the kernel lists them."""
    return route.version, not route.is_default, route.metric if route.is_default else 0


def show_route_to(args: Arguments) -> int:
    if (":" in args.destination) != (args.family == socket.AF_INET6) and args.family != socket.AF_UNSPEC:
        (version,) = _VERSIONS[args.family]
        raise InvalidArgument(
            f"destination {args.destination!r}: not an IPv{version} address, as -{version} asks"
        )
    try:
        found = route_to(args.destination, args.netns)
    except OSError as error:
        if error.errno not in _REJECTED:
            raise
        remark(str(error.strerror))
        return exits.NO
    print_routes([found], args.json)
    return exits.YES


def print_routes(found: list[Route], as_json: bool) -> None:
    if as_json:
        for route in found:
            record = {"kind": "route", "time": now(), **route_fields(route)}
            print_json(cast("records.Route", record))
        return
    headings = ("DESTINATION", "GATEWAY", "INTERFACE", "SOURCE", "METRIC", "TABLE", "PROTOCOL", "NOTES")
    print_table(headings, (cells for route in found for cells in rows(route)))


def rows(route: Route) -> Iterator[tuple[object, ...]]:
    """A row for each leg of a route."""
    for number, leg in enumerate(route.legs or (None,)):
        hop = leg or route
        yield (
            "" if number else route.destination,
            hop.gateway or "-",
            "-" if hop.interface is None else escaped_word(hop.interface),
            route.source or "-",
            *(route.metric, TABLES.get(route.table, route.table), route.protocol),
            " ".join(notes(route, leg)),
        )


def notes(route: Route, leg: NextHop | None) -> Iterator[str]:
    """The other properties of a route, in the words of ip(8)."""
    if route.type != "unicast":
        yield route.type
    yield from restrictions(route)
    if leg and leg.weight != 1:
        yield f"weight {leg.weight}"
    for name in ("mtu", "encapsulation", "preference"):
        value = getattr(route, name)
        if value and value != "medium":
            yield f"{name} {value}"
    if route.next_hop_id:
        yield f"nhid {route.next_hop_id}"
    yield from leg.flags if leg else route.flags
