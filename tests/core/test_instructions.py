"""How ``tools/instructions.py`` compares counts. CI counts the core with it."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = "x86_64-linux-gnu with gcc 12.2.0 and glibc 2.36"
KEPT = {"parse": 1000, "build": 2000}

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools/instructions.py"))


@pytest.mark.parametrize("counted", [KEPT, {"parse": 1020, "build": 1960}], ids=["same", "2 %"])
def test_a_difference_of_two_percent_passes(tool: dict[str, Any], counted: dict[str, int]) -> None:
    assert tool["check"](HERE, tool["write"](HERE, KEPT), counted) == ""


@pytest.mark.parametrize(
    ("counted", "line"),
    [
        ({"parse": 1030, "build": 2000}, "parse: 1000 -> 1030 instructions (+3.0%)"),
        ({"parse": 1000, "build": 1940}, "build: 2000 -> 1940 instructions (-3.0%)"),
        ({"parse": 1000}, "build: not counted any more"),
        ({**KEPT, "send": 7}, "send: not kept yet"),
    ],
    ids=["more", "fewer", "gone", "new"],
)
def test_a_difference_is_refused_with_its_line(
    tool: dict[str, Any], counted: dict[str, int], line: str
) -> None:
    first, found, advice = tool["check"](HERE, tool["write"](HERE, KEPT), counted).splitlines()
    assert (first, found) == ("more than 2% off the kept counts:", line)
    assert "make -C csrc instructions-renew" in advice


def test_another_compiler_is_refused_in_words(tool: dict[str, Any]) -> None:
    other = HERE.replace("12.2.0", "14.2.0")
    said = tool["check"](other, tool["write"](HERE, KEPT), KEPT)
    assert HERE in said
    assert other in said
    assert "make -C csrc instructions-renew" in said


def test_the_kept_counts_are_of_all_operations(tool: dict[str, Any]) -> None:
    lists = [path.read_text() for path in (ROOT / "csrc/instructions").glob("*.c")]
    _, kept = tool["read"](tool["KEPT"].read_text())
    assert len(kept) >= 10
    assert all(any(f'{{"{name}", ' in text for text in lists) for name in kept)


def test_without_valgrind_it_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, ROOT / "tools/instructions.py", "/nonexistent"),
        env={"PATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "valgrind is missing: apt-get install valgrind gcc python3\n",
    )
