"""Standard streams that are closed, or as full as a disk can be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from children import Child
from environment import COMMAND_TIMEOUT
from forwarding import PATIENCE

from fastnet.cli import COMMANDS, exits

pytestmark = pytest.mark.once

COMMAND = [sys.executable, "-m", "fastnet"]
REASONS = {">&-": "Bad file descriptor", ">/dev/full": "No space left on device"}
HEX = "4500002100000000400166da0a0000010a0000020800b4250007000168656c6c6f"
PRINTING = {
    "address": "address lo",
    "interfaces": "interfaces",
    "ipc": "ipc pair --message hello",
    "ipv6": "ipv6 --prefix fe80::1/64",
    "packet": "packet parse --link ipv4 FILE",
    "ping": "ping -c1 127.0.0.1",
    "portscan": "portscan -p 1 127.0.0.1",
    "routes": "routes 127.0.0.1",
    "schema": "schema reply",
    "status": "status lo",
    "sweep": "sweep 127.0.0.1",
    "tour": "tour",
    "trace": "trace 127.0.0.1",
    "forward": "forward --dry-run 0 127.0.0.1:1",
}
"""Those that print a result and end."""
OTHERS = {"echo", "wait"}
"""A server, and one that prints nothing."""
FORMS = ("sweep 127.0.0.1 --csv", "sweep 127.0.0.1 --xml", "sweep 127.0.0.1 --stream", "interfaces lo")


def test_no_command_is_forgotten() -> None:
    assert {*PRINTING} | OTHERS == {*COMMANDS}


def run(redirection: str, words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "frame"
    file.write_text(HEX)
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *words.replace("FILE", str(file)).split()]
    return subprocess.run(shell, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)


@pytest.mark.parametrize("redirection", REASONS)
@pytest.mark.parametrize(
    "words",
    [
        "--version",
        *PRINTING.values(),
        *FORMS,
        *(f"{words} --json" for words in PRINTING.values() if "schema" not in words),
    ],
)
def test_a_result_that_can_t_be_printed(root: None, tmp_path: Path, redirection: str, words: str) -> None:
    ran = run(redirection, words, tmp_path)
    name = "fastnet" if words == "--version" else f"fastnet {words.split()[0]}"
    assert (ran.stderr, ran.returncode) == (f"{name}: {REASONS[redirection]}\n", exits.OS_FAILURE)


@pytest.mark.parametrize("words", [*PRINTING.values(), "ping no..name", "sweep 127.0.0.1 no..name", "ping"])
def test_remarks_that_can_t_be_printed(root: None, tmp_path: Path, words: str) -> None:
    codes = {run(redirection, words, tmp_path).returncode for redirection in ("", "2>&-", "2>/dev/full")}
    assert len(codes) == 1


@pytest.mark.parametrize("redirection", REASONS)
def test_nothing_to_print(tmp_path: Path, redirection: str) -> None:
    ran = run(redirection, "wait --gone 127.0.0.1:1", tmp_path)
    assert (ran.stderr, ran.returncode) == ("", exits.YES)


@pytest.mark.parametrize("words", ["sweep -f -", "packet parse"])
def test_a_list_that_can_t_be_read(tmp_path: Path, words: str) -> None:
    ran = run("<&-", words, tmp_path)
    name = words.split()[0]
    assert (ran.stderr, ran.returncode) == (f"fastnet {name}: Bad file descriptor\n", exits.OS_FAILURE)


@pytest.mark.parametrize("redirection", REASONS)
@pytest.mark.parametrize("words", ["echo serve", "forward 0 127.0.0.1:1"])
def test_a_server_reports_it_and_serves(words: str, redirection: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *words.split()]
    with Child(shell, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            name = f"fastnet {words.split()[0]}: standard output"
            assert process.stderr.readline() == f"{name}: {REASONS[redirection]}: lines are dropped\n"
            process.terminate()
            _, rest = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == exits.YES
    assert rest.startswith(f"{name}: ")
    assert rest.endswith(" lines dropped\n")
