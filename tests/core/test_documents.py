"""The pages and the tree agree: links lead somewhere, named files exist, the README's example runs."""

from __future__ import annotations

import argparse
import ast
import doctest
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from environment import ROOT, Run
from namespaces import Namespace
from records import KINDS, parse

from fastnet._backend import how_native
from fastnet.cli import COMMANDS

PAGES = [path for folder in (".", "docs", "examples") for path in sorted((ROOT / folder).glob("*.md"))]
FOLDERS = ("bench", "csrc", "docs", "fastnet", "tests", "tools", ".ci", ".github")
PLACEHOLDERS = re.compile(r"(?:\b|_)[XY]\b|NAME|TIME|\*")
"""In the name of a file: any topic, any feature, ..."""


def label(path: Path) -> str:
    return path.name


page = pytest.mark.parametrize("path", PAGES, ids=label)


def prose(path: Path) -> str:
    """A page without its examples."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The headings of a page as a link writes them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def named_files(path: Path) -> Iterator[str]:
    for name in re.findall(r"`([\w./*-]+)`", path.read_text()):
        if name.split("/")[0] in FOLDERS and "/" in name and not PLACEHOLDERS.search(name):
            yield name


@page
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if not link.startswith("https://"):
            target, _, anchor = link.partition("#")
            file = path.parent / target if target else path
            assert file.exists(), link
            assert not anchor or anchor in anchors(file), link


@page
def test_named_files_exist(path: Path) -> None:
    assert [name for name in named_files(path) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=label)
def test_named_objects_exist(path: Path) -> None:
    for name in re.findall(r"(?<!logger )`(?:await )?(fastnet(?:\.\w+)+)", prose(path)):
        assert PLACEHOLDERS.search(name) or pkgutil.resolve_name(name)


def below(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a command and of its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from below(inner)


def actions(command: str) -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    import_module(f"fastnet.cli.{command}").configure(parser)
    return [*below(parser)]


def test_the_pages_name_options_that_there_are() -> None:
    known = {word for command in COMMANDS for action in actions(command) for word in action.option_strings}
    known |= {"--disable-gil"}  # of Python's own build
    for path in sorted((ROOT / "docs").glob("*.md")):
        if path.name != "bench.md":
            text, _, _ = path.read_text().partition("\n## Not here\n")  # of other programs
            assert {*re.findall(r"`(--[a-z][a-z-]*)", text)} - known == set(), path


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"tour"}))
def test_each_option_is_on_a_page(command: str) -> None:
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    words = {*re.findall(r"(?<![\w-])--?[a-zA-Z0-9][a-z-]*", pages)}
    groups = [{*action.option_strings} for action in actions(command)]
    assert [group for group in groups if group - {"-h", "--help"} and not group & words] == []


def test_every_page_is_linked_from_the_readme() -> None:
    links = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text()))
    assert {str(path.relative_to(ROOT)) for path in PAGES} - links == {"README.md"}


@page
def test_the_recipes_are_named_on_their_page_only(path: Path) -> None:
    if path.name != "recipes.md":
        text = re.sub(r"\[recipes\]|docs/recipes\.md", "", path.read_text())
        assert re.findall(r"(?i)\bthe book\b|\bthe seed's|\brecipes?\b", text) == []


def answers(code: str) -> Iterator[tuple[str, Any, str]]:
    """Each line of an example that ends with a remark: the line, its value, and the remark."""
    names: dict[str, Any] = {}
    for statement in ast.parse(code).body:
        line = code.splitlines()[statement.lineno - 1]
        remark = line.partition("  # ")[2].strip()
        if isinstance(statement, ast.Expr):
            yield line, eval(ast.unparse(statement), names), remark
        else:
            exec(ast.unparse(statement), names)


@pytest.mark.xdist_group("icmp")
def test_the_example_of_the_readme_runs(root: None) -> None:
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (example,) = code
    told = list(answers(example))
    assert len(told) == 6
    for line, value, remark in told:
        if not remark.startswith("the "):
            assert repr(value) == remark.split(" (")[0], line


def test_the_readme_has_the_command_that_builds_native() -> None:
    (command,) = re.findall("`(.+)`", how_native())
    assert f"    {command}\n" in (ROOT / "README.md").read_text()


def test_each_kind_of_record_has_an_example() -> None:
    examples = re.findall(r"^    (\{.*\})$", (ROOT / "docs/records.md").read_text(), re.MULTILINE)
    assert sorted(parse(each)["kind"] for each in examples) == sorted(KINDS)


def test_the_records_on_other_pages_are_valid() -> None:
    pages = [path.read_text() for path in PAGES if path.name != "records.md"]
    examples = [each for page in pages for each in re.findall(r"^    (\{\"kind\".*\})$", page, re.MULTILINE)]
    assert {parse(each)["kind"] for each in examples} == {"connection", "outcome"}


OF_ONE_MACHINE = {"compat.md", "interfaces.md", "ipv6.md", "portscan.md"}
"""Pages whose answers are those of one machine, which ``machine`` is: its interfaces, and what listens."""


@pytest.fixture
def machine(namespace: Callable[[], Namespace]) -> Namespace:
    made, router = namespace(), namespace()
    made.ip("link", "add", "ifb0", "index", "2", "type", "veth", "peer", "name", "ifb1", "index", "3")
    peer = ("peer", "name", "eth0", "netns", router.name)
    made.ip("link", "add", "eth0", "index", "4", "mtu", "1400", "type", "veth", *peer)
    made.ip("link", "set", "eth0", "address", "02:fc:00:00:00:01")
    for number in (2, 3):
        made.ip("link", "set", f"ifb{number - 2}", "address", f"02:00:00:00:00:0{number}")
    made.ip("address", "add", "192.0.2.2/24", "broadcast", "+", "dev", "eth0")
    made.ip("address", "add", "fd00::2/64", "dev", "eth0", "nodad")
    for host in (made, router):
        host.ip("link", "set", "lo", "up")
        host.ip("link", "set", "eth0", "up")
    for host in (made, router):
        host.carry("eth0")
    made.ip("-6", "route", "add", "default", "via", "fd00::1", "dev", "eth0")
    return made


@pytest.mark.xdist_group("icmp")
@page
def test_the_examples_of_a_page_run(root: None, path: Path, request: pytest.FixtureRequest) -> None:
    text = re.sub("^```.*$", "", path.read_text(), flags=re.MULTILINE)
    runner, output = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL), list[str]()
    examples = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)

    def run() -> None:
        runner.run(examples, out=output.append)

    if path.name in OF_ONE_MACHINE:
        request.getfixturevalue("machine").call(run)
    else:
        run()
    assert not runner.failures, "".join(output)


def programs(path: Path) -> list[str]:
    """The examples of a page that are whole programs."""
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if ">>> " not in block]


@pytest.mark.parametrize("path", [path for path in PAGES if programs(path)], ids=label)
def test_the_programs_of_a_page_run(root: None, path: Path, tmp_path: Path, python: Run) -> None:
    for program in programs(path):
        ran = python("-W", "error", "-c", program, cwd=tmp_path)
        assert (ran.returncode, ran.stderr) == (0, ""), program


@page
def test_each_python_example_is_one_that_is_run(path: Path) -> None:
    """It is at a prompt, or between fences that name the language."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^    (?:import|from|with|async|await|def) .*", text, re.MULTILINE) == []
