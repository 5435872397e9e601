"""Two sessions of the benchmarks compared."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from environment import COMMAND_TIMEOUT, HAS_SOURCES, ROOT

if not HAS_SOURCES:
    pytest.skip("bench is not part of a wheel", allow_module_level=True)

from bench.__main__ import main


def session(path: Path, samples: dict[str, list[float]], more_is_better: bool = False) -> Path:
    contenders = [
        {"name": name, "samples": each, "median": statistics.median(each)} for name, each in samples.items()
    ]
    case: dict[str, Any] = {
        "page": "p",
        "what": "w",
        "unit": "ns",
        "more_is_better": more_is_better,
        "contenders": contenders,
    }
    path.write_text(json.dumps({"results": [case]}))
    return path


@pytest.mark.parametrize(
    ("later", "more_is_better", "code", "words"),
    [
        ({"native": [100, 101, 102], "peer": [50, 51, 52]}, False, 0, []),
        ({"native": [130, 131, 132], "peer": [50, 51, 52]}, False, 1, ["native", "x 1.30", "worse"]),
        ({"native": [130, 131, 132], "peer": [50, 51, 52]}, True, 0, ["native", "x 0.77", "better"]),
        ({"native": [100, 101, 102], "peer": [80, 81, 82]}, False, 0, ["peer", "x 1.59", "worse"]),
        ({"native": [80, 120, 160], "peer": [50, 51, 52]}, False, 0, []),
    ],
)
def test_two_sessions_are_compared(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    later: dict[str, list[float]],
    more_is_better: bool,
    code: int,
    words: list[str],
) -> None:
    before = session(tmp_path / "a", {"native": [100, 101, 102], "peer": [50, 51, 52]}, more_is_better)
    after = session(tmp_path / "b", later, more_is_better)
    assert main(["--compare", str(before), str(after)]) == code
    first, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == bool(words)
    assert words or first == "nothing differs beyond the noise"
    assert all(word in line for word in words for line in lines)


CONTENDER = {"name": "x", "samples": [1.0], "median": 1.0}
CASE = {"page": "p", "what": "w", "unit": "ns", "more_is_better": False, "contenders": [CONTENDER]}
NO_SESSIONS = [
    *("", "[", '{"results": [', "null", "7", "[]", "{}", '"results"', "\xff", "[" * 100_000),
    *('{"results": null}', '{"results": 7}', '{"results": {"a": 1}}', '{"results": ["a"]}'),
    *(json.dumps({"results": [{**CASE, "contenders": each}]}) for each in (None, 7, "x", [7], {"a": 1})),
    *(
        json.dumps({"results": [{**CASE, "contenders": [{**CONTENDER, **wrong}]}]})
        for wrong in (
            *({"median": "1"}, {"median": [1]}, {"median": 10**400}, {"median": math.inf}),
            *({"samples": None}, {"samples": []}, {"samples": ["a"]}, {"samples": "abc"}, {"samples": 7}),
        )
    ),
    *(
        json.dumps({"results": [{name: value for name, value in CASE.items() if name != missing}]})
        for missing in CASE
    ),
]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_no_session_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_first: bool
) -> None:
    right, wrong = session(tmp_path / "a", {"x": [1]}), tmp_path / "b"
    files = [str(wrong), str(right)] if is_first else [str(right), str(wrong)]
    for text in NO_SESSIONS:
        wrong.write_text(text, encoding="latin-1")
        assert main(["--compare", *files]) == 2, text
        assert capsys.readouterr() == ("", f"bench: --compare: {wrong}: not the results of a session\n"), text


@pytest.mark.parametrize(("name", "reason"), [("none", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_can_not_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    right, wrong = session(tmp_path / "a", {"x": [1]}), tmp_path / name
    assert main(["--compare", str(right), str(wrong)]) == 2
    assert capsys.readouterr() == ("", f"bench: --compare: {wrong}: {reason}\n")


def test_sessions_with_nothing_in_common_are_not_said_to_be_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [session(tmp_path / name, {name: [1, 1, 1]}) for name in ("a", "b")]
    assert main(["--compare", *map(str, files)]) == 2
    line = f"bench: --compare: {files[0]}, {files[1]}: nothing was measured in both\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("words", ["--list", "--help", "--compare a b"])
@pytest.mark.parametrize(
    ("output", "code", "line"),
    [
        ("|", 141, ""),
        (">/dev/full", 3, "bench: No space left on device\n"),
        (">&-", 3, "bench: Bad file descriptor\n"),
    ],
)
def test_a_failed_output_ends_it_as_a_command(
    tmp_path: Path, words: str, output: str, code: int, line: str
) -> None:
    for name, samples in ("a", [1, 1]), ("b", [2, 2]):
        session(tmp_path / name, {"x": samples})
    read, write = os.pipe()
    os.close(read)  # a reader that has exited
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {output.strip("|")}', "sh", sys.executable, "-m", "bench", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=COMMAND_TIMEOUT,
        check=False,
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (code, line)


def test_a_wrong_number_of_rounds_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--rounds=4"])
    assert "'4': expected a whole number from 5 to 1000" in capsys.readouterr().err
