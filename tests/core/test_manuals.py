"""The manual pages and the completions of shells, which the build makes from the commands' parsers."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from environment import COMMAND_TIMEOUT, ROOT, Run
from namespaces import MakeNamespace
from other_systems import SYSTEMS, prelude

from fastnet.cli.commands import COMMANDS, PORTABLE

Peer = Callable[[str], str]

COMPLETED = [
    ("fastnet pin", "ping"),
    ("fastnet ping --coun", "--count"),
    ("fastnet-toolkit sweep --engine tu", "turbo"),
    ("fastnet sweep --engine=tu", "--engine=turbo"),
    ("fastnet ipc serv", "serve"),
    # Each action of a command has options of its own.
    ("fastnet echo serve --m", "--max-connections"),
    ("fastnet echo client --m", "--message"),
    ("fastnet ipc pair --m", "--message"),
    ("fastnet packet parse --l", "--link"),
    ("fastnet ipc send serve --m", "--max-message"),
    ("fastnet schema verd", "verdict"),
    ("fastnet help portsc", "portscan"),
    # What comes before it is an option, not the action.
    ("fastnet ipv6 --json --eng", "--engine"),
    ("fastnet ipv6 --engine netad", "netaddr"),
    ("fastnet ipv6 --json expl", "explain"),
    ("fastnet --vers", "--version"),
    ("fastnet ping -I l", "lo"),
    ("fastnet sweep --interface l", "lo"),
    ("fastnet status l", "lo"),
]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, ROOT / "tools/manuals.py", path], check=True, timeout=COMMAND_TIMEOUT)
    return path


def test_each_command_has_a_page_without_a_warning(share: Path, peer: Peer) -> None:
    pages = sorted((share / "man/man1").iterdir())
    assert {page.name for page in pages} == {"fastnet.1", *(f"fastnet-{name}.1" for name in COMMANDS)}
    lint = subprocess.run([peer("mandoc"), "-T", "lint", *pages], capture_output=True, text=True, check=False)
    assert lint.stdout + lint.stderr == ""


@pytest.mark.parametrize("system", SYSTEMS)
def test_elsewhere_they_are_of_the_commands_that_work(python: Run, tmp_path: Path, system: str) -> None:
    """A checkout builds there."""
    program = f"sys.argv[1:] = [{str(tmp_path)!r}]; runpy.run_path('tools/manuals.py', run_name='__main__')"
    code = f"{prelude(system)}\nimport runpy, sys\n{program}"
    ran = python("-c", code, cwd=ROOT, env={"FASTNET_IMPL": "pure"})
    assert (ran.returncode, ran.stderr) == (0, "")
    pages = {page.name for page in (tmp_path / "man/man1").iterdir()}
    assert pages == {"fastnet.1", *(f"fastnet-{name}.1" for name in PORTABLE)}


def test_the_documented_places(share: Path) -> None:
    places = re.findall(r"~/venv/share/([\w./-]+)", (ROOT / "docs/deploy.md").read_text())
    assert len(places) == 4
    assert [place for place in places if not (share / place).exists()] == []


def test_a_page_has_every_option_of_the_help(share: Path, peer: Peer, fastnet) -> None:
    words = [peer("mandoc"), "-T", "utf8", str(share / "man/man1/fastnet-sweep.1")]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    page = "".join(character for i, character in enumerate(shown) if "\b" not in shown[i : i + 2])
    options = {
        word.rstrip(",:") for word in fastnet("sweep", "--help").stdout.split() if word.startswith("--")
    }
    assert len(options) > 20
    assert {option for option in options if option.strip("[]") not in page} == set()


def but_other_interfaces(words: list[str]) -> list[str]:
    """The words without this machine's interfaces but ``lo``."""
    return [word for word in words if word == "lo" or not Path("/sys/class/net", word).exists()]


def bash_offers(share: Path, shell: str, typed: str, *prefix: str) -> list[str]:
    script = share / "bash-completion/completions/fastnet"
    words = typed.replace("=", " = ")  # as bash divides a line
    code = f"""source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _fastnet
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    ran = subprocess.run([*prefix, shell, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return ran.stdout.splitlines()


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_bash_completes(share: Path, peer: Peer, typed: str, completed: str) -> None:
    offered = bash_offers(share, peer("bash"), typed)
    assert but_other_interfaces(offered) == [completed.removeprefix("--engine=")]


def test_bash_quotes_what_an_interface_is_called(share: Path, peer: Peer, namespace: MakeNamespace) -> None:
    names = ["`id>&2`", "$(id>&2)", "it's", "a*", 'a"b;id>&2', "~root"]
    host = namespace()
    for name in names:
        host.ip("link", "add", name, "type", "bridge")
    offered = bash_offers(share, peer("bash"), "fastnet ping -I ''", *host.prefix)
    assert {tuple(shlex.split(each)) for each in offered} == {(name,) for name in ("lo", *names)}
    assert bash_offers(share, peer("bash"), r"fastnet ping -I '\$\('", *host.prefix) == [r"\$\(id\>\&2\)"]


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_fish_completes(share: Path, peer: Peer, typed: str, completed: str) -> None:
    script = share / "fish/vendor_completions.d/fastnet.fish"
    words = [peer("fish"), "--no-config", "-c", f"source {script}; complete -C '{typed}'"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    offered = [line.partition("\t")[0] for line in ran.stdout.splitlines()]
    assert but_other_interfaces(offered) == [completed]


@pytest.mark.parametrize("program", ["fastnet", "fastnet-toolkit"])
def test_either_name_finds_its_file(share: Path, peer: Peer, tmp_path: Path, program: str) -> None:
    """As fish does by itself, and bash-completion for bash."""
    for name in ("fastnet", "fastnet-toolkit"):
        (tmp_path / name).symlink_to("/bin/true")  # fish completes what can be run
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {"XDG_DATA_DIRS": str(share), "PATH": path, "HOME": str(tmp_path)}
    words = [peer("fish"), "-c", f"complete -C '{program} portsc'"]
    fish = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert fish.stdout.startswith("portscan\t")
    code = f"source {share}/bash-completion/completions/{program}; complete -p {program}"
    bash = subprocess.run([peer("bash"), "-c", code], capture_output=True, text=True, check=True)
    assert bash.stdout == f"complete -o default -F _fastnet {program}\n"


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_zsh_completes(share: Path, peer: Peer, typed: str, completed: str) -> None:
    """On a terminal: zsh completes only there."""
    functions = share / "zsh/site-functions"
    setup = f"PS1=; fpath=({functions} $fpath); autoload -Uz compinit; compinit -uD; echo rea''dy"
    shell = peer("zsh")
    environment = {"TERM": "dumb", "PATH": os.environ["PATH"], "HOME": "/"}
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execve(shell, ["zsh", "-f", "-i"], environment)
        finally:
            os._exit(1)
    try:
        os.write(terminal, f"{setup}\n".encode())
        read_until(terminal, b"ready\r\n")
        os.write(terminal, f"{typed}\t".encode())
        read_until(terminal, completed.removeprefix(typed.split()[-1]).encode())
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, end: bytes) -> None:
    seen = b""
    while end not in seen:
        readable, _, _ = select.select([terminal], [], [], COMMAND_TIMEOUT)
        assert readable, f"the shell printed {seen!r}, and not {end!r}"
        seen += os.read(terminal, 4096)
