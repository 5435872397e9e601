"""List every network interface: its state, MTU, MAC address, gateways and addresses; or show everything
that the kernel reports of one; or watch changes."""

from fastnet._clock import now
from fastnet._interface_status import find_interface, status_of
from fastnet._typing import TYPE_CHECKING, cast
from fastnet.cli import exits
from fastnet.cli.arguments import add_json, add_netns
from fastnet.cli.output import escaped_word, print_json, print_table, remark
from fastnet.cli.parts import interface_fields, restrictions, route_fields
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.interfaces import Interface, InterfaceStatus, Route, all, gateways

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    parser.add_argument(
        "interface",
        nargs="?",
        metavar="NAME",
        help="interface to show everything of: a name, an alternative name or an alias label",
    )
    parser.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="the state, then each change until Ctrl-C",
    )
    add_netns(parser)
    add_json(parser)


def run(args: Arguments) -> int:
    if args.watch:
        from fastnet.cli.interfaces.watching import print_events  # only here: nothing else needs it

        print_events(args.interface, args.netns, args.json)
        return exits.YES
    links = all(args.netns)
    defaults = default_routes(args.netns)
    if args.interface is not None:
        link = find_interface(args.interface, links)
        return show_one(link, status_of(link, links), of(link, defaults), args.json)
    rows = [(link, status_of(link, links), of(link, defaults)) for link in links]
    if args.json:
        for row in rows:
            print_interface_json(*row)
        return exits.YES
    headings = ("INTERFACE", "STATE", "MTU", "MAC", "GATEWAY", "ADDRESSES")
    print_table(headings, ([cell or "-" for cell in cells(*row)] for row in rows))
    return exits.YES


def default_routes(netns: str | int | None) -> tuple[Route, ...] | None:
    """Those of a namespace; None if they can't be read, as in a sandbox without rtnetlink."""
    try:
        return gateways(netns)
    except OSError as error:
        remark(f"gateways are unknown: {error.strerror}")
        return None


def of(link: Interface, routes: tuple[Route, ...] | None) -> list[Route] | None:
    """The default routes by an interface, one for each leg."""
    if routes is None:
        return None
    return [
        route._replace(gateway=leg.gateway, interface=leg.interface, ifindex=leg.ifindex)
        for route in routes
        for leg in route.legs or (route,)
        if leg.ifindex == link.ifindex
    ]


def cells(link: Interface, status: InterfaceStatus, defaults: list[Route] | None) -> tuple[object, ...]:
    routers = {router_text(route): None for route in defaults or () if route.gateway}
    return (
        *(escaped_word(link.name), status.state, link.mtu, link.mac),
        *("?" if defaults is None else " ".join(routers), " ".join(map(str, link.addresses))),
    )


def router_text(route: Route) -> str:
    """A router's address, and which packets are for it if not all are."""
    few = restrictions(route)
    return f"{route.gateway} ({', '.join(few)})" if few else str(route.gateway)


def print_interface_json(link: Interface, status: InterfaceStatus, defaults: list[Route] | None) -> None:
    record = {
        "kind": "interface",
        "time": now(),
        "state": status.state,
        "reason": status.reason,
        **interface_fields(link),
        "gateways": None if defaults is None else [route_fields(route) for route in defaults],
    }
    print_json(cast("records.Interface", record))


def show_one(link: Interface, status: InterfaceStatus, defaults: list[Route] | None, as_json: bool) -> int:
    if as_json:
        print_interface_json(link, status, defaults)
    else:
        from fastnet.cli.interfaces.details import print_details  # only here: the list needs none of it

        print_details(link, status, defaults)
    return exits.YES
