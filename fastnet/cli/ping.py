"""Ping hosts: ICMP echo by a raw socket, or by a datagram socket where that is what is permitted."""

import argparse
from typing import Any

from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, duration, integer
from fastnet.cli.output import print_json, remark
from fastnet.ping import ENGINES, MAX_COUNT, MAX_SIZE, Pinger, PingResult, Reply, summarize


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="a name or an address; fe80::1%%eth0 too")
    parser.add_argument(
        "-c", "--count", type=integer(1, MAX_COUNT), default=4, metavar="N", help="requests to each host (4)"
    )
    parser.add_argument(
        "-i",
        "--interval",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="between two requests to a host (1s)",
    )
    parser.add_argument(
        "-W",
        "--timeout",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="how long to wait for a reply (1s)",
    )
    parser.add_argument(
        "-s", "--size", type=integer(0, MAX_SIZE), default=56, metavar="BYTES", help="the payload (56)"
    )
    parser.add_argument(
        "-t", "--ttl", type=integer(1, 255), metavar="TTL", help="the TTL or hop limit to send with"
    )
    parser.add_argument("-I", "--source", metavar="ADDRESS", help="the address to send from")
    add_family(parser)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="insist on a kind of socket")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say what was resolved and which socket is used"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    options = {name: getattr(args, name) for name in ("size", "ttl", "source", "family", "engine")}
    with Pinger(**options) as pinger:
        destinations = pinger.resolve(args.hosts)
        if args.verbose:
            for each in destinations:
                remark(f"{each.host} is {each.address}, by a {each.engine} socket")
        replies: list[Reply] = []
        interrupted = False
        try:
            for reply in pinger.replies(destinations, args.count, args.interval, args.timeout):
                replies.append(reply)
                print_reply(reply, args.json)
        except KeyboardInterrupt:
            interrupted = True
    results = summarize(destinations, replies)
    for result in results:
        print_summary(result, args.json)
    if interrupted:
        return exits.INTERRUPTED
    return exits.YES if all(result.alive for result in results) else exits.NO


def name_of(told: Reply | PingResult) -> str:
    return told.host if told.host == told.address else f"{told.host} ({told.address})"


def print_reply(reply: Reply, as_json: bool) -> None:
    if as_json:
        print_json({"kind": "reply", **reply._asdict()})
        return
    news = reply.error if reply.rtt_ms is None else f"rtt={reply.rtt_ms:.3f} ms ttl={reply.ttl}"
    print(f"{name_of(reply)}: seq={reply.seq} {news}{' (duplicate)' if reply.duplicate else ''}", flush=True)


def print_summary(result: PingResult, as_json: bool) -> None:
    times = {f"rtt_{name}_ms": getattr(result, f"rtt_{name}_ms") for name in ("min", "avg", "max", "stddev")}
    if as_json:
        record: dict[str, Any] = {"kind": "summary"}
        for name in ("host", "address", "engine", "sent", "received", "duplicates", "loss_percent", "error"):
            record[name] = getattr(result, name)
        print_json(record | {name: value and round(value, 6) for name, value in times.items()})
        return
    line = (
        f"{name_of(result)}: {result.sent} sent, {result.received} received, {result.loss_percent:.0f}% loss"
    )
    if result.duplicates:
        line += f", {result.duplicates} duplicates"
    if result.alive:
        line += f", rtt min/avg/max/stddev = {'/'.join(f'{value:.3f}' for value in times.values())} ms"
    print(line)
