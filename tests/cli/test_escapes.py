"""What peers, the kernel and files put into the output can't command a terminal, nor forge a line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from environment import Run
from hypothesis import given
from hypothesis import strategies as st
from namespaces import MakeNamespace, Namespace
from unix_peers import listening, serve

from fastnet import ipc
from fastnet._escape import escaped_word
from fastnet.cli.output import escaped

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\nforged line\x85\u2028\u202eback\x7f"
SAFE = r"\x1b]0;owned\x07\x1b[2J\r\nforged line\x85\u2028\u202eback\x7f"
LOCALES = [
    {"LC_ALL": "C.UTF-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"},
]


@given(st.text())
def test_what_is_escaped_is_one_printable_line(text: str) -> None:
    assert escaped(text).isprintable()
    assert len(escaped(text).splitlines()) <= 1
    if text.isprintable():
        assert escaped(text) == text


def test_a_byte_that_is_no_text_is_shown_as_that_byte() -> None:
    assert escaped(os.fsdecode(b"caf\xc3\xa9 \xff")) == "café \\xff"


def test_a_message_to_a_server_stays_one_line(path: Path) -> None:
    with serve(path) as server:
        listening(server)
        with ipc.connect(path, timeout=20) as channel:
            channel.send(HOSTILE.encode())
            channel.recv()
            channel.send(b"DONE")
            channel.recv()
        out, _ = server.communicate(timeout=60)
    assert out.splitlines() == [f"pid {os.getpid()} uid {os.geteuid()}: {text}" for text in (SAFE, "DONE")]


@pytest.mark.parametrize("environment", LOCALES)
@pytest.mark.parametrize("raw", [b"caf\xc3\xa9", b"\xff\xfe\x80 no text", HOSTILE.encode()])
def test_bytes_that_are_no_text_come_back_in_every_locale(environment: dict[str, str], raw: bytes) -> None:
    words = [sys.executable, "-m", "fastnet", "ipc", "pair", "--message", raw]
    for extra in ([], ["--json"]):
        ran = subprocess.run(
            [*words, *extra], env={**os.environ, **environment}, capture_output=True, check=False, timeout=60
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        if extra:
            assert json.loads(ran.stdout)["message"] == raw.decode(errors="backslashreplace")
        else:
            sent, reply, child = ran.stdout.decode("latin-1").splitlines()
            assert (sent + reply + child).isprintable()
            assert reply.endswith(sent.removeprefix("sent     "))


@pytest.mark.parametrize(
    "command",
    [
        ("interfaces",),
        ("interfaces", "NAME"),
        ("routes",),
        ("status", "NAME"),
        ("ipv6",),
        ("address", "NAME"),
    ],
)
def test_an_interface_s_name_is_escaped(
    namespace: MakeNamespace, fastnet: Run, command: tuple[str, ...]
) -> None:
    host = namespace()
    name = "\x1b[31m\u202ered"
    host.ip("link", "add", name, "type", "ifb")
    host.ip("address", "add", "10.9.9.9/24", "dev", name)
    host.ip("address", "add", "fd09::9/64", "dev", name, "nodad")
    host.ip("link", "set", name, "up")
    ran = fastnet(*[name if word == "NAME" else word for word in command], prefix=host.prefix)
    assert ran.returncode in (0, 1), ran.stderr
    for line in (ran.stdout + ran.stderr).split("\n"):
        assert line.isprintable(), line
    if command != ("address", "NAME"):
        assert r"\x1b[31m\u202ered" in ran.stdout


@pytest.fixture
def named_link(linked: tuple[Namespace, Namespace]) -> tuple[Namespace, str]:
    """A host whose link has a name that is no text, and its neighbour's address with that as its scope."""
    left, right = linked
    name = "\x1b[31m\u202ered"
    left.settle()
    right.settle()
    left.ip("link", "set", "veth0", "name", name)
    found = re.search(r"fe80::\S+(?=/64)", right.ip("-6", "address", "show", "dev", "veth0"))
    assert found is not None
    return left, f"{found[0]}%{name}"


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("command", [("ping", "-c1"), ("ping", "--mtu"), ("trace", "--engine=icmp")])
def test_a_scope_that_is_no_text_is_escaped(
    named_link: tuple[Namespace, str], fastnet: Run, command: tuple[str, ...]
) -> None:
    host, address = named_link
    ran = fastnet(*command, address, prefix=host.prefix)
    assert ran.returncode == 0, ran.stderr
    assert all(line.isprintable() for line in (ran.stdout + ran.stderr).split("\n"))
    assert r"%\x1b[31m\u202ered" in ran.stdout


@pytest.mark.parametrize("form", ["--alive", "--csv", "--xml", "--json", None])
def test_a_name_in_a_list_of_targets_is_escaped(fastnet: Run, tmp_path: Path, form: str | None) -> None:
    targets = tmp_path / "targets"
    targets.write_text("127.0.0.1\n\x1b[2J..name\x9b\n")
    ran = fastnet("sweep", "--timeout=100ms", *([form] if form else []), f"--file={targets}")
    assert all(line.isprintable() for line in (ran.stdout + ran.stderr).split("\n"))
    assert ran.returncode == 2
    if form in ("--csv", None):
        assert r"\x1b[2J..name\x9b" in ran.stdout


def test_a_path_in_a_file_of_rules_is_escaped(fastnet: Run, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[rule.one]\nlisten = "unix:/tmp/\\u202e\\u001b[2J"\nupstreams = "127.0.0.1:1"\n')
    ran = fastnet("forward", "-f", str(rules), "--dry-run")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == r"forwarding unix:/tmp/\u202e\x1b[2J to 127.0.0.1:1" "\n"


@given(st.text())
def test_a_word_is_one_column(text: str) -> None:
    assert escaped_word(text).isprintable()
    assert len(escaped_word(text).split()) <= 1
    assert escaped_word(text).count("\\") >= text.count("\\")
