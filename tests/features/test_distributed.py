"""Sweeps from many vantages without any: columns, their merging, sums, directories, and what is refused."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from array import array
from collections.abc import Callable
from math import nan
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from environment import HAS_SOURCES, ROOT, Run
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnet
from fastnet._distributed.columns import ANOTHER_REASON, UNKNOWN, Columns, columns_of
from fastnet._distributed.compared import Comparison
from fastnet._distributed.merged import DistributedResult, Memory, counts_of
from fastnet._distributed.shard import Job, Refusal, sweep_shard
from fastnet._distributed.spool import Spool
from fastnet._distributed.sums import plan_of, rate_of_each, shard_count
from fastnet._distributed.sweeping import Progress
from fastnet._distributed.vantages import Vantage, Vantages, names_of, parse_labels
from fastnet._sweep.special import without_special
from fastnet.errors import EngineMissing, InvalidArgument, VantagesLost
from fastnet.targets import Targets

pytestmark = pytest.mark.once

PENDING, SILENT, UNREACHABLE, ALIVE = range(4)
REASONS = ("one", "another")
VALUES = (PENDING, PENDING | 1 << 3, SILENT, UNREACHABLE | 2 << 3, ALIVE)
TARGETS = Targets("10.0.0.1-10.0.0.9", "10.1.0.0/28", "fd00::/124")

some_verdicts = st.binary(min_size=41, max_size=41).map(lambda text: bytes(VALUES[byte % 5] for byte in text))


def columns(verdicts: bytes, vantage: str = "v", base: float = 0.0) -> Columns:
    """With round-trip times that name the place of each target."""
    rtts = array("f", (base + place for place, each in enumerate(verdicts) if each == ALIVE))
    return Columns(vantage, "raw", len(verdicts), 1.0, REASONS, verdicts, rtts.tobytes())


def result_of(verdicts: bytes, of: int, absent: int = PENDING, without: int = -1) -> DistributedResult:
    """A result of these verdicts, from shards of which one may be missing."""
    store = Memory()
    for shard in range(of):
        if shard != without:
            rtts = array("f", (place for place in range(shard, 41, of) if verdicts[place] == ALIVE))
            part = columns(verdicts[shard::of])._replace(rtts_ms=rtts.tobytes())
            store.put(shard, part)
    counts = counts_of(TARGETS, [sum(each & 7 == state for each in verdicts) for state in (3, 1, 2)])
    return DistributedResult(TARGETS, of, store, counts, (Vantage("v"),), absent)


@settings(max_examples=30)
@given(some_verdicts, st.integers(1, 50))
def test_a_result_has_each_target_at_its_place(verdicts: bytes, of: int) -> None:
    result = result_of(verdicts, of)
    assert [each.address for each in result] == [*TARGETS]
    for place, verdict in enumerate(result):
        state, which = verdicts[place] & 7, verdicts[place] >> 3
        assert verdict.state == ("not probed", "inactive", "unreachable", "alive")[state]
        assert verdict.reason == (REASONS[which - 1] if which else None)
        assert verdict.rtt_ms == (place if state == ALIVE else None)
    assert [each.address for each in result.alive] == [
        TARGETS[i] for i, each in enumerate(verdicts) if each == ALIVE
    ]
    assert [*result.alive, *result.inactive, *result.unreachable, *result.not_probed].__len__() == 41
    assert len(result.alive) == result.counts.alive
    assert [*result.known] == [*result]
    assert pickle.loads(pickle.dumps(result)) == result


@settings(max_examples=30)
@given(some_verdicts, some_verdicts)
def test_what_one_vantage_did_not_probe_another_fills_in(ours: bytes, theirs: bytes) -> None:
    first = columns(ours)
    decided = first.decided()
    left = [place for place in range(41) if not decided[place >> 3] >> (place & 7) & 1]
    assert left == [place for place in range(41) if ours[place] & 7 == PENDING]
    # As a sweep with ``decided`` returns them: only these were probed.
    second = columns(bytes(value if place in left else 4 for place, value in enumerate(theirs)), "w", 100.0)
    second = second._replace(reasons=("another", "third"))
    filled = first.filled(second)
    for place in range(41):
        source, base = (second, 100.0) if place in left else (first, 0.0)
        assert filled.state(place) == source.state(place)
        assert filled.reason(place) == source.reason(place)
        if filled.state(place) == ALIVE:
            assert filled.rtt_ms(place) == base + place
    assert filled.sent == 82


@settings(max_examples=20)
@given(st.lists(some_verdicts, min_size=2, max_size=3), st.integers(1, 9))
def test_a_comparison_has_what_differs_and_no_more(all_verdicts: list[bytes], of: int) -> None:
    results = {f"v{number}": result_of(each, of, UNKNOWN) for number, each in enumerate(all_verdicts)}
    compared = Comparison(TARGETS, results, ())
    by_hand = [{each[place] & 7 for each in all_verdicts} - {PENDING} for place in range(41)]
    differing = [TARGETS[place] for place, states in enumerate(by_hand) if len(states) > 1]
    assert [each.address for each in compared.differing] == differing
    assert [each.address for each in compared if each.differs] == differing
    assert [each.address for each in compared.alive] == [
        TARGETS[place] for place, states in enumerate(by_hand) if ALIVE in states
    ]
    assert pickle.loads(pickle.dumps(compared)) == compared


def test_a_missing_vantage_is_unknown_and_never_down() -> None:
    here, away = (
        result_of(bytes([SILENT] * 41), 3, UNKNOWN),
        result_of(bytes([ALIVE] * 41), 3, UNKNOWN, without=1),
    )
    compared = Comparison(TARGETS, {"here": here, "away": away}, ())
    assert {each.verdicts[1][1].state for each in compared[1::3]} == {"unknown"}
    assert not any(each.differs for each in compared[1::3])
    assert compared[1].seen_by == ()
    assert [each.address for each in compared.differing] == [TARGETS[i] for i in range(41) if i % 3 != 1]
    assert not compared.complete


def test_nobody_alive_is_a_no_only_if_all_vantages_know_it() -> None:
    from fastnet.cli.sweep.distributed import answer_of

    silent, alive = (result_of(bytes([state] * 41), 2, UNKNOWN) for state in (SILENT, ALIVE))
    gone = result_of(bytes([SILENT] * 41), 2, UNKNOWN, without=1)
    assert answer_of(Comparison(TARGETS, {"a": silent, "b": silent}, ())) == 1
    assert answer_of(Comparison(TARGETS, {"a": alive, "b": gone}, ())) == 0
    with pytest.raises(VantagesLost, match="no target is alive, and no results of vantage b"):
        answer_of(Comparison(TARGETS, {"a": silent, "b": gone}, ()))


def test_a_shard_without_its_result_is_not_probed() -> None:
    result = result_of(bytes([SILENT] * 41), 4, without=2)
    assert {each.state for each in result[2::4]} == {"not probed"}
    assert result[2].reason == "interrupted"
    assert len([*result.known]) == 41 - len(range(2, 41, 4))
    assert not result.complete


def test_names_that_do_not_resolve_come_last() -> None:
    targets = Targets("10.0.0.1", "10.0.0.300", strict=False)
    store = Memory()
    store.put(0, columns(bytes([ALIVE])))
    result = DistributedResult(targets, 1, store, counts_of(targets, [1, 0, 0]), ())
    assert [each.address for each in result] == ["10.0.0.1", "10.0.0.300"]
    assert [each.address for each in result.not_probed] == ["10.0.0.300"]
    assert result.counts.not_probed == 1
    assert result[-1].reason


def test_the_columns_of_a_sweep_are_its_verdicts(root: None) -> None:
    targets = Targets("127.0.0.1-127.0.0.9", "224.0.0.1", "240.0.0.1")
    swept = sweep_shard(Job(targets, (1, 1), {"timeout": 0.3, "retries": 0, "rate": None}))
    assert isinstance(swept, Columns)
    plain = fastnet.sweep(targets, timeout=0.3, retries=0)
    result = DistributedResult(targets, 1, _store(swept), counts_of(targets, [9, 0, 0]), ())
    assert [(each.address, each.state, each.reason) for each in result] == [
        (each.address, each.state, each.reason) for each in plain
    ]
    assert all(each.rtt_ms for each in result.alive)


def _store(swept: Columns) -> Memory:
    store = Memory()
    store.put(0, swept)
    return store


def test_many_reasons_share_what_room_there_is(root: None) -> None:
    class Swept:
        states = bytes([UNREACHABLE] * 100)
        rtts_ms = memoryview(bytes(400)).cast("f")
        engine = "raw"

        def reason(self, index: int) -> str:
            return f"reason {index}"

    made = columns_of(Swept(), "v", 100, 1.0)  # type: ignore[arg-type]
    assert [made.reason(place) for place in range(30)] == [f"reason {place}" for place in range(30)]
    assert {made.reason(place) for place in range(30, 100)} == {ANOTHER_REASON}


def test_a_shard_that_can_not_be_run_is_refused_with_the_reason() -> None:
    refused = sweep_shard(Job(Targets("127.0.0.1"), (1, 1), {"interface": "nosuch0"}))
    assert isinstance(refused, Refusal)
    assert "nosuch0" in refused.reason


def test_the_sums_of_a_sweep() -> None:
    everything = Targets("0.0.0.0/0")
    public, left_out = without_special(everything, include=False)
    assert public.size + left_out == 1 << 32
    assert 3_600_000_000 < public.size < 3_750_000_000
    for special in ("10.1.2.3", "127.0.0.1", "224.0.0.1", "192.168.0.1", "255.255.255.255", "192.0.2.1"):
        assert special not in public
    for ordinary in ("1.1.1.1", "192.0.0.9", "192.52.193.1"):
        assert ordinary in public
    assert without_special(everything, include=True) == (everything, 0)
    private = Targets("10.0.0.0/8")
    assert without_special(private, include=False) == (private, 0)
    plan = plan_of(public, left_out, ("a", "b"), 7, 5000.0, 1, [set()])
    assert plan.requests == 2 * public.size
    assert plan.bytes == plan.requests * 98
    assert plan.seconds == plan.requests / 10_000
    compared = plan_of(public, left_out, ("a", "b"), 7, 5000.0, 1, [set(), set()])
    assert (compared.requests, compared.seconds) == (2 * plan.requests, 2 * plan.seconds)


def test_the_sums_of_what_is_left() -> None:
    targets = Targets("10.0.0.1-41", "2001:db8::1-2001:db8::9")
    left = [index for index in range(targets.size) if index % 7 not in (0, 4)]
    plan = plan_of(targets, 0, ("a", "b"), 7, 1.0, 0, [{0, 4}])
    assert (plan.done, plan.requests, plan.seconds) == (2, len(left), len(left) / 2)
    assert plan.bytes == sum(98 if index < 41 else 118 for index in left)
    plan = plan_of(targets, 0, ("a", "b"), 7, 1.0, 0, [{0, 4}, {*range(7)}])
    assert (plan.done, plan.requests, plan.seconds) == (9, len(left), len(left))


def test_a_dry_run_only_reads_a_directory(arrow: ModuleType, tmp_path: Path) -> None:
    new, file = tmp_path / "new", tmp_path / "file"
    for vantage in (None, "one"):
        assert Spool(new, TARGETS, "share", {}, 3, dry_run=True).store(vantage).done() == set()
    assert not new.exists()
    Spool(new, TARGETS, "share", {}, 3).store(None).put(1, columns(bytes([SILENT] * 14)))
    before = sorted(new.iterdir())
    begun = Spool(new, TARGETS, "share", {}, 8, dry_run=True)
    assert (begun.shards, begun.store(None).done()) == (3, {1})
    assert sorted(new.iterdir()) == before
    file.touch()
    with pytest.raises(InvalidArgument, match="a file; expected a directory"):
        Spool(file, TARGETS, "share", {}, 3, dry_run=True)


def test_shards_last_about_ten_seconds_and_keep_all_vantages_busy() -> None:
    assert shard_count(1 << 20, 10_000, 1, 3) == -(-(1 << 20) // 50_000)
    assert shard_count(1 << 20, 10_000, 1, 4) == 24, "none runs alone at the end"
    assert shard_count(4500, 100, 1, 4) == shard_count(3000, 100, 1, 4) + 4 == 12
    assert shard_count(3, 0.1, 1, 8) == 3, "no shard is empty"
    assert shard_count(1000, 10_000, 1, 3) == 3
    assert shard_count(10, None, 1, 3) == 1
    assert shard_count(1 << 32, 1e6, 0, 4) == ((1 << 32) // 10_000_000 // 4 + 1) * 4
    assert rate_of_each(1000, None, 4) == 250
    assert rate_of_each(1000, 100, 4) == 100
    assert rate_of_each(None, 100, 4) == 100
    assert rate_of_each(None, None, 4) is None


def test_a_vantage_named_twice_is_one() -> None:
    assert names_of(["b", "a", "b"]) == ("b", "a")


def test_labels_of_a_vantage() -> None:
    assert parse_labels("site=fra, as=64500,") == (("site", "fra"), ("as", "64500"))
    assert parse_labels("") == ()


def test_a_vantage_without_fastnet_or_of_another_version_is_named() -> None:
    answers = {
        "tcp://good": (fastnet.__version__, "site=x"),
        "tcp://bare": Exception("ModuleNotFoundError(\"No module named 'fastnet'\")"),
        "tcp://old": ("0.0.1", ""),
        "tcp://odd": Exception("SyntaxError()"),
        "tcp://gone": OSError("away"),
    }
    connection = SimpleNamespace(
        workers=lambda: {address: address.removeprefix("tcp://") for address in answers},
        call=lambda function, address: answers[address],
    )
    vantages = Vantages()
    vantages.refresh(connection)  # type: ignore[arg-type]
    assert vantages.usable() == {"good": "tcp://good"}
    problems = {each.name: each.problem for each in vantages.report()}
    assert problems == {
        "good": None,
        "bare": "its Python has no fastnet",
        "old": f"its fastnet is 0.0.1, ours {fastnet.__version__}",
        "odd": "fastnet does not start on it: SyntaxError()",
    }


@pytest.fixture
def arrow(reference: Callable[[str], ModuleType]) -> ModuleType:
    return reference("pyarrow")


@settings(max_examples=15)
@given(st.lists(some_verdicts, min_size=1, max_size=1), st.integers(1, 9))
def test_a_directory_returns_what_was_put(
    tmp_path_factory: pytest.TempPathFactory,
    reference: Callable[[str], ModuleType],
    given: list[bytes],
    of: int,
) -> None:
    reference("pyarrow")
    folder = tmp_path_factory.mktemp("spool") / "new"
    store = Spool(folder, TARGETS, "share", {"seed": 1}, of).store(None)
    for shard in range(of):
        part = columns(given[0][shard::of])
        rtts = part.rtts_ms if len(part.rtts_ms) < 4 else array("f", [nan]).tobytes() + part.rtts_ms[4:]
        store.put(shard, part._replace(rtts_ms=rtts))
        kept = store.get(shard)
        assert kept is not None
        assert kept._replace(rtts_ms=rtts) == part._replace(rtts_ms=rtts)
        assert len(kept.rtts_ms) == len(rtts)
        assert kept.rtts_ms[4:] == rtts[4:]
    again = Spool(folder, TARGETS, "share", {"seed": 1}, 77)
    assert again.shards == of
    assert again.store(None).done() == {*range(of)}


def test_any_reader_of_parquet_takes_a_directory_as_one_table(arrow: ModuleType, tmp_path: Path) -> None:
    from pyarrow import dataset, parquet

    for vantage in ("one", "tcp://10.0.0.1:1"):
        store = Spool(tmp_path / "out", TARGETS, "compare", {}, 3).store(vantage)
        for shard in range(3):
            store.put(shard, columns(bytes([ALIVE, UNREACHABLE | 1 << 3, *[SILENT] * 39])[shard::3], vantage))
    (tmp_path / "out/_shard-0000000004.part").touch()  # of a client that was killed
    found = dataset.dataset(tmp_path / "out", format="parquet").to_table().to_pylist()
    assert parquet.read_table(tmp_path / "out").num_rows == len(found), "vantage=NAME is a column too"
    assert sorted(each["address"] for each in found) == sorted([*TARGETS, *TARGETS])
    assert {
        (each["vantage"], each["state"], each["reason"]) for each in found if each["address"] == "10.0.0.2"
    } == {
        ("one", "unreachable", "one"),
        ("tcp://10.0.0.1:1", "unreachable", "one"),
    }
    assert [each["rtt_ms"] for each in found if each["state"] == "alive"] == [0.0, 0.0]


def test_a_directory_of_something_else_is_refused(arrow: ModuleType, tmp_path: Path) -> None:
    Spool(tmp_path / "out", TARGETS, "share", {"seed": 1}, 3)
    for other, word in (
        ((Targets("10.0.0.1"), "share", {"seed": 1}), "targets"),
        ((TARGETS, "compare", {"seed": 1}), "mode"),
        ((TARGETS, "share", {"seed": 2}), "options"),
    ):
        with pytest.raises(InvalidArgument, match=f"other {word}"):
            Spool(tmp_path / "out", *other, 3)  # type: ignore[arg-type]
    (tmp_path / "out" / "_sweep.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="not the file of a sweep"):
        Spool(tmp_path / "out", TARGETS, "share", {"seed": 1}, 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InvalidArgument, match="not empty"):
        Spool(tmp_path / "full", TARGETS, "share", {}, 3)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(EngineMissing, match="distributed"):
        fastnet.sweep_distributed("127.0.0.1", client="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("mode", wrong) for wrong in (None, "both")),
        *(("vantage_rate", wrong) for wrong in (0, "1", -1)),
        *(("vantages", wrong) for wrong in (None, "one", [1])),
        *(("include_special", wrong) for wrong in (None, 1)),
        *(("absence", wrong) for wrong in (None, -1, "60")),
        *(("client", wrong) for wrong in (None, 1, "nonsense://x")),
        *(("timeout", 0), ("retries", -1), ("rate", 0), ("engine", "x"), ("seed", -1), ("interface", 1)),
    ],
)
def test_a_wrong_value_is_refused_by_its_argument(
    reference: Callable[[str], ModuleType], name: str, wrong: object
) -> None:
    reference("distributed")
    given = {"client": "tcp://127.0.0.1:1", name: wrong}
    with pytest.raises(InvalidArgument, match="scheduler" if wrong == "nonsense://x" else name):
        fastnet.sweep_distributed("127.0.0.1", **given)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("hosts", wrong) for wrong in (None, "127.0.0.1", [], [1])),
        *(("vantages", wrong) for wrong in (None, "one", [1])),
        *(("count", 0), ("interval", -1), ("timeout", "x"), ("retries", -1), ("backoff", 0), ("size", -1)),
        *(("absence", -1), ("engine", "x"), ("nonsense", 1)),
    ],
)
def test_a_wrong_value_for_a_ping_is_refused_by_its_argument(
    reference: Callable[[str], ModuleType], name: str, wrong: object
) -> None:
    reference("distributed")
    given = {"hosts": ["127.0.0.1"], "client": "tcp://127.0.0.1:1", name: wrong}
    with pytest.raises(TypeError if name == "nonsense" else InvalidArgument, match=name.removesuffix("s")):
        fastnet.ping_distributed(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mode", "compare"), "--mode: only with --distributed"),
        (("--dry-run",), "--dry-run: only with --distributed"),
        (("-o", "x"), "--output: only with --distributed"),
        (("--distributed", "tcp://127.0.0.1:1", "--shard", "1/2"), "--shard: not with --distributed"),
        (("--distributed", "tcp://127.0.0.1:1", "--stream"), "--stream: not with --distributed"),
        (("--distributed", "tcp://127.0.0.1:1", "--differing"), "--differing: only with --mode compare"),
        (("--distributed", "tcp://127.0.0.1:1", "--tls-ca", "x"), "all three, or none"),
        (("--distributed", "tcp://127.0.0.1:1", "--flood"), "--flood: not with --distributed"),
        (("--distributed", "tcp://127.0.0.1:1", "--vantages", "a,"), "expected names separated by commas"),
    ],
)
def test_options_that_do_not_go_together(fastnet: Run, words: tuple[str, ...], message: str) -> None:
    command = "ping" if "--flood" in words else "sweep"
    ran = fastnet(command, "127.0.0.1", *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


MEMORY = """
import resource, sys
from array import array
from fastnet._distributed.columns import Columns
from fastnet._distributed.merged import DistributedResult, Memory, counts_of
from fastnet.targets import Targets

of, alive = 64, 1 << 14
targets = Targets("16.0.0.0/6")
size = targets.size // of
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = Memory()
for shard in range(of):
    verdicts = bytearray([1]) * size
    verdicts[:: size // alive] = bytes([3]) * alive
    store.put(shard, Columns("v", "raw", size, 1.0, (), bytes(verdicts), array("f", range(alive)).tobytes()))
result = DistributedResult(targets, of, store, counts_of(targets, [of * alive, 0, 0]), ())
assert sum(states.count(3) for _, states in result.blocks()) == of * alive
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(peak / targets.size)
"""


def test_a_target_takes_a_byte_and_an_alive_one_five() -> None:
    """2^26 targets, one in 64 of them alive; 2^32 alive ones take 20 GiB so."""
    ran = subprocess.run([sys.executable, "-c", MEMORY], stdout=subprocess.PIPE, text=True, check=True)
    assert float(ran.stdout) < 1.3


def test_plain_values(fastnet: Run) -> None:
    result = result_of(bytes([ALIVE] * 41), 2)
    assert json.loads(json.dumps(result.as_dict()))["verdicts"][0]["state"] == "alive"
    compared = Comparison(TARGETS, {"a": result, "b": result}, (Vantage("a"),))
    assert json.loads(json.dumps(compared.as_dict()))["targets"][0]["seen_by"] == ["a", "b"]
    assert "alive=" in repr(result)
    assert "'a': 41" in repr(compared)


@pytest.mark.skipif(not HAS_SOURCES, reason="the pages are not with a wheel")
def test_the_kubernetes_manifests_are_yaml(reference: Callable[[str], ModuleType]) -> None:
    """Syntax only: no test runs them."""
    yaml = reference("yaml")
    page = (ROOT / "docs/scale.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    manifests = [*yaml.safe_load_all(text)]
    assert [each["kind"] for each in manifests] == ["Deployment", "Service", "DaemonSet", "NetworkPolicy"]
    for each in manifests:
        assert {"apiVersion", "kind", "metadata", "spec"} == {*each}
    for each in (manifests[0], manifests[2]):
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert labels == each["spec"]["selector"]["matchLabels"]


def test_progress_has_what_is_found_by_whom_and_the_time_left() -> None:
    from fastnet.cli.sweep.distributed import duration_text, progress_line

    class Running:
        def progress(self) -> Progress:
            return Progress(12, 40, {"fra": 1310, "iad": 298}, 80.0, 1.0)

    line = progress_line(Running())  # type: ignore[arg-type]
    assert line == "12 of 40 shards; alive: fra 1,310, iad 298; 0:01:20 left"
    assert duration_text(8.57 * 86400) == "8 d 13:40:48"
