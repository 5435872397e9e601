"""What ``import fastnet`` gives and what it costs: counted in modules, not in milliseconds."""

from __future__ import annotations

import ast
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import fastnet as package
from fastnet.cli import COMMANDS

Run = Callable[..., "CompletedProcess[str]"]

SLOW_TO_IMPORT = frozenset(
    {"asyncio", "dataclasses", "email", "http", "inspect", "ipaddress", "json", "netaddr"}
    | {"netifaces", "nmap", "numpy", "scapy", "ssl", "subprocess", "typing_extensions", "unittest", "urllib"}
)

SLOW_TO_START = SLOW_TO_IMPORT | {"bz2", "encodings.idna", "lzma", "shutil"}
"""What Python and argparse load for a command where nobody takes care."""
if package.implementation() == "native":
    SLOW_TO_START |= {"ctypes", "hashlib"}

STARTED = [
    ["address", "lo"],
    ["interfaces"],
    ["ping", "-c1", "127.0.0.1"],
    ["portscan", "-p1", "127.0.0.1"],
    ["status", "lo"],
    ["sweep", "127.0.0.1"],
    ["trace", "127.0.0.1"],
    ["wait", "--gone", "127.0.0.1:1"],
]


def loaded(python: Run, code: str, **options: object) -> set[str]:
    """The modules that code loads on top of a bare interpreter."""
    show = "print(*sys.modules, sep=chr(10), file=sys.stderr)"
    after = python("-c", f"import sys\ntry:\n {code}\nexcept SystemExit: pass\n{show}", **options)
    assert after.returncode == 0, after.stderr
    bare = python("-c", f"import sys; {show}", **options)
    return {*after.stderr.splitlines()} - {*bare.stderr.splitlines()}


def test_import_loads_nothing_else(python: Run) -> None:
    assert loaded(python, "import fastnet") - {"__future__"} == {"fastnet"}


@pytest.mark.parametrize("name", sorted(package._MODULES | {"_backend"}))
def test_a_feature_loads_nothing_slow(python: Run, name: str) -> None:
    assert loaded(python, f"import fastnet.{name}") & SLOW_TO_IMPORT == set()


@pytest.mark.parametrize("words", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)])
def test_a_command_loads_nothing_slow(python: Run, words: list[str]) -> None:
    modules = loaded(python, f"from fastnet.cli import main; main({words})")
    assert modules & SLOW_TO_IMPORT == set()
    others = {f"fastnet.cli.{name}" for name in COMMANDS if name not in words}
    assert modules & others == set(), "another command was loaded"


@pytest.mark.parametrize("words", STARTED, ids=" ".join)
def test_a_command_that_runs_loads_nothing_slow(python: Run, root: None, words: list[str]) -> None:
    assert loaded(python, f"from fastnet.cli import main; main({words})") & SLOW_TO_START == set()


@pytest.mark.parametrize("words", STARTED, ids=" ".join)
def test_what_a_command_loads_compiles_no_annotation(python: Run, root: None, words: list[str]) -> None:
    """The first text that typing compiles for a field of a named tuple costs milliseconds."""
    ran = python(
        "-c",
        "import sys, typing\n"
        "from fastnet.cli import main\n"
        f"main({words})\n"
        "kinds = {each for name, module in sys.modules.items() if name.startswith('fastnet')\n"
        "         for each in vars(module).values() if hasattr(each, '_fields')}\n"
        "assert kinds\n"
        "texts = [each for each in kinds for field in each.__annotations__.values()\n"
        "         if isinstance(field, typing.ForwardRef)]\n"
        "sys.exit(f'{texts}' if texts else 0)",
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", sorted(package._MODULES))
def test_a_module_is_an_attribute(name: str) -> None:
    assert getattr(package, name).__name__ == f"fastnet.{name}"


@pytest.mark.parametrize("name", sorted(package._HOME))
def test_a_name_is_its_home_s(name: str) -> None:
    home = __import__(f"fastnet.{package._HOME[name]}", fromlist=[name])
    assert getattr(package, name) is getattr(home, name)


@pytest.mark.parametrize("name", ["ping", "portscan", "sweep", "wait"])
def test_a_feature_is_called_by_its_name_whatever_was_imported_first(python: Run, name: str) -> None:
    for first in (f"import fastnet.{name}", f"from fastnet.{name} import {name}", "pass"):
        code = f"{first}\nimport fastnet\nprint(callable(fastnet.{name}), fastnet.{name}.__name__)"
        assert python("-c", code).stdout == f"True fastnet.{name}\n"


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'fastnet' has no attribute 'teleport'"):
        _ = package.teleport


def test_dir_lists_everything_public() -> None:
    assert package._MODULES | {*package._HOME} <= {*dir(package)}


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(package.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    names = (alias for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names)
    seen = {alias.asname for alias in names if alias.asname}
    assert seen - {*package._HOME} <= package._MODULES
    assert {*package._HOME} <= seen


def test_it_is_typed() -> None:
    assert Path(package.__file__).with_name("py.typed").exists()


def test_version_is_the_distribution_s() -> None:
    assert importlib.metadata.version("fastnet-toolkit") == package.__version__


def test_no_dependency_at_run_time() -> None:
    required = importlib.metadata.requires("fastnet-toolkit") or []
    assert [line for line in required if "extra ==" not in line] == []
