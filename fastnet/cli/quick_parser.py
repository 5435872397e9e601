"""A parser of the usual command lines: argparse takes a third of a short command's time.

A subcommand's ``configure`` declares its arguments to this parser and, by the same calls, to the one of
``full_parser``, which is argparse's. This one raises ``Unusual`` for every command line that it does not
parse with certainty: help, a mistake, an abbreviation. Then the full parser parses it.
"""

from _collections_abc import Callable, Sequence

from fastnet._typing import TYPE_CHECKING, Any

__all__ = ["SUPPRESS", "Actions", "Arguments", "Group", "Parser", "Unusual"]

SUPPRESS = "==SUPPRESS=="
"""The default of an action's option that, if it is not given, keeps the value from before the action."""
_UNSET = object()


class Unusual(Exception):
    """A command line for the full parser."""


class Arguments:
    """The values of a command line: one attribute for each argument."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: object) -> None: ...


class Argument:
    """One option or positional. The settings are those of argparse's ``add_argument`` that are in use."""

    def __init__(
        self,
        names: Sequence[str],
        exclusive: object,
        *,
        action: str = "store",
        nargs: str | None = None,
        const: object = None,
        default: object = _UNSET,
        type: Callable[[str], object] | None = None,
        choices: Sequence[object] | None = None,
        dest: str = "",
        metavar: str = "",
        help: str = "",
    ) -> None:
        long = next((name for name in names if name.startswith("--")), names[0])
        self.dest: str = dest or long.lstrip("-").replace("-", "_")
        self.exclusive: object = exclusive
        self.nargs: str | None = nargs
        self.is_flag: bool = action in ("store_true", "store_const")
        self.const: object = True if action == "store_true" else const
        unset = False if action == "store_true" else None
        self.default: Any = unset if default is _UNSET else default
        self._appends = action == "append"
        self._type = type
        self._choices = choices

    def store(self, text: str, found: dict[str, Any]) -> None:
        value = self.value(text)
        found[self.dest] = [*found.get(self.dest, self.default or []), value] if self._appends else value

    def value(self, text: str) -> Any:
        try:
            value = text if self._type is None else self._type(text)
        except (TypeError, ValueError):
            raise Unusual from None
        if self._choices is not None and value not in self._choices:
            raise Unusual
        return value

    def set_default(self, found: dict[str, Any]) -> None:
        """The default if nothing was given; a text is parsed as if it had been given."""
        if self.dest not in found and self.default is not SUPPRESS:
            is_text = isinstance(self.default, str) and self._type is not None
            found[self.dest] = self.value(str(self.default)) if is_text else self.default


class Group:
    """Arguments under one heading of the help, or of which only one may be given."""

    def __init__(self, parser: "Parser", exclusive: object = None) -> None:
        self._parser = parser
        self._exclusive = exclusive

    def add_argument(self, *names: str, **settings: Any) -> None:
        self._parser.declare(names, Argument(names, self._exclusive, **settings))

    def add_mutually_exclusive_group(self) -> "Group":
        return Group(self._parser, object())


class Actions:
    """The subcommands of a subcommand."""

    def __init__(self, dest: str, required: bool) -> None:
        self.dest: str = dest
        self.required: bool = required
        self.parsers: dict[str, Parser] = {}

    def add_parser(self, name: str, *, help: str, description: str = "") -> "Parser":
        parser = self.parsers[name] = Parser()
        return parser


class Parser(Group):
    """A subcommand's arguments."""

    usage: str = ""

    def __init__(self) -> None:
        super().__init__(self)
        self._options: dict[str, Argument] = {}
        self._positionals: list[Argument] = []
        self._all: list[Argument] = []
        self._defaults: dict[str, Any] = {}
        self._actions: Actions | None = None

    def declare(self, names: Sequence[str], argument: Argument) -> None:
        self._all.append(argument)
        if names[0].startswith("-"):
            self._options |= dict.fromkeys(names, argument)
        else:
            self._positionals.append(argument)

    def add_argument_group(self, title: str) -> Group:
        return Group(self)

    def add_subparsers(self, *, dest: str, metavar: str, required: bool = False) -> Actions:
        self._actions = Actions(dest, required)
        return self._actions

    def set_defaults(self, **values: Any) -> None:
        self._defaults |= values

    def parse(self, words: Sequence[str], intermixed: bool = False) -> Arguments:
        """The values of these words. ``intermixed``: options may be among the values of one positional."""
        arguments = Arguments()
        vars(arguments).update(self._parse(words, intermixed))
        return arguments

    def _parse(self, words: Sequence[str], intermixed: bool) -> dict[str, Any]:
        actions = self._actions
        found: dict[str, Any] = {actions.dest: None} if actions else {}
        if actions and words and words[0] in actions.parsers:
            found = {**actions.parsers[words[0]]._parse(words[1:], intermixed), actions.dest: words[0]}
        elif actions and actions.required:
            raise Unusual
        else:
            self._place(self._read_options(words, intermixed, found), found)
        for each in self._all:
            each.set_default(found)
        return self._defaults | found

    def _read_options(self, words: Sequence[str], intermixed: bool, found: dict[str, Any]) -> list[str]:
        """Store the options. Returns the other words."""
        others: list[tuple[int, str]] = []
        given: dict[object, Argument] = {}
        numbered = iter(enumerate(words))
        for number, word in numbered:
            if not is_option(word):
                others.append((number, word))
                continue
            option, text = self._split(word)
            if option.exclusive and given.setdefault(option.exclusive, option) is not option:
                raise Unusual
            if option.is_flag:
                if text is not None:
                    raise Unusual
                found[option.dest] = option.const
                continue
            if text is None:
                _, text = next(numbered, (0, "-?"))
                if is_option(text):
                    raise Unusual
            option.store(text, found)
        if others and not intermixed and others[-1][0] - others[0][0] >= len(others):
            raise Unusual
        return [word for _, word in others]

    def _split(self, word: str) -> tuple[Argument, str | None]:
        """The option, and the value in the same word."""
        if word.startswith("--"):
            name, has_value, text = word.partition("=")
        else:
            name, has_value, text = word[:2], word[2:3], word[2:]
            if has_value == "=":
                raise Unusual
        if name not in self._options:
            raise Unusual
        return self._options[name], text if has_value else None

    def _place(self, words: list[str], found: dict[str, Any]) -> None:
        """Store the positionals: those of one word first, at most one of several words last."""
        for each in self._positionals:
            if each.nargs in ("*", "+"):
                found[each.dest] = [each.value(word) for word in words]
                words = [] if words or each.nargs == "*" else ["missing"]
            elif words:
                found[each.dest] = each.value(words[0])
                words = words[1:]
            elif each.nargs != "?":
                raise Unusual
        if words:
            raise Unusual


def is_option(word: str) -> bool:
    """Not the value of another argument. ``-`` is one; a negative number is left to argparse."""
    return word.startswith("-") and word != "-"
