"""Where bench finds other projects' programs: on this system, or in the root that BENCH_ROOT names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from environment import ROOT, absent


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delenv("BENCH_ROOT", raising=False)
    return import_module("bench._peers")


@pytest.fixture
def other_root(peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with a loader, a libc and one program: ``true``, a link to ``/etc/alternatives/true``."""
    program = Path(shutil.which("true") or "").resolve()
    needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    loader, libc = re.findall(r"(/\S*/ld-linux\S*|/\S*/libc\.so\.6) \(", needed)[::-1]
    for source, target in (
        (loader, f"lib64/{Path(loader).name}"),
        (libc, "usr/lib/x86_64-linux-gnu/libc.so.6"),
        (program, "opt/true"),
    ):
        (tmp_path / target).parent.mkdir(parents=True)
        shutil.copy(source, tmp_path / target)
    for link, target in (("usr/bin/true", "/etc/alternatives/true"), ("etc/alternatives/true", "/opt/true")):
        (tmp_path / link).parent.mkdir(parents=True)
        (tmp_path / link).symlink_to(target)
    monkeypatch.setenv("BENCH_ROOT", str(tmp_path))
    return tmp_path


def test_a_program_of_this_system_is_its_path(peers: ModuleType) -> None:
    assert peers.command("true") == [shutil.which("true")]
    with pytest.raises(peers.Missing, match=r"^a-program-that-nobody-has$"):
        peers.command("a-program-that-nobody-has")


def test_a_program_of_another_root_runs_with_its_libraries(peers: ModuleType, other_root: Path) -> None:
    command = peers.command("true")
    assert command[0] == str(next((other_root / "lib64").iterdir()))
    assert command[-1] == str(other_root / "opt/true")
    # The loader lists what it maps instead of running it.
    traced = subprocess.run(
        command, env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True, check=True
    )
    assert f"libc.so.6 => {other_root}/usr/lib/x86_64-linux-gnu/libc.so.6 " in traced.stdout
    assert subprocess.run(command, check=False).returncode == 0


def test_a_program_of_this_system_only_is_missing_there(peers: ModuleType, other_root: Path) -> None:
    assert shutil.which("sh")
    with pytest.raises(peers.Missing, match=f"^sh in {other_root}$"):
        peers.command("sh")


def test_files_are_those_of_the_root(peers: ModuleType, other_root: Path) -> None:
    assert peers.file("/usr/bin/true") == other_root / "opt/true"
    with pytest.raises(peers.Missing, match=f"^{other_root}/etc/services$"):
        peers.file("/etc/services")


def test_a_relative_root_is_found_from_every_folder(
    peers: ModuleType, other_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(other_root.parent)
    monkeypatch.setenv("BENCH_ROOT", other_root.name)
    assert peers.file("/usr/bin/true") == other_root / "opt/true"


def test_contenders_are_run_from_the_root(peers: ModuleType, other_root: Path) -> None:
    programs, case = import_module("bench._programs"), import_module("bench._case")
    contenders = [
        programs.Program("there", ["true"], peer="true"),
        programs.Program("within", [sys.executable, "-c", RUNS, "true"], peer="true"),
        programs.Program("only here", ["sh", "-c", ""], peer="sh"),
    ]
    readings = [case.Reading("time", case.NANOSECONDS, lambda answer: answer["seconds"] * 1e9)]
    whole = programs.ProgramCase("work", contenders, lambda answer: "", readings)
    [result] = programs.measure_programs("tiny", (), [whole], 1)
    assert [item.verdict for item in result.measurements] == [
        "right",
        "right",
        f"not installed: sh in {other_root}",
    ]


def test_arp_scan_knows_its_options(peers: ModuleType, root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is counted: by hosts on the link, beside our own sweep."""
    monkeypatch.chdir(ROOT)
    try:
        peers.command("arp-scan")
    except peers.Missing:
        absent("arp-scan")
    page, programs = import_module("bench.bench_probe"), import_module("bench._programs")
    monkeypatch.setattr(programs, "LIMIT", 100.0)
    [sweep] = [each for each in page.sweeps(["pure"]) if each.what == "IPv4 on-link /16, all alive"]
    contenders = [each for each in sweep.contenders if each.name in ("fastnet pure link", "arp-scan")]
    with import_module("bench._hosts").two_hosts() as place, TemporaryDirectory() as folder:
        case = sweep._replace(size=8, contenders=contenders).case(Path(folder))
        results = list(programs.measure_programs("tiny", place, [case], 1))
    assert {(item.name, item.verdict) for result in results for item in result.measurements} == {
        ("fastnet pure link", "right"),
        ("arp-scan", "right"),
    }


RUNS = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench", "checksum", "--rounds", "5"],
            cwd=ROOT,
            env={**os.environ, "FASTNET_IMPL": "pure", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_root_without_a_system_is_refused_in_one_line(bench: Callable[..., object], tmp_path: Path) -> None:
    done = bench(BENCH_ROOT=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bench: BENCH_ROOT: there is no dynamic loader in {tmp_path}\n"
