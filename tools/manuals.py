#!/usr/bin/env python3
"""tools/manuals.py DIRECTORY: writes manual pages and completions of shells, from the commands' parsers.

The build runs it, and a wheel installs the directory as ``share``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fastnet import __version__
from fastnet.cli import exits
from fastnet.cli.commands import COMMANDS
from fastnet.cli.full_parser import FullParser, build_parser, parser_of
from fastnet.cli.habits import HABITS

EXITS = {
    exits.YES: "success, or the answer is yes",
    exits.NO: "the answer is no",
    exits.USAGE: "usage error, or a name that does not resolve",
    exits.OS_FAILURE: "not permitted, or a failure of the operating system",
    exits.TIMED_OUT: "timed out",
    exits.INTERRUPTED: "interrupted",
}
PROGRAMS = ("fastnet", "fastnet-toolkit")


def parsers() -> dict[str, FullParser]:
    return {name: parser_of(name, import_module(f"fastnet.cli.{name}")) for name in COMMANDS}


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [each for each in parser._actions if each.option_strings and each.help != argparse.SUPPRESS]


def positionals(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [each for each in parser._actions if not each.option_strings and each.help != argparse.SUPPRESS]


def actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The subcommands of a command."""
    for each in parser._actions:
        if isinstance(each, argparse._SubParsersAction):
            return dict(each.choices)
    return {}


def takes_value(option: argparse.Action) -> bool:
    return option.nargs != 0


def help_of(action: argparse.Action) -> str:
    """Its help in one line, as argparse would print it."""
    names = {**vars(action), "prog": "fastnet"}
    return " ".join(((action.help or "") % names).split())


# Manual pages: groff_man(7)


def roff(text: str) -> str:
    """Text as it is printed, in short lines: hyphens that can be copied, no line that is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    text = fill(text, 78, break_on_hyphens=False, break_long_words=False)
    return re.sub(r"^(['.])", r"\\&\1", text, flags=re.MULTILINE)


def head(name: str) -> str:
    """With the date of the sources, https://reproducible-builds.org/specs/source-date-epoch."""
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    return f'.TH {name.upper()} 1 {date} "fastnet {__version__}" fastnet\n'


def paragraphs(text: str) -> str:
    return ".PP\n".join(f"{roff(each)}\n" for each in re.split(r"\n\s*\n", text.strip()) if each)


def described(action: argparse.Action) -> str:
    value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    if action.option_strings:
        names = ", ".join(f"\\fB{roff(name)}\\fR" for name in action.option_strings)
        term = f"{names} \\fI{roff(value)}\\fR" if takes_value(action) else names
    else:
        term = f"\\fI{roff(value)}\\fR"
    return f".TP\n{term}\n{roff(help_of(action)) or value}\n"


def arguments(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    """Each group of the help as a section."""
    for group in parser._action_groups:
        shown = [
            each
            for each in group._group_actions
            if each.help != argparse.SUPPRESS and not isinstance(each, argparse._SubParsersAction)
        ]
        if shown:
            title = {"positional arguments": "arguments"}.get(group.title or "", group.title or "options")
            yield f".{heading} {roff(title.upper() if heading == 'SH' else title)}\n"
            yield from map(described, shown)


def synopsis(parser: argparse.ArgumentParser) -> str:
    usage = parser.format_usage().removeprefix("usage: ").split()
    return f".SH SYNOPSIS\n{roff(' '.join(usage))}\n"


def command_page(name: str, parser: FullParser) -> str:
    page = [
        head(f"fastnet-{name}"),
        f".SH NAME\n{roff(f'fastnet-{name} - {COMMANDS[name]}')}\n",
        synopsis(parser),
    ]
    page += [".SH DESCRIPTION\n", paragraphs(parser.description or "")]
    page += arguments(parser, "SH")
    for action, its_parser in actions(parser).items():
        page += [
            f".SH {roff(f'fastnet {name} {action}'.upper())}\n",
            paragraphs(its_parser.description or ""),
        ]
        page += arguments(its_parser, "SS")
    page += habits(name)
    return "".join([*page, exit_statuses(), ".SH SEE ALSO\n.BR fastnet (1)\n"])


def habits(name: str) -> Iterator[str]:
    """What to type instead of the words of other programs."""
    if name in HABITS:
        yield ".SH FROM OTHER PROGRAMS\n"
    for each in HABITS.get(name, ()):
        yield f".TP\n\\fB{roff(f'{each.program} {each.theirs}')}\\fR\n{roff(each.ours)}\n"


def exit_statuses() -> str:
    return ".SH EXIT STATUS\n" + "".join(f".TP\n{code}\n{roff(text)}\n" for code, text in EXITS.items())


def main_page() -> str:
    parser = build_parser()
    page = [head("fastnet"), ".SH NAME\nfastnet \\- fast network tools for Linux\n", synopsis(parser)]
    page += [".SH DESCRIPTION\n", paragraphs(parser.description or ""), ".SH COMMANDS\n"]
    page += [f".TP\n.BR fastnet\\-{name} (1)\n{roff(about)}\n" for name, about in COMMANDS.items()]
    return "".join([*page, ".SH OPTIONS\n", *map(described, options(parser)), exit_statuses()])


# Completions


def quoted(text: str) -> str:
    """A word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def everything(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options of a command and of its actions, each name once."""
    found: dict[str, argparse.Action] = {}
    for each in (parser, *actions(parser).values()):
        for option in options(each):
            found.setdefault(option.option_strings[-1], option)
    return [*found.values()]


def bash(commands: dict[str, FullParser]) -> str:
    cases, values = [], []
    for name, parser in commands.items():
        words = [word for option in everything(parser) for word in option.option_strings]
        cases.append(f"        {name}) words={quoted(' '.join([*actions(parser), *words]))} ;;\n")
        for option in filter(takes_value, everything(parser)):
            keys = "|".join(f"{name}:{word}" for word in option.option_strings)
            known = " ".join(map(str, option.choices or ()))
            values.append(f"        {keys}) words={quoted(known)} ;;\n")
    return f"""\
_fastnet() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" = 1 ]; then
        words={quoted(" ".join([*COMMANDS, "help", "--help", "--version"]))}
    else
        case $command:$before in
{"".join(values)}\
        *)
            case $command in
    {"    ".join(cases)}\
            esac ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}}
complete -o default -F _fastnet {" ".join(PROGRAMS)}
"""


def zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def zsh(commands: dict[str, FullParser]) -> str:
    listing = " ".join(quoted(f"{name}:{zsh_text(about)}") for name, about in COMMANDS.items())
    cases = []
    for name, parser in commands.items():
        specs = []
        for option in everything(parser):
            value = f":{zsh_text(str(option.metavar or option.dest))}:" if takes_value(option) else ""
            if value:
                known = " ".join(map(str, option.choices or ()))
                value += f"({known})" if known else "_files"
            for word in option.option_strings:
                specs.append(quoted(f"*{word}[{zsh_text(help_of(option))}]{value}"))
        rest = f"*:argument:({' '.join(actions(parser))})" if actions(parser) else "*:argument:_hosts"
        cases.append(f"    {name}) _arguments {' '.join([*specs, quoted(rest)])} ;;\n")
    return f"""\
#compdef {" ".join(PROGRAMS)}
local context state line
local -a commands=({listing})
_arguments -C '1:command:->command' '*::argument:->arguments' && return
case $state in
command) _describe command commands ;;
arguments)
    case $words[1] in
{"".join(cases)}\
    esac ;;
esac
"""


def fish(commands: dict[str, FullParser]) -> str:
    lines = []
    for program in PROGRAMS:
        for name, about in COMMANDS.items():
            lines.append(f"complete -c {program} -n __fish_use_subcommand -f -a {name} -d {fish_text(about)}")
        for name, parser in commands.items():
            seen = f"complete -c {program} -n '__fish_seen_subcommand_from {name}'"
            for action, its_parser in actions(parser).items():
                lines.append(f"{seen} -f -a {action} -d {fish_text(its_parser.description or action)}")
            lines += [f"{seen}{fish_option(option)}" for option in everything(parser)]
    return "\n".join([*lines, ""])


def fish_text(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_option(option: argparse.Action) -> str:
    names = "".join(
        f" -l {word[2:]}" if word.startswith("--") else f" -s {word[1:]}" for word in option.option_strings
    )
    known = " ".join(map(str, option.choices or ()))
    value = f" -x -a {fish_text(known)}" if known else " -r" if takes_value(option) else ""
    return f"{names}{value} -d {fish_text(help_of(option))}"


def files() -> dict[str, str]:
    """Each file's path below ``share``, and its text."""
    commands: dict[str, Any] = parsers()
    pages = {f"man/man1/fastnet-{name}.1": command_page(name, parser) for name, parser in commands.items()}
    return {
        "man/man1/fastnet.1": main_page(),
        **pages,
        "bash-completion/completions/fastnet": bash(commands),
        "zsh/site-functions/_fastnet": zsh(commands),
        "fish/vendor_completions.d/fastnet.fish": fish(commands),
    }


if __name__ == "__main__":
    for place, text in files().items():
        path = Path(sys.argv[1], place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
