"""List every network interface: whether it is up, its MTU, its MAC address, its IPv4 and IPv6 addresses."""

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_json
from fastnet.cli.output import print_json, print_table
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import NoAddress, NoSuchInterface
from fastnet.interfaces import InterfaceStatus, get_hardware_address, get_index, get_mtu, list_status

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    add_json(parser)


def run(args: Arguments) -> int:
    found = [record for status in list_status() if (record := describe(status))]
    if args.json:
        for record in found:
            print_json(record)
        return exits.YES
    headings = ("INTERFACE", "INDEX", "STATE", "MTU", "MAC", "ADDRESSES")
    print_table(headings, ([cell or "-" for cell in row(record)] for record in found))
    return exits.YES


def row(record: "records.Interface") -> tuple[object, ...]:
    return (
        *(record["interface"], record["index"], record["state"], record["mtu_bytes"]),
        *(record["hardware_address"], " ".join(record["addresses"])),
    )


def describe(status: InterfaceStatus) -> "records.Interface | None":
    """The record of an interface; None if it disappeared meanwhile."""
    try:
        return {
            "kind": "interface",
            "time": now(),
            "interface": status.interface,
            "index": get_index(status.interface),
            "state": status.state,
            "mtu_bytes": get_mtu(status.interface),
            "hardware_address": hardware_address(status.interface),
            "addresses": list(map(str, status.addresses)),
        }
    except NoSuchInterface:
        return None


def hardware_address(ifname: str) -> str | None:
    try:
        return get_hardware_address(ifname)
    except NoAddress:
        return None
