"""The ``fastnet`` command: finds the subcommand, runs it, and maps its exceptions to exit codes.

A subcommand is a module of this package with ``configure(parser)`` and ``run(args) -> exit code``. Only
the one that was called is imported. One with ``RUNS_COMMAND = True`` gets the words after ``--`` as
``args.command``; one with ``INTERMIXED = True`` takes options among repeated positionals, and has
a ``parser.usage``, which argparse would otherwise lay out before each run.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

import fastnet
from fastnet.cli import exits
from fastnet.cli.output import prepare_streams, print_line, remark
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved, WaitTimeout

COMMANDS = {
    "address": "the addresses of one interface",
    "echo": "a dual-stack echo server, and a client that measures latency",
    "forward": "forward local ports to remote hosts, optionally with the HTTP Host rewritten",
    "interfaces": "the names of the network interfaces",
    "ipc": "messages over socket pairs and Unix-domain sockets",
    "ipv6": "which IPv6 support works, and the prefix of every address",
    "packet": "parse a packet from hex or a file and show its layers",
    "ping": "whether hosts answer, and how fast",
    "portscan": "the port states of an address",
    "schema": "the JSON Schema of what --json prints",
    "status": "whether an interface is up",
    "sweep": "which hosts of ranges and prefixes answer, and which do not",
    "tour": "a demonstration of every feature on loopback and this machine's interfaces",
    "trace": "each hop on the way to a host, without any privilege",
    "wait": "wait until a service is ready (or gone), then run a command",
}
"""Each subcommand and the line that ``fastnet --help`` prints for it."""


class Help(argparse.HelpFormatter):
    """argparse's help formatter, without the imports for colours when they are off."""

    if sys.version_info[:2] == (3, 14):

        def _set_color(self, color: bool) -> None:
            """Python 3.14 loads dataclasses and inspect even for a theme without colours."""
            self._theme, self._decolor = NoColours(), str


class NoColours:
    """argparse's theme without colours."""

    def __getattr__(self, name: str) -> str:
        return ""


class TopHelp(Help, argparse.RawDescriptionHelpFormatter):
    """With the list of commands as it is laid out."""


class Parser(argparse.ArgumentParser):
    """Prints an error in one line, the same on every Python, without the whole usage.

    argparse makes a formatter for each argument that is added, and each would ask how wide the terminal is,
    for which shutil and three compression libraries are loaded: only that of the help asks.
    """

    def __init__(self, *, formatter_class: type[Help] = Help, **options: Any) -> None:
        if sys.version_info >= (3, 14):
            options["color"] = False
        super().__init__(formatter_class=partial(formatter_class, width=80), **options)
        self._help_formatter = formatter_class

    def format_help(self, *args: Any, **options: Any) -> str:  # a formatter, from Python 3.15 on
        self.formatter_class = self._help_formatter
        return super().format_help(*args, **options)

    def print_help(self, file: Any = None) -> None:
        """argparse would ignore a failed write."""
        (file or sys.stdout).write(self.format_help())

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """argparse's message for this differs between Python versions."""
        if action.choices is not None and value not in action.choices:
            choices = ", ".join(map(repr, action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} (choose from {choices})")

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized") and unknown[0].startswith("-"):
            message += suggestion(unknown[0].partition("=")[0], self._option_string_actions)
        remark(f"{self.prog}: {message} (see {self.prog} --help)")
        sys.exit(exits.USAGE)


def suggestion(word: str, known: Iterable[str]) -> str:
    """``: did you mean X?`` where one of the known words is nearly this one, else nothing."""
    from difflib import get_close_matches  # only here: needed for a mistyped name only

    plain = {each.lstrip("-"): each for each in known}
    near = get_close_matches(word.lstrip("-"), plain, n=1)
    return f": did you mean {plain[near[0]]}?" if near else ""


class Version(argparse.Action):
    """``--version``: the version, and which implementation runs (looked up only when it is asked for)."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fastnet._backend import implementation, native_failure

        failure = native_failure()
        note = f" (no native: {failure})" if failure else ""
        print_line(f"fastnet {fastnet.__version__} {implementation()}{note}")
        parser.exit()


def build_parser() -> Parser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = Parser(
        prog="fastnet",
        description="A network toolkit whose inner loops are C.",
        epilog=f"commands:\n{listing}\n\n`fastnet help COMMAND` has more of each.",
        formatter_class=TopHelp,
    )
    about = "print the version and the implementation"
    parser.add_argument("-V", "--version", action=Version, nargs=0, help=about)
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False  # Python 3.11 would report it as missing
    return parser


def run_command(name: str, arguments: Sequence[str]) -> int:
    module = import_module(f"fastnet.cli.{name}")
    parser = Parser(prog=f"fastnet {name}", description=module.__doc__)
    module.configure(parser)
    words = list(arguments)
    if getattr(module, "RUNS_COMMAND", False) and "--" in words:
        # argparse drops a "--" among positionals, and so where the command to run begins.
        words, command = words[: words.index("--")], words[words.index("--") + 1 :]
        parser.set_defaults(command=command)
    parse = parser.parse_intermixed_args if getattr(module, "INTERMIXED", False) else parser.parse_args
    code: int = module.run(parse(words))
    return code


def exit_code(error: BaseException) -> int:
    if isinstance(error, InvalidArgument | NameNotResolved):
        return exits.USAGE
    if isinstance(error, WaitTimeout):
        return exits.TIMED_OUT
    return exits.OS_FAILURE if isinstance(error, OSError | ImportError) else exits.NO


def describe(error: BaseException) -> str:
    """The error in one line; a bare OSError keeps its file name, where it has one."""
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
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    prepare_streams()
    called = argparse.Namespace(command="")
    quiet = signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # as __main__ has it, before and after
    try:
        try:
            if quiet:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            parser = build_parser()
            parser.parse_args(arguments, called)
            if called.command == "help":
                words = [*called.arguments, "--help"]
                called.command, called.arguments = words[0], words[1:]
            if called.command == "--help":
                parser.parse_args([called.command])
            if called.command not in COMMANDS:
                near = suggestion(called.command, COMMANDS)
                parser.error(f"no command {called.command!r}{near or ': there are ' + ', '.join(COMMANDS)}")
            return run_command(called.command, called.arguments)
        finally:
            sys.stdout.flush()  # here, where a failure can still be reported
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        return exits.BROKEN_PIPE  # the reader of our output has exited (head, less): nothing more to print
    except (FastnetError, OSError) as error:
        remark(f"{f'fastnet {called.command}'.rstrip()}: {describe(error)}")
        return exit_code(error)
    except MemoryError:
        remark(f"{f'fastnet {called.command}'.rstrip()}: {os.strerror(errno.ENOMEM)}")
        return exits.OS_FAILURE
    finally:
        if quiet:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        settle_output()
