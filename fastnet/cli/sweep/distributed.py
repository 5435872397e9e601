"""The command's sweep from many vantages: its outputs, and its progress."""

import sys
import time
from _collections_abc import Iterable

from fastnet._clock import now
from fastnet._contract.values import counted
from fastnet._distributed import Comparison, DistributedResult, DistributedSweep, Sighting, SweepPlan
from fastnet._sweep import ALIVE, INACTIVE
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import exits
from fastnet.cli.arguments import chosen
from fastnet.cli.cluster import tls_files
from fastnet.cli.dask_versions import one_remark_on_versions
from fastnet.cli.interrupts import FatalInterrupt, NoticedInterrupt
from fastnet.cli.output import clear_drawn, draw, escaped, print_json, print_line, print_table, remark
from fastnet.cli.parts import vantage
from fastnet.cli.quick_parser import Arguments
from fastnet.cli.sweep.outputs import output_for
from fastnet.cli.sweep.printing import remark_left_out
from fastnet.errors import VantagesLost
from fastnet.targets import Targets

if TYPE_CHECKING:
    from fastnet import _records as records

_DRAWN_SECONDS = 0.5


@one_remark_on_versions()
def run_distributed(args: Arguments, targets: Targets) -> int:
    probing = ("timeout", "retries", "rate", "vantage_rate", "engine", "seed", "interface")
    with FatalInterrupt():
        opened = DistributedSweep(
            targets,
            client=args.distributed,
            vantages=args.vantages,
            include_special=args.include_special,
            tls=tls_files(args),
            dry_run=args.dry_run,
            **chosen(args, (*probing, "output", "mode", "absence")),
        )
    with opened as running:
        for note in running.notes:
            remark(note)
        remark_left_out(running.plan.left_out)
        if args.dry_run:
            return print_plan(running.plan, args.json)
        return _sweep(args, running, targets)


def _sweep(args: Arguments, running: DistributedSweep, targets: Targets) -> int:
    failure: OSError | None = None
    finished, due, known = False, 0.0, len(running.notes)
    with NoticedInterrupt() as interrupt:
        while not (finished or interrupt.came or failure):
            try:
                finished = running.run()
            except OSError as error:
                failure = error
            if time.monotonic() >= due and sys.stderr.isatty():
                draw(progress_line(running))
                due = time.monotonic() + _DRAWN_SECONDS
    clear_drawn()
    if interrupt.came and not finished:
        remark("interrupted")
    result = running.result()
    if args.output is None:
        _print(args, result, running.targets)
    if args.json:
        for each in result.vantages:
            print_json(vantage(each))
    for note in running.notes[known:]:
        remark(note)
    _sum_up(args, result, finished)
    if failure:
        raise failure
    if interrupt.came:
        return exits.INTERRUPTED
    if targets.unresolved:
        return exits.USAGE
    return answer_of(result)


def answer_of(result: DistributedResult | Comparison) -> int:
    """The exit code. Raises VantagesLost if no target is alive and a vantage has not probed all."""
    if alive_in(result):
        return exits.YES
    if isinstance(result, Comparison) and not result.complete:
        missing = [name for name, each in result.by_vantage.items() if not each.complete]
        raise VantagesLost(f"no target is alive, and no results of vantage {', '.join(missing)}")
    return exits.NO


def alive_in(result: DistributedResult | Comparison) -> int:
    """The number of alive targets; of a comparison, at the vantage that sees the most."""
    if isinstance(result, DistributedResult):
        return result.counts.alive
    return max((each.counts.alive for each in result.by_vantage.values()), default=0)


def print_plan(plan: SweepPlan, as_json: bool) -> int:
    if as_json:
        values = plan.as_dict()
        record: records.SweepPlan = {
            "kind": "sweep_plan",
            "time": now(),
            "targets": plan.targets,
            "left_out": plan.left_out,
            "vantages": values["vantages"],
            "shards": plan.shards,
            "done": plan.done,
            "rate": plan.rate,
            "requests": plan.requests,
            "bytes": plan.bytes,
            "seconds": plan.seconds,
        }
        print_json(record)
        return exits.YES
    rate = f"{plan.rate:,.0f} requests/s each" if plan.rate else "no limit"
    print_line(f"targets    {plan.targets:,}" + (f" ({plan.left_out:,} left out)" if plan.left_out else ""))
    print_line(f"vantages   {len(plan.vantages)}: {escaped(', '.join(plan.vantages))} ({rate})")
    print_line(f"shards     {plan.shards:,}" + (f" ({plan.done:,} done)" if plan.done else ""))
    print_line(f"requests   at most {plan.requests:,}")
    print_line(f"bytes      at most {plan.bytes:,}")
    about = "" if plan.rate else " (a guess: 50,000 requests/s each)"
    print_line(f"duration   at most {duration_text(plan.seconds)}{about}")
    return exits.YES


def duration_text(seconds: float) -> str:
    """``1 d 3:25:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hours}:{minutes:02}:{rest:02}"


def progress_line(running: DistributedSweep) -> str:
    """``12 of 40 shards; alive: fra 310, iad 298; 0:01:20 left``."""
    done, of, alive, left, _ = running.progress()
    by_vantage = ", ".join(f"{escaped(name)} {count:,}" for name, count in alive.items())
    end = "" if left is None else f"; {duration_text(left)} left"
    return f"{done:,} of {counted(of, 'shard', ',')}; alive: {by_vantage or 0}{end}"


def _print(args: Arguments, result: DistributedResult | Comparison, targets: Targets) -> None:
    if isinstance(result, Comparison):
        _print_sightings(args, result)
        return
    output = output_for(args, targets)
    lists = {ALIVE: result.alive, INACTIVE: result.inactive}
    for verdict in lists.get(args.only, result.known):
        print_line(output.line(verdict, 0), at_once=False)
    sys.stdout.flush()


def _print_sightings(args: Arguments, result: Comparison) -> None:
    sightings = _chosen_sightings(args, result)
    names = [*result.by_vantage]
    if args.json:
        for sighting in sightings:
            print_json(_sighting_record(sighting), at_once=False)
    elif args.csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(
            (
                "address",
                "differs",
                *(f"{escaped(name)} {column}" for name in names for column in ("state", "rtt_ms")),
            )
        )
        for address, verdicts in sightings:
            cells = [value for _, each in verdicts for value in (each.state, each.rtt_ms)]
            writer.writerow((escaped(address), Sighting(address, verdicts).differs, *cells))
    else:
        print_table(("ADDRESS", *names, ""), (_row(sighting) for sighting in sightings))
    sys.stdout.flush()


def _chosen_sightings(args: Arguments, result: Comparison) -> Iterable[Sighting]:
    if args.differing:
        return result.differing
    if args.only == ALIVE:
        return result.alive
    if args.only == INACTIVE:
        return (each for each in result if all(verdict.state == INACTIVE for _, verdict in each.verdicts))
    return result


def _row(sighting: Sighting) -> tuple[str, ...]:
    cells = (each.state if each.rtt_ms is None else f"{each.rtt_ms:.3f} ms" for _, each in sighting.verdicts)
    return sighting.address, *cells, "differs" if sighting.differs else ""


def _sighting_record(sighting: Sighting) -> "records.Sighting":
    return {
        "kind": "sighting",
        "time": now(),
        "address": sighting.address,
        "differs": sighting.differs,
        "seen_by": [*sighting.seen_by],
        "verdicts": [
            {"vantage": name, "state": each.state, "rtt_ms": each.rtt_ms, "reason": each.reason}
            for name, each in sighting.verdicts
        ],
    }


def _sum_up(args: Arguments, result: DistributedResult | Comparison, finished: bool) -> None:
    for each in result.vantages:
        if each.problem:
            remark(f"vantage {each.name} is left out: {each.problem}")
        elif args.verbose:
            remark(
                f"vantage {each.name}: {counted(each.shards, 'shard')}, {each.sent} sent, {each.alive} alive"
            )
    if isinstance(result, DistributedResult):
        words = ", ".join(
            f"{value} {name.replace('_', ' ')}" for name, value in result.counts._asdict().items()
        )
    else:
        counts = {name: each.counts.alive for name, each in result.by_vantage.items()}
        words = ", ".join(f"{count} alive from {name}" for name, count in counts.items())
        if not result.complete:
            words += "; what a missing vantage did not probe is unknown"
    used = sum(each.shards > 0 or each.problem is None for each in result.vantages)
    vantages = counted(used, "vantage")
    remark(f"{counted(len(result), 'target')}: {words} ({args.mode or 'share'}, {vantages})")
    if args.output is not None:
        where = f"the results are in {args.output}"
        remark(where if finished else f"{where}, and the same command goes on from there")
