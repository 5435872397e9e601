"""The quick parser reads what argparse reads, from the same declaration, or leaves it to argparse."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from fastnet.cli import COMMANDS
from fastnet.cli.full_parser import FullParser
from fastnet.cli.full_parser import parse as parse_fully
from fastnet.cli.quick_parser import Parser, Unusual

USUAL = {
    "address": ["lo", "lo --json"],
    "echo": [
        "serve",
        "serve --port 0 -6 --idle-timeout=5s",
        "client a:1 -c3",
        "client -W 1 --message=x a:1",
    ],
    "forward": [
        *("0 a:1", "--dry-run 0 a:1 b:2", "0 a:1 --udp b:2", "-f x.toml --json", "", "0"),
        *("0 a:1 --allow 10.0.0.0/8 --allow=::/0", "0 unix:/x --rate 10M --send-proxy 2 --keepalive off"),
        *("--log - --metrics 0 --threads=2 0 a:1", "0 a:1 --rewrite-host --rewrite-origin"),
    ],
    "interfaces": ["", "--json"],
    "ipc": ["pair", "pair --message=", "serve /x --mode 600", "send /x a b c", "send -W 1 /x a"],
    "ipv6": ["", "explain ::1", "explain --json ::1 ::2 --engine fastnet", "--prefix fe80::1/64 --json"],
    "packet": ["parse", "parse --raw x", "parse x --link ipv4 --strict", "parse - --hex"],
    "ping": [],
    "portscan": ["localhost", "-p1-3,80 localhost --open", "localhost --timeout 1 --concurrency 4 -4"],
    "routes": ["", "--json"],
    "schema": ["", "reply"],
    "status": ["lo", "lo --ports 1,2 --json"],
    "sweep": [
        "10.0.0.0/8 --alive --csv -v",
        "-f a -f b --exclude x --exclude=y",
        "",
        "a --shard=1/3 b",
    ],
    "tour": ["", "--json"],
    "trace": [],
    "wait": ["a:1", "a:1 b:2 --gone --timeout none", "--json a:1 --interval=5ms"],
}
"""Command lines that need not be right in every way."""
DASHED = {
    "address": ("--json", "lo"),
    "echo client": ("-c3", "a:1"),
    "forward": ("--udp --json", "0 a:1 b:2"),
    "interfaces": ("--json", "lo"),
    "ipc send": ("-W 1", "/x a b"),
    "ipc serve": ("--mode 600", "/x"),
    "ipv6 explain": ("--json", "::1 ::2"),
    "packet parse": ("--raw", "x"),
    "ping": ("-q -c1", "a b c"),
    "portscan": ("--open -p1", "a"),
    "routes": ("--json", "192.0.2.1"),
    "schema": ("", "reply"),
    "status": ("--json", "lo"),
    "sweep": ("--json --shard 1/3", "a b c"),
    "trace": ("--json -m2", "a"),
}
"""Options of each command that has positionals, and positionals. ``wait`` has its command after ``--``."""
REFUSING = {"schema": "invalid choice: ", "echo client": ""}
"""Those whose positional can't begin with a dash, and how the message begins."""
TABLES = ["ping", "sweep", "trace"]
VALUES = [
    "1",
    "5ms",
    "-1",
    "a:1",
    "",
    "auto",
    "x",
    "1/2",
    "-",
    "--",
    "10.0.0.1",
    "=",
    "-c",
    "yes",
    "ef",
    *["a:1"] * 9,
]


def table(command: str) -> list[tuple[str, int]]:
    """The words of a command's tables, and how they end."""
    module = import_module(f"cli.test_{command}")
    return [(row.words, row.code) for row in [*module.USES, *module.REFUSED]]


def quick(command: str, words: list[str]) -> dict[str, Any] | None:
    module = import_module(f"fastnet.cli.{command}")
    parser = Parser()
    module.configure(parser)
    try:
        return vars(parser.parse(words, getattr(module, "INTERMIXED", False)))
    except Unusual:
        return None


def full(command: str, words: list[str]) -> dict[str, Any]:
    return vars(parse_fully(command, import_module(f"fastnet.cli.{command}"), words, None))


def test_every_command_has_usual_lines() -> None:
    assert {*USUAL} == {*COMMANDS}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_usual_lines_need_no_argparse(command: str) -> None:
    rows = table(command) if command in TABLES else []
    for line in (*USUAL[command], *(words for words, code in rows if code < 2)):
        assert quick(command, line.split()) == full(command, line.split()), line


@pytest.mark.parametrize("command", TABLES)
def test_what_a_table_has_is_read_alike_or_left_to_argparse(command: str) -> None:
    for words, _ in table(command):
        check(command, words.split())


def check(command: str, words: list[str]) -> bool:
    """Compare, where the quick parser reads it."""
    found = quick(command, words)
    if found is not None:
        try:
            assert found == full(command, words), words
        except SystemExit:
            pytest.fail(f"argparse refuses {words}")
    return found is not None


def actions(command: str) -> list[tuple[list[str], list[argparse.Action]]]:
    """The options and positionals of a command, or of each of its actions after the name of that."""
    parser = FullParser()
    import_module(f"fastnet.cli.{command}").configure(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [([name], inner._actions) for name, inner in action.choices.items()]
    return [([], parser._actions)]


def some_lines(command: str, dice: random.Random) -> Iterator[list[str]]:
    """Command lines of the command's own options, mostly wrong."""
    choices = actions(command)
    for _ in range(150):
        begin, known = dice.choice(choices)
        words = [*begin]
        for action in dice.choices(known, k=dice.randrange(4)):
            if not action.option_strings:
                words += dice.choices(VALUES, k=dice.randrange(3))
                continue
            form = dice.choice(action.option_strings)
            value = str(dice.choice([*action.choices])) if action.choices else dice.choice(VALUES)
            if action.nargs == 0:
                words.append(form if dice.random() < 0.9 else form + value)
            else:
                words += dice.choice([[form, value], [f"{form}={value}"], [form + value], [form[:-1], value]])
        yield words + dice.choices(VALUES, k=dice.randrange(3))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_any_line_is_read_alike_or_left_to_argparse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(command)
    read = [check(command, words) for words in some_lines(command, dice)]
    assert any(read)


def test_a_default_that_is_a_text_is_parsed_too() -> None:
    values = [quick("packet", ["parse"]), quick("portscan", ["a"])]
    assert values == [full("packet", ["parse"]), full("portscan", ["a"])]


def test_every_command_with_positionals_has_a_line_with_dashes() -> None:
    with_positionals = {
        " ".join([command, *name])
        for command in COMMANDS
        for name, known in actions(command)
        if any(not action.option_strings for action in known)
    }
    assert {*DASHED} == with_positionals - {"wait"}


@pytest.mark.parametrize("line", DASHED)
def test_two_dashes_may_be_anywhere_among_positionals(line: str) -> None:
    command, *action = line.split()
    options, positionals = map(str.split, DASHED[line])
    expected = full(command, [*action, *options, *positionals])
    for place in range(len(positionals) + 1):
        dashed = [*positionals[:place], "--", *positionals[place:]]
        assert full(command, [*action, *options, *dashed]) == expected, place
        check(command, [*action, *options, *dashed])


@pytest.mark.parametrize("word", ["-h", "--json", "-q", "-1", "--no-such-option", "--"])
@pytest.mark.parametrize("line", DASHED)
def test_a_word_after_two_dashes_is_no_option(
    line: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *action = line.split()
    options, [*first, last] = map(str.split, DASHED[line])
    usual = full(command, [*action, *options, *first, last])
    expected = {name: replaced(value, last, word) for name, value in usual.items()}
    for place in range(len(first) + 1):
        words = [*action, *options, *first[:place], "--", *first[place:], word]
        check(command, words)
        if line in REFUSING:
            with pytest.raises(SystemExit, match="2"):
                full(command, words)
            assert f": {REFUSING[line]}{word!r}" in capsys.readouterr().err
        else:
            assert full(command, words) == expected, words


def replaced(value: object, old: str, new: str) -> object:
    """The value of an argument, with another word in place of one."""
    if isinstance(value, list):
        return [replaced(each, old, new) for each in value]
    return new if value == old else value


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ping -- -q -c1 a", {"hosts": ["-q", "-c1", "a"], "quiet": False, "count": None}),
        ("ping -q -- -c1 a", {"hosts": ["-c1", "a"], "quiet": True, "count": None}),
        ("ping a -- -q -- b", {"hosts": ["a", "-q", "--", "b"], "quiet": False}),
        ("ping a -q b -- -c1", {"hosts": ["a", "b", "-c1"], "quiet": True, "count": None}),
        ("sweep -- --json a", {"targets": ["--json", "a"], "json": False}),
        ("sweep -- -- -f a", {"targets": ["--", "-f", "a"], "file": []}),
        ("forward -- --json a:1 -h", {"listen": "--json", "upstreams": ["a:1", "-h"], "json": False}),
        ("forward 0 -- -- a:1", {"listen": "0", "upstreams": ["--", "a:1"]}),
        ("forward -- 0 -- --udp", {"listen": "0", "upstreams": ["--", "--udp"], "protocol": None}),
        ("trace -- -h", {"host": "-h"}),
        ("ipc send -- /x -W 1", {"path": "/x", "message": ["-W", "1"]}),
    ],
)
def test_every_word_after_two_dashes_is_a_positional(line: str, expected: dict[str, object]) -> None:
    command, *words = line.split()
    check(command, words)
    found = full(command, words)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "line", ["ping -c -- 1 a", "sweep -f -- x", "echo client -c -- 1", "forward --udp=1 --"]
)
def test_two_dashes_are_no_value(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = line.split()
    with pytest.raises(SystemExit, match="2"):
        full(command, words)
    assert "argument -" in capsys.readouterr().err
    assert quick(command, words) is None
