"""Show every IPv4 and IPv6 address of one interface. The exit code is 1 if it has none."""

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_json, print_table, remark
from fastnet.cli.parts import interface_address
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import NoAddress
from fastnet.interfaces import InterfaceAddress, get_broadcast, list_addresses

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    parser.add_argument(
        "interface", metavar="IFACE", help="interface name, such as eth0, or alias label, such as eth0:1"
    )
    add_json(parser)


def run(args: Arguments) -> int:
    addresses = list_addresses(args.interface)
    if not addresses:
        remark(f"{args.interface} has no address")
        return exits.NO
    if args.json:
        for address in addresses:
            print_address_json(address)
        return exits.YES
    print_table(
        ("ADDRESS", "NETWORK", "BROADCAST", "SCOPE"),
        (
            (address, f"{address.network}/{address.prefix_length}", broadcast(address) or "-", address.scope)
            for address in addresses
        ),
    )
    return exits.YES


def print_address_json(address: InterfaceAddress) -> None:
    record: records.Address = {
        "kind": "address",
        "time": now(),
        **interface_address(address),
        "broadcast": broadcast(address),
    }
    print_json(record)


def broadcast(address: InterfaceAddress) -> str | None:
    """The broadcast address of an IPv4 address; IPv6 has none."""
    if address.version == 6:
        return None
    try:
        return get_broadcast(address.label, address.address)
    except NoAddress:
        return None
