"""The harness's arithmetic, and the command over a tiny page; what is slow or fast is not tested here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "FASTNET_IMPL": "pure"}

TINY_PAGE = '''"""Two ways to two, one that is wrong, one that fails, one that is missing."""

from bench._case import Case, Contender


def missing():
    import a_package_that_nobody_has


def cases():
    yield Case(
        "one and one",
        ours=lambda: Contender("add(1, 1)", {}, setup="add = int.__add__"),
        peers={
            "wrong peer": lambda: Contender("1 + 2", {}),
            "failing peer": lambda: Contender("1 // zero", {"zero": 0}),
            "missing peer": missing,
        },
        is_right=lambda value: value == 2,
        goal_ns=1e9,
        units=4,
    )
'''


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return import_module("bench._harness")


@pytest.fixture
def report(harness: ModuleType) -> ModuleType:
    return import_module("bench._report")


def test_medians_minima_and_ratios(harness) -> None:
    ours = harness.Measurement("ours", "f()", "right", [30.0, 10.0, 20.0])
    peer = harness.Measurement("peer", "g()", "right", [50.0, 90.0, 60.0, 40.0])
    absent = harness.Measurement("absent", "", "not installed: no module", ())
    result = harness.Result("page", "what", 20.0, [ours, peer, absent])
    assert (ours.median_ns, ours.min_ns) == (20.0, 10.0)
    assert (peer.median_ns, peer.min_ns) == (55.0, 40.0)
    assert result.ratio(ours) == 1.0
    assert result.ratio(peer) == 2.75
    assert (absent.median_ns, absent.min_ns, result.ratio(absent)) == (None, None, None)


@pytest.mark.parametrize(
    ("goal_ns", "verdict", "samples", "met"),
    [
        (20.0, "right", [20.0], True),
        (19.0, "right", [20.0], False),
        (20.0, "wrong", [1.0], False),
        (20.0, "failed: ValueError: no", [], False),
        (None, "right", [20.0], None),
    ],
)
def test_a_goal_is_met_by_right_work_in_time(harness, goal_ns, verdict, samples, met) -> None:
    ours = harness.Measurement("ours", "f()", verdict, samples)
    assert harness.Result("page", "what", goal_ns, [ours]).goal_met is met


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, "-"),
        (0.25, "0.25 ns"),
        (9.996, "10.0 ns"),
        (99.96, "100 ns"),
        (1234.0, "1.23 µs"),
        (45_600_000.0, "45.6 ms"),
        (7.8e9, "7.80 s"),
    ],
)
def test_times_have_three_digits_and_a_unit(report, nanoseconds, text) -> None:
    assert report.time_text(nanoseconds) == text


def test_every_round_samples_each_contender_in_turn(harness) -> None:
    asked: list[tuple[str, ...]] = []

    class Recorder:
        def ask(self, verb: str, *arguments: object) -> float:
            asked.append((verb, *arguments))  # type: ignore[arg-type]
            return 2 if verb == "calibrate" else 0.5 if arguments[0] == "quick" else 6.0

    samples = harness.take_samples({"quick": Recorder(), "slow": Recorder()}, 3)
    assert samples == {"quick": [0.25, 0.25, 0.25], "slow": [3.0]}
    assert [words[1] for words in asked[2:]] == ["quick", "slow", "quick", "quick"]


def test_a_page_gives_each_contender_with_its_verdict(harness, tmp_path, monkeypatch) -> None:
    (tmp_path / "bench_tiny.py").write_text(TINY_PAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    [result] = harness.measure_page("bench_tiny", ["pure"], 5)
    assert (result.page, result.what, result.goal_met) == ("tiny", "one and one", True)
    found = {item.name: (item.verdict, len(item.samples_ns)) for item in result.measurements}
    assert found == {
        "fastnet pure": ("right", 5),
        "wrong peer": ("wrong", 5),
        "failing peer": ("failed: ZeroDivisionError: integer division or modulo by zero", 0),
        "missing peer": ("not installed: No module named 'a_package_that_nobody_has'", 0),
    }


def test_the_record_is_json_with_units_in_its_names(harness, report) -> None:
    ours = harness.Measurement("fastnet pure", "f()", "right", [10.0])
    peer = harness.Measurement("peer", "g()", "wrong", [30.0])
    record = json.loads(json.dumps(report.record([harness.Result("page", "what", 5.0, [ours, peer])])))
    assert set(record) == {"machine", "versions", "results"}
    assert set(record["machine"]) == {"cpu", "cores", "kernel", "python", "load_average"}
    [result] = record["results"]
    assert (result["goal_ns"], result["goal_met"]) == (5.0, False)
    assert result["contenders"][1] == {
        "name": "peer",
        "code": "g()",
        "verdict": "wrong",
        "median_ns": 30.0,
        "min_ns": 30.0,
        "samples_ns": [30.0],
        "ratio": 3.0,
    }


def test_a_table_line_names_what_peer_times_ratio_and_goal(harness, report) -> None:
    ours = harness.Measurement("fastnet native", "f()", "right", [10.0, 9.0, 12.0])
    wrong = harness.Measurement("peer", "g()", "wrong", [30.0, 30.0])
    slow = harness.Measurement("slow", "h()", "right", [50.0])
    absent = harness.Measurement("other", "", "not installed: no module", ())
    lines = report.rows(harness.Result("page", "work", 20.0, [ours, wrong, slow, absent]))
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["work", "fastnet native", "10.0 ns", "10.0 ns", "1.00", "at most 20.0 ns: met"],
        ["work", "peer  WRONG", "30.0 ns", "10.0 ns", "3.00", ""],
        ["work", "slow  (one sample)", "50.0 ns", "10.0 ns", "5.00", ""],
        ["work", "other  not installed: no module", "-", "10.0 ns", "-", ""],
    ]


def test_a_goal_that_is_not_met_shows_the_best_sample(harness, report) -> None:
    ours = harness.Measurement("fastnet native", "f()", "right", [10.0, 9.0, 12.0])
    result = harness.Result("page", "work", 8.0, [ours])
    assert report.goal_text(result) == "at most 8.00 ns: not met (best 9.00 ns)"
    assert report.goal_text(result._replace(goal_ns=None)) == ""


def test_the_command_lists_its_pages() -> None:
    ran = run("-m", "bench", "--list")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "checksum" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nonsense",), "no page nonsense: there are "),
        (("--rounds", "4"), "'4': expected a whole number from 5 to 1000"),
        (("--rounds", "many"), "'many': expected a whole number from 5 to 1000"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments, complaint) -> None:
    ran = run("-m", "bench", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert complaint in ran.stderr


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("", "bench: no native implementation to measure ("),
        ("native", "bench: FASTNET_IMPL=native, but there is no native implementation here ("),
    ],
)
def test_a_missing_native_implementation_is_refused_in_one_line(asked, line) -> None:
    hide = (
        "import sys, runpy; sys.modules['fastnet._native'] = None; "
        "runpy.run_module('bench', run_name='__main__')"
    )
    ran = run("-c", hide, FASTNET_IMPL=asked)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith(line)
    assert ran.stderr.count("\n") == 1


def test_an_interrupt_ends_it_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bench", "checksum"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    ) as bench:
        assert bench.stderr is not None
        assert bench.stderr.readline() == "measuring checksum ...\n"
        bench.send_signal(signal.SIGINT)
        assert (bench.wait(60), bench.stderr.read()) == (130, "")
