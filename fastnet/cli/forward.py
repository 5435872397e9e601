"""Forward a local port to a remote host until SIGTERM or Ctrl-C, which let open connections end first.

LISTEN is [HOST:]PORT, on loopback unless a HOST is given (`*` is every address); port 0 takes a free one.
"""

import argparse
import signal
import time
from types import FrameType

from fastnet.cli import exits
from fastnet.cli.arguments import add_json, argument, duration, integer
from fastnet.cli.output import print_json, remark
from fastnet.endpoints import parse_endpoint
from fastnet.forward import Forwarder


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "listen",
        metavar="LISTEN",
        type=argument(lambda text: parse_endpoint(text, "localhost")),
        help="[HOST:]PORT to listen at",
    )
    parser.add_argument(
        "upstream", metavar="UPSTREAM", type=argument(parse_endpoint), help="HOST:PORT to connect to"
    )
    rewrite = parser.add_mutually_exclusive_group()
    rewrite.add_argument(
        "--rewrite-host",
        action="store_const",
        const=True,
        default=False,
        help="HTTP: a Host that names the listener becomes UPSTREAM",
    )
    rewrite.add_argument(
        "--rewrite-host-always",
        dest="rewrite_host",
        action="store_const",
        const="always",
        help="HTTP: every Host becomes UPSTREAM",
    )
    for name, default, text in (
        ("--connect-timeout", 10.0, "time for each address of UPSTREAM"),
        ("--head-timeout", 10.0, "time for a request's head, where the Host is rewritten"),
        ("--drain", 10.0, "time that open connections have to end by themselves"),
    ):
        help_text = f"{text} (default {default:g}s)"
        parser.add_argument(name, metavar="TIME", type=duration, default=default, help=help_text)
    parser.add_argument(
        "--max-connections",
        metavar="N",
        type=integer(1, 1_000_000),
        default=4096,
        help="connections open at once; more wait (default 4096)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    forwarder = Forwarder(
        args.listen,
        args.upstream,
        rewrite_host=args.rewrite_host,
        max_connections=args.max_connections,
        connect_timeout=args.connect_timeout,
        head_timeout=args.head_timeout,
        warn=lambda text: remark(f"fastnet forward: {text}"),
    )
    received: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        # The second signal means now.
        forwarder.drain(args.drain if len(received) == 1 else 0)

    started = time.monotonic()
    with forwarder:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        announce(args, forwarder)
        drained = forwarder.wait()
    summarize(args, forwarder, time.monotonic() - started)
    if signal.SIGINT in received:
        return exits.INTERRUPTED
    return exits.YES if drained else exits.NO


def announce(args: argparse.Namespace, forwarder: Forwarder) -> None:
    addresses = [str(address) for address in forwarder.addresses]
    if args.json:
        print_json({"event": "listening", "addresses": addresses, "upstream": str(args.upstream)})
    else:
        print(f"forwarding {', '.join(addresses)} to {args.upstream}", flush=True)


def summarize(args: argparse.Namespace, forwarder: Forwarder, seconds: float) -> None:
    stats = forwarder.stats()
    if args.json:
        print_json(
            {
                "event": "summary",
                "connections": stats.accepted,
                "unreachable": stats.unreachable,
                "refused": stats.refused,
                "resets": stats.resets,
                "sent_up_bytes": stats.sent_up,
                "sent_down_bytes": stats.sent_down,
                "ran_s": round(seconds, 3),
            }
        )
        return
    print(
        f"{stats.accepted} connections ({stats.unreachable} unreachable, {stats.refused} refused, "
        f"{stats.resets} reset), {stats.sent_up} bytes up, {stats.sent_down} bytes down in {seconds:.1f} s"
    )
