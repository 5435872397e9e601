"""Say whether an interface is really up: turned on, and running. The exit code is 0 for up, 1 for down."""

import argparse

from fastnet.cli import exits
from fastnet.cli.arguments import add_json, argument, duration
from fastnet.cli.output import print_json, print_table, remark
from fastnet.interfaces import get_interface_status
from fastnet.portscan import DEFAULT_TIMEOUT, ENGINES, parse_ports


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interface", metavar="IFACE", help="its name, as eth0")
    parser.add_argument(
        "--ports", type=argument(parse_ports), metavar="PORTS", help="also scan its address: 21-23,80"
    )
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="what scans the ports")
    parser.add_argument(
        "--timeout",
        type=duration,
        default=DEFAULT_TIMEOUT,
        metavar="TIME",
        help="how long a port may be silent",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    status = get_interface_status(args.interface, ports=args.ports, engine=args.engine, timeout=args.timeout)
    code = exits.YES if status.up else exits.NO
    if args.json:
        ports = None if status.ports is None else [port._asdict() for port in status.ports]
        print_json({**status._asdict(), "addresses": list(map(str, status.addresses)), "ports": ports})
        return code
    print(f"{status.interface} is {status.state}: {status.reason}")
    print(f"addresses: {' '.join(map(str, status.addresses)) or 'none'}")
    if status.ports:
        print_table(("PORT", "STATE", "REASON"), status.ports)
    elif args.ports:
        remark("no port was scanned: an interface that is turned on and has an address is needed")
    return code
