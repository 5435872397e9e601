"""Objects of the core that no constructor has made ready: using one raises, and never crashes or hangs."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest
from environment import Run

from fastnet._backend import TOPICS

BARE = r"""
import signal, sys
from importlib import import_module

signal.alarm(20)  # ends a hang, by a signal
module, name, way = sys.argv[1:]
cls = getattr(import_module(module), name)


def made():
    if way == "__new__":
        return cls.__new__(cls)
    return type("Forgetful", (cls,), {"__init__": lambda self: None})()


def tried(action):
    try:
        return action()
    except Exception:
        return None


def used(thing):
    for member in sorted({*dir(type(thing))} - {"__class__", "__init_subclass__", "__subclasshook__"}):
        if member in ("run", "wait"):
            continue
        value = tried(lambda: getattr(thing, member))
        if callable(value):
            for arguments in ((), (0,), (1, 1), (0, 1, 1), (b"x",), ("x",), (thing,), (b"x", 0)):
                tried(lambda: value(*arguments))
    tried(lambda: memoryview(thing).tobytes())


if (thing := tried(made)) is not None:
    used(thing)
print("alive")
"""


def classes() -> list[tuple[str, str]]:
    """Every class that the extensions make, private ones too."""
    found = []
    for topic in sorted(TOPICS):
        name = f"fastnet._native.{topic}"
        if find_spec(name):
            for key, value in vars(import_module(name)).items():
                if isinstance(value, type) and value.__module__ == name:
                    found.append((name, key))
    return found


@pytest.mark.parametrize("way", ["__new__", "a subclass that forgets __init__"])
@pytest.mark.parametrize(("module", "name"), classes())
def test_a_bare_object_harms_nobody(python: Run, module: str, name: str, way: str) -> None:
    done = python("-c", BARE, module, name, way)
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
