"""Show whether an interface is up: turned on, and running. The exit code is 0 for up, 1 for down."""

from fastnet._clock import now
from fastnet._portscan import DEFAULT_TIMEOUT, ENGINES, parse_ports
from fastnet._typing import TYPE_CHECKING, cast
from fastnet.cli import exits
from fastnet.cli.arguments import add_json, duration
from fastnet.cli.output import print_json, print_line, print_table, remark
from fastnet.cli.parts import summary
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.interfaces import InterfaceStatus, interface_status

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    parser.add_argument(
        "interface", metavar="IFACE", help="interface name, alternative name, or alias label, such as eth0"
    )
    parser.add_argument(
        "--ports",
        type=parse_ports,
        metavar="PORTS",
        help="ports to scan on its address, such as 21-23,80",
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="scanner of the ports (default connect)"
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=DEFAULT_TIMEOUT,
        metavar="TIME",
        help="time to wait for a silent port",
    )
    add_json(parser)


def run(args: Arguments) -> int:
    status = interface_status(args.interface, ports=args.ports, engine=args.engine, timeout=args.timeout)
    code = exits.YES if status.up else exits.NO
    if args.json:
        print_status_json(status)
        return code
    print_line(f"{status.interface} is {summary(status)}")
    print_line(f"addresses: {' '.join(map(str, status.addresses)) or 'none'}")
    if status.ports:
        print_table(("PORT", "STATE", "REASON"), status.ports)
    elif args.ports:
        remark("no port was scanned: an interface that is turned on and has an address is needed")
    return code


def print_status_json(status: InterfaceStatus) -> None:
    record = {
        "kind": "status",
        "time": now(),
        **status.as_dict(),
        "addresses": list(map(str, status.addresses)),
    }
    print_json(cast("records.Status", record))
