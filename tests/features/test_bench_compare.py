"""Two sessions of the benchmarks compared."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from environment import HAS_SOURCES

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
        ({"another": [1, 1, 1]}, False, 0, []),
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
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == bool(words)
    assert all(word in line for word in words for line in lines)


def test_what_is_no_session_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--compare", str(session(tmp_path / "a", {"x": [1]})), str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_wrong_number_of_rounds_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--rounds=4"])
    assert "'4': expected a whole number from 5 to 1000" in capsys.readouterr().err
