"""The harness's arithmetic, and the command over a tiny page; what is slow or fast is not tested here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from children import Child
from environment import ROOT, absent

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
            "failing peer": lambda: Contender("[][0]", {}),
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


@pytest.fixture
def case(harness: ModuleType) -> ModuleType:
    return import_module("bench._case")


def test_medians_best_samples_and_ratios(harness, case) -> None:
    ours = harness.Measurement("ours", "f()", "right", [30.0, 10.0, 20.0])
    peer = harness.Measurement("peer", "g()", "right", [50.0, 90.0, 60.0, 40.0])
    absent = harness.Measurement("absent", "", "not installed: no module", ())
    result = harness.Result("page", "what", case.NANOSECONDS, [], [ours, peer, absent])
    assert (ours.median, result.best(ours)) == (20.0, 10.0)
    assert (peer.median, result.best(peer)) == (55.0, 40.0)
    assert result.ratio(ours) == 1.0
    assert result.ratio(peer) == 2.75
    assert (absent.median, result.best(absent), result.ratio(absent)) == (None, None, None)


def test_where_more_is_better_a_ratio_above_one_still_is_ours(harness, case) -> None:
    ours = harness.Measurement("ours", "", "right", [6.0, 5.0])
    peer = harness.Measurement("peer", "", "right", [2.0, 2.4])
    none = harness.Measurement("none", "", "right", [0.0])
    result = harness.Result("page", "what", case.Quantity("GB/s", True), [], [ours, peer, none])
    assert (result.best(ours), result.ratio(peer), result.ratio(none)) == (6.0, 2.5, None)


@pytest.mark.parametrize(
    ("bound", "verdict", "samples", "met"),
    [
        (20.0, "right", [20.0], True),
        (19.0, "right", [20.0], False),
        (20.0, "wrong", [1.0], False),
        (20.0, "failed: ValueError: no", [], False),
    ],
)
def test_a_goal_is_met_by_right_work_in_time(harness, case, bound, verdict, samples, met) -> None:
    ours = harness.Measurement("ours", "f()", verdict, samples)
    goal = case.Goal(bound)
    assert harness.Result("page", "what", case.NANOSECONDS, [goal], [ours]).is_met(goal) is met


@pytest.mark.parametrize(
    ("goal", "bound", "met"),
    [
        ({"bound": 1.2, "of": ("fast", "slow")}, 12.0, False),
        ({"bound": 1.1, "of": ("fast", "slow")}, 11.0, True),
        ({"bound": 2.0, "of": ("slow",)}, 8.0, True),
        ({"bound": 0.5, "of": ("fast",), "by": "pure"}, 5.0, True),
        ({"bound": 0.7, "of": ("fast",), "by": "pure"}, 7.0, False),
        ({"bound": 1.0, "of": ("absent",)}, None, None),
    ],
)
def test_a_goal_may_be_so_many_times_the_best_of_some_peers(harness, case, goal, bound, met) -> None:
    samples = {"ours": [11.0], "pure": [6.0], "fast": [10.0, 10.0], "slow": [4.0], "absent": []}
    measurements = [harness.Measurement(name, "", "right", found) for name, found in samples.items()]
    goal = case.Goal(**goal)
    result = harness.Result("page", "what", case.Quantity("GB/s", True), [goal], measurements)
    assert (result.bound(goal), result.is_met(goal)) == (bound, met)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, "-"),
        (0.25, "0.250 ns"),
        (9.996, "10.0 ns"),
        (99.96, "100 ns"),
        (1234.0, "1.23 µs"),
        (45_600_000.0, "45.6 ms"),
        (7.8e9, "7.80 s"),
    ],
)
def test_times_have_three_digits_and_a_unit(report, nanoseconds, text) -> None:
    assert report.time_text(nanoseconds) == text


def test_the_time_of_a_page_is_divided_among_its_cases(case, monkeypatch) -> None:
    now = 0.0
    monkeypatch.setattr(case.time, "monotonic", lambda: now)
    rounds, counts = case.Rounds(3, 5, seconds=30.0), []
    for seconds, least in ((1.0, 1), (9.0, 1), (20.0, 2)):
        counts.append(0)
        for _ in rounds.of_next_case(least):
            counts[-1] += 1
            now += seconds
    # The first leaves five seconds to both others; the second leaves none to the last.
    assert counts == [5, 2, 2]


def test_the_worst_message_is_that_with_the_worst_ratio(harness, case) -> None:
    page = import_module("bench.bench_messages")
    names, more = (page.AUTO, *page.ENGINES), case.Quantity("MB/s", True)
    results = []
    for what, samples in (("small", (8.0, 4.0, 10.0)), ("large", (9.0, 10.0, 1.0))):
        found = [
            harness.Measurement(name, "", "right", [each]) for name, each in zip(names, samples, strict=True)
        ]
        results.append(harness.Result("messages", f"{what}: pace", more, [], found))
    found = page.worst(results, ": pace")
    assert (found.what, found.ours.samples) == ("worst: small: pace", [1.25])
    assert page.worst(results, ": nothing").ours.verdict == "failed: nothing"


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
    [goal] = result.goals
    assert (result.page, result.what, result.is_met(goal)) == ("tiny", "one and one", True)
    found = {item.name: (item.verdict, len(item.samples)) for item in result.measurements}
    assert found == {
        "fastnet pure": ("right", 5),
        "wrong peer": ("wrong", 5),
        "failing peer": ("failed: IndexError: list index out of range", 0),
        "missing peer": ("not installed: No module named 'a_package_that_nobody_has'", 0),
    }


def test_the_record_is_json_with_its_unit(harness, case, report) -> None:
    ours = harness.Measurement("fastnet pure", "f()", "right", [10.0])
    peer = harness.Measurement("peer", "g()", "wrong", [30.0])
    result = harness.Result("page", "what", case.NANOSECONDS, [case.Goal(0.1, of=("peer",))], [ours, peer])
    record = json.loads(json.dumps(report.record([result])))
    assert set(record) == {"machine", "versions", "results"}
    assert set(record["machine"]) == {"cpu", "cores", "peers", "kernel", "python", "load_average"}
    [result] = record["results"]
    assert (result["unit"], result["more_is_better"]) == ("ns", False)
    assert result["goals"] == [
        {"by": "fastnet pure", "times": ["peer"], "factor": 0.1, "bound": 3.0, "met": False}
    ]
    assert result["contenders"][1] == {
        "name": "peer",
        "code": "g()",
        "verdict": "wrong",
        "median": 30.0,
        "best": 30.0,
        "samples": [30.0],
        "ratio": 3.0,
    }


def test_a_table_line_names_what_peer_times_ratio_and_goal(harness, case, report) -> None:
    ours = harness.Measurement("fastnet native", "f()", "right", [10.0, 9.0, 12.0])
    wrong = harness.Measurement("peer", "g()", "wrong", [30.0, 30.0])
    slow = harness.Measurement("slow", "h()", "right", [50.0])
    absent = harness.Measurement("other", "", "not installed: no module", ())
    goals = [case.Goal(20.0), case.Goal(0.5, of=("peer", "slow"), by="slow")]
    lines = report.rows(harness.Result("page", "work", case.NANOSECONDS, goals, [ours, wrong, slow, absent]))
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["work", "fastnet native", "10.0 ns", "10.0 ns", "1.00", "at most 20.0 ns: met"],
        ["work", "peer  WRONG", "30.0 ns", "10.0 ns", "3.00", ""],
        [
            "work",
            "slow  (one sample)",
            "50.0 ns",
            "10.0 ns",
            "5.00",
            "at most 0.5 x peer or slow, 15.0 ns: not met (best 50.0 ns)",
        ],
        ["work", "other  not installed: no module", "-", "10.0 ns", "-", ""],
    ]


def test_a_goal_that_is_not_met_shows_the_best_sample(harness, case, report) -> None:
    ours = harness.Measurement("fastnet native", "f()", "right", [10.0, 9.0, 12.0])
    goal = case.Goal(8.0)
    result = harness.Result("page", "work", case.NANOSECONDS, [goal], [ours])
    assert report.goal_text(result, goal, ours) == "at most 8.00 ns: not met (best 9.00 ns)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0 B"), (0.0784, "0.078 B"), (5.0, "5.00 B"), (137512.3, "137,512 B")],
)
def test_other_quantities_keep_their_unit(case, report, value, text) -> None:
    assert report.value_text(value, case.Quantity("B")) == text


def test_each_page_has_a_picture(harness, case, tmp_path, reference) -> None:
    reference("matplotlib")
    plot = import_module("bench._plot")
    ours = harness.Measurement("fastnet pure", "", "right", [10.0])
    peers = [
        harness.Measurement("slow", "", "right", [900.0]),
        harness.Measurement("zmap", "", "found 3 of 4", [5.0]),
        harness.Measurement("absent", "", "not installed: absent", []),
    ]
    goal = case.Goal(0.1, of=("slow",))
    results = [
        harness.Result("one", "work", case.NANOSECONDS, [goal], [ours, *peers]),
        harness.Result("one", "nothing", case.Quantity("B"), [], [ours._replace(samples=[0.0])]),
        harness.Result("other", "failed", case.NANOSECONDS, [], [ours._replace(samples=[])]),
    ]
    assert [plot.label(results[0], each) for each in plot.order(results[0])] == [
        "5.00 ns (0.50 x), found 3 of 4",
        "10.0 ns",
        "900 ns (90 x)",
    ]
    pictures = plot.draw_pages(results, tmp_path / "session.png")
    assert [picture.name for picture in pictures] == ["session-one.png", "session-other.png"]
    assert {picture.read_bytes()[:4] for picture in pictures} == {b"\x89PNG"}


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


@pytest.fixture
def load(harness: ModuleType, peer) -> ModuleType:
    peer("cc")  # the load is C
    return import_module("bench._load")


def test_the_load_is_clean_c(peer) -> None:
    words = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-fsyntax-only")
    sources = sorted((ROOT / "bench/load").glob("*.c"))
    ran = subprocess.run(
        [peer("cc"), *words, *sources], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


WRONG_RELAY = """
import socket, sys
listen, upstream = (("127.0.0.1", int(port)) for port in sys.argv[1:])
with socket.create_server(listen) as listener:
    while True:
        with listener.accept()[0] as down, socket.create_connection(upstream) as up:
            up.sendall(down.recv(64))
            down.sendall(bytes(64))
"""


@pytest.mark.xdist_group("load")
def test_every_relay_is_put_under_the_load_and_its_answers_are_checked(load, monkeypatch) -> None:
    relays = import_module("bench._relays")
    monkeypatch.chdir(ROOT)

    def missing(ports: object, folder: Path) -> list[str]:
        return [*relays.command("a-program-that-nobody-has")]

    contenders = [
        *relays.ours(["pure"]),
        relays.Relay("asyncio", lambda ports, folder: relays.in_python("protocol", ports, folder)),
        relays.Relay("missing", missing),
        relays.Relay(
            "crashing", lambda ports, folder: [sys.executable, "-c", "raise SystemExit('no\\nway')"]
        ),
        relays.Relay("wrong", lambda ports, folder: [sys.executable, "-c", WRONG_RELAY, *map(str, ports)]),
    ]
    pages = [import_module(f"bench.bench_{name}") for name in ("messages", "relay", "relay_latency")]
    of_a_kind = {case.kind: case for page in pages for case in page.loads() if "beside" not in case.options}
    cases = [
        of_a_kind[kind]._replace(options={"seconds": 0.02, "connections": 2})
        for kind in ("bulk", "messages", "pingpong", "connects", "duplex")
    ]
    results = list(load.measure_loads("tiny", contenders, cases, 1))
    assert len(results) == 10
    for result in results:
        found = {item.name: (item.verdict, len(item.samples)) for item in result.measurements}
        assert found["fastnet pure"] == found["asyncio"] == ("right", 1)
        assert found.get("direct", ("right", 1)) == ("right", 1)
        assert found["missing"] == ("not installed: a-program-that-nobody-has", 0)
        assert found["crashing"] == ("failed: it does not listen: way", 0)
    verdicts = {result.what: result.measurements[4].verdict for result in results}
    assert verdicts["64 B there and back, p50"] == "failed: another answer than was sent"
    lost = next(result for result in results if result.what.startswith("lost"))
    assert lost.ours.samples == [0.0]
    assert lost.measurements[4].median > 0


@pytest.mark.xdist_group("load")
def test_http_relays_are_judged_by_the_host_that_arrives(load, monkeypatch) -> None:
    relays = import_module("bench._relays")
    monkeypatch.chdir(ROOT)
    [plain] = relays.ours(["pure"])
    [rewriting] = relays.ours(["pure"], rewrite_host=True)
    contenders = [
        rewriting._replace(name="rewriting", rewrites=True),
        plain._replace(name="plain"),
        plain._replace(name="not rewriting", rewrites=True),
    ]
    cases = [
        case._replace(options={**case.options, "seconds": 0.02})
        for case in import_module("bench.bench_http_head").loads()
    ]
    requests, responses, *_ = load.measure_loads("tiny", contenders, cases, 1)
    verdicts = {item.name: item.verdict.partition(":")[0] for item in requests.measurements}
    assert verdicts == {"rewriting": "right", "plain": "right", "not rewriting": "failed", "direct": "right"}
    assert {item.verdict for item in responses.measurements} == {"right"}


@pytest.fixture
def programs(harness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(ROOT)
    found = import_module("bench._programs")
    monkeypatch.setattr(found, "LIMIT", 100.0)
    return found


def test_a_program_is_judged_by_its_exit_status_its_answer_and_its_time(programs, case, monkeypatch) -> None:
    monkeypatch.setattr(programs, "LIMIT", 5.0)

    def program(name: str, code: str, **options: object) -> object:
        return programs.Program(name, [sys.executable, "-c", code], json.loads, **options)

    contenders = [
        program("right", "print('{\"found\": 4}')", idle=[sys.executable, "-c", "print('{}')"]),
        program("right with 1", "print('{\"found\": 4}'); raise SystemExit(1)", answers=(0, 1)),
        program("wrong", "print('{\"found\": 3}')"),
        program("failing", "print('{\"found\": 4}'); raise SystemExit('no\\nway')"),
        program("silent", "pass"),
        program("slow", "import time; time.sleep(1000)"),
        program("missing", "", needs="a_package_that_nobody_has"),
    ]
    readings = [
        case.Reading("found", case.Quantity("hosts", True), lambda answer: answer["found"]),
        case.Reading("time", case.NANOSECONDS, lambda answer: answer["seconds"] * 1e9, without=("right",)),
    ]
    whole = programs.ProgramCase(
        "work", contenders, lambda answer: "" if answer["found"] == 4 else "not four", readings
    )
    found, time = programs.measure_programs("tiny", (), [whole], 2)
    verdicts = {
        item.name: (item.verdict.partition(": Exp")[0], list(item.samples)) for item in found.measurements
    }
    assert verdicts == {
        "right": ("right", [4, 4]),
        "right with 1": ("right", [4, 4]),
        "wrong": ("wrong: not four", []),
        "failing": ("failed: exit status 1: way", []),
        "silent": ("failed: its output can't be read", []),
        "slow": ("failed: not done in 5 s", []),
        "missing": ("not installed: a_package_that_nobody_has", []),
    }
    assert [item.name for item in time.measurements] == [each.name for each in contenders[1:]]
    assert time.measurements[0].median > 0


@pytest.mark.parametrize(("slower", "samples"), [(1e9, [3, 3]), (1.0, [3, 1])])
def test_a_program_that_is_much_slower_than_the_first_waits(
    programs, case, monkeypatch, slower, samples
) -> None:
    monkeypatch.setattr(programs, "SLOWER", slower)
    first = programs.Program("first", [sys.executable, "-c", ""])
    slow = programs.Program("slow", [sys.executable, "-c", "import time; time.sleep(1)"])
    reading = case.Reading("memory", case.Quantity("B"), lambda answer: answer["memory"])
    whole = programs.ProgramCase("work", [first, slow], lambda answer: "", [reading])
    [memory] = programs.measure_programs("tiny", (), [whole], 3)
    assert [(item.verdict, len(item.samples)) for item in memory.measurements] == [
        ("right", number) for number in samples
    ]


def test_a_program_that_may_miss_is_compared_and_says_what_it_found(programs, case) -> None:
    program = programs.Program("fast", [sys.executable, "-c", "print('{\"found\": 3}')"], json.loads)
    reading = case.Reading("found", case.Quantity("hosts", True), lambda answer: answer["found"])
    whole = programs.ProgramCase(
        "work", [program._replace(may_miss=True), program], lambda answer: "found 3 of 4", [reading]
    )
    [found] = programs.measure_programs("tiny", (), [whole], 2)
    verdicts = [(item.verdict, list(item.samples)) for item in found.measurements]
    assert verdicts[0] == ("found 3 of 4", [3, 3])
    assert verdicts[1] == ("wrong: found 3 of 4", [])


@pytest.mark.parametrize("hook", ["XDP", "tc"])
def test_a_reflected_request_needs_no_answering_kernel(programs, root, peer, hook) -> None:
    reflector, hosts = import_module("bench._reflector"), import_module("bench._hosts")
    page, sweeps = import_module("bench.bench_reflected"), import_module("bench._sweeps")
    peer("nft")
    with (
        hosts.pair() as (asking, answering),
        TemporaryDirectory() as folder,
        reflector.reflecting(hook, answering, hosts.DEVICE) as refusal,
    ):
        if refusal:
            absent(f"an eBPF program ({refusal})")
        # The answering kernel drops every second request of these.
        case = page.sweep(hook, ["pure"])._replace(
            first=hosts.HALF_4, size=8, contenders=sweeps.ours(["pure"])
        )
        *_, found = programs.measure_programs("tiny", asking, [case.case(Path(folder))], 1)
    assert (found.ours.verdict, found.ours.samples) == ("right", [100.0])


def test_a_refused_reflector_names_the_reason(programs) -> None:
    reflector = import_module("bench._reflector")
    with reflector.reflecting("XDP", (), "no-such-device") as refusal:
        assert refusal == "XDP: no interface with this name"


def test_sweeps_are_counted(programs, root, peer) -> None:
    page, sweeps = import_module("bench.bench_probe"), import_module("bench._sweeps")
    peer("nft")
    peer("fping")
    fping = next(each for each in sweeps.PEERS if each.name == "fping")
    pure = sweeps.ours(["pure"])
    missing = sweeps.Contender("missing", lambda first, count, file: ["true"], sweeps.lines)
    small = [
        each._replace(size=8, contenders=[*pure, fping, missing])
        for each in page.sweeps(["pure"])
        if each.what in ("IPv4 /24, all alive", "IPv4 /17, half dead")
    ]
    assert len(small) == 2
    with import_module("bench._hosts").two_hosts() as place, TemporaryDirectory() as folder:
        cases = [each.case(Path(folder)) for each in small]
        results = list(programs.measure_programs("tiny", place, cases, 1))
    assert [result.what.rpartition(": ")[2] for result in results] == [
        "IPv4 /24, all alive",
        "found",
        *("IPv4 /17, half dead", "time beyond the timeouts", "found"),
    ]
    for result in results:
        verdicts = [item.verdict for item in result.measurements]
        assert verdicts == ["right", "right", f"wrong: found 0 of {8 if 'alive' in result.what else 4}"]
        assert "found" not in result.what or result.ours.samples == [100.0]
        assert [goal.by for goal in result.goals if not goal.of and not result.is_met(goal)] in (
            [],
            ["missing"],
        )


def test_round_trip_times_are_compared_with_the_wires(programs, root, peer, monkeypatch) -> None:
    page = import_module("bench.bench_ping")
    for constant in ("PINGS", "FEW", "FLOOD"):
        monkeypatch.setattr(page, constant, 8)
    peer("nft")
    peer("fping")
    wanted = ("fastnet pure Pinger", "fastnet pure", "fastnet pure ping", "fping")
    cases = [
        each._replace(programs=[program for program in each.programs if program.name in wanted])
        for each in (page.of_one_host(False), page.of_a_sweep(False), page.flood(False))
    ]
    with import_module("bench._hosts").two_hosts() as place:
        results = list(programs.measure_programs("tiny", place, cases, 1))
    assert [len(result.measurements) for result in results] == [2, 2, 1, 1]
    found = [item for result in results for item in result.measurements]
    assert {item.verdict for item in found} == {"right"}
    assert all(item.median >= 0 for item in found)


def test_what_is_told_is_matched_with_the_newest_on_the_wire(harness) -> None:
    page = import_module("bench.bench_ping")
    wire = [("a", 50.0), ("a", 10.0), ("b", 7.0), ("a", 20.0)]
    assert page.off_the_wire([("a", 11.0), ("b", 9.0), ("a", 17.0)], wire) == 2.0


@pytest.mark.parametrize(
    ("read", "output"),
    [
        ("pairs", "10.0.0.1 12.5\n10.0.0.2 3.000\n"),
        ("pairs", "10.0.0.1 (0.0125 ms)\n10.0.0.2 (0.003 ms)\n"),
        (
            "iputils_times",
            "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n"
            "64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.0125 ms\n"
            "64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=0.003 ms\n",
        ),
    ],
)
def test_times_are_read_in_the_words_of_each(harness, read, output) -> None:
    found = getattr(import_module("bench.bench_ping"), read)(output)
    assert [(address, round(time, 3)) for address, time in found] == [("10.0.0.1", 12.5), ("10.0.0.2", 3.0)]


@pytest.mark.parametrize("page", ["checksum", "relay"])
def test_an_interrupt_ends_it_without_a_traceback(page) -> None:
    with Child(
        [sys.executable, "-m", "bench", page],
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    ) as bench:
        assert bench.stderr is not None
        assert bench.stderr.readline() == f"measuring {page} ...\n"
        bench.send_signal(signal.SIGINT)
        assert (bench.wait(60), bench.stderr.read()) == (130, "")
