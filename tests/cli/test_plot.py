"""``--plot``: the file that a command leaves, and what it refuses before anything is sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from children import Child
from command_table import Hosts
from environment import Run
from forwarding import assert_soon

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = [pytest.mark.xdist_group("icmp"), pytest.mark.usefixtures("matplotlib"), pytest.mark.once]
NOBODY = 65534
WIDTHS = {"ping": 1200, "sweep": 820, "trace": 1200}
COMMANDS = ("ping -q -c1", "sweep", "trace")


@pytest.fixture(scope="module")
def matplotlib(reference: Callable[[str], ModuleType]) -> None:
    reference("matplotlib")


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_without_display_home_and_cache(
    fastnet: Run, tmp_path: Path, root: None, command: str
) -> None:
    path = tmp_path / "x.png"
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), "/dev/null/none")
    display = {"DISPLAY": ":99", "MPLBACKEND": "no such backend", "OPENBLAS_NUM_THREADS": "2"}
    plain = fastnet(*command.split(), "127.0.0.1")
    ran = fastnet(*command.split(), "127.0.0.1", f"--plot={path}", env=home | display)
    assert (ran.returncode, ran.stderr) == (0, plain.stderr)
    assert ran.stdout.count("\n") == plain.stdout.count("\n")
    assert png_size(path)[0] == WIDTHS[command.split()[0]]
    assert path.stat().st_mode & 0o777 == 0o644
    assert [*tmp_path.iterdir()] == [path]


def test_sizes_of_a_ping(fastnet: Run, tmp_path: Path, root: None) -> None:
    path = tmp_path / "x.png"
    hosts = [f"127.0.0.{number}" for number in range(1, 5)]
    for count, height in ((1, 450), (4, 1130)):
        assert fastnet("ping", "-qc1", *hosts[:count], f"--plot={path}").returncode == 0
        assert png_size(path) == (1200, height)


def test_a_trace(fastnet: Run, tmp_path: Path, root: None) -> None:
    path = tmp_path / "x.svg"
    assert fastnet("trace", "--names", "127.0.0.1", f"--plot={path}").returncode == 0
    assert (
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="720pt" height="163.2pt"' in path.read_text()
    )


def test_an_interrupted_trace(hosts: Hosts, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    words = ("trace", "-W1h", "-c1", f"--plot={path}", "10.78.0.9")
    command = [*hosts.prefix, "env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "10.77.0.2" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "")
    assert "interrupted" in output
    assert png_size(path) == (1200, 272)


def test_sizes_of_a_sweep(fastnet: Run, tmp_path: Path, root: None) -> None:
    path = tmp_path / "x.png"
    for targets, size in (("127.0.0.0/30", (820, 678)), ("127.0.0.0/24", (1100, 1226))):
        assert fastnet("sweep", targets, f"--plot={path}").returncode == 0
        assert png_size(path) == size


def test_each_round_of_a_sweep_replaces_the_picture_and_goes_on_if_it_cannot(
    tmp_path: Path, root: None
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "x.png"
    words = ("sweep", "--every=1ms", f"--plot={path}", "127.0.0.1")
    command = ["env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            assert_soon(path.exists)
            folder.rename(tmp_path / "away")
            told = f"fastnet sweep: {path}: No such file or directory: it is left as it was\n"
            while process.stderr.readline() != told:
                assert process.poll() is None
            folder.mkdir()
            assert_soon(path.exists)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert png_size(path) == (820, 404)


def test_ctrl_c_draws_what_there_is(tmp_path: Path, root: None) -> None:
    path = tmp_path / "x.svg"
    words = ("ping", "-l", "-i1h", f"--plot={path}", "127.0.0.1")
    command = ["env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "rtt=" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "")
    assert path.read_text().endswith("</svg>\n")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "line", "code"),
    [
        ("x.pdf", "x.pdf: expected a name that ends with .png or .svg", 2),
        ("", "'': expected a name that ends with .png or .svg", 2),
        ("/nonexistent/x.png", "/nonexistent/x.png: No such file or directory", 3),
    ],
)
def test_a_wrong_name(fastnet: Run, root: None, command: str, name: str, line: str, code: int) -> None:
    ran = fastnet(*command.split(), "127.0.0.1", f"--plot={name}")
    expected = (code, "", f"fastnet {command.split()[0]}: {line}\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_another_users_directory(fastnet: Run, tmp_path: Path, root: None, command: str) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    tmp_path.chmod(0o755)
    ran = fastnet(*command.split(), "127.0.0.1", f"--plot={tmp_path}/x.png")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith(f"fastnet {command.split()[0]}: {tmp_path}: Permission denied: root without")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("ping --mtu 127.0.0.1", "--plot: not with --mtu"),
        ("sweep --distributed=127.0.0.1:1 127.0.0.1", "--plot: not with --distributed"),
        ("ping --distributed=127.0.0.1:1 127.0.0.1", "--plot: not with --distributed"),
        (
            f"ping {' '.join(f'127.0.0.{number}' for number in range(17))}",
            "--plot: 17 hosts: at most 16 have room",
        ),
    ],
)
def test_refused(fastnet: Run, root: None, tmp_path: Path, words: str, line: str) -> None:
    ran = fastnet(*words.split(), f"--plot={tmp_path}/x.png")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"fastnet {words.split()[0]}: {line}")
    assert [*tmp_path.iterdir()] == []
