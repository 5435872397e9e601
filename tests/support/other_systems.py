"""Python as another system has it, as far as Linux can show: what that system lacks is taken away."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from environment import absent

SYSTEMS = ("darwin", "win32")
MODULES = {
    "darwin": (),
    # https://docs.python.org/3/library/unix.html and the "Availability" of each module's page.
    "win32": (
        *(
            "curses",
            "fcntl",
            "grp",
            "posix",
            "pty",
            "pwd",
            "readline",
            "resource",
            "syslog",
            "termios",
            "tty",
        ),
    ),
}
"""Modules that a system has not."""
PARTLY = ("_socket", "errno", "os", "select", "signal", "socket", "time")
"""Modules whose names differ between systems."""

PRELUDE = """
import shutil  # whose import depends on the system
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
for name in {modules!r}:
    sys.modules.pop(name, None)
for module, names in {names!r}.items():
    for name in names:
        vars(importlib.import_module(module)).pop(name, None)
sys.platform = {system!r}
"""


@cache
def prelude(system: str) -> str:
    """A program's beginning after which Python lacks what it lacks on this system."""
    names = {module: lacking(module, system) for module in PARTLY}
    return PRELUDE.format(modules=MODULES[system], names=names, system=system)


def lacking(module: str, system: str) -> list[str]:
    """The names of a module that Linux has and this system has not, by the stubs that mypy comes with."""
    mypy = importlib.util.find_spec("mypy")
    if mypy is None or mypy.origin is None:
        absent("the Python package mypy")
    stubs = Path(mypy.origin).parent / "typeshed/stdlib" / module
    stub = stubs / "__init__.pyi" if stubs.is_dir() else stubs.with_suffix(".pyi")
    body = ast.parse(stub.read_text()).body
    return sorted(names_in(body, "linux") - names_in(body, system))


def names_in(body: Iterable[ast.stmt], system: str) -> set[str]:
    """The names that these statements of a stub define on a system."""
    found = set()
    for node in body:
        match node:
            case ast.If():
                told = {"sys": SimpleNamespace(platform=system, version_info=sys.version_info)}
                holds = eval(compile(ast.Expression(node.test), "stub", "eval"), told)
                found |= names_in(node.body if holds else node.orelse, system)
            case (
                ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name))
            ):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
            case ast.ImportFrom(names=names):
                found |= {each.asname or each.name for each in names}
    return found
