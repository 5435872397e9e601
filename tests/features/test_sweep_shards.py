"""Shards, seeds and state files: disjoint and covering, scattered, and taken up where they ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from children import Child
from environment import Run
from hypothesis import given
from hypothesis import strategies as st
from namespaces import Namespace

import fastnet
from fastnet._alive import PORTS
from fastnet._sweep import Sweep
from fastnet._sweep.plan import segments, shard_size
from fastnet._sweep.resume import StateFile
from fastnet._system.routes import Route
from fastnet.errors import InvalidArgument
from fastnet.targets import Targets

pytestmark = pytest.mark.xdist_group("icmp")

some_targets = st.lists(
    st.sampled_from(["10.0.0.1", "10.0.0.4-9", "10.0.1.0/28", "10.2.0-3.1,3-5", "fd00::/125", "fd01::7"]),
    min_size=1,
).map(lambda texts: Targets(*texts))


# As a kernel's: apart, of several links, some of them without any target.
ROUTES = [
    (family, Route(interface, int(ip_address(first)), int(ip_address(last)), "me"))
    for family, interface, first, last in (
        (socket.AF_INET, "eth0", "10.0.0.0", "10.0.0.6"),
        (socket.AF_INET, "eth1", "10.0.0.7", "10.0.0.7"),
        (socket.AF_INET, "eth0", "10.0.0.9", "10.0.1.3"),
        (socket.AF_INET, "eth2", "10.2.2.0", "10.2.3.255"),
        (socket.AF_INET, "eth3", "10.9.0.0", "10.9.255.255"),
        (socket.AF_INET6, "eth0", "fd00::4", "fd00::ffff"),
    )
]
some_routes = st.lists(st.sampled_from(ROUTES), unique=True)


def interface_of(routes: list[tuple[int, Route]], family: int, number: int) -> str:
    return next((r.interface for f, r in routes if f == family and r.first <= number <= r.last), "")


@given(some_targets, some_routes, st.integers(1, 40))
def test_shards_are_disjoint_and_cover_all(
    targets: Targets, routes: list[tuple[int, Route]], of: int
) -> None:
    shards = []
    for which in range(1, of + 1):
        cut = segments(targets, (which, of), routes)
        places = sorted(place for segment in cut for own in segment.own for place in own)
        assert places == [*range(shard_size(targets, (which, of)))]
        shards += [which - 1 + place * of for place in places]
        for segment in cut:
            first, step = segment.shard
            numbers = [number for span in segment.spans for number in range(span.first, span.last + 1)]
            assert numbers[first::step] == [segment.at(place)[1] for place in range(len(segment.indices))]
            for place in (place for own in segment.own for place in own):
                address = segment.at(place - segment.begin)
                assert address == targets.at(which - 1 + place * of)
                assert segment.interface == interface_of(routes, *address)
    assert sorted(shards) == [*range(targets.size)]


@given(some_targets, some_routes, st.integers(1, 5), st.data())
def test_each_place_is_asked_about_by_one_unless_it_is_decided(
    targets: Targets, routes: list[tuple[int, Route]], of: int, data: st.DataObject
) -> None:
    cut = segments(targets, (1, of), routes)
    size = shard_size(targets, (1, of))
    chosen = data.draw(st.sets(st.integers(0, size - 1)))
    bits = sum(1 << place for place in chosen).to_bytes((size + 7) // 8, "little")
    for decided, left in ((bits, {*range(size)} - chosen), (None, {*range(size)})):
        asked = [
            segment.begin + place
            for segment in cut
            for place in segment.order(None, segment.left_out(decided))
        ]
        assert sorted(asked) == sorted(left)


@given(st.integers(0, (1 << 64) - 1))
def test_a_seed_is_an_order_of_all(seed: int) -> None:
    (segment,) = segments(Targets("10.0.0.0/26"), (1, 1))
    assert sorted(segment.order(seed, None)) == [*range(64)]
    assert [*segment.order(seed, None)] == [*segment.order(seed, None)]


@pytest.mark.parametrize("engine", ["raw", "tcp"])
def test_the_shards_of_a_sweep(root: None, engine: str) -> None:
    targets = ["127.0.0.1-100", "::1"]
    results = [
        fastnet.sweep(targets, shard=(which, 3), seed=which, engine=engine, timeout=0.3)
        for which in (1, 2, 3)
    ]
    assert [result.counts.alive for result in results] == [34, 34, 33]
    found = [verdict.address for result in results for verdict in result.alive]
    assert sorted(found) == sorted(Targets(*targets))
    assert results[0][1].address == "127.0.0.4"


@pytest.mark.parametrize(
    "bad", [{"shard": (0, 3)}, {"shard": (4, 3)}, {"shard": (1, 0)}, {"seed": -1}, {"decided": b""}]
)
def test_what_is_out_of_range_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=str(*bad)):
        Sweep("127.0.0.1", **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["raw", "tcp", "scapy"])
def test_what_is_decided_is_not_asked_again(root: None, engine: str) -> None:
    with Sweep("127.0.0.1-9", engine=engine, decided=b"\x0f\x01", timeout=0.3) as running:
        while not running.run():
            pass
        result = running.result()
        assert running.decided() == b"\xff\x01"
        assert running.sent in ((4, 4 * len(PORTS)) if engine == "tcp" else (4,))
    assert [verdict.address for verdict in result.alive] == [f"127.0.0.{n}" for n in (5, 6, 7, 8)]
    assert len(result.decided_before) == 5
    assert result[0].state == "decided before"


def interrupt(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command, and press Ctrl-C once it has printed something."""
    command = ["env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output += process.stdout.read()
        errors = process.stderr.read()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def test_interrupted_and_taken_up_again(root: None, fastnet, tmp_path: Path) -> None:
    file = tmp_path / "state"
    words = ["sweep", "--alive", "--stream", "--seed=7", "--max-rate=60", f"--resume={file}", "127.0.0.1-90"]
    ran = interrupt(words)
    assert ran.returncode == 130
    told = f"{file} has what is left: the same command goes on from there"
    assert ran.stderr.startswith(f"interrupted\n{told}\n")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    before = ran.stdout.split()
    assert 0 < len(before) < 90
    again = fastnet(*words)
    assert again.returncode == 0
    assert again.stderr.endswith(f", {len(before)} decided before (raw)\n")
    assert sorted(before + again.stdout.split()) == sorted(Targets("127.0.0.1-90"))
    assert not file.exists()


def test_a_state_file_of_others_is_refused(root: None, fastnet, tmp_path: Path) -> None:
    file = tmp_path / "state"
    with StateFile(str(file), Targets("127.0.0.0/28")) as state:
        assert state.decided is None
        state.save(b"\x01\x80")
    kept = file.read_bytes()
    with StateFile(str(file), Targets("127.0.0.0/28")) as state:
        assert state.decided == b"\x01\x80"
    for words, complaint in (
        (["127.0.0.0/27"], "of other targets (127.0.0.0-127.0.0.15), not of 127.0.0.0-127.0.0.31"),
        (["127.0.0.0/28", "--shard=1/2"], "of another shard (1 1), not of 1 2"),
    ):
        ran = fastnet("sweep", "--resume", str(file), *words)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == f"fastnet sweep: {file}: it is {complaint}\n"
        assert file.read_bytes() == kept


@pytest.mark.parametrize(
    "text", ["127.0.0.1\n", "[1, 2]", "{}", '{"format": "fastnet sweep 2"}', "\0", "[" * 100_000]
)
def test_a_file_of_another_kind_is_never_written_to(tmp_path: Path, text: str) -> None:
    file = tmp_path / "state"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match="not a file that an interrupted sweep wrote"):
        StateFile(str(file), Targets("127.0.0.1"))
    assert file.read_text() == text


@pytest.mark.parametrize("bitmap", [None, 5, "", "AAAA", "eJwDAAAAAAE=", "eJxjAAAAAQAB", "e" * 1000])
def test_a_damaged_file_is_refused(tmp_path: Path, bitmap: object) -> None:
    file = tmp_path / "state"
    with StateFile(str(file), Targets("127.0.0.0/28")) as state:
        state.save(b"\0\0")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"decided": bitmap}))
    with pytest.raises(InvalidArgument, match="damaged"):
        StateFile(str(file), Targets("127.0.0.0/28"))


def test_where_it_can_not_be_written_is_told_first(root: None, fastnet, tmp_path: Path) -> None:
    ran = fastnet("sweep", "--resume", str(tmp_path / "none" / "state"), "127.0.0.1")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "No such file or directory" in ran.stderr
    ran = fastnet("sweep", "--resume", str(tmp_path), "127.0.0.1")
    assert (ran.returncode, ran.stderr) == (2, f"fastnet sweep: {tmp_path}: not a regular file\n")
    ran = fastnet("sweep", "--resume", str(tmp_path / "state"), "--engine=raw", "127.0.0.1", "--timeout=0")
    assert ran.returncode == 2
    assert not (tmp_path / "state").exists()


def test_special_addresses_are_left_out_of_many_public_ones(
    root: None, namespace: Callable[[], Namespace], fastnet: Run, tmp_path: Path
) -> None:
    """In a namespace without a route: nothing is sent."""
    space, few = Targets("0.0.0.0/4"), (7, 1 << 23)
    special = 2 << 24  # 0.0.0.0/8 and 10.0.0.0/8
    for include, left_out in ((False, special), (True, 0)):
        with (
            Sweep(space, shard=few, include_special=include) as running,
            StateFile(tmp_path / "state", space, few, include) as state,
        ):
            assert (running.left_out, running.targets.size) == (left_out, space.size - left_out)
            assert ("10.1.2.3" in running.targets) == include
            state.save(running.decided())  # of as many targets
            with StateFile(tmp_path / "state", space, few, include) as again:
                assert again.decided == running.decided()
            state.remove()
    words = ("sweep", "--shard", "7/8388608", "0.0.0.0/4")
    host = namespace()
    for more, count in (((), 28), (("--include-special",), 32)):
        ran = fastnet(*words, *more, prefix=host.prefix)
        *notes, summary = ran.stderr.splitlines()
        assert summary.startswith(f"{count} targets: 0 alive, 0 inactive, 0 unreachable, {count} not probed")
        assert notes == (
            [] if more else ["left out: 33,554,432 special-purpose addresses (--include-special)"]
        )


@pytest.mark.parametrize("texts", [["10.0.0.0/8"], ["10.0.0.0/8", "1.0.0.0-1.15.255.255"]], ids=str)
def test_special_addresses_are_kept_beside_few_public_ones(root: None, texts: list[str]) -> None:
    with Sweep(texts, shard=(1, 1 << 23)) as running:
        assert (running.left_out, running.targets) == (0, Targets(*texts))
