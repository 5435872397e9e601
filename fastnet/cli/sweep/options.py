"""The command's options, and which of them go together."""

from fastnet._sweep import ALIVE, ENGINES, INACTIVE, MAX_RATE, MAX_RETRIES, MAX_SEED, MAX_SHARDS, MIN_RATE
from fastnet._typing import Any
from fastnet.cli.arguments import (
    add_family,
    check_files,
    duration,
    integer,
    interface,
    number,
    replaced_file,
    timeout_or_auto,
)
from fastnet.cli.cluster import ONLY_DISTRIBUTED, add_cluster, check_cluster
from fastnet.cli.plotting import add_plot
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.cli.textfile import add_textfile
from fastnet.errors import InvalidArgument

_OPTIONS_OF_DISTRIBUTED = ("mode", "vantage-rate", "output", "dry-run", "differing")
_NEVER_DISTRIBUTED = ("shard", "resume", "every", "xml", "stream", "textfile", "plot")


def add_options(parser: Parser) -> None:
    parser.usage = "%(prog)s [options] [TARGETS ...]"
    parser.add_argument("targets", nargs="*", metavar="TARGETS")
    _add_targets(parser.add_argument_group("which targets"))
    _add_probing(parser.add_argument_group("how they are probed"))
    _add_output(parser.add_argument_group("what is printed"))
    _add_distributed(parser.add_argument_group("from many vantages, with --distributed"))


def check_together(args: Arguments) -> None:
    """Raises InvalidArgument for options that exclude each other."""
    if args.count and args.every is None:
        raise InvalidArgument("--count: only with --every")
    if args.resume is not None and args.every is not None:
        raise InvalidArgument("--resume: not with --every")
    if args.xml and args.every is not None:
        raise InvalidArgument("--xml: not with --every: it is one document")
    if args.output is not None and args.distributed is None:
        from fastnet.cli.habits import hint  # only here: rarely needed

        raise InvalidArgument(f"--output: only with --distributed{hint('sweep', '-o', [f'-o{args.output}'])}")
    check_files(args, ("textfile", "plot", "resume"), read=("file", "exclude_file"))
    check_cluster(args, (*ONLY_DISTRIBUTED, *_OPTIONS_OF_DISTRIBUTED), _NEVER_DISTRIBUTED)
    if args.differing and args.mode != "compare":
        raise InvalidArgument("--differing: only with --mode compare")


def _add_targets(group: Any) -> None:
    for names, metavar, text in (
        (("-f", "--file"), "FILE", "file of more targets; - is stdin; may be repeated"),
        (("--exclude",), "TARGETS", "targets to leave out, as A,B; may be repeated"),
        (("--exclude-file",), "FILE", "file of targets to leave out; may be repeated"),
    ):
        group.add_argument(*names, action="append", default=[], metavar=metavar, help=text)
    group.add_argument(
        "--include-special",
        action="store_true",
        help="special-purpose addresses too, of more than 2^20 public targets",
    )
    add_family(group)
    group.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="I/N",
        help="share I of N of the targets, from 1",
    )
    group.add_argument(
        "--resume",
        type=replaced_file,
        metavar="FILE",
        help="file of an interrupted sweep: read at the start, written at Ctrl-C, removed at the end",
    )


def _add_probing(group: Any) -> None:
    group.add_argument("--engine", choices=ENGINES, default="auto", help="way to probe (default auto)")
    group.add_argument("--interface", type=interface, metavar="NAME", help="only interface to use")
    group.add_argument(
        "--timeout",
        type=timeout_or_auto,
        default=1.0,
        metavar="TIME",
        help="time to wait for a reply (1s); auto: adapted to the round-trip times",
    )
    group.add_argument(
        "--retries",
        type=integer(0, MAX_RETRIES),
        default=1,
        metavar="N",
        help="number of retries of an unanswered request (1)",
    )
    group.add_argument(
        "--max-rate",
        "--rate",
        dest="rate",
        type=number(MIN_RATE, MAX_RATE),
        metavar="N",
        help="maximum requests per second",
    )
    group.add_argument("--seed", type=integer(0, MAX_SEED), metavar="N", help="seed of a pseudorandom order")
    group.add_argument(
        "--every",
        type=duration,
        metavar="TIME",
        help="interval of repeated sweeps; only changes are printed",
    )
    group.add_argument(
        "--count", type=integer(1, 1 << 31), metavar="N", help="number of sweeps, with --every (no limit)"
    )


def _add_output(group: Any) -> None:
    only = group.add_mutually_exclusive_group()
    for name, state in (("alive", ALIVE), ("inactive", INACTIVE)):
        only.add_argument(
            f"--{name}", action="store_const", dest="only", const=state, help="these addresses only"
        )
    form = group.add_mutually_exclusive_group()
    for name, text in (
        ("json", "JSON Lines instead of text"),
        ("csv", "comma-separated values"),
        ("xml", "XML as nmap prints it, which ndiff reads"),
    ):
        form.add_argument(f"--{name}", action="store_true", help=text)
    group.add_argument(
        "-v", "--verbose", action="store_true", help="socket options that the system refuses, on stderr"
    )
    group.add_argument("--stream", action="store_true", help="verdicts as they are known, in no order")
    add_textfile(group)
    add_plot(group, "the targets by their state along a Hilbert curve")


def _add_distributed(group: Any) -> None:
    add_cluster(group)
    group.add_argument(
        "--mode",
        choices=("share", "compare"),
        help="each target from one vantage (share, default), or from every one (compare)",
    )
    group.add_argument(
        "--vantage-rate",
        type=number(MIN_RATE, MAX_RATE),
        metavar="N",
        help="maximum requests per second of each vantage; --max-rate is that of all together",
    )
    group.add_argument(
        "-o", "--output", metavar="DIRECTORY", help="directory for the results as Parquet files; resumable"
    )
    for name, text in (
        ("dry-run", "shards, requests, bytes and duration; nothing is sent"),
        ("differing", "targets of which vantages see different states only"),
    ):
        group.add_argument(f"--{name}", action="store_true", help=text)


def shard(text: str) -> tuple[int, int]:
    """``1/3``: the first of three."""
    parts = text.split("/")
    valid = len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts)
    which, of = map(int, parts) if valid else (0, 0)
    if not 1 <= which <= of <= MAX_SHARDS:
        raise InvalidArgument(f"{text!r}: expected I/N, as 1/3, the first of three")
    return which, of
