"""Measure fastnet beside its peers, all in one session: a table, a JSON file and pictures."""

from __future__ import annotations

import argparse
import ast
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import _peers
from bench._compare import HEADINGS as HEADINGS_OF_CHANGES
from bench._compare import changes, read, row
from bench._harness import Result, measure_page
from bench._report import HEADINGS, record, rows, value_text
from fastnet import cli
from fastnet.cli import exits
from fastnet.cli.arguments import integer
from fastnet.cli.full_parser import FullParser
from fastnet.cli.output import prepare_streams, print_table, remark
from fastnet.errors import ImplementationMissing

HERE = Path(__file__).parent
RESULTS = HERE / "results"
FEWEST_ROUNDS = 5


def pages() -> dict[str, str]:
    """The names of all pages, with their first lines."""
    found = {}
    for path in sorted(HERE.glob("bench_*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        found[path.stem.removeprefix("bench_")] = docstring.partition("\n")[0]
    return found


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = FullParser(prog="python -m bench", description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="what to measure (default: every page)")
    parser.add_argument("--list", action="store_true", help="print the pages and end")
    parser.add_argument(
        "--rounds",
        type=integer(FEWEST_ROUNDS, 1000),
        default=11,
        metavar="N",
        help=f"samples of each contender, at least {FEWEST_ROUNDS} (default: %(default)s)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the results go (default: bench/results/TIME.json)"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="print what got worse or better from one session's JSON file to another's, and end",
    )
    parser.add_argument("--no-plot", action="store_true", help="draw no pictures beside the JSON file")
    args = parser.parse_args(arguments)
    if unknown := [page for page in args.pages if page not in pages()]:
        parser.error(f"no page {', '.join(unknown)}: there are {', '.join(pages())}")
    return args


def compare(before: Path, after: Path) -> int:
    """Print what differs beyond noise; 1 if ours got worse."""
    try:
        both = [*changes(read(before), read(after))]
    except (OSError, ValueError) as error:
        remark(f"bench: --compare: {cli.describe(error)}")
        return exits.USAGE
    if not both:
        remark(f"bench: --compare: {before}, {after}: nothing was measured in both")
        return exits.USAGE
    found = [each for each in both if each.verdict]
    if found:
        print_table(HEADINGS_OF_CHANGES, map(row, found))
    else:
        print("nothing differs beyond the noise")
    worse = any(each.is_ours and each.verdict == "worse" for each in found)
    return exits.NO if worse else exits.YES


def implementations() -> Sequence[str]:
    """The implementations to measure, ours first; empty if native is missing and pure was not requested."""
    if os.environ.get("FASTNET_IMPL") == "pure":
        return ("pure",)
    try:
        # Here: with FASTNET_IMPL=native this fails if there is no native.
        from fastnet._backend import IMPLEMENTATIONS, implementation, why_pure

        ours = implementation()
    except ImplementationMissing as error:
        remark(f"bench: {error}")
        return ()
    if ours != "native":
        remark(
            f"bench: no native implementation to measure ({why_pure()}): run `make bench`, "
            "or ask for the pure one with FASTNET_IMPL=pure"
        )
        return ()
    return IMPLEMENTATIONS


def measure(page: str, names: Sequence[str], rounds: int) -> list[Result]:
    """Measure a page, with its progress on stderr, and print its table."""
    remark(f"measuring {page} ...")
    results = []
    for result in measure_page(f"bench.bench_{page}", names, rounds):
        medians = (f"{each.name} {value_text(each.median, result.quantity)}" for each in result.measurements)
        remark(f"  {result.what}: {', '.join(medians)}")
        results.append(result)
    print_table(HEADINGS, [row for result in results for row in rows(result)])
    return results


def plot(results: Sequence[Result], path: Path) -> None:
    try:
        from bench._plot import draw_pages
    except ModuleNotFoundError as error:
        remark(f"no pictures: {error}")
        return
    for picture in draw_pages(results, path):
        print(f"picture: {picture}")


def main(arguments: Sequence[str] | None = None) -> int:
    prepare_streams()
    try:
        try:
            return run(arguments)
        finally:
            sys.stdout.flush()  # here, where a failure can still be reported
    except cli.ENDS as error:
        return cli.report("bench", error)
    finally:
        cli.settle_output()


def run(arguments: Sequence[str] | None) -> int:
    args = parse_arguments(arguments)
    if args.compare:
        return compare(*args.compare)
    if args.list:
        print_table(("page", "what it measures"), pages().items())
        return exits.YES
    # What is measured has its modules compiled, as what is installed has.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        _peers.check_root()
    except _peers.Missing as error:
        remark(f"bench: BENCH_ROOT: there is no {error}")
        return exits.USAGE
    names = implementations()
    if not names:
        return exits.OS_FAILURE
    results = [result for page in args.pages or pages() for result in measure(page, names, args.rounds)]
    path = args.json or RESULTS / time.strftime("%Y-%m-%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record(results), indent=1) + "\n")
    print(f"results: {path}")
    if not args.no_plot:
        plot(results, path.with_suffix(".png"))
    return exits.YES if all(result.ours.verdict == "right" for result in results) else exits.NO


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the started processes too
    sys.exit(main())
