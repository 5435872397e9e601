"""Which implementation runs, and how one that was asked for and is missing is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import fastnet as package
from fastnet import _backend
from fastnet.errors import InvalidArgument

Run = Callable[..., "CompletedProcess[str]"]

NATIVE = find_spec("fastnet._native.checksum") is not None
NATURAL = "native" if NATIVE else "pure"
VERSION = f"fastnet {package.__version__}"
EXPECTED = os.environ.get("FASTNET_EXPECT_IMPL")


@pytest.fixture
def without_native(tmp_path: Path) -> dict[str, str]:
    """An environment whose fastnet is this one without its compiled modules."""
    source = Path(package.__file__).parent
    shutil.copytree(
        source, tmp_path / "fastnet", ignore=shutil.ignore_patterns("*.so", "why_pure.txt", "__pycache__")
    )
    return {"PYTHONPATH": str(tmp_path), "FASTNET_IMPL": ""}


def test_what_was_expected_runs() -> None:
    if EXPECTED:
        assert NATURAL == EXPECTED


@pytest.mark.parametrize(("asked", "runs"), [("", NATURAL), ("pure", "pure"), (NATURAL, NATURAL)])
def test_what_is_asked_for_runs(fastnet: Run, python: Run, asked: str, runs: str) -> None:
    version = fastnet("--version", env={"FASTNET_IMPL": asked})
    assert version.returncode == 0
    assert version.stdout.startswith(f"{VERSION} {runs}")
    code = "import fastnet; print(fastnet.implementation(), fastnet.checksum.__module__)"
    told = python("-c", code, env={"FASTNET_IMPL": asked})
    assert told.stdout == f"{runs} fastnet._{runs}.checksum\n"


def test_another_word_is_refused(fastnet: Run) -> None:
    refused = fastnet("--version", env={"FASTNET_IMPL": "fast"})
    assert refused.stdout == ""
    assert refused.stderr == "fastnet: FASTNET_IMPL='fast': expected one of native, pure, or unset\n"
    assert refused.returncode == 3


def test_native_that_is_missing_is_refused_with_the_reason(
    fastnet: Run, python: Run, without_native: dict[str, str]
) -> None:
    without_native["FASTNET_IMPL"] = "native"
    refused = fastnet("--version", env=without_native)
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "(No module named 'fastnet._native.checksum')" in refused.stderr
    assert refused.stderr.endswith(f": {_backend.how_native()}\n")

    code = "import fastnet\ntry: fastnet.checksum\nexcept ImportError as error: print(type(error).__name__)"
    assert python("-c", code, env=without_native).stdout == "ImplementationMissing\n"


def test_native_that_is_missing_falls_back_and_the_version_says_why(
    fastnet: Run, without_native: dict[str, str]
) -> None:
    version = fastnet("--version", env=without_native)
    reason = "native does not load: No module named 'fastnet._native.checksum'"
    assert version.stdout == f"{VERSION} pure ({reason}; {_backend.how_native()})\n"
    assert version.returncode == 0


def test_native_that_does_not_load_is_refused_with_the_reason(
    fastnet: Run, without_native: dict[str, str]
) -> None:
    broken = Path(without_native["PYTHONPATH"], "fastnet", "_native", "checksum.py")
    broken.write_text("raise ImportError('undefined symbol: fn_sum')")
    assert "undefined symbol: fn_sum" in fastnet("--version", env=without_native).stdout
    refused = fastnet("--version", env={**without_native, "FASTNET_IMPL": "native"})
    assert refused.returncode == 3
    assert "undefined symbol: fn_sum" in refused.stderr


def test_pure_needs_nothing_native(fastnet: Run, without_native: dict[str, str]) -> None:
    version = fastnet("--version", env={**without_native, "FASTNET_IMPL": "pure"})
    assert version.stdout == f"{VERSION} pure (FASTNET_IMPL=pure)\n"


def test_implementation_of_a_topic() -> None:
    assert package.implementation() in _backend.IMPLEMENTATIONS
    for topic in _backend.TOPICS:
        assert package.implementation(topic) == package.implementation()


def test_an_unknown_topic_is_refused_and_those_there_are_named() -> None:
    with pytest.raises(InvalidArgument, match="topic 'telegraph': expected one of checksum, "):
        package.implementation("telegraph")
    with pytest.raises(AttributeError, match="has no attribute 'telegraph'"):
        _ = _backend.telegraph


def test_a_topic_is_the_module_of_what_runs() -> None:
    for topic in _backend.TOPICS:
        module = getattr(_backend, topic)
        assert module.__name__ == f"fastnet._{package.implementation(topic)}.{topic}"
