"""Where the tests run: with the sources or without, in CI or not, and what a machine may lack."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

IN_CI = bool(os.environ.get("CI"))
COMMAND_TIMEOUT = 60
ROOT = Path(__file__).parents[2]
HAS_SOURCES = (ROOT / "setup.py").exists()
ADVERSARY = Path(__file__).with_name("adversary.py")
NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all,+dac_read_search"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)
"""A user without any right but to read files, since the interpreter may lie in root's home."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def absent(what: str) -> None:
    """CI must have every peer and privilege; elsewhere a test that lacks one is skipped, naming it."""
    if IN_CI:
        pytest.fail(f"CI lacks {what}")
    pytest.skip(f"{what} is not available")


def installed() -> str:
    """What runs unless FASTNET_IMPL asks for another: ``native``, or ``pure`` where that is missing."""
    try:
        import_module("fastnet._native.checksum")
    except ImportError:
        return "pure"
    return "native"


def open_fds() -> set[str]:
    """The descriptors of this process, once the garbage that holds some is collected.

    What is left is not looked through again: thousands of tests, which would take a quarter of a second.
    """
    gc.collect()
    # From 3.14 on hypothesis takes what only frozen objects refer to for garbage.
    if sys.version_info < (3, 14):
        gc.freeze()
    return set(os.listdir("/proc/self/fd"))
