"""The ``fastnet`` command: finds the subcommand, runs it, and turns what it raises into an exit code.

A subcommand is a module of this package with ``configure(parser)`` and ``run(args) -> exit code``. Only
the one that was called is imported. One with ``RUNS_COMMAND = True`` gets the words after ``--`` as
``args.command``; one with ``INTERMIXED = True`` takes options among repeated positionals, and has
a ``parser.usage``, which argparse would otherwise lay out before each run.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

import fastnet
from fastnet.cli import exits
from fastnet.cli.output import one_line, prepare_streams, remark
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved, WaitTimeout

COMMANDS = {
    "address": "the addresses of one interface",
    "echo": "a dual-stack echo server, and a client that measures latency",
    "forward": "forward a local port to a remote host, rewriting the HTTP Host if asked",
    "interfaces": "the names of the network interfaces",
    "ipc": "talk over socket pairs and Unix-domain sockets",
    "ipv6": "what IPv6 support there really is, and the prefix of every address",
    "packet": "parse a packet from hex or a file and show its layers",
    "ping": "is a host there, and how far away",
    "portscan": "the port states of an address",
    "status": "whether an interface is really up",
    "sweep": "which hosts of a target space answer, and which do not",
    "tour": "walk through every feature on this machine's own interfaces and loopback",
    "trace": "each hop on the way to a host, without any privilege",
    "wait": "wait until a service is ready (or gone), then run a command",
}
"""Each subcommand and the line that ``fastnet --help`` prints for it."""


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line instead of printing the whole usage before it.

    argparse makes a formatter for each argument that is added, and each would ask how wide the terminal is,
    for which shutil and three compression libraries are loaded: only that of the help asks.
    """

    def __init__(
        self, *, formatter_class: type[argparse.HelpFormatter] = argparse.HelpFormatter, **options: Any
    ) -> None:
        super().__init__(formatter_class=partial(formatter_class, width=80), **options)
        self._help_formatter = formatter_class

    def format_help(self) -> str:
        self.formatter_class = self._help_formatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.exit(exits.USAGE, f"{one_line(f'{self.prog}: {message} (see {self.prog} --help)')}\n")


class Version(argparse.Action):
    """``--version``: the version, and which implementation runs (looked up only when it is asked for)."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fastnet._backend import implementation, native_failure

        failure = native_failure()
        note = f" (no native: {failure})" if failure else ""
        print(f"fastnet {fastnet.__version__} {implementation()}{note}")
        parser.exit()


def build_parser() -> Parser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = Parser(
        prog="fastnet",
        description="A network toolkit whose inner loops are C.",
        epilog=f"commands:\n{listing}\n\n`fastnet COMMAND --help` says more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and the implementation")
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False  # Python 3.11 would list it as missing
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
    """Write out what is left, or drop it: Python would complain again at its end."""
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
            if called.command not in COMMANDS:
                parser.error(f"no command {called.command!r}: there are {', '.join(COMMANDS)}")
            return run_command(called.command, called.arguments)
        finally:
            sys.stdout.flush()  # here, where a failure can still be told
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        return exits.BROKEN_PIPE  # whoever read our output is gone (head, less): nothing more to say
    except (FastnetError, OSError) as error:
        remark(f"{f'fastnet {called.command}'.rstrip()}: {describe(error)}")
        return exit_code(error)
    finally:
        if quiet:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        settle_output()
