"""The ``fastnet`` command: finds the subcommand, runs it, and maps its exceptions to exit codes.

A subcommand is a module of this package with ``configure(parser)`` and ``run(args) -> exit code``. Only
the one that was called is imported. ``configure`` declares its arguments to the quick parser and, for what
that does not read, to argparse's. One with ``RUNS_COMMAND = True`` gets the words after ``--`` as
``args.command``; one with ``INTERMIXED = True`` takes options among repeated positionals, and has
a ``parser.usage``, which argparse would otherwise lay out before each run.
"""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
import _thread
import errno
import os
import sys
import time
from _collections_abc import Sequence

from fastnet._typing import TYPE_CHECKING, Any
from fastnet.cli import exits
from fastnet.cli.commands import COMMANDS, PORTABLE, VERSION
from fastnet.cli.output import discard, discard_unread, prepare_streams, remark
from fastnet.cli.quick_parser import Arguments, Parser, Unusual
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved, WaitTimeout

if TYPE_CHECKING:
    from types import ModuleType

ENDS = (KeyboardInterrupt, FastnetError, OSError, MemoryError)
"""What ends a command without a traceback."""
_AGAIN_SECONDS = 0.01


def run_command(name: str, words: Sequence[str]) -> int:
    if sys.platform != "linux" and name not in PORTABLE:
        from fastnet._elsewhere import needs_linux  # only here: never on Linux

        raise needs_linux("this command")
    module = __import__(f"fastnet.cli.{name}", fromlist=["run"])  # importlib loads warnings
    command = None
    if getattr(module, "RUNS_COMMAND", False) and "--" in words:
        # argparse drops a "--" among positionals, and so where the command to run begins.
        words, command = words[: words.index("--")], [*words[words.index("--") + 1 :]]
    code: int = module.run(parse(name, module, words, command))
    return code


def parse(name: str, module: "ModuleType", words: Sequence[str], command: list[str] | None) -> Arguments:
    parser = Parser()
    module.configure(parser)
    if command is not None:
        parser.set_defaults(command=command)
    try:
        return parser.parse(words, getattr(module, "INTERMIXED", False))
    except Unusual:
        from fastnet.cli import full_parser  # only here: it loads argparse

    return full_parser.parse(name, module, words, command)


def report(title: str, error: BaseException) -> int:
    """The exit code of what a command raised; an error is printed in one line, with the command's title."""
    code = exit_code(error)
    if code not in (exits.INTERRUPTED, exits.BROKEN_PIPE):
        remark(f"{title}: {describe(error)}")
    return code


def exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return exits.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return exits.BROKEN_PIPE  # the reader of our output has exited (head, less): nothing more to print
    if isinstance(error, InvalidArgument | NameNotResolved):
        return exits.USAGE
    if isinstance(error, WaitTimeout):
        return exits.TIMED_OUT
    return exits.OS_FAILURE if isinstance(error, OSError | ImportError | MemoryError) else exits.NO


def describe(error: BaseException) -> str:
    """The error in one line; a bare OSError keeps its file name, where it has one."""
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM)
    if isinstance(error, OSError) and error.strerror and not isinstance(error, FastnetError):
        name = error.filename
        return error.strerror if name is None else f"{name or repr(name)}: {error.strerror}"
    return str(error.args[-1]) if isinstance(error, FastnetError) and error.args else str(error)


def settle_output() -> None:
    """Flush standard output, or discard it: Python would report the error again at exit."""
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except OSError:
            discard(stream)


def interrupt(*_: object) -> None:
    """As the handler of Ctrl-C: Python's own would leave a write waiting for a reader that has stopped."""
    discard_unread()
    raise KeyboardInterrupt


def interrupt_again(lost: Any) -> None:
    """As ``sys.unraisablehook``: a Ctrl-C that was lost in a finalizer or a callback comes again."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    try:
        _thread.start_new_thread(_interrupt_soon, (_thread.get_ident(),))
    except KeyboardInterrupt:  # it has come before this returned, and would be lost again
        interrupt_again(lost)


def _interrupt_soon(main_thread: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    signal.pthread_kill(main_thread, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    prepare_streams()
    words = sys.argv[1:] if arguments is None else [*arguments]
    name = words[0] if words and words[0] in COMMANDS else ""
    quiet = signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # as __main__ has it, before and after
    hook = sys.unraisablehook
    try:
        try:
            if quiet:
                if hasattr(signal, "pthread_kill"):  # Windows has not
                    sys.unraisablehook = interrupt_again
                signal.signal(signal.SIGINT, interrupt)
            if len(words) == 1 and words[0] in VERSION:
                from fastnet.cli.version import print_version  # only here, and without argparse

                print_version()
                return exits.YES
            if not name:
                from fastnet.cli.full_parser import command_in  # only here: it loads argparse

                words = command_in(words)
                name = words[0]
            return run_command(name, words[1:])
        finally:
            sys.stdout.flush()  # here, where a failure can still be reported
    except ENDS as error:
        return report(f"fastnet {name}".rstrip(), error)
    finally:
        if quiet:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.unraisablehook = hook
        settle_output()
