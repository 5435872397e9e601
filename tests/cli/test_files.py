"""Options that name files: none may write the file of another one, whatever each calls it."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from itertools import combinations
from pathlib import Path

import pytest
from environment import Run

from fastnet.cli import listing
from fastnet.cli.commands import COMMANDS
from fastnet.cli.full_parser import parser_of
from fastnet.cli.listing import Listing
from fastnet.errors import InvalidArgument

pytestmark = pytest.mark.once
WRITTEN = {
    "forward": ["--log"],
    "ping": ["--textfile", "--plot"],
    "sweep": ["--textfile", "--plot", "--resume"],
    "trace": ["--plot"],
}
READ = {"forward": ["--rules"], "ping": ["--file"], "sweep": ["--file", "--exclude-file"]}
APART = {"--tls-ca", "--tls-cert", "--tls-key"}
"""Read with --distributed only, which has none that is written."""
PAIRS = [
    (command, *pair)
    for command, written in WRITTEN.items()
    for pair in combinations(written + READ.get(command, []), 2)
    if pair[0] in written
]
Spell = Callable[[Path], str]


def link(path: Path) -> str:
    path.with_name("link.svg").symlink_to(path.name)
    return "link.svg"


def hard_link(path: Path) -> str:
    path.touch()
    path.with_name("link.svg").hardlink_to(path)
    return "link.svg"


def by_a_linked_directory(path: Path) -> str:
    path.with_name("folder").symlink_to(".")
    return f"folder/{path.name}"


SPELLINGS: list[Spell] = [
    lambda path: path.name,
    lambda path: f"./{path.name}",
    lambda path: f"../{path.parent.name}//{path.name}",
    str,
    link,
    hard_link,
    by_a_linked_directory,
]
CASES = [
    *((pair, spell, exists) for pair in PAIRS for spell, exists in ((SPELLINGS[0], False), (link, True))),
    *((PAIRS[0], spell, exists) for spell in SPELLINGS for exists in (False, True)),
]
"""Each pair, and each spelling with one of them."""


def test_every_option_with_a_file_is_in_a_table() -> None:
    for command in COMMANDS:
        parser = parser_of(command, import_module(f"fastnet.cli.{command}"))
        forms = {
            action.option_strings[-1]
            for action in parser._actions
            if action.metavar == "FILE" and action.option_strings
        }
        assert forms - APART == {*WRITTEN.get(command, []), *READ.get(command, [])}


@pytest.mark.parametrize(("pair", "spell", "exists"), CASES)
def test_the_same_file(
    fastnet: Run, tmp_path: Path, pair: tuple[str, str, str], spell: Spell, exists: bool
) -> None:
    command, one, other = pair
    path = tmp_path / "x.svg"
    if exists:
        path.write_text("kept")
    spelling = spell(path)
    before = {name: (tmp_path / name).stat() for name in os.listdir(tmp_path) if (tmp_path / name).exists()}
    targets = () if command == "forward" else ("127.0.0.1",)
    ran = fastnet(command, f"{other}={spelling}", f"{one}=x.svg", *targets, cwd=tmp_path)
    line = f"fastnet {command}: {one}, {other}: the same file, {spelling}\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", line)
    after = {name: (tmp_path / name).stat() for name in os.listdir(tmp_path) if (tmp_path / name).exists()}
    assert after == before


@pytest.mark.parametrize(("command", "option"), [("ping", "--file"), *(("sweep", o) for o in READ["sweep"])])
def test_a_list_on_stdin_is_not_replaced(fastnet: Run, tmp_path: Path, command: str, option: str) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1\n")
    with path.open() as hosts:
        ran = fastnet(command, option, "-", "--textfile=hosts", "127.0.0.1", cwd=tmp_path, stdin=hosts)
    line = f"fastnet {command}: --textfile, {option}: the same file, /dev/stdin\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", line)
    assert path.read_text() == "127.0.0.1\n"


@pytest.mark.parametrize("redirection", [">", ">>"])
@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name in ("ping", "sweep", "trace") for option in WRITTEN[name]]
)
def test_stdout_is_not_replaced(
    fastnet: Run, tmp_path: Path, command: str, option: str, redirection: str
) -> None:
    shell = ("sh", "-c", f'exec "$0" "$@" {redirection} x.svg')
    ran = fastnet(command, f"{option}=./x.svg", "127.0.0.1", cwd=tmp_path, prefix=shell)
    line = f"'./x.svg': stdout is the same file (see fastnet {command} --help)\n"
    assert (ran.returncode, ran.stderr) == (2, f"fastnet {command}: argument {option}: {line}")
    assert (tmp_path / "x.svg").read_text() == ""


def test_other_files(fastnet: Run, tmp_path: Path) -> None:
    """Files of one name in two directories, and one file that is read twice."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "x").write_text("127.0.0.1\n")
    lists = ("--file=x", "--exclude-file=x")
    ran = fastnet("sweep", "--resume=folder/x", *lists, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "fastnet sweep: no targets are left after --exclude\n"


def test_targets_without_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "targets"
    path.write_text("::1 # many short lines\n" * 100_000)
    assert len(Listing([], [str(path)]).texts) == 100_000
    monkeypatch.setattr(listing, "_MAX_SIZE", 1 << 20)
    with pytest.raises(InvalidArgument, match=f"^{path}: a file of more than 1 MiB: expected targets$"):
        Listing([], [str(path)])
