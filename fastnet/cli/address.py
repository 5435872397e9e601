"""Show every IPv4 and IPv6 address of one interface. The exit code is 1 if it has none."""

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING, cast
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_json, print_table, remark
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.interfaces import InterfaceAddress, list_addresses

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    parser.add_argument(
        "interface",
        metavar="IFACE",
        help="interface name, such as eth0, alternative name, or alias label, such as eth0:1",
    )
    add_json(parser)


def run(args: Arguments) -> int:
    addresses = list_addresses(args.interface)
    if not addresses:
        remark(f"{args.interface} has no address")
        return exits.NO
    if args.json:
        for address in addresses:
            record = {"kind": "address", "time": now(), **address.as_dict()}
            print_json(cast("records.Address", record))
        return exits.YES
    print_table(("ADDRESS", "NETWORK", "BROADCAST", "PEER", "SCOPE", "FLAGS"), map(cells, addresses))
    return exits.YES


def cells(address: InterfaceAddress) -> tuple[object, ...]:
    return (
        *(address, f"{address.network}/{address.prefix_length}"),
        *(address.broadcast or "-", address.peer or "-", address.scope),
        " ".join(address.flags or ()) or "-",
    )
