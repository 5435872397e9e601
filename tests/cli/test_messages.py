"""What argparse prints for us is the same on every Python: no colour, and one wording."""

import os
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from fastnet.cli import COMMANDS

Run = Callable[..., "CompletedProcess[str]"]

HELP = [["--help"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.parametrize("words", [*HELP, ["ping", "--count=x", "::1"]], ids=" ".join)
def test_nothing_is_coloured(fastnet: Run, words: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    plain = fastnet(*words, env={**environment, "NO_COLOR": "1"})
    forced = fastnet(*words, env={**environment, "FORCE_COLOR": "1"})
    assert "\x1b" not in forced.stdout + forced.stderr
    assert (forced.stdout, forced.stderr) == (plain.stdout, plain.stderr)


@pytest.mark.parametrize(
    ("words", "argument", "choices"),
    [
        (
            ["wait", "--check=prayer", "a:1"],
            "--check",
            "'prayer' (choose from 'connect', 'stable', 'banner')",
        ),
        (["forward", "0", "a:1", "--send-proxy=3"], "--send-proxy", "3 (choose from 1, 2)"),
        (["echo", "x"], "ACTION", "'x' (choose from 'serve', 'client')"),
        (["echo", "--", "-h"], "ACTION", "'-h' (choose from 'serve', 'client')"),
    ],
    ids=["text", "number", "action", "dashes"],
)
def test_a_wrong_choice_is_answered_with_all(
    fastnet: Run, words: list[str], argument: str, choices: str
) -> None:
    done = fastnet(*words)
    command = f"fastnet {words[0]}"
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"{command}: argument {argument}: invalid choice: {choices} (see {command} --help)\n"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("ping -c1 -- -q", "fastnet ping: -q: "),
        ("ping -- -h", "fastnet ping: -h: "),
        ("forward -- --help 127.0.0.1:1", "fastnet forward: "),
        ("portscan 127.0.0.1 -- --json", "fastnet portscan: unrecognized arguments: --json ("),
    ],
)
def test_what_follows_two_dashes_is_refused_as_a_word(fastnet: Run, words: str, complaint: str) -> None:
    ran = fastnet(*words.split())
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith(complaint)


def test_other_targets_are_probed_beside_a_word_after_two_dashes(fastnet: Run, root: None) -> None:
    ran = fastnet("sweep", "--", "--json", "127.0.0.1")
    assert [line.split()[:2] for line in ran.stdout.splitlines()] == [
        ["127.0.0.1", "alive"],
        ["--json", "not"],
    ]


@pytest.mark.parametrize("command", [("ping",), ("ping", "--mtu"), ("trace",)])
def test_a_source_that_is_neither_an_address_nor_an_interface_is_named_as_one(
    fastnet: Run, command: tuple[str, ...]
) -> None:
    """Not as a host that does not resolve."""
    ran = fastnet(*command, "-I", "dead0.invalid", "::1")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"fastnet {command[0]}: source dead0.invalid: ")
    assert ran.stderr.endswith(" (`fastnet interfaces` lists the interfaces)\n")
