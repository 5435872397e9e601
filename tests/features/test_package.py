"""What ``import fastnet`` gives and what it costs: counted in modules, not in milliseconds."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import pytest

import fastnet as package
from fastnet.cli import COMMANDS

Run = Callable[..., "CompletedProcess[str]"]

SLOW_TO_IMPORT = frozenset(
    {"asyncio", "dataclasses", "email", "http", "inspect", "ipaddress", "json", "netaddr"}
    | {
        "matplotlib",
        "netifaces",
        "nmap",
        "numpy",
        "prometheus_client",
        "scapy",
        "ssl",
        "subprocess",
        "typing_extensions",
        "unittest",
        "urllib",
    }
)

SLOW_TO_START = SLOW_TO_IMPORT | {
    *("argparse", "bz2", "encodings.idna", "gettext", "locale", "lzma", "numbers", "re", "shlex", "shutil"),
    *("string", "tomllib"),
}
"""What a command loads where nobody takes care, and no usual command line needs."""
if sys.version_info < (3, 14):
    SLOW_TO_START |= {"typing"}
if package.implementation() == "native":
    SLOW_TO_START |= {"ctypes", "hashlib"}

LIGHT = frozenset(
    {"collections", "contextlib", "enum", "functools", "importlib", "selectors", "signal", "socket"}
    | {"threading", "types", "warnings", "weakref"}
)
"""What takes a quarter of a command's start, and that a command loads only if it needs it: see ``NEEDED``."""
_SERVERS = LIGHT - {"importlib", "signal", "warnings"}
NEEDED = {
    "echo": _SERVERS,
    "forward": _SERVERS,
    "ipc": {"types"},
    "wait": {"collections", "functools", "threading", "types"},
}

TUPLELESS = {"packet", "schema"}
"""The commands that usually load no named tuple."""

STARTED = [
    ["address", "lo"],
    ["echo", "client", "127.0.0.1:1", "-c1"],
    ["forward", "--dry-run", "0", "127.0.0.1:9"],
    ["interfaces"],
    ["ipc", "pair"],
    ["ipv6"],
    ["packet", "parse", os.devnull],
    ["packet", "parse", "--raw", os.devnull],
    ["ping", "-c1", "127.0.0.1"],
    ["portscan", "-p1", "127.0.0.1"],
    ["routes"],
    ["schema", "reply"],
    ["status", "lo"],
    ["sweep", "127.0.0.1"],
    ["trace", "127.0.0.1"],
    ["wait", "--gone", "127.0.0.1:1"],
]

TOPICS: dict[str, set[str]] = {
    "address": {"netif", "rtnetlink"},
    "echo": set(),
    "forward": {"relay"},
    "interfaces": {"monitor", "netif", "rtnetlink"},
    "ipc": set(),
    "ipv6": {"monitor", "netif", "rtnetlink"},
    "packet": {"packet"},
    "ping": {"probe"},
    "portscan": set(),
    "schema": set(),
    "routes": {"netif", "rtnetlink"},
    "status": {"monitor", "netif", "rtnetlink"},
    "sweep": {"lines", "netif", "permute", "probe"},
    "trace": {"probe"},
    "wait": set(),
}
"""The core topics that a command needs."""
BENEATH = {"native": {"checksum"}, "pure": {"checksum", "http_head"}}
"""Topics that others stand on: native loads one to see whether it is there, and has the others inside."""


def loaded(python: Run, code: str, **options: object) -> set[str]:
    """The modules that code loads on top of a bare interpreter."""
    show = "print(*sys.modules, sep=chr(10), file=sys.stderr)"
    after = python("-c", f"import sys\ntry:\n {code}\nexcept SystemExit: pass\n{show}", **options)
    assert after.returncode == 0, after.stderr
    bare = python("-c", f"import sys; {show}", **options)
    return {*after.stderr.splitlines()} - {*bare.stderr.splitlines()}


def test_import_loads_nothing_else(python: Run) -> None:
    assert loaded(python, "import fastnet") - {"__future__"} == {"fastnet"}


def test_the_program_loads_nothing_before_ctrl_c_kills_it_silently(python: Run) -> None:
    modules = loaded(python, "import fastnet.__main__")
    assert {name for name in modules if name not in sys.builtin_module_names} == {
        "fastnet",
        "fastnet.__main__",
    }


@pytest.mark.parametrize("name", sorted(package._MODULES | {"_backend"}))
def test_a_feature_loads_nothing_slow(python: Run, name: str) -> None:
    assert loaded(python, f"import fastnet.{name}") & SLOW_TO_IMPORT == set()


@pytest.mark.parametrize("words", [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)])
def test_a_command_loads_nothing_slow(python: Run, words: list[str]) -> None:
    modules = loaded(python, f"from fastnet.cli import main; main({words})")
    assert modules & SLOW_TO_IMPORT == set()
    others = {f"fastnet.cli.{name}" for name in COMMANDS if name not in words}
    assert modules & others == set(), "another command was loaded"


def test_every_command_is_started() -> None:
    assert {words[0] for words in STARTED} == {*TOPICS} == {*COMMANDS} - {"tour"}


@pytest.mark.parametrize("words", STARTED, ids=" ".join)
def test_a_command_that_runs_loads_nothing_slow(python: Run, root: None, words: list[str]) -> None:
    # PROXY headers are read by patterns in Python.
    patterns = words[0] == "forward" and package.implementation() == "pure"
    slow = SLOW_TO_START - {"re"} if patterns else SLOW_TO_START
    if words[0] == "forward":
        slow |= {"fastnet._wait", "fastnet._forward.health"}  # of rules with a health check
    assert loaded(python, f"from fastnet.cli import main; main({words})") & slow == set()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="typing loads collections, functools and types")
@pytest.mark.skipif(package.implementation() == "pure", reason="the core in Python needs more modules")
@pytest.mark.parametrize("words", STARTED, ids=" ".join)
def test_a_command_that_runs_loads_few_modules(python: Run, root: None, words: list[str]) -> None:
    modules = loaded(python, f"from fastnet.cli import main; main({words})")
    needed = NEEDED.get(words[0], frozenset())
    if sys.version_info >= (3, 13) and "threading" in needed:
        needed = needed | {"warnings"}  # threading loads it there
    assert modules & LIGHT <= needed


@pytest.mark.parametrize("words", STARTED, ids=" ".join)
def test_a_command_that_runs_loads_the_core_that_it_needs(python: Run, root: None, words: list[str]) -> None:
    modules = loaded(python, f"from fastnet.cli import main; main({words})")
    parts = [name.split(".") for name in modules if name.startswith(("fastnet._native.", "fastnet._pure."))]
    implementation = package.implementation()
    assert {floor for _, floor, *_ in parts} <= {f"_{implementation}"}
    topics = {topic for _, _, topic, *_ in parts}
    assert TOPICS[words[0]] <= topics <= TOPICS[words[0]] | BENEATH[implementation]


@pytest.mark.parametrize("words", [words for words in STARTED if words[0] not in TUPLELESS], ids=" ".join)
def test_what_a_command_loads_compiles_no_annotation(python: Run, root: None, words: list[str]) -> None:
    """The first text that typing compiles for a field of a named tuple costs milliseconds."""
    ran = python(
        "-c",
        "import sys, typing\n"
        "from fastnet.cli import main\n"
        f"main({words})\n"
        "kinds = {each for name, module in sys.modules.items() if name.startswith('fastnet')\n"
        "         for each in vars(module).values() if isinstance(each, type) and hasattr(each, '_fields')}\n"
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


@pytest.mark.parametrize("name", sorted({*package._HOME}))
def test_a_name_at_the_top_is_a_function_or_a_class_that_explains_itself(name: str) -> None:
    value = getattr(package, name)
    assert callable(value)
    assert not isinstance(value, ModuleType)
    assert value.__name__ == name
    assert value.__doc__
    if name != "FastnetError":  # as all exceptions
        assert inspect.signature(value)


def test_loading_every_module_changes_no_public_name(python: Run) -> None:
    """Importing a submodule binds it on the package, also where a public name is already there."""
    code = (
        "import fastnet, pkgutil, importlib\n"
        "before = {name: getattr(fastnet, name) for name in fastnet.__all__}\n"
        "for each in pkgutil.walk_packages(fastnet.__path__, 'fastnet.'):\n"
        "    if not {'__main__', '_native'} & {*each.name.split('.')}: importlib.import_module(each.name)\n"
        "assert before == {name: getattr(fastnet, name) for name in fastnet.__all__}\n"
    )
    ran = python("-c", code)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'fastnet' has no attribute 'teleport'"):
        _ = package.teleport


def test_dir_and_star_give_what_is_public_and_nothing_else(python: Run) -> None:
    public = package._MODULES | {*package._HOME}
    assert {*dir(package)} == public | {"__version__"}
    show = "print(*(name for name in globals() if name[0] != '_'))"
    for first in ("pass", "import fastnet.cli, fastnet.tour"):
        ran = python("-c", f"{first}; from fastnet import *\n{show}")
        assert {*ran.stdout.split()} - {"fastnet"} == public


@pytest.mark.parametrize("module", ["__init__", "aio"])
def test_type_checkers_see_the_same_names_from_the_same_places(module: str) -> None:
    """The stub's imports are what the table has loaded."""
    tree = ast.parse(Path(package.__file__).with_name(f"{module}.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    homes = package._HOME if module == "__init__" else package.aio._HOME
    suffix = "" if module == "__init__" else "_async"
    expected = {name: (f"fastnet.{home}", f"{name}{suffix}") for name, home in homes.items()}
    if module == "__init__":
        expected |= {name: ("fastnet", name) for name in package._MODULES}
    assert seen == expected


def test_it_is_typed() -> None:
    assert Path(package.__file__).with_name("py.typed").exists()


def test_version_is_the_distribution_s() -> None:
    assert importlib.metadata.version("fastnet-toolkit") == package.__version__


def test_no_dependency_at_run_time() -> None:
    required = importlib.metadata.requires("fastnet-toolkit") or []
    assert [line for line in required if "extra ==" not in line] == []
