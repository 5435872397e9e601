"""Wait until every TARGET is ready (or gone), then run a command.

A TARGET is HOST:PORT, unix:/path, or http://HOST[:PORT]/path (ready when it answers with a status of 200 to
399). Exits with 0, with 124 after a timeout, or with COMMAND's exit code (127 if there is no such
command, 126 if it can't be run).
"""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
import os
import sys

from fastnet._clock import now
from fastnet._typing import TYPE_CHECKING, NoReturn
from fastnet._wait import CHECKS, Outcome, check_target, raise_if_late, wait_stream
from fastnet.cli import exits
from fastnet.cli.arguments import add_family, add_json, duration
from fastnet.cli.output import clear_drawn, draw, print_json, remark
from fastnet.cli.quick_parser import Arguments, Parser
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from fastnet import _records as records

RUNS_COMMAND = True

_NOT_FOUND = 127
_NOT_RUNNABLE = 126
_SILENT_SECONDS = 1.0


def configure(parser: Parser) -> None:
    parser.usage = "%(prog)s [options] TARGET [TARGET ...] [-- COMMAND [ARGUMENT ...]]"
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="+",
        type=check_target,
        help="HOST:PORT, unix:PATH or http://HOST[:PORT]/PATH",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=time_limit,
        default=30.0,
        help="total time, or none for no limit (default 30s)",
    )
    parser.add_argument("--gone", action="store_true", help="wait until each TARGET is known to be gone")
    parser.add_argument(
        "--check",
        choices=CHECKS,
        default="stable",
        help="check of a target: a connection is accepted, stays open for 0.2s (default), or receives data",
    )
    for name, default, text in (
        ("--interval", 0.1, "time between rounds at first, growing up to a second"),
        ("--attempt-timeout", 1.0, "time for each connect and each answer"),
    ):
        help_text = f"{text} (default {default:g}s)"
        parser.add_argument(name, metavar="TIME", type=duration, default=default, help=help_text)
    add_family(parser)
    add_json(parser)
    parser.set_defaults(command=[])


def time_limit(text: str) -> float | None:
    """A duration, or ``none``."""
    return None if text == "none" else duration(text)


def run(args: Arguments) -> int:
    if args.command and not args.command[0]:
        raise InvalidArgument("COMMAND is empty: expected the name of a program")
    outcomes: list[Outcome] = []
    latest: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        latest[outcome.target] = outcome
        show_progress(outcome)

    try:
        for outcome in wait_stream(
            args.targets,
            args.timeout,
            note,
            gone=args.gone,
            check=args.check,
            interval=args.interval,
            attempt_timeout=args.attempt_timeout,
            family=args.family,
        ):
            outcomes.append(outcome)
            latest.pop(outcome.target, None)
            clear_drawn()
            if args.json:
                print_outcome_json(outcome)
    except KeyboardInterrupt:
        clear_drawn()
        awaited = "; ".join(f"{outcome.target}: {outcome.reason}" for outcome in latest.values())
        remark(f"interrupted, {len(outcomes)} of {len(args.targets)} ready{awaited and f': {awaited}'}")
        return exits.INTERRUPTED
    raise_if_late(outcomes)
    if args.command:
        become(args.command)
    return exits.YES


def print_outcome_json(outcome: Outcome) -> None:
    record: records.Outcome = {
        "kind": "outcome",
        "time": now(),
        "target": outcome.target,
        "ready": outcome.ready,
        "address": outcome.address,
        "reason": outcome.reason,
        "attempts": outcome.attempts,
        "waited_s": round(outcome.waited_s, 3),
    }
    print_json(record)


def show_progress(outcome: Outcome) -> None:
    """A status line on a terminal, once the wait has taken a second."""
    if outcome.waited_s >= _SILENT_SECONDS:
        draw(f"{outcome.waited_s:.0f} s  {outcome.target}: {outcome.reason}")


def become(command: list[str]) -> NoReturn:
    """Replace this process by the command, or exit as a shell does if that fails."""
    sys.stdout.flush()
    # Python ignores these signals, and an ignored signal stays ignored in the new program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        remark(f"fastnet wait: {command[0]}: {error.strerror}")
        sys.exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE)
