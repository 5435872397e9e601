"""argparse's parser: for help, usage errors, and command lines that ``quick_parser`` does not parse."""

import argparse
import sys
from _collections_abc import Iterable, Sequence
from functools import partial
from types import ModuleType

from fastnet._typing import Any, NoReturn
from fastnet.cli.commands import COMMANDS, VERSION
from fastnet.cli.exits import USAGE
from fastnet.cli.habits import HEAD, hint, hint_of_letters, table
from fastnet.cli.output import remark
from fastnet.cli.quick_parser import SUPPRESS, Arguments
from fastnet.errors import InvalidArgument

_UNKNOWN = "unrecognized arguments: "
_LITERAL = "\0"
"""Begins a word after ``--`` while argparse parses the line: no word from a shell has this character."""


class Help(argparse.HelpFormatter):
    """argparse's help formatter, without the imports for colours when they are off."""

    if sys.version_info[:2] == (3, 14):

        def _set_color(self, color: bool) -> None:
            """Python 3.14 loads dataclasses and inspect even for a theme without colours."""
            self._theme, self._decolor = NoColours(), str

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """A paragraph, or the table of habits as it is laid out."""
        return text if text.startswith(HEAD) else super()._fill_text(text, width, indent)


class NoColours:
    """argparse's theme without colours."""

    def __getattr__(self, name: str) -> str:
        return ""


class TopHelp(Help, argparse.RawDescriptionHelpFormatter):
    """With the list of commands as it is laid out."""


class FullParser(argparse.ArgumentParser):
    """Prints an error in one line, the same on every Python, without the whole usage.

    argparse makes a formatter for each argument that is added, and each would read the terminal's width, for
    which shutil and three compression libraries are loaded: only the help's formatter reads it.
    """

    def __init__(self, *, formatter_class: type[Help] = Help, **options: Any) -> None:
        if sys.version_info >= (3, 14):
            options["color"] = False
        super().__init__(formatter_class=partial(formatter_class, width=80), **options)
        self._has_negative_number_optionals.append(True)  # a negative number is an option everywhere
        self._help_formatter = formatter_class
        self.words: Sequence[str] = ()
        """The command line, for usage errors."""

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        if settings.get("default") is SUPPRESS:
            settings["default"] = argparse.SUPPRESS
        return super().add_argument(*names, **settings)

    def format_help(self, *args: Any, **options: Any) -> str:  # a formatter, from Python 3.15 on
        self.formatter_class = self._help_formatter
        return super().format_help(*args, **options)

    def print_help(self, file: Any = None) -> None:
        """argparse would ignore a failed write."""
        (file or sys.stdout).write(self.format_help())

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args(self._prepared(args), namespace)

    def parse_known_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_intermixed_args(self._prepared(args), namespace)

    def _prepared(self, given: Sequence[str] | None) -> list[str]:
        """The words, as argparse reads them right: a negative number is in the word of its option.

        A word with letters that are no options is refused. Those after ``--`` are marked, as argparse drops
        a ``--``, and then takes what follows for options; an action's own parser marks its words.
        """
        words = sys.argv[1:] if given is None else given
        end = words.index("--") if "--" in words else len(words)
        prepared: list[str] = []
        for word in words[:end]:
            if letter := self._unknown_letter(word):
                self._refuse_letter(word, f"-{letter}")
            option = prepared[-1] if prepared else ""
            if self._is_negative(word) and self._takes_value(option):
                prepared[-1] += f"={word}" if option.startswith("--") else word
            else:
                prepared.append(word)
        rest = words[end + 1 :]
        if self._subparsers is None:
            rest = [_LITERAL + word.removeprefix(_LITERAL) for word in rest]
        return [*prepared, *words[end : end + 1], *rest]

    def _is_negative(self, word: str) -> bool:
        return word[:1] == "-" and word[1:2].isdigit() and word not in self._option_string_actions

    def _takes_value(self, option: str) -> bool:
        action = self._option_string_actions.get(option)
        return action is not None and action.nargs is None

    def _unknown_letter(self, word: str) -> str:
        """The first letter after a flag in the same word that is no option; empty if all are.

        argparse would name one of them, or print the help for an ``h`` among them.
        """
        for number, letter in enumerate(word[1:] if word[:1] == "-" else ""):
            action = self._option_string_actions.get(f"-{letter}")
            if action is None or action.nargs != 0:
                return letter if action is None and number > 0 else ""
        return ""

    def _refuse_letter(self, word: str, option: str) -> NoReturn:
        habit = hint_of_letters(self._command, word, option)
        self._refuse(f"{_UNKNOWN}{word}{habit or f': there is no option {option}'}")

    @property
    def _command(self) -> str:
        return self.prog.removeprefix("fastnet ")

    def _refuse(self, message: str) -> NoReturn:
        remark(f"{self.prog}: {message.replace(_LITERAL, '')} (see {self.prog} --help)")
        sys.exit(USAGE)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """A ``--`` may be before an action's name on every Python."""
        begin = int(action.nargs == argparse.PARSER and arg_strings[0] == "--")
        return super()._get_values(action, arg_strings[begin:])

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """argparse would print the name of the function instead of the form that it expected."""
        try:
            return super()._get_value(action, arg_string.removeprefix(_LITERAL))
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, InvalidArgument):
                raise argparse.ArgumentError(action, str(error.__context__)) from None
            raise

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """argparse's message for this differs between Python versions."""
        if action.choices is not None and value not in action.choices:
            near = suggestion(str(value), map(str, action.choices))
            choices = f" (choose from {', '.join(map(repr, action.choices))})"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{near or choices}")

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix(_UNKNOWN).split(" ")
        if message.startswith(_UNKNOWN):  # argparse adds the words after the values of unknown options
            unknown = [word for word in unknown if word.startswith("-")] or unknown
            message = _UNKNOWN + " ".join(unknown)
        if habit := hint(self._command, message, self.words):
            message += habit
        elif message.startswith(_UNKNOWN) and unknown[0].startswith("-"):
            message += suggestion(unknown[0].partition("=")[0], self._option_string_actions)
        self._refuse(message)


def suggestion(word: str, known: Iterable[str]) -> str:
    """``: did you mean X?`` where one of the known words is nearly this one, else nothing."""
    from difflib import get_close_matches  # only here: needed for a mistyped name only

    plain = {each.lstrip("-"): each for each in known}
    near = get_close_matches(word.lstrip("-"), plain, n=1)
    return f": did you mean {plain[near[0]]}?" if near else ""


class Version(argparse.Action):
    """``--version``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fastnet.cli.version import print_version  # only here: it loads the core

        print_version()
        parser.exit()


def build_parser() -> FullParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = FullParser(
        prog="fastnet",
        description="A network toolkit whose inner loops are C.",
        epilog=f"commands:\n{listing}\n\n`fastnet help COMMAND` has more of each.",
        formatter_class=TopHelp,
    )
    about = "print the version and the implementation"
    parser.add_argument(*VERSION, action=Version, nargs=0, help=about)
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False  # Python 3.11 would report it as missing
    return parser


def command_in(words: Sequence[str]) -> list[str]:
    """The name of the command and its words, where the name is not the first word."""
    parser = build_parser()
    found = parser.parse_args(words)
    name: str = found.command
    rest: list[str] = found.arguments
    if name == "help":
        name, *rest = *rest, "--help"
    if name == "--help":
        parser.parse_args([name])
    if name not in COMMANDS:
        near = suggestion(name, COMMANDS)
        parser.error(f"no command {name!r}{near or ': there are ' + ', '.join(COMMANDS)}")
    return [name, *rest]


def parser_of(name: str, module: ModuleType) -> FullParser:
    """A subcommand's parser."""
    parser = FullParser(prog=f"fastnet {name}", description=module.__doc__, epilog=table(name))
    module.configure(parser)
    return parser


def parse(name: str, module: ModuleType, words: Sequence[str], command: list[str] | None) -> Arguments:
    """The values of a subcommand's words. Prints help or a usage error, and exits."""
    parser = parser_of(name, module)
    parser.words = words
    if command is not None:
        parser.set_defaults(command=command)
    intermixed = getattr(module, "INTERMIXED", False)
    read = parser.parse_intermixed_args if intermixed else parser.parse_args
    arguments: Arguments = read(words, Arguments())
    return arguments
