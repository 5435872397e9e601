"""What users of other programs type: the tables, and the errors that name a line of them."""

from __future__ import annotations

import shlex
from importlib import import_module

import pytest
from environment import ROOT, Run

from fastnet.cli.commands import COMMANDS
from fastnet.cli.full_parser import parse
from fastnet.cli.habits import HABITS, Habit, table

pytestmark = pytest.mark.once
VALUES = dict.fromkeys(("HOST", "ADDRESS", "NAME", "FILE", "PATH"), "h") | {
    **dict.fromkeys(("TIME", "BYTES", "TTL", "N"), "3"),
    "NET": "::1/126",
    "TOS": "ef",
    "PORTS": "80",
}
ROWS = [(command, row) for command, rows in HABITS.items() for row in rows]


def filled(text: str) -> list[str]:
    for name, value in sorted(VALUES.items(), reverse=True):
        text = text.replace(name, value)
    return shlex.split(text.partition(" > ")[0])


@pytest.mark.parametrize(("command", "row"), ROWS, ids=str)
def test_what_to_type_here_is_parsed(command: str, row: Habit) -> None:
    if row.ours.startswith("("):
        return
    words = filled(row.ours)
    if words[0] == "fastnet":
        command, words = words[1], words[2:]
    elif command in ("portscan", "trace") and "HOST" not in row.ours:
        words.append("::1")
    assert command in COMMANDS
    parse(command, import_module(f"fastnet.cli.{command}"), words, None)


@pytest.mark.parametrize(("command", "row"), ROWS, ids=str)
def test_the_page_has_each_line(command: str, row: Habit) -> None:
    own = row.ours if row.ours.startswith("fastnet") else f"fastnet {command} {row.ours}"
    ours = row.ours.strip("()") if row.ours.startswith("(") else f"`{own}`"
    page = (ROOT / "docs/habits.md").read_text()
    _, _, section = page.partition(f"\n## {command}\n")
    assert f"| `{row.program} {row.theirs}` | {ours} |\n" in section.partition("\n## ")[0]


@pytest.mark.parametrize("command", sorted(HABITS))
def test_help_ends_with_them(fastnet: Run, command: str) -> None:
    assert fastnet(command, "--help").stdout.endswith(f"\n{table(command)}\n")
    assert max(map(len, table(command).splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (
            "ping -a ::1",
            "; ping's `-a`: there is no bell; fping's `-a HOST`: `fastnet sweep --alive HOST` here",
        ),
        ("ping -C3 ::1", "; ping's `-C`: leave it out; fping's `-C N`: `-c N` here"),
        ("ping -t 500 ::1", "; fping's `-t 500`: `-W 500ms` here"),
        ("ping -M ::1", "; fping's `-M`: `-M do` here"),
        ("ping -Q 0x10 ::1", "; ping's `-Q TOS`: `--tos TOS` here"),
        ("ping -e ::1", "; ping's `-e N`: leave it out; fping's `-e`: always so"),
        ("ping --version", "; fping's `-v`: fastnet --version"),
        ("sweep --version", "; nmap's `-V`: fastnet --version"),
        ("portscan --version", "; nmap's `-V`: fastnet --version"),
        ("trace --version", "; traceroute's `-V`: fastnet --version"),
        ("ping -w 0 ::1", ": '0': expected more than 0; ping's `-w 0`: leave it out"),
        ("ping -W 0 ::1", ": '0': expected more than 0; ping's `-W 0`: there is always a timeout"),
        ("ping -w 2000000 ::1", ", up to 1000000 seconds"),
        ("ping -V", "; ping's `-V`: fastnet --version"),
        ("ping --alive ::1", "; fping's `-a HOST`: `fastnet sweep --alive HOST` here"),
        ("ping --period=20 ::1", "; fping's `-p 500`: `-i 500ms` here"),
        ("ping -s -q ::1", "; fping's `-s`: always so"),
        ("ping --netdata ::1", "; fping's `-N`: `--textfile FILE` here"),
        ("sweep -PS80 ::1", "; nmap's `-PS`: `--engine tcp` here"),
        ("trace -I -n ::1", "; traceroute's `-I`: `--engine icmp` here"),
        # Several letters in one word.
        ("trace -nI ::1", "; traceroute's `-I`: `--engine icmp` here"),
        ("trace -nq1 ::1", "; traceroute's `-q N`: `-c N` here"),
        ("ping -nU ::1", "; ping's `-U`: leave it out"),
        ("ping -qC3 ::1", "; ping's `-C`: leave it out; fping's `-C N`: `-c N` here"),
        ("trace --queries=3 ::1", "; traceroute's `-q N`: `-c N` here"),
        ("ping --fwmark 5 ::1", "; fping's `-k N`: `-m N` here"),
        ("sweep --unreach ::1/126", "; fping's `-u HOST`: `--inactive HOST` here"),
        (
            "sweep -g ::1/126",
            "; fping's `-g NET`: `NET` here; nmap's `-g`: source port: there is none here",
        ),
        (
            "sweep -a -g ::1/126",
            "; fping's `-a HOST`: `--alive HOST` here; fping's `-g NET`: `NET` here"
            "; nmap's `-g`: source port: there is none here",
        ),
        ("sweep -sn ::1", "; nmap's `-sn NET`: `NET` here"),
        ("sweep --excludefile=x ::1", "; nmap's `--excludefile FILE`: `--exclude-file FILE` here"),
        ("portscan -p T:22 ::1", "; nmap's `-p T:22`: `-p 22` here"),
        ("portscan -p u:53 ::1", "; nmap's `-p U:53`: only TCP is scanned"),
        ("portscan -p nothing ::1", ""),
        ("trace -I ::1", "; traceroute's `-I`: `--engine icmp` here"),
        ("trace -q3 ::1", "; traceroute's `-q N`: `-c N` here"),
        ("trace -s 10.0.0.1 ::1", "; traceroute's `-s ADDRESS`: `-I ADDRESS` here"),
        (
            "trace ::1 100",
            "; traceroute's `HOST 100`: the whole packet's size: -s 72 here, -s 52 by IPv6",
        ),
        ("trace ::1 ::2", ""),
        (
            "echo serve TCP-LISTEN:7,fork PIPE",
            "; socat's `TCP-LISTEN:7,fork PIPE`: `fastnet echo serve --host '*' --port 7` here",
        ),
        (
            "echo tcp4-listen:9 PIPE",
            "; socat's `TCP-LISTEN:7,fork PIPE`: `fastnet echo serve --host '*' --port 7` here",
        ),
        ("echo serve ::1", ""),
        ("forward -4 8080 ::1:1", ": -4; socat's `-4`: an upstream's address decides"),
        ("forward 8080 -6 ::1:1", ": -6; socat's `-6`: an upstream's address decides"),
        ("trace --nothing ::1", ""),
        ("ping -i soon ::1", ""),
        ("ping -c 1 -l 3 ::1", "; ping's `-l N`: requests are not sent ahead of replies"),
        ("ping -c 1 -l ::1", ""),
        ("ping -fhosts.txt", ": -fhosts.txt; fping's `-f FILE`: `--file FILE` here"),
        ("ping -qvh3 ::1", ": -qvh3; ping's `-3`: always so"),
        ("ping -qz ::1", ": -qz: there is no option -z"),
        ("trace -q 1 ::1", ": -q; traceroute's `-q N`: `-c N` here"),
        ("trace --port=3 ::1", "; traceroute's `--port`: choice of the port: there is none here"),
        ("sweep --reason ::1", "; nmap's `--reason`: reasons of hosts: there is none here"),
        (
            "ping -R ::1",
            "; ping's `-R`: `fastnet trace HOST` here"
            "; fping's `-R`: random data: there is none here; -p HEX fills the payload",
        ),
        ("ping -w -1 ::1", ": '-1': expected a time, as 1.5, 250ms, 10s or 2m, up to 1000000 seconds"),
        (
            "trace --timeout -1 ::1",
            ": '-1': expected a time, as 1.5, 250ms, 10s or 2m, up to 1000000 seconds",
        ),
        ("ping -s 65508 ::1", ""),
    ],
)
def test_an_error_names_the_line_that_fits(fastnet: Run, words: str, hints: str) -> None:
    ran = fastnet(*words.split())
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith(f"{hints} (see fastnet {words.split()[0]} --help)\n")
    assert ran.stderr.count("; ") == hints.count("; ")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("addresses", "hints"),
    [
        (
            "UDP-LISTEN:53,fork UDP:127.0.0.1:53",
            "; socat's `UDP-LISTEN:53,fork UDP:HOST:53`: `--udp '*:53' HOST:53` here",
        ),
        (
            "UDP6-L:53 UDP:127.0.0.1:53",
            "; socat's `UDP-LISTEN:53,fork UDP:HOST:53`: `--udp '*:53' HOST:53` here",
        ),
        (
            "unix-listen:/x,fork TCP:127.0.0.1:80",
            "; socat's `UNIX-LISTEN:PATH,fork TCP:HOST:80`: `unix:PATH HOST:80` here",
        ),
    ],
)
def test_addresses_of_socat(fastnet: Run, addresses: str, hints: str, dry: tuple[str, ...]) -> None:
    listen = addresses.split()[0]
    ran = fastnet("forward", *addresses.split(), *dry)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"fastnet forward: {listen}: expected [HOST:]PORT{hints}\n"


@pytest.mark.parametrize(
    "upstream",
    ["tcp:127.0.0.1:80", "TCP4:localhost:80", "UDP6-CONNECT:[::1]:53", "UNIX:/x", "UNIX-CONNECT:/x"],
)
def test_upstreams_of_socat(fastnet: Run, upstream: str) -> None:
    ran = fastnet("forward", "--dry-run", "0", upstream)
    assert (ran.returncode, ran.stdout) == (2, "")
    said = "an address of socat: expected HOST:PORT or unix:PATH"
    assert ran.stderr == f"fastnet forward: {upstream}: {said}\n"


@pytest.mark.parametrize("upstream", ["tcp:80", "unix:/x", "unix-host:80"])
def test_upstreams_that_look_like_those_of_socat(fastnet: Run, upstream: str) -> None:
    assert fastnet("forward", "--dry-run", "0", upstream).returncode == 0
