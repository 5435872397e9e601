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
    ],
    ids=["text", "number", "action"],
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


@pytest.mark.parametrize("command", [("ping",), ("ping", "--mtu"), ("trace",)])
def test_a_source_that_is_neither_an_address_nor_an_interface_is_named_as_one(
    fastnet: Run, command: tuple[str, ...]
) -> None:
    """Not as a host that does not resolve."""
    ran = fastnet(*command, "-I", "dead0.invalid", "::1")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"fastnet {command[0]}: source dead0.invalid: ")
    assert ran.stderr.endswith(" (`fastnet interfaces` lists the interfaces)\n")
