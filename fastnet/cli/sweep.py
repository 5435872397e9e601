"""Sweep targets: which answer, which do not, which can't be reached, and which could not be probed.

TARGETS are hosts, prefixes (10.0.2.0/24, fd00::/120), ranges (10.0.2.2-10.0.2.9, fd00::1-fd00::9) and ranges
in an octet (10.0.2.2-4, 10.0.0-1.1,3-5, 10.0.2.*); at most 2^20 addresses in all.
"""

import argparse
import sys

from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, duration, integer
from fastnet.cli.output import print_json, remark
from fastnet.errors import InvalidArgument
from fastnet.sweep import ALIVE, ENGINES, INACTIVE, MAX_RETRIES, Sweep, SweepResult, rounds
from fastnet.targets import Targets, read_targets


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGETS")
    parser.add_argument(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="read more targets from it; - is stdin",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="TARGETS", help="leave these out; may be repeated"
    )
    parser.add_argument(
        "--timeout", type=duration, default=1.0, metavar="TIME", help="how long to wait for a reply (1s)"
    )
    parser.add_argument(
        "--retries",
        type=integer(0, MAX_RETRIES),
        default=1,
        metavar="N",
        help="how often to ask again who did not answer (1)",
    )
    parser.add_argument("--rate", type=float, metavar="N", help="at most N requests a second")
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--alive", action="store_const", dest="only", const=ALIVE, help="print these addresses only"
    )
    only.add_argument(
        "--inactive", action="store_const", dest="only", const=INACTIVE, help="print these addresses only"
    )
    parser.add_argument("--every", type=duration, metavar="TIME", help="sweep again each TIME")
    parser.add_argument(
        "--count", type=integer(1, 1 << 31), metavar="N", help="with --every: how many sweeps (without end)"
    )
    add_family(parser)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="insist on a way to probe")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.count and args.every is None:
        raise InvalidArgument("--count: only with --every")
    targets = collect_targets(args)
    alive = 0
    for number in rounds(args.every or 0, args.count if args.every is not None else 1):
        result = sweep_once(targets, args)
        alive = result.counts.alive
        print_result(result, number, args)
        if not result.complete:
            return exits.INTERRUPTED
    return exits.YES if alive else exits.NO


def collect_targets(args: argparse.Namespace) -> Targets:
    texts = list(args.targets)
    for name in args.file:
        if name == "-":
            texts += read_targets(sys.stdin)
        else:
            with open(name, encoding="utf-8") as lines:
                texts += read_targets(lines)
    if not texts:
        raise InvalidArgument("no targets: give some, as 10.0.2.0/24, or a file with -f")
    targets = Targets(*texts, exclude=args.exclude, family=args.family)
    if not targets:
        raise InvalidArgument("no targets are left after --exclude")
    return targets


def sweep_once(targets: Targets, args: argparse.Namespace) -> SweepResult:
    """A whole sweep, or what was known of it at Ctrl-C."""
    options = {name: getattr(args, name) for name in ("timeout", "retries", "rate", "engine")}
    with Sweep(targets, **options) as running:
        try:
            while not running.run():
                pass
        except KeyboardInterrupt:
            remark("interrupted")
        return running.result()


def print_result(result: SweepResult, number: int, args: argparse.Namespace) -> None:
    width = 39 if result.targets.ipv6 else 15
    for verdict in result:
        if args.only not in (None, verdict.state):
            continue
        if args.json:
            print_json({"round": number, **verdict._asdict()})
        elif args.only:
            print(verdict.address)
        else:
            rtt = "" if verdict.rtt_ms is None else f"{verdict.rtt_ms:.3f} ms"
            print(f"{verdict.address:{width}} {verdict.state:12} {verdict.reason or rtt}".rstrip())
    sys.stdout.flush()
    words = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in result.counts._asdict().items())
    remark(f"{len(result)} targets: {words} ({result.engine})")
