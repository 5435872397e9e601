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
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fastnet import __version__
from fastnet.cli import exits
from fastnet.cli.commands import COMMANDS, PORTABLE
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
# Either shell looks for a file of the program's name.
BASH_OF_THE_OTHER = 'source "${BASH_SOURCE[0]%-toolkit}"\n'
FISH_OF_THE_OTHER = f"complete -c {PROGRAMS[1]} -w {PROGRAMS[0]}\n"
COMPLETED = {**COMMANDS, "help": "options of a command"}


def parsers() -> dict[str, FullParser]:
    """Of the commands that work on this system."""
    names = COMMANDS if sys.platform == "linux" else PORTABLE
    return {name: parser_of(name, import_module(f"fastnet.cli.{name}")) for name in names}


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


def contexts(commands: dict[str, FullParser]) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The words that come first, and the parser of those that follow."""
    for name, parser in commands.items():
        yield name, parser
        for action, its_parser in actions(parser).items():
            yield f"{name} {action}", its_parser


def pattern_of_actions(commands: dict[str, FullParser]) -> str:
    """Each command with each of its actions, for ``case`` of bash and zsh."""
    return "|".join(quoted(place) for place, _ in contexts(commands) if " " in place)


def choices(action: argparse.Action) -> str:
    return " ".join(map(str, action.choices or ()))


def is_interface(action: argparse.Action) -> bool:
    return action.dest == "interface" or "-I" in action.option_strings


def bash_words(action: argparse.Action) -> str:
    return "_fastnet_interfaces" if is_interface(action) else bash_array(map(str, action.choices or ()))


def bash_array(words: Iterable[str]) -> str:
    return f"words+=({' '.join(map(quoted, words))})"


def bash(commands: dict[str, FullParser]) -> str:
    cases, values = [f"        help) {bash_array(COMMANDS)} ;;\n"], []
    for place, parser in contexts(commands):
        words = [bash_words(each) for each in positionals(parser) if choices(each) or is_interface(each)]
        words.append(bash_array(word for option in options(parser) for word in option.option_strings))
        cases.append(f"        {quoted(place)}) {'; '.join(words)} ;;\n")
        for option in filter(takes_value, options(parser)):
            keys = "|".join(quoted(f"{place}:{word}") for word in option.option_strings)
            values.append(f"        {keys}) {bash_words(option)} ;;\n")
    first = [*COMPLETED, *(word for option in options(build_parser()) for word in option.option_strings)]
    # What is offered is quoted, and never evaluated: an interface may have any name.
    return f"""\
_fastnet_interfaces() {{
    local folder
    for folder in /sys/class/net/*/; do
        folder=${{folder%/}}
        words+=("${{folder##*/}}")
    done
}}
_fastnet() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local place=${{COMP_WORDS[1]}} each
    local -a words=()
    if [ "$word" = = ]; then  # --option=VALUE is three words
        word=
    elif [ "$before" = = ]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    if [ "$COMP_CWORD" = 1 ]; then
        {bash_array(first)}
    else
        for each in "${{COMP_WORDS[@]:2:COMP_CWORD-2}}"; do
            case "$place $each" in
            {pattern_of_actions(commands)}) place+=" $each"; break ;;
            esac
        done
        case $place:$before in
{"".join(values)}\
        *)
            case $place in
    {"    ".join(cases)}\
            esac ;;
        esac
    fi
    COMPREPLY=()
    for each in "${{words[@]}}"; do
        printf -v each %q "$each"
        [[ $each != "$word"* ]] || COMPREPLY+=("$each")
    done
}}
complete -o default -F _fastnet {" ".join(PROGRAMS)}
"""


def zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def zsh_values(action: argparse.Action) -> str:
    """What completes an option's value, or an argument."""
    if is_interface(action):
        return "_net_interfaces"
    if known := choices(action):
        return f"({known})"
    return "_files" if action.option_strings or action.dest in ("file", "path") else "_hosts"


def zsh_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for option in options(parser):
        name = zsh_text(str(option.metavar or option.dest))
        value = f":{name}:{zsh_values(option)}" if takes_value(option) else ""
        for word in option.option_strings:
            equals = "=" if value and word.startswith("--") else ""
            yield quoted(f"*{word}{equals}[{zsh_text(help_of(option))}]{value}")


def zsh_arguments(parser: argparse.ArgumentParser) -> str:
    arguments = (f"*:argument:{zsh_values(each)}" for each in positionals(parser)[:1])
    return " ".join([*zsh_options(parser), *map(quoted, arguments)])


def zsh(commands: dict[str, FullParser]) -> str:
    listing = " ".join(quoted(f"{name}:{zsh_text(about)}") for name, about in COMPLETED.items())
    cases = [
        f"    {quoted(place)}) _arguments {zsh_arguments(parser)} ;;\n"
        for place, parser in contexts(commands)
    ]
    first = " ".join(zsh_options(build_parser()))
    return f"""\
#compdef {" ".join(PROGRAMS)}
local context state line place curcontext=$curcontext
local -i number
local -a commands=({listing})
_arguments -C {first} '1:command:->command' '*::argument:->arguments' && return
case $state in
command) _describe command commands ;;
arguments)
    place=$words[1]
    for (( number = 2; number < CURRENT; number++ )); do
        case "$place $words[number]" in
        {pattern_of_actions(commands)})
            place+=" $words[number]"
            words=("${{(@)words[number,-1]}}")
            (( CURRENT -= number - 1 ))
            break ;;
        esac
    done
    case $place in
    help) _describe command commands ;;
{"".join(cases)}\
    esac ;;
esac
"""


def fish(commands: dict[str, FullParser]) -> str:
    lines = [
        "function __fastnet_in",  # whether these words are the first after the program's name
        "    set -l words (commandline -opc)[2..-1]",
        '    test "$words[1..$(count $argv)]" = "$argv"',
        "end",
        "function __fastnet_at",  # whether there are no others before the cursor
        "    set -l words (commandline -opc)[2..-1]",
        '    test "$words" = "$argv"',
        "end",
        "function __fastnet_before",  # whether it is this command, and none of its actions came yet
        "    __fastnet_in $argv[1]; or return",
        "    for action in $argv[2..-1]",
        "        contains -- $action (commandline -opc); and return 1",
        "    end",
        "    true",
        "end",
    ]
    complete = f"complete -c {PROGRAMS[0]}"
    for name, about in COMPLETED.items():
        lines.append(f"{complete} -n __fastnet_at -f -a {name} -d {fish_text(about)}")
    lines += [f"{complete} -n __fastnet_at{fish_option(option)}" for option in options(build_parser())]
    lines.append(f"{complete} -n '__fastnet_at help' -f -a {quoted(' '.join(COMMANDS))}")
    for place, parser in contexts(commands):
        seen = f"{complete} -n {quoted(fish_place(place, parser))}"
        for action, its_parser in actions(parser).items():
            lines.append(f"{seen} -f -a {action} -d {fish_text(its_parser.description or action)}")
        for each in positionals(parser):
            if is_interface(each) or (choices(each) and not actions(parser)):
                lines.append(f"{seen} -f -a {fish_words(each)}")
        lines += [f"{seen}{fish_option(option)}" for option in options(parser)]
    return "\n".join([*lines, FISH_OF_THE_OTHER])


def fish_place(place: str, parser: argparse.ArgumentParser) -> str:
    return " ".join(
        ["__fastnet_before", place, *actions(parser)] if actions(parser) else ["__fastnet_in", place]
    )


def fish_text(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_words(action: argparse.Action) -> str:
    return fish_text("(__fish_print_interfaces)" if is_interface(action) else choices(action))


def fish_option(option: argparse.Action) -> str:
    names = "".join(
        f" -l {word[2:]}" if word.startswith("--") else f" -s {word[1:]}" for word in option.option_strings
    )
    if choices(option) or is_interface(option):
        value = f" -x -a {fish_words(option)}"
    else:
        value = " -r" if takes_value(option) else ""
    return f"{names}{value} -d {fish_text(help_of(option))}"


def files() -> dict[str, str]:
    """Each file's path below ``share``, and its text."""
    commands: dict[str, Any] = parsers()
    pages = {f"man/man1/fastnet-{name}.1": command_page(name, parser) for name, parser in commands.items()}
    return {
        "man/man1/fastnet.1": main_page(),
        **pages,
        "bash-completion/completions/fastnet": bash(commands),
        "bash-completion/completions/fastnet-toolkit": BASH_OF_THE_OTHER,
        "zsh/site-functions/_fastnet": zsh(commands),
        "fish/vendor_completions.d/fastnet.fish": fish(commands),
        "fish/vendor_completions.d/fastnet-toolkit.fish": FISH_OF_THE_OTHER,
    }


if __name__ == "__main__":
    for place, text in files().items():
        path = Path(sys.argv[1], place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
