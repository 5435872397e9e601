"""``fastnet sweep --distributed`` on a real scheduler and workers with routes and losses of their own."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cluster import ALL_SILENT, SCHEDULER, SETTINGS, Cluster, cluster
from environment import COMMAND_TIMEOUT, Run
from namespaces import namespaces
from records import parse, untimed

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("dask")]

HIDDEN_FROM_ONE = "10.200.0.7"
WHOLE = "10.200.0.0/24"
COMMON = ("--distributed", SCHEDULER, "--timeout", "300ms")
Sweep = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def lab(
    root: None,
    peer: Callable[[str], str],
    reference: Callable[[str], ModuleType],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """Three vantages: one does not see an address, and one has a label."""
    reference("distributed")
    with namespaces(peer("ip")) as make, cluster(make, tmp_path_factory.mktemp("lab"), peer("nft")) as made:
        for name in ("one", "two"):
            made.worker(name)
        made.worker("three", environment={"FASTNET_LABELS": "site=fra"})
        made.drop(f"iifname one ip daddr {HIDDEN_FROM_ONE}")
        made.wait_for(3)
        yield made


@pytest.fixture
def sweep(lab: Cluster, fastnet: Run) -> Sweep:
    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        options.setdefault("prefix", lab.centre.prefix)
        return fastnet("sweep", *words, *COMMON, env=SETTINGS, **options)

    return run


def test_share_asks_each_target_once(sweep: Sweep) -> None:
    ran = sweep(WHOLE, ALL_SILENT, "-v", "--json", "--seed", "3")
    assert ran.returncode == 0, ran.stderr
    records = [untimed(line) for line in ran.stdout.splitlines()]
    verdicts = {each["address"]: each["state"] for each in records if each["kind"] == "verdict"}
    assert len(verdicts) == 512
    unseen = {address for address in verdicts if address.startswith("10.200.255.")}
    assert {address for address, state in verdicts.items() if state == "inactive"} - {
        HIDDEN_FROM_ONE
    } == unseen
    vantages = {each["name"]: each for each in records if each["kind"] == "vantage"}
    assert [*vantages] == ["one", "three", "two"]
    assert vantages["three"]["labels"] == {"site": "fra"}
    assert sum(each["shards"] for each in vantages.values()) == 2
    assert "512 targets: " in ran.stderr


def test_compare_shows_who_sees_what(sweep: Sweep) -> None:
    ran = sweep("10.200.0.5-8", "--mode", "compare")
    assert ran.returncode == 0, ran.stderr
    heading, *lines = ran.stdout.splitlines()
    assert heading.split() == ["ADDRESS", "one", "three", "two"]
    shape = [re.sub(r"\d+\.\d{3} ms", "ms", line).split() for line in lines]
    assert shape == [
        ["10.200.0.5", "ms", "ms", "ms"],
        ["10.200.0.6", "ms", "ms", "ms"],
        [HIDDEN_FROM_ONE, "inactive", "ms", "ms", "differs"],
        ["10.200.0.8", "ms", "ms", "ms"],
    ]
    assert "3 alive from one, 4 alive from three, 4 alive from two" in ran.stderr


def test_compare_as_records_and_values(sweep: Sweep) -> None:
    ran = sweep("10.200.0.5-8", "--mode", "compare", "--differing", "--json", "--vantages", "one,two")
    records = [parse(line) for line in ran.stdout.splitlines()]
    (sighting,) = (each for each in records if each["kind"] == "sighting")
    assert (sighting["address"], sighting["differs"], sighting["seen_by"]) == (HIDDEN_FROM_ONE, True, ["two"])
    assert [each["state"] for each in sighting["verdicts"]] == ["inactive", "alive"]
    ran = sweep("10.200.0.7-8", "--mode", "compare", "--csv", "--vantages", "one,two")
    rows = [*csv.DictReader(ran.stdout.splitlines())]
    assert [(row["address"], row["differs"], row["one state"], row["two state"]) for row in rows] == [
        (HIDDEN_FROM_ONE, "True", "inactive", "alive"),
        ("10.200.0.8", "False", "alive", "alive"),
    ]


def test_pings_from_many_vantages(lab: Cluster, fastnet: Run) -> None:
    def ping(*words: str) -> subprocess.CompletedProcess[str]:
        fast = ("-c", "2", "-i", "100ms", "-W", "300ms", "--distributed", SCHEDULER)
        return fastnet("ping", *words, *fast, prefix=lab.centre.prefix, env=SETTINGS)

    ran = ping("10.200.0.5", HIDDEN_FROM_ONE, "--vantages", "one,two,nowhere", "--absence", "1s")
    assert ran.returncode == 0, ran.stderr
    assert [re.sub(r"\d+\.\d{3} ms", "ms", line).split() for line in ran.stdout.splitlines()] == [
        ["HOST", "one", "two", "nowhere"],
        ["10.200.0.5", "ms", "ms", "unknown"],
        [HIDDEN_FROM_ONE, "no", "answer", "ms", "unknown"],
    ]
    ran = ping(HIDDEN_FROM_ONE, "--json", "--vantages", "one,two")
    records = [parse(line) for line in ran.stdout.splitlines()]
    assert [(each["vantage"], each["received"]) for each in records if each["kind"] == "vantage_summary"] == [
        ("one", 0),
        ("two", 2),
    ]
    assert [each["name"] for each in records if each["kind"] == "vantage"] == ["one", "two"]
    assert ping(HIDDEN_FROM_ONE, "--vantages", "one").returncode == 1
    ran = ping(HIDDEN_FROM_ONE, "10.200.0.5", "--vantages", "one,nowhere", "--absence", "1s")
    assert ran.returncode == 3, "nowhere might have had a reply"
    message = f"fastnet ping: {HIDDEN_FROM_ONE}: no reply, and no results of vantage nowhere\n"
    assert ran.stderr.startswith("vantage nowhere: the scheduler has no worker of this name now\n")
    assert ran.stderr.endswith(message)
    ran = ping("10.200.0.5", "no-such-name.invalid", "--vantages", "one,two")
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout.splitlines()[2].count("Name or service not known") == 2


def test_what_is_not_there_is_unknown(sweep: Sweep) -> None:
    ran = sweep("10.200.0.5", "--mode", "compare", "--vantages", "one,nowhere", "--absence", "1s")
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"10\.200\.0\.5 +\d+\.\d{3} ms +unknown\n", ran.stdout)
    assert "unknown" in ran.stderr
    assert "vantage nowhere: the scheduler has no worker of this name now\n" in ran.stderr
    ran = sweep("10.200.0.5", "--vantages", "nowhere", "--absence", "1s")
    assert (ran.returncode, ran.stdout) == (3, "")
    why = "no vantage after 1 s: vantage nowhere: the scheduler has no worker of this name now"
    assert ran.stderr == f"fastnet sweep: {why}\n"


def test_a_dry_run_sends_and_writes_nothing(sweep: Sweep, lab: Cluster, tmp_path: Path) -> None:
    counter = lab.hosts.run("cat", "/proc/net/snmp").stdout
    ran = sweep("0.0.0.0/0", "--dry-run", "--max-rate", "30000", "--json")
    record = untimed(ran.stdout)
    assert record["vantages"] == ["one", "three", "two"]
    assert record["rate"] == 10_000
    assert record["targets"] + record["left_out"] == 1 << 32
    assert record["requests"] == 2 * record["targets"]
    assert record["shards"] == -(-record["targets"] // 150_000) * 3
    everything = untimed(sweep("0.0.0.0/0", "--dry-run", "--include-special", "--json").stdout)
    assert (everything["targets"], everything["left_out"]) == (1 << 32, 0)
    words = ("--dry-run", "--vantage-rate", "1000", "--mode", "compare", "-o", str(tmp_path / "results"))
    ran = sweep("10.200.0.0/16", *words)
    assert not (tmp_path / "results").exists()
    assert ran.stdout.splitlines() == [
        "targets    65,536",
        "vantages   3: one, three, two (1,000 requests/s each)",
        "shards     14",
        "requests   at most 393,216",
        "bytes      at most 38,535,168",
        "duration   at most 0:02:11",
    ]
    assert lab.hosts.run("cat", "/proc/net/snmp").stdout == counter


def test_a_directory_is_taken_up_after_ctrl_c(sweep: Sweep, lab: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("sweep", "10.200.0.0/22", *COMMON, "-o", str(out), "--vantage-rate", "20")
    process = subprocess.Popen(
        [*lab.centre.prefix, sys.executable, "-m", "fastnet", *words],
        env={**os.environ, **SETTINGS},
        stderr=subprocess.PIPE,
        text=True,
    )
    # A shard is of 100 targets; the first ones are done after 10 s at worst.
    deadline = time.monotonic() + COMMAND_TIMEOUT
    while not [*out.glob("*.parquet")]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=COMMAND_TIMEOUT)[1].endswith("the same command goes on from there\n")
    assert process.returncode == 130
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert kept
    record = untimed(sweep("10.200.0.0/22", "-o", str(out), "--dry-run", "--json").stdout)
    shards = json.loads((out / "_sweep.json").read_text())["shards"]
    assert (record["shards"], record["done"]) == (shards, len(kept))
    assert 0 < record["requests"] < 2 * 1024
    ran = sweep("10.200.0.0/22", "-o", str(out), prefix=(*lab.centre.prefix, "prlimit", "--fsize=0"))
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.endswith(f"fastnet sweep: {out}: File too large\n")
    assert "targets: " not in ran.stderr, "noticed before the sweep began"
    file = str(out / "_sweep.json")
    ran = sweep("10.200.0.0/22", "-o", file)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(f"fastnet sweep: output '{file}': a file; expected a directory\n")
    ran = sweep("10.200.0.0/22", "-o", str(out))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert re.search("1024 targets: 102[34] alive", ran.stderr), ran.stderr
    assert len([*out.glob("*.parquet")]) == json.loads((out / "_sweep.json").read_text())["shards"]


@pytest.mark.parametrize("scheme", ["tcp://", ""])
@pytest.mark.parametrize("command", ["sweep", "ping"])
def test_a_scheduler_s_name_that_does_not_resolve(
    fastnet: Run, reference: Callable[[str], ModuleType], command: str, scheme: str
) -> None:
    reference("distributed")
    ran = fastnet(command, "10.200.0.5", "--distributed", f"{scheme}no-such-name.invalid:8786")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"fastnet {command}: no-such-name.invalid: Name or service not known\n"


def test_without_a_scheduler_there_is_one_line(lab: Cluster, fastnet: Run) -> None:
    ran = fastnet("sweep", "10.200.0.5", "--distributed", "tcp://10.90.0.1:9", prefix=lab.centre.prefix)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.count("\n") == 1
