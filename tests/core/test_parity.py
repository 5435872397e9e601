"""The native twin has what the pure one has: names, signatures, and classes' members.

That both raise alike and give the same is for each topic's own tests, by their ``twins``.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest

from fastnet._backend import TOPICS

PROTOCOLS = {
    *("__add__", "__bool__", "__bytes__", "__call__", "__contains__", "__enter__", "__exit__", "__getitem__"),
    *("__int__", "__iter__", "__len__", "__next__", "__setitem__", "__truediv__"),
}
"""Special methods that a user counts on; ``object`` has the others."""

HANDED_OUT = {"checksum", "netif", "packet"}
"""Topics whose functions and classes features hand on as they are: ``help()`` shows their docstrings."""

Twins = tuple[ModuleType, ModuleType]


@pytest.fixture(params=sorted(TOPICS), scope="module")
def twins(request: pytest.FixtureRequest) -> Twins:
    if not find_spec("fastnet._native.checksum"):
        pytest.skip("the native implementation is not installed: there is nothing to compare")
    native, pure = (import_module(f"fastnet._{name}.{request.param}") for name in ("native", "pure"))
    return native, pure


def defined(module: ModuleType) -> set[str]:
    """The public names that a module makes itself, where ``__all__`` does not list them."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def promised(pure: ModuleType) -> set[str]:
    return set(getattr(pure, "__all__", ())) or defined(pure)


def members(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_") or name in PROTOCOLS}


def parameters(function: object) -> list[tuple[str, object, object]]:
    """Names, kinds and defaults; annotations are the pure twin's alone."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    return [(each.name, each.kind, each.default) for each in signature.parameters.values()]


def differences(where: str, native: object, pure: object, seen_by_users: bool) -> list[str]:
    """Differences that a user could see between two objects of one name, or pure alone documents them."""
    if native is pure:
        return []
    found = []
    if callable(pure) or inspect.isdatadescriptor(pure):
        documented = inspect.getdoc(native)
        if documented != (inspect.getdoc(pure) if seen_by_users else None):
            found.append(f"{where}: documented as {documented!r}")
        if inspect.isroutine(pure) and parameters(native) != parameters(pure):
            found.append(f"{where}: {parameters(native)} is not {parameters(pure)}")
    elif native != pure:
        found.append(f"{where}: {native!r} is not {pure!r}")
    if isinstance(pure, type) and isinstance(native, type):
        if members(native) != members(pure):
            found.append(f"{where}: only one of the twins has {sorted(members(native) ^ members(pure))}")
        for name in sorted(members(native) & members(pure)):
            if not name.startswith("_"):
                found += differences(
                    f"{where}.{name}", getattr(native, name), getattr(pure, name), seen_by_users
                )
    return found


def test_names(twins: Twins) -> None:
    native, pure = twins
    assert {name for name in promised(pure) if not hasattr(native, name)} == set(), "missing in native"
    assert defined(native) - promised(pure) == set(), "only in native"
    assert promised(pure), "a topic without a public name"


def test_each_is_the_same_to_a_user(twins: Twins) -> None:
    native, pure = twins
    shared = sorted(name for name in promised(pure) if hasattr(native, name))
    seen_by_users = pure.__name__.split(".")[-1] in HANDED_OUT
    found = [
        line
        for name in shared
        for line in differences(name, getattr(native, name), getattr(pure, name), seen_by_users)
    ]
    assert not found, "\n".join(found)


def test_module_docstrings(twins: Twins) -> None:
    for twin in twins:
        assert twin.__doc__
