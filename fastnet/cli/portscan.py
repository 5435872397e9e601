"""Scan the TCP ports of a host: open, closed or filtered. The exit code is 0 if any is open, else 1.

It is 3 if this system could not send to some ports: these are unknown.
"""

from fastnet._clock import now
from fastnet._contract.values import counted
from fastnet._portscan import (
    DEFAULT_CONCURRENCY,
    DEFAULT_PORTS,
    DEFAULT_TIMEOUT,
    ENGINES,
    PortScan,
    PortState,
    Scan,
    parse_ports,
)
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, duration, integer
from fastnet.cli.output import print_json, print_table, remark
from fastnet.cli.parts import scanned_port
from fastnet.cli.quick_parser import Arguments, Parser

if TYPE_CHECKING:
    from fastnet import _records as records


def configure(parser: Parser) -> None:
    parser.add_argument("host", metavar="HOST", help="name or address")
    parser.add_argument(
        "-p",
        "--ports",
        type=parse_ports,
        default=DEFAULT_PORTS,
        metavar="PORTS",
        help=f"ports, ranges and names of services (default {DEFAULT_PORTS})",
    )
    parser.add_argument("--open", action="store_true", help="open ports only")
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="scanner (default connect)")
    parser.add_argument(
        "--timeout",
        type=duration,
        default=DEFAULT_TIMEOUT,
        metavar="TIME",
        help=f"time to wait for a silent port (default {DEFAULT_TIMEOUT:g}s)",
    )
    parser.add_argument(
        "--concurrency",
        type=integer(1, 65535),
        default=DEFAULT_CONCURRENCY,
        metavar="N",
        help=f"number of connections at once (default {DEFAULT_CONCURRENCY}; nmap has its own)",
    )
    add_family(parser)
    add_json(parser)


def run(args: Arguments) -> int:
    scan = Scan(
        args.host,
        args.ports,
        engine=args.engine,
        timeout=args.timeout,
        concurrency=args.concurrency,
        family=args.family,
    )
    try:
        for _ in scan:
            pass
    except KeyboardInterrupt:
        print_result(scan.result(), args)
        remark(f"interrupted: {len(scan.result().ports)} of {counted(len(scan.ports), 'port')} known")
        return exits.INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError:
        if any(port.state != "unknown" for port in scan.result().ports):
            print_result(scan.result(), args)
        raise
    print_result(scan.result(), args)
    if any(port.state == "unknown" for port in scan.result().ports):
        return exits.OS_FAILURE
    return exits.YES if scan.result().open else exits.NO


def print_result(scan: PortScan, args: Arguments) -> None:
    shown = [port for port in scan.ports if port.state == "open" or not args.open]
    if args.json:
        for port in shown:
            print_port_json(scan, port)
    elif shown:
        print_table(("PORT", "STATE", "REASON"), shown)
    states = [port.state for port in scan.ports]
    text = ", ".join(f"{states.count(state)} {state}" for state in sorted({*states}))
    remark(f"{scan.address}: {text or 'nothing is known'}")


def print_port_json(scan: PortScan, port: PortState) -> None:
    record: records.Port = {
        "kind": "port",
        "time": now(),
        "host": scan.host,
        "address": scan.address,
        "engine": scan.engine,
        **scanned_port(port),
    }
    print_json(record)
