"""``ping --distributed``: a table of vantages by hosts."""

from _collections_abc import Iterator

from fastnet._distributed import DistributedPing, PingComparison
from fastnet._ping import PingResult
from fastnet._typing import TYPE_CHECKING, Any
from fastnet.cli import exits
from fastnet.cli.cluster import tls_files
from fastnet.cli.dask_versions import one_remark_on_versions
from fastnet.cli.interrupts import FatalInterrupt, NoticedInterrupt
from fastnet.cli.output import print_json, print_table, remark
from fastnet.cli.parts import statistics, vantage
from fastnet.cli.quick_parser import Arguments
from fastnet.errors import VantagesLost

if TYPE_CHECKING:
    from fastnet import _records as records


@one_remark_on_versions()
def ping_from_vantages(args: Arguments, options: dict[str, Any]) -> int:
    failure: OSError | None = None
    absence = 60.0 if args.absence is None else args.absence
    with FatalInterrupt():
        opened = DistributedPing(
            args.hosts,
            client=args.distributed,
            vantages=args.vantages,
            absence=absence,
            tls=tls_files(args),
            **options,
        )
    with opened as running:
        for note in running.notes:
            remark(note)
        finished = False
        with NoticedInterrupt() as interrupt:
            while not (finished or interrupt.came or failure):
                try:
                    finished = running.run()
                except OSError as error:
                    failure = error
        result = running.result()
    _print(args, result)
    if failure:
        raise failure
    if interrupt.came:
        return exits.INTERRUPTED
    return answer_of(result)


def answer_of(result: PingComparison) -> int:
    """The exit code. Raises VantagesLost if a host may have replied to a vantage without results."""
    silent = [host for host in result.hosts if not result.seen_by(host)]
    missing = [each.vantage for each in result.by_vantage if each.results is None]
    if silent and missing:
        hosts = silent[0] + (f" and {len(silent) - 1} more" if len(silent) > 1 else "")
        raise VantagesLost(f"{hosts}: no reply, and no results of vantage {', '.join(missing)}")
    results = [each.results for each in result.by_vantage if each.results]
    if not all(any(totals.address for totals in of_host) for of_host in zip(*results, strict=True)):
        return exits.USAGE
    return exits.NO if silent else exits.YES


def _print(args: Arguments, result: PingComparison) -> None:
    for each in result.vantages:
        if each.problem:
            remark(f"vantage {each.name} is left out: {each.problem}")
    if args.json:
        for name, results in result.by_vantage:
            for summary in results or ():
                record: records.VantageSummary = {
                    "kind": "vantage_summary",
                    "vantage": name,
                    **statistics(summary),
                }
                print_json(record)
        for each in result.vantages:
            print_json(vantage(each))
        return
    print_table(("HOST", *(each.vantage for each in result.by_vantage)), _rows(result))


def _rows(result: PingComparison) -> Iterator[tuple[str, ...]]:
    for place, host in enumerate(result.hosts):
        yield host, *(_cell(each.results[place]) if each.results else "unknown" for each in result.by_vantage)


def _cell(summary: PingResult) -> str:
    """``0.041 ms``, with the loss if there is any; without a reply, the reason."""
    if not summary.alive:
        return summary.error or "no answer"
    loss = f" {summary.loss_percent:g}% loss" if summary.loss_percent else ""
    return f"{summary.rtt_avg_ms:.3f} ms{loss}"
