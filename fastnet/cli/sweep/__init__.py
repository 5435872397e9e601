"""Sweep targets: which are alive, inactive, unreachable, or could not be probed.

TARGETS are hosts, prefixes (10.0.2.0/24, fd00::/120), ranges (10.0.2.2-10.0.2.9, fd00::1-fd00::9) and ranges
in an octet (10.0.2.2-4, 10.0.0-1.1,3-5, 10.0.2.*); at most 2^24 addresses in all, or in a shard of them.
"""

import sys
import time

from fastnet._backend import probe as _core
from fastnet._contract.values import counted
from fastnet._sweep import STATES, Sweep, SweepResult, rounds
from fastnet._sweep.result import UNDECIDED, without
from fastnet._typing import TYPE_CHECKING
from fastnet.cli import describe, exits
from fastnet.cli.arguments import chosen
from fastnet.cli.interrupts import NoticedInterrupt
from fastnet.cli.listing import Listing, separate
from fastnet.cli.output import clear_drawn, is_discarded, remark
from fastnet.cli.plotting import picture_of
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.cli.sweep.options import add_options, check_together
from fastnet.cli.sweep.outputs import Output, output_for
from fastnet.cli.sweep.printing import print_verdicts, remark_left_out
from fastnet.cli.sweep.progress import Progress
from fastnet.cli.textfile import settled, textfile_of
from fastnet.errors import InvalidArgument, NameNotResolved
from fastnet.targets import Targets

if TYPE_CHECKING:
    from fastnet._plots.sweep import SweepPlot
    from fastnet._sweep.metrics import SweepMetrics
    from fastnet._sweep.resume import StateFile

INTERMIXED = True
_SLICE_SECONDS = 0.02
"""The time between two looks whether Ctrl-C came, where nothing is printed meanwhile."""


def configure(parser: Parser) -> None:
    add_options(parser)


def run(args: Arguments) -> int:
    check_together(args)
    targets = collect_targets(args)
    if not targets:
        return exits.USAGE
    if args.distributed is not None:
        from fastnet.cli.sweep.distributed import run_distributed

        return run_distributed(args, targets)
    if args.resume is None:
        return sweep(args, targets)
    from fastnet._sweep.resume import StateFile  # only here: rarely needed

    with StateFile(args.resume, targets, args.shard, args.include_special) as state:
        return sweep(args, targets, state)


def sweep(args: Arguments, targets: Targets, state: "StateFile | None" = None) -> int:
    metrics, plot = metrics_of(args), plot_of(args)
    with open_sweep(targets, args, state) as running:
        remark_left_out(running.left_out)
        command = Command(args, running, state, output_for(args, running.targets), metrics, plot)
        _core.drop_capabilities()
        if metrics:
            metrics.begin()
        if plot:
            plot.begin()
        if args.verbose:
            for note in running.notes:
                remark(note)
        for number in rounds(args.every or 0, args.count if args.every is not None else 1):
            if not command.round(number):
                return exits.INTERRUPTED
        if targets.unresolved:
            return exits.USAGE
        return settled(exits.YES if running.result().counts.alive else exits.NO, metrics)


def collect_targets(args: Arguments) -> Targets:
    """The targets of the arguments and files. An error in a file names the file and the line."""
    wanted, unwanted = _wanted(args), Listing(separate(args.exclude), args.exclude_file)
    if not wanted.texts:
        raise InvalidArgument("no targets: give some, as 10.0.2.0/24, or a file with -f")
    try:
        targets = Targets(*wanted.texts, exclude=unwanted.texts, family=args.family, strict=False)
    except (InvalidArgument, NameNotResolved):
        unwanted.check(args.family)
        raise
    for name, reason, *_ in targets.unresolved:
        remark(f"fastnet sweep: {wanted.where(name)}{name or repr(name)}: {reason}")
    if not targets and not targets.unresolved:
        raise InvalidArgument("no targets are left after --exclude")
    return targets


def _wanted(args: Arguments) -> Listing:
    """The targets to sweep. The error of a missing file has words on nmap's ``-f``, which takes none."""
    try:
        return Listing(args.targets, args.file)
    except FileNotFoundError as error:
        from fastnet.cli.habits import hint  # only here: rarely needed

        reason = f"{error.strerror}{hint('sweep', '-f', ())}"
        raise FileNotFoundError(error.errno, reason, error.filename) from None


def metrics_of(args: Arguments) -> "SweepMetrics | None":
    """What ``--textfile`` counts."""
    textfile = textfile_of(args, "sweep")
    if textfile is None:
        return None
    from fastnet._sweep.metrics import SweepMetrics  # only here: rarely needed

    return SweepMetrics(textfile)


def plot_of(args: Arguments) -> "SweepPlot | None":
    """What ``--plot`` draws."""
    picture = picture_of(args)
    if picture is None:
        return None
    from fastnet._plots.sweep import SweepPlot  # only here: rarely needed

    return SweepPlot(picture)


def open_sweep(targets: Targets, args: Arguments, state: "StateFile | None") -> Sweep:
    names = ("timeout", "retries", "rate", "engine", "seed", "shard", "interface", "include_special")
    decided, repeated = state.decided if state else None, args.every is not None
    return Sweep(targets, decided=decided, repeated=repeated, **chosen(args, names))


class Command:
    """State shared by the rounds of one command."""

    def __init__(
        self,
        args: Arguments,
        running: Sweep,
        state: "StateFile | None",
        output: Output,
        metrics: "SweepMetrics | None",
        plot: "SweepPlot | None",
    ) -> None:
        self._args, self._running, self._state, self._output = args, running, state, output
        self._metrics, self._plot = metrics, plot
        self._before: SweepResult | None = None
        self._interrupted = False
        self._failure: OSError | None = None

    def round(self, number: int) -> bool:
        """Sweep once and print the verdicts; False after Ctrl-C, with the verdicts so far.

        Raises OSError if the system fails, after the verdicts so far are printed.
        """
        if number:
            self._running.restart()
        begun = time.monotonic()
        finished = self._sweep(number)
        result = self._running.result()
        seconds = time.monotonic() - begun
        if self._metrics:
            self._metrics.write(result, seconds)
        streamed = self._args.stream and self._before is None
        self._print(self._running.news_states() if streamed else self._states(result), number)
        if self._state:
            self._keep(self._state, finished)
        self._before = result
        self._output.end(result)
        self._sum_up(result)
        if self._plot:
            self._draw(self._plot, result)
        if self._failure:
            raise self._failure
        return not self._interrupted  # which may have come after the last verdict

    def _sweep(self, number: int) -> bool:
        progress = Progress(self._args.retries)
        # Within a step, verdicts that count as printed would be lost.
        with NoticedInterrupt() as interrupt:
            while not (finished := self._run()) and not (interrupt.came or self._failure):
                if self._args.stream and self._before is None:
                    clear_drawn()
                    self._print(self._running.news_states(), number)
                progress.show(self._running)
        clear_drawn()
        self._interrupted = interrupt.came
        if self._interrupted and not finished:
            remark("interrupted")
        return finished

    def _run(self) -> bool:
        try:
            return self._running.run() if self._args.stream else self._running.run(_SLICE_SECONDS)
        except OSError as error:
            self._failure = error
            return False

    def _print(self, states: bytes, number: int) -> None:
        """Print these verdicts. Unless the reader gets all of them, none of them counts as decided."""
        try:
            print_verdicts(self._running.result(), self._wanted(states), self._output, number)
            if is_discarded(sys.stdout):
                raise KeyboardInterrupt
        except (KeyboardInterrupt, OSError):
            if self._state:
                self._save(self._state, without(states, self._running.decided()))
            raise

    def _keep(self, state: "StateFile", finished: bool) -> None:
        if finished:
            state.remove()
        else:
            self._save(state, self._running.decided())

    def _save(self, state: "StateFile", decided: bytes) -> None:
        state.save(decided)
        remark(f"{state.path} has what is left: the same command goes on from there")

    def _draw(self, plot: "SweepPlot", result: SweepResult) -> None:
        """Raises OSError if the picture can't be written, unless there are more rounds."""
        try:
            plot.write(result)
        except OSError as error:
            if self._args.every is None:
                raise
            remark(f"fastnet sweep: {describe(error)}: it is left as it was")

    def _states(self, result: SweepResult) -> bytes:
        return result.known_states() if self._before is None else result.changed_states(self._before)

    def _wanted(self, states: bytes) -> bytes:
        """The states without those that are not to be printed."""
        if self._args.only is None:
            return states
        wanted = STATES.index(self._args.only)
        return states.translate(bytes(state if state == wanted else UNDECIDED for state in range(256)))

    def _sum_up(self, result: SweepResult) -> None:
        counts = {**result.counts._asdict(), "decided_before": len(result.decided_before)}
        if not counts["decided_before"]:
            del counts["decided_before"]
        words = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items())
        remark(f"{counted(len(result), 'target')}: {words} ({result.engine})")
