"""Show each hop on the way to a host: by UDP, which needs no privilege, or by ICMP where it is permitted."""

import argparse
from functools import partial

from fastnet._backend import probe as _core
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, add_way, chosen, duration, integer
from fastnet.cli.output import print_json, remark
from fastnet.ping import MAX_SIZE
from fastnet.trace import ENGINES, MAX_HOPS, MAX_TRIES, Hop, Tracer, TraceResult, name_of

OPTIONS = ("size", "tos", "source", "interface", "mark", "family", "engine")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST", help="a name or an address")
    parser.add_argument(
        "--max-hops",
        type=integer(1, MAX_HOPS),
        default=30,
        metavar="N",
        help="go no further than this (30)",
    )
    parser.add_argument(
        "-c", "--tries", type=integer(1, MAX_TRIES), default=3, metavar="N", help="probes for each hop (3)"
    )
    parser.add_argument(
        "-W",
        "--timeout",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="how long to wait for each answer (1s)",
    )
    parser.add_argument(
        "-s", "--size", type=integer(0, MAX_SIZE), default=32, metavar="BYTES", help="the payload (32)"
    )
    parser.add_argument("--mtu", action="store_true", help="find the MTU of the path too")
    parser.add_argument("--names", action="store_true", help="look up the names of what answers")
    add_way(parser)
    add_family(parser)
    parser.add_argument("--engine", choices=ENGINES, default="udp", help="the kind of probe (udp)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say which kind of socket was used")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    options = chosen(args, OPTIONS)
    if args.json:
        import json  # noqa: F401 - what is not loaded yet may not be readable without capabilities
    tell = partial(print_hop_json if args.json else print_hop, names=args.names)
    with Tracer(args.host, args.max_hops, args.tries, args.timeout, mtu=args.mtu, **options) as tracer:
        try:
            _core.drop_capabilities()
            if args.verbose:
                remark(f"{tracer.host} is {tracer.address}, by a {tracer.engine} socket")
            print_end(tracer.run(tell), args.json)
        except KeyboardInterrupt:
            print_end(tracer.break_off(tell), args.json, interrupted=True)
            return exits.INTERRUPTED
        return exits.YES if tracer.result.reached else exits.NO


def print_hop(hop: Hop, names: bool) -> None:
    """A line as traceroute(8) prints it: each responder once, then its times."""
    told, last = [], ""
    for each in hop.responses:
        if each.responder and each.responder != last:
            last = each.responder
            name = name_of(last) if names else None
            told.append(f"{name} ({last})" if name else last)
        told += [f"{each.rtt_ms:.3f} ms"] if each.rtt_ms is not None else []
        told += [f"({each.error})"] if each.error and each.responder else []
        told += ["*"] if not each.responder else []
    reasons = {each.error for each in hop.responses if each.error and each.error.startswith("not sent")}
    told += [f"({reason})" for reason in sorted(reasons)]
    print(f"{hop.ttl:3}  {'  '.join(told)}", flush=True)


def print_hop_json(hop: Hop, names: bool) -> None:
    responses = [each._asdict() for each in hop.responses]
    if names:
        for each in responses:
            each["name"] = each["responder"] and name_of(each["responder"])
    print_json({"kind": "hop", "ttl": hop.ttl, "responses": responses})


def print_end(result: TraceResult, as_json: bool, interrupted: bool = False) -> None:
    if as_json:
        found = {name: getattr(result, name) for name in ("host", "address", "engine", "reached")}
        mtu = result.mtu and result.mtu._asdict()
        print_json({"kind": "summary", **found, "hops": len(result.hops), "mtu": mtu})
        return
    if result.mtu:
        print(result.mtu)
    if interrupted:
        print(f"{result.host}: interrupted after {len(result.hops)} hops")
    elif not result.reached:
        print(f"{result.host}: not reached in {len(result.hops)} hops")
