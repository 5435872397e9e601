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
