"""Ping hosts: ICMP echo by a raw socket, or by a datagram socket where that is what is permitted."""

import argparse
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from fastnet._backend import probe as _core
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, add_way, chosen, duration, integer, number
from fastnet.cli.interrupts import HeldInterrupt
from fastnet.cli.output import print_json, remark
from fastnet.ping import (
    ENGINES,
    MAX_BACKOFF,
    MAX_COUNT,
    MAX_ENOUGH,
    MAX_RETRIES,
    MAX_SIZE,
    Destination,
    MTUSearch,
    PathMTU,
    Pinger,
    Reply,
    Summary,
    Timeout,
)

INTERMIXED = True
FIELDS = (
    *("host", "address", "engine", "sent", "not_sent", "received", "waiting", "duplicates"),
    "loss_percent",
)
FRAGMENT = {"no": True, "yes": False}
PATTERN = re.compile("(?:[0-9a-fA-F]{2}){1,16}")
OPTIONS = (
    *("size", "pattern", "ttl", "tos", "source", "interface", "mark"),
    *("family", "all_addresses", "engine"),
)
TIMES = ("min", "avg", "max", "stddev", "p50", "p90", "p99")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [options] HOST [HOST ...]"
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="a name or an address; fe80::1%%eth0 too")
    add_timing(parser)
    add_packet(parser)
    add_telling(parser)


def add_timing(parser: argparse.ArgumentParser) -> None:
    count = parser.add_mutually_exclusive_group()
    count.add_argument(
        "-c", "--count", type=integer(1, MAX_COUNT), default=4, metavar="N", help="requests to each host (4)"
    )
    count.add_argument("-l", "--loop", action="store_true", help="go on until Ctrl-C")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "-i",
        "--interval",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="between two requests to a host (1s)",
    )
    pace.add_argument(
        "-f", "--flood", action="store_true", help="as fast as replies come back; only the summary is told"
    )
    parser.add_argument(
        "-W",
        "--timeout",
        type=patience,
        default=1.0,
        metavar="TIME",
        help="how long to wait for a reply (1s); auto: by the round-trip times seen",
    )
    parser.add_argument(
        "-r",
        "--retries",
        type=integer(0, MAX_RETRIES),
        default=0,
        metavar="N",
        help="send a request that is not answered again so many times (0)",
    )
    parser.add_argument(
        "-B",
        "--backoff",
        type=number(1, MAX_BACKOFF),
        default=1.5,
        metavar="FACTOR",
        help="by which the timeout grows with each retry (1.5)",
    )
    parser.add_argument(
        "-x",
        "--enough",
        type=integer(1, MAX_ENOUGH),
        metavar="N",
        help="stop, with success, when N hosts have answered",
    )


def add_packet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-s", "--size", type=integer(0, MAX_SIZE), default=56, metavar="BYTES", help="the payload (56)"
    )
    parser.add_argument(
        "-t", "--ttl", type=integer(1, 255), metavar="TTL", help="the TTL or hop limit to send with"
    )
    parser.add_argument(
        "-p", "--pattern", type=pattern, default=b"", metavar="HEX", help="fill the payload with these bytes"
    )
    parser.add_argument(
        "-M",
        "--fragment",
        choices=FRAGMENT,
        help="no: send packets whole or not at all; yes: let them be cut; else as the kernel does",
    )
    parser.add_argument(
        "--mtu", action="store_true", help="find the MTU of the path to each host instead of pinging it"
    )
    add_way(parser)
    add_family(parser)
    parser.add_argument(
        "-A", "--all-addresses", action="store_true", help="ping each address of a name, not the first alone"
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="insist on a kind of socket")


def add_telling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="tell only the summary, not each reply")
    parser.add_argument(
        "-Q",
        "--every",
        type=duration,
        metavar="TIME",
        help="instead of each reply, tell each TIME what came in it",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say what was resolved and which socket is used"
    )
    add_json(parser)


def pattern(text: str) -> bytes:
    """Up to 16 bytes in hex, as ping(8) takes them."""
    if not PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 16 bytes in hex, as ff00")
    return bytes.fromhex(text)


def patience(text: str) -> Timeout:
    """A time, or ``auto``."""
    return "auto" if text == "auto" else duration(text)


def run(args: argparse.Namespace) -> int:
    if args.mtu:
        return find_mtus(args)
    options = chosen(args, OPTIONS)
    options |= {"dont_fragment": FRAGMENT.get(args.fragment), "transmit_timestamps": not args.flood}
    with Pinger(**options) as pinger:
        destinations = pinger.resolve(args.hosts)
        begin(args, destinations)
        return converse(pinger, destinations, args)


def begin(args: argparse.Namespace, hosts: Sequence[Destination | MTUSearch]) -> None:
    """Give up the capabilities, which nothing needs once the sockets are open, and say which these are."""
    if args.json:
        import json  # noqa: F401 - what is not loaded yet may not be readable without capabilities
    _core.drop_capabilities()
    if args.verbose:
        for each in hosts:
            remark(f"{each.host} is {each.address}, by a {each.engine} socket")


def find_mtus(args: argparse.Namespace) -> int:
    """One host after the other."""
    seconds = 1.0 if args.timeout == "auto" else args.timeout
    options = chosen(args, ("tos", "source", "interface", "mark", "family", "engine"))
    with ExitStack() as opened:
        searches = [opened.enter_context(MTUSearch(host, **options)) for host in dict.fromkeys(args.hosts)]
        begin(args, searches)
        found = [tell_mtu(search.run(seconds), args.json) for search in searches]
    return exits.YES if all(each.mtu for each in found) else exits.NO


def tell_mtu(found: PathMTU, as_json: bool) -> PathMTU:
    if as_json:
        print_json({"kind": "mtu", **found._asdict()})
    else:
        print(f"{name_of(found)}: {found}", flush=True)
    return found


def converse(pinger: Pinger, destinations: list[Destination], args: argparse.Namespace) -> int:
    """Ping until it is over, telling what comes, and then what it amounts to."""
    told = Telling(destinations, args)
    interrupted = False
    session = pinger.begin(
        destinations,
        None if args.loop else args.count,
        0 if args.flood else args.interval,
        args.timeout,
        retries=args.retries,
        backoff=args.backoff,
        enough=args.enough,
    )
    try:
        with HeldInterrupt() as interrupt:
            for reply in pinger.follow(session):
                interrupt.whole(told.tell, reply)  # One that is half counted would look lost.
    except KeyboardInterrupt:
        interrupted = True
        for reply in session.told():  # what came at the last moment
            told.tell(reply)
    told.summarize(session.waiting())
    if interrupted:
        return exits.INTERRUPTED
    alive = sum(each.alive for each in told.whole.values())
    return exits.YES if alive >= (args.enough or len(destinations)) else exits.NO


class Telling:
    """What is printed while replies come, and at the end."""

    def __init__(self, destinations: list[Destination], args: argparse.Namespace) -> None:
        self._destinations = destinations
        self._interval = 0.0 if args.flood else args.interval
        self._json = args.json
        self._every: float | None = args.every
        self._each = not (args.quiet or args.flood) and args.every is None
        self.whole = self._summaries()
        self._begin()

    def _summaries(self) -> dict[tuple[str, str], Summary]:
        return {
            (each.host, each.address): Summary(each.host, each.address, each.engine, self._interval)
            for each in self._destinations
        }

    def _begin(self) -> None:
        """Begin the next of the times that ``--every`` tells of."""
        self._until = time.monotonic() + (self._every or 0)
        self._now = self._summaries()

    def tell(self, reply: Reply) -> None:
        self.whole[reply.host, reply.address].add(reply)
        if self._each:
            print_reply(reply, self._json)
        if self._every is not None:
            self._now[reply.host, reply.address].add(reply)
            if time.monotonic() >= self._until:
                if not self._json:
                    print(time.strftime("[%H:%M:%S]"))
                print_summaries(self._now, "interval", self._json)
                self._begin()

    def summarize(self, waiting: Iterable[Reply]) -> None:
        for reply in waiting:
            self.whole[reply.host, reply.address].add(reply, waiting=True)
        print_summaries(self.whole, "summary", self._json)


def name_of(told: Reply | Summary | PathMTU) -> str:
    return told.host if told.host == told.address else f"{told.host} ({told.address})"


def print_reply(reply: Reply, as_json: bool) -> None:
    if as_json:
        print_json({"kind": "reply", **reply._asdict()})
        return
    news = reply.error if reply.rtt_ms is None else f"rtt={reply.rtt_ms:.3f} ms ttl={reply.ttl}"
    notes = " (duplicate)" if reply.duplicate else ""
    if reply.tries > 1:
        notes += f" ({reply.tries} tries)"
    print(f"{name_of(reply)}: seq={reply.seq} {news}{notes}", flush=True)


def print_summaries(summaries: dict[tuple[str, str], Summary], kind: str, as_json: bool) -> None:
    for each in summaries.values():
        if as_json:
            print_json(record(each, kind))
        else:
            print(line(each), flush=True)


def record(summary: Summary, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind}
    found |= {name: getattr(summary, name) for name in (*FIELDS, "error")}
    for name in (*(f"rtt_{name}_ms" for name in TIMES), "jitter_ms", "outage_s"):
        value = getattr(summary, name)
        found[name] = value and round(value, 6)
    return found


def line(summary: Summary) -> str:
    told = f"{name_of(summary)}: {summary.sent} sent, {summary.received} received"
    told += f", {summary.loss_percent:.0f}% loss"
    if summary.waiting:
        told += f", {summary.waiting} still awaited"
    if summary.not_sent:
        told += f", {summary.not_sent} not sent"
    if summary.duplicates:
        told += f", {summary.duplicates} duplicates"
    if summary.outage_s:
        told += f", {summary.outage_s:g} s outage"
    if summary.alive:
        times = "/".join(f"{getattr(summary, f'rtt_{name}_ms'):.3f}" for name in TIMES)
        told += f", rtt {'/'.join(TIMES)} = {times} ms"
        if summary.jitter_ms is not None:
            told += f", jitter {summary.jitter_ms:.3f} ms"
    return told
