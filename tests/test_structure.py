"""One name across the tree, and arrows that go down the floors only, as the sources show them."""

from __future__ import annotations

import ast
import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastnet as package
from fastnet._backend import NATIVE_TOPICS, PURE_TOPICS
from fastnet.cli import COMMANDS
from fastnet.tour import STOPS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "fastnet"

PLUMBING = {"aio", "endpoints", "errors"}
"""Public modules that are no feature: they have no page and no stop of their own."""
FEATURES = package._MODULES - PLUMBING
WITHOUT_STOP = {"targets"}
"""Features that are seen at another's stop."""
PARSERS = {"checksum", "packet"}
"""Topics whose C reads bytes from outside: each has a fuzzer."""
SYSTEM = {"ctypes", "struct", "fcntl.ioctl"}
"""What only the core uses."""
OWN_COMMANDS = {"address": "interfaces", "status": "interfaces", "tour": "tour"}
"""Commands that are not named like their feature."""


def exists(*alternatives: str) -> bool:
    return any((ROOT / path).exists() for path in alternatives)


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((SOURCE / folder).glob("*.py"))


def label(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, type checking aside."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def fastnet_modules(path: Path) -> set[str]:
    """Those of fastnet's first-level names that a file imports: ``fastnet.cli.exits`` is ``cli``."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("fastnet.")}


@pytest.mark.parametrize("topic", sorted(PURE_TOPICS))
def test_a_core_topic_has_one_name(topic: str) -> None:
    assert exists(f"fastnet/_pure/{topic}.py", f"fastnet/_pure/{topic}/__init__.py")
    assert exists(f"tests/core/test_{topic}.py")


@pytest.mark.parametrize("topic", sorted(NATIVE_TOPICS))
def test_a_native_topic_has_one_name(topic: str) -> None:
    assert exists(f"csrc/{topic}.h")
    assert exists(f"csrc/{topic}.c", f"csrc/{topic}")
    assert exists(f"csrc/tests/test_{topic}.c")
    assert exists(f"fastnet/_native/{topic}.pyx")
    assert exists(f"bench/bench_{topic}.py")


@pytest.mark.parametrize("topic", sorted(PARSERS))
def test_a_parser_is_fuzzed_from_a_small_corpus(topic: str) -> None:
    assert [*(ROOT / "csrc/fuzz").glob(f"fuzz_{topic}*.c")]
    corpus = [*(ROOT / "csrc/fuzz/corpus" / topic).rglob("*")]
    assert 0 < sum(path.stat().st_size for path in corpus if path.is_file()) < 1 << 20


def test_every_c_topic_is_known() -> None:
    assert {path.stem for path in (ROOT / "csrc").glob("*.h")} == NATIVE_TOPICS
    assert {path.stem for path in (SOURCE / "_native").glob("*.pyx")} == NATIVE_TOPICS
    pure = {path.stem for path in (SOURCE / "_pure").iterdir() if not path.name.startswith("_")}
    assert pure == PURE_TOPICS


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_a_feature_has_one_name(feature: str) -> None:
    assert exists(f"fastnet/{feature}.py", f"fastnet/{feature}/__init__.py")
    assert exists(f"tests/test_{feature}.py")
    assert exists(f"docs/{feature}.md")


def test_every_public_module_is_named() -> None:
    files = {path.stem for path in modules(".")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert {name for name in files if not name.startswith("_")} - {"cli", "tour"} == package._MODULES


def test_every_stop_is_a_feature_and_every_feature_a_stop() -> None:
    assert {*STOPS} == FEATURES - WITHOUT_STOP
    assert {path.stem for path in modules("tour")} - {"__init__"} == {*STOPS}


def test_every_command_is_a_module_and_every_module_a_command() -> None:
    helpers = {"__init__", "arguments", "exits", "interrupts", "output", "serving"}
    packages = {path.parent.name for path in SOURCE.glob("cli/*/__init__.py")}
    assert ({path.stem for path in modules("cli")} | packages) - helpers == {*COMMANDS}
    assert {*COMMANDS} - {*OWN_COMMANDS} <= FEATURES


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"tour"}))
def test_every_command_is_documented_and_tested(command: str) -> None:
    feature = OWN_COMMANDS.get(command, command)
    assert f"fastnet {command}" in (ROOT / f"docs/{feature}.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    assert re.search(rf'(fastnet|command|run\w*)\(\s*"{command}"', tests)


@pytest.mark.parametrize("path", [*modules(".", "forward", "packet", "ping", "sweep")], ids=label)
def test_a_feature_knows_no_floor_above_it_and_no_system_below(path: Path) -> None:
    if path.stem != "__main__":
        assert fastnet_modules(path) & {"cli", "tour"} == set()
    if path.stem != "_backend":
        assert fastnet_modules(path) & {"_native", "_pure"} == set()
    assert imported(path) & SYSTEM == set()


@pytest.mark.parametrize("path", [*modules("cli", "cli/forward", "cli/sweep", "tour")], ids=label)
def test_the_top_floors_use_features_only(path: Path) -> None:
    assert fastnet_modules(path) & {"_native", "_pure"} == set()
    assert imported(path) & SYSTEM == set()


@pytest.mark.parametrize("path", sorted((SOURCE / "_pure").rglob("*.py")), ids=label)
def test_pure_needs_only_the_standard_library_and_the_errors(path: Path) -> None:
    assert fastnet_modules(path) <= {"_pure", "errors"}
    roots = {name.split(".")[0] for name in imported(path)} - {"fastnet"}
    assert roots <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SOURCE.rglob("*.py")) if "cli" not in path.parts],
    ids=label,
)
def test_only_the_command_line_prints_results(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [call for call in calls if ast.unparse(call.func) == "print"]
    assert [call.lineno for call in prints if "file" not in [word.arg for word in call.keywords]] == []


def test_the_core_in_c_knows_no_python() -> None:
    for path in (ROOT / "csrc").rglob("*.[ch]"):
        assert "Python.h" not in path.read_text(), path


def test_the_examples_of_the_checksum_page_run() -> None:
    failed, tried = doctest.testfile(str(ROOT / "docs/checksums.md"), module_relative=False)
    assert tried > 10
    assert failed == 0


@pytest.mark.xdist_group("icmp")
def test_what_is_in_one_group_is_run_in_turn(request: pytest.FixtureRequest) -> None:
    """pytest-xdist, whose name for a group this is, loses it where pytest is newer than it knows."""
    assert request.node.nodeid.endswith("@icmp") == request.config.getoption("loadgroup", False)
