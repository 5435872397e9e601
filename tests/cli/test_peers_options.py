"""Every option letter of the programs whose users come here: none means another thing without a word."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from importlib import import_module

import pytest
from environment import ROOT, Run

from fastnet.cli.full_parser import parse, parser_of
from fastnet.cli.habits import hint
from fastnet.cli.not_here import NOT_HERE

pytestmark = pytest.mark.once

SAME = "the same"
PINGS = "what ping(8) means by it; docs/habits.md has the difference"
NAMED = "an error that names the line of the table"
REMARKED = "a remark that names ours"
Peer = tuple[str, str]
"""A program, and the command that its users type."""

EXPECTED: dict[Peer, dict[str, str]] = {
    ("ping", "ping"): {
        "-3 ::1": NAMED,
        "-4 127.0.0.1": SAME,
        "-6 ::1": SAME,
        "-a ::1": NAMED,
        "-A ::1": NAMED,
        "-b 127.0.0.1": NAMED,
        "-B ::1": NAMED,
        "-c 1 ::1": SAME,
        "-C ::1": NAMED,
        "-d ::1": NAMED,
        "-D ::1": SAME,
        "-e 5 ::1": NAMED,
        "-f ::1": SAME,
        "-F 5 ::1": NAMED,
        "-h": SAME,
        "-H ::1": NAMED,
        "-i 0.2 ::1": SAME,
        "-I lo ::1": SAME,
        "-l 3 ::1": "-l takes no value, as that of fping: ping's -l 3 has no equivalent",
        "-l3 ::1": NAMED,
        "-L ::1": NAMED,
        "-m 5 ::1": SAME,
        "-M do ::1": SAME,
        "-n ::1": SAME,
        "-N name ::1": NAMED,
        "-O ::1": SAME,
        "-p ff00 ::1": SAME,
        "-q ::1": SAME,
        "-Q 16 -c 1 ::1": REMARKED,
        "-Q 0x10 ::1": NAMED,
        "-r ::1": NAMED,
        "-R ::1": NAMED,
        "-s 100 ::1": SAME,
        "-S 1000 ::1": NAMED,
        "-t 5 ::1": SAME,
        "-T tsonly ::1": NAMED,
        "-U ::1": NAMED,
        "-v ::1": SAME,
        "-V": NAMED,
        "-w 5 ::1": SAME,
        "-W 0.5 ::1": SAME,
    },
    ("fping", "ping"): {
        "-4 127.0.0.1": SAME,
        "-6 ::1": SAME,
        "-a ::1": NAMED,
        "-A ::1": NAMED,
        "-b 100 ::1": NAMED,
        "-B 1.5 ::1": SAME,
        "-c 1 ::1": SAME,
        "-C 1 ::1": NAMED,
        "-d ::1": NAMED,
        "-D ::1": SAME,
        "-e ::1": NAMED,
        "-f -": "-f is a flood, as in ping(8): a file of hosts is --file -",
        "-g ::1/126": NAMED,
        "-h": SAME,
        "-H 5 ::1": NAMED,
        "-i 10 ::1": PINGS,
        "-I lo ::1": SAME,
        "-J ::1": NAMED,
        "-k 5 ::1": NAMED,
        "-l ::1": SAME,
        "-m ::1": NAMED,
        "-M ::1": NAMED,
        "-n ::1": PINGS,
        "-N ::1": NAMED,
        "-o ::1": NAMED,
        "-O 16 ::1": "-O takes no value, as that of ping(8): fping's -O 16 is --tos 16",
        "-p 20 ::1": PINGS,
        "-p 500 ::1": NAMED,
        "-q ::1": SAME,
        "-Q 10 ::1": SAME,
        "-r 1 ::1": SAME,
        "-R ::1": NAMED,
        "-s ::1": NAMED,
        "-S ::1 ::1": NAMED,
        "-t 100 ::1": PINGS,
        "-t 500 ::1": NAMED,
        "-T 5 ::1": NAMED,
        "-u ::1": NAMED,
        "-v ::1": PINGS,
        "-x 1 ::1": SAME,
        "-X 1 ::1": NAMED,
        "--ipv4 ::1": NAMED,
        "--iface=lo ::1": NAMED,
        "--netdata ::1": NAMED,
        "--reachable=1 ::1": NAMED,
        "--retry=1 ::1": NAMED,
        "--squiet=10 ::1": NAMED,
        "--version ::1": NAMED,
    },
    ("nmap", "sweep"): {
        "-6 ::1": SAME,
        "-A ::1": NAMED,
        "-b ::1": NAMED,
        "-d ::1": NAMED,
        "-D 127.0.0.1 ::1": NAMED,
        "-e lo ::1": NAMED,
        "-f ::1": NAMED,
        "-F ::1": NAMED,
        "-g 53 ::1": NAMED,
        "-h": SAME,
        "-iL hosts": NAMED,
        "-n ::1": NAMED,
        "-oX x ::1": NAMED,
        "-oG x ::1": NAMED,
        "-oN x ::1": NAMED,
        "-O ::1": NAMED,
        "-p 80 ::1": NAMED,
        "-PE ::1": NAMED,
        "-PS80 ::1": NAMED,
        "-Pn ::1": NAMED,
        "-r ::1": NAMED,
        "-R ::1": NAMED,
        "-sn ::1": NAMED,
        "-sS ::1": NAMED,
        "-sU ::1": NAMED,
        "-S ::1 ::1": NAMED,
        "-T4 ::1": NAMED,
        "-v ::1": SAME,
        "-V": NAMED,
    },
    ("nmap", "portscan"): {
        "-6 ::1": SAME,
        "-A ::1": NAMED,
        "-b ::1": NAMED,
        "-d ::1": NAMED,
        "-D 127.0.0.1 ::1": NAMED,
        "-e lo ::1": NAMED,
        "-f ::1": NAMED,
        "-F ::1": NAMED,
        "-g 53 ::1": NAMED,
        "-h": SAME,
        "-iL hosts ::1": NAMED,
        "-n ::1": NAMED,
        "-oX x": NAMED,
        "-O ::1": NAMED,
        "-p 80,443 ::1": SAME,
        "-p- ::1": SAME,
        "-p -100 ::1": SAME,
        "-p 65530- ::1": SAME,
        "-p http,https ::1": SAME,
        "-p T:22 ::1": NAMED,
        "-Pn ::1": NAMED,
        "-r ::1": NAMED,
        "-R ::1": NAMED,
        "-sT ::1": NAMED,
        "-sn ::1": NAMED,
        "-S ::1": NAMED,
        "-T4 ::1": NAMED,
        "-v ::1": NAMED,
        "-V ::1": NAMED,
    },
    ("traceroute", "trace"): {
        "-4 127.0.0.1": SAME,
        "-6 ::1": SAME,
        "-A ::1": NAMED,
        "-d ::1": NAMED,
        "-D ::1": NAMED,
        "-e ::1": NAMED,
        "-f 2 ::1": NAMED,
        "-F ::1": NAMED,
        "-g ::1 ::1": NAMED,
        "-i lo ::1": NAMED,
        "-I ::1": NAMED,
        "-I -n ::1": NAMED,
        "-l 5 ::1": NAMED,
        "-m 5 ::1": SAME,
        "-M icmp ::1": NAMED,
        "-n ::1": SAME,
        "-N 1 ::1": NAMED,
        "-O info ::1": NAMED,
        "-p 80 ::1": NAMED,
        "-P 1 ::1": NAMED,
        "-q 1 ::1": NAMED,
        "-r ::1": NAMED,
        "-s ::1 ::1": NAMED,
        "-t 16 ::1": NAMED,
        "-T ::1": NAMED,
        "-U ::1": NAMED,
        "-V ::1": NAMED,
        "-w 1 ::1": NAMED,
        "-z 1 ::1": NAMED,
        "--icmp ::1": NAMED,
    },
    ("socat", "forward"): {
        "-4 0 ::1:1": NAMED,
        "-6 0 ::1:1": NAMED,
        "-b 9 0 ::1:1": NAMED,
        "-d 0 ::1:1": NAMED,
        "-D 0 ::1:1": NAMED,
        "-g 0 ::1:1": NAMED,
        "-h": SAME,
        "-L x 0 ::1:1": NAMED,
        "-lf x 0 ::1:1": NAMED,
        "-r x 0 ::1:1": NAMED,
        "-R x 0 ::1:1": NAMED,
        "-s 0 ::1:1": NAMED,
        "-S 1 0 ::1:1": NAMED,
        "-t 5 0 ::1:1": NAMED,
        "-T 5 0 ::1:1": NAMED,
        "-u 0 ::1:1": NAMED,
        "-U 0 ::1:1": NAMED,
        "-v 0 ::1:1": NAMED,
        "-V": NAMED,
        "-W x 0 ::1:1": NAMED,
        "-x 0 ::1:1": NAMED,
    },
    ("haproxy", "forward"): {
        "-c -f /dev/null": NAMED,
        "-C /": NAMED,
        "-d 0 ::1:1": NAMED,
        "-D 0 ::1:1": NAMED,
        "-f /etc/passwd": "/etc/passwd: not TOML",
        "-L x 0 ::1:1": NAMED,
        "-m 9 0 ::1:1": NAMED,
        "-n 9 0 ::1:1": NAMED,
        "-N 9 0 ::1:1": NAMED,
        "-p x 0 ::1:1": NAMED,
        "-q 0 ::1:1": NAMED,
        "-s 0 ::1:1": NAMED,
        "-S x 0 ::1:1": NAMED,
        "-v": NAMED,
        "-V 0 ::1:1": NAMED,
        "-W 0 ::1:1": NAMED,
        "-x x 0 ::1:1": NAMED,
    },
}
"""What happens to an option of theirs, typed here as there."""
ROWS = [(*peer, words, expected) for peer, table in EXPECTED.items() for words, expected in table.items()]
IPUTILS = "346aAbBcCdDefFhHiIlLmMnNOpqQrRsStTUvVwW"
"""The options of ping(8), up to iputils 20250605."""
LISTED = {
    "fping": (("-h",), r"(?m)^ +-(\w)[, ]"),
    "nmap": (("-h",), r"(?m)^ +-(\w)"),
    "traceroute": (("--help",), r"(?m)^  -(\w)"),
    "socat": (("-h",), r"(?m)^ +-(\w)"),
    "haproxy": (("-h",), r"(?m)^ +-(\w)"),
}
"""How a program lists its options."""


LONG: dict[Peer, set[str]] = {
    ("fping", "ping"): {
        *(
            "--all",
            "--backoff",
            "--count",
            "--file",
            "--loop",
            "--quiet",
            "--size",
            "--timestamp",
            "--tos",
            "--ttl",
        ),
        *("--interval", "--timeout"),  # in another unit: docs/habits.md
    },
    ("nmap", "sweep"): {"--exclude", "--max-rate", "--resume"},
    ("nmap", "portscan"): {"--open"},
    ("traceroute", "trace"): {"--interface", "--max-hops", "--mtu", "--source", "--tos"},
}
"""The long names that mean the same here."""
UNLISTED = (
    *("adler32", "allports", "debug", "defeat-icmp-ratelimit", "defeat-rst-ratelimit", "disable-arp-ping"),
    *("discovery-ignore-rst", "fuzzy", "log-errors", "max-os-tries", "nsock-engine", "randomize-hosts"),
    *("release-memory", "resolve-all", "script-timeout", "servicedb", "stats-every", "unique", "versiondb"),
)
"""Long names of nmap(1) that `nmap -h` does not list."""


def help_of(path: str, program: str) -> str:
    """What a program prints on its options."""
    words, _ = LISTED[program]
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    ran = subprocess.run([path, *words], **pipes, timeout=60, check=False)  # type: ignore[call-overload]
    return f"{ran.stdout}{ran.stderr}"


def letters_of(program: str) -> set[str]:
    """The letters that the tables of a program have, each of which has all of them."""
    tables = [
        {words[1] for words in table if words[1] != "-"}
        for (peer, _), table in EXPECTED.items()
        if peer == program
    ]
    assert all(letters == tables[0] for letters in tables)
    return tables[0]


def test_every_letter_of_ping() -> None:
    assert letters_of("ping") == {*IPUTILS}


@pytest.mark.parametrize("program", sorted(LISTED))
def test_every_letter_that_a_program_lists(peer: Callable[[str], str], program: str) -> None:
    words, form = LISTED[program]
    ran = subprocess.run(
        [peer(program), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    listed = {*re.findall(form, ran.stdout + ran.stderr)}
    assert len(listed) > 10
    assert listed - letters_of(program) == set()


@pytest.fixture
def refusal(fastnet: Run, capsys: pytest.CaptureFixture[str]) -> Callable[[str, list[str]], str]:
    """The usage error of the parser or, where that takes the words, the error of the command."""

    def refused(command: str, words: list[str]) -> str:
        code: object = None
        try:
            parse(command, import_module(f"fastnet.cli.{command}"), words, None)
        except SystemExit as ended:
            code = ended.code
        if code is not None:
            printed = capsys.readouterr()
            assert (code, printed.out) == (2, "")
            return printed.err
        ran = fastnet(command, *words, timeout=60)
        assert (ran.returncode in (2, 3), ran.stdout) == (True, "")
        return str(ran.stderr)

    return refused


@pytest.mark.parametrize(("program", "command", "words", "expected"), ROWS)
def test_an_option_of_theirs(
    fastnet: Run,
    refusal: Callable[[str, list[str]], str],
    program: str,
    command: str,
    words: str,
    expected: str,
) -> None:
    given = words.split()
    if words == "-h":
        assert fastnet(command, "-h").returncode == 0
    elif expected in (SAME, PINGS):
        parse(command, import_module(f"fastnet.cli.{command}"), given, None)
    elif expected == REMARKED:
        assert f"; {program}'s -Q 16 is --tos 16\n" in fastnet(command, *given).stderr
    else:
        text = f"; {program}'s `{given[0].partition('=')[0][:2]}" if expected == NAMED else expected
        if expected == NAMED and given[0].startswith("--"):
            text = f"; {program}'s `-"
        assert text in refusal(command, given)


@pytest.mark.parametrize(("program", "command"), EXPECTED)
def test_the_page_has_what_is_the_same(program: str, command: str) -> None:
    table = EXPECTED[program, command]
    same = {words[:2] for words, expected in table.items() if expected == SAME and words[1] != "-"}
    name = "ping(8)" if program == "ping" else program
    page = (ROOT / "docs/habits.md").read_text().partition("\n## ")[0]
    if command == "forward":
        assert same <= {"-h"}
        return
    (row,) = re.findall(rf"(?m)^\| {re.escape(name)} \| `{command}` \| (.*) \|$", page)
    assert {*re.findall(r"`(-\w)`", row)} == same
    ours = {words[:2] for words, expected in table.items() if expected == PINGS}
    (sentence,) = re.findall(r"Where ping\(8\) and fping differ.*?\.", page)
    assert ours <= {*re.findall(r"`(-\w)`", sentence)}


@pytest.mark.parametrize(("program", "command"), LONG)
def test_the_long_names_that_we_take(peer: Callable[[str], str], program: str, command: str) -> None:
    """Those of a program that are ours too, also as abbreviations."""
    parser = parser_of(command, import_module(f"fastnet.cli.{command}"))
    listed = {*re.findall(r"(?<!\w)--[a-z][\w-]+", help_of(peer(program), program))}
    assert len(listed) > 10
    taken = {
        name for name in listed if any(known.startswith(name) for known in parser._option_string_actions)
    }
    assert taken - {"--help"} == LONG[program, command]


@pytest.mark.parametrize(("program", "command"), LONG)
def test_every_long_name_is_ours_or_in_a_table(
    peer: Callable[[str], str], program: str, command: str
) -> None:
    listed = {*re.findall(r"(?<!\w)--[a-z][\w-]+", help_of(peer(program), program))}
    assert len(listed) > 10
    unknown = listed - LONG[program, command] - {"--help"}
    hints = {name: hint(command, f"unrecognized arguments: {name}", [name]) for name in unknown}
    assert {name for name, text in hints.items() if f"; {program}'s `" not in text} == set()


@pytest.mark.parametrize("command", ["sweep", "portscan"])
@pytest.mark.parametrize("name", UNLISTED)
def test_a_long_name_that_nmap_does_not_list(
    refusal: Callable[[str, list[str]], str], command: str, name: str
) -> None:
    refused = refusal(command, [f"--{name}", "::1"])
    assert f"unrecognized arguments: --{name}; nmap's `--{name}`: " in refused
    assert "did you mean" not in refused


@pytest.mark.parametrize("command", NOT_HERE)
def test_the_page_has_what_is_not_here(command: str) -> None:
    page = (ROOT / "docs/habits.md").read_text()
    _, _, section = page.partition("\n## Not here\n")
    for program, options in NOT_HERE[command].items():
        for names, remark in options.items():
            shown = ", ".join(f"`{name}`" for name in names.split())
            assert f"| {program} | `{command}` | {shown} | {remark} |\n" in section
