"""Every option of ``fastnet sweep``: what it prints on stdout and stderr, how it ends, and what it sends."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from command_table import A_TIME, LATE, SILENT, Hosts, Row, options_in, options_of, refused, undocumented
from environment import Run

from fastnet import __version__
from fastnet._sweep.resume import StateFile
from fastnet.targets import Targets

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
ROUTER, FAR, BEHIND = "10.77.0.2", "10.78.0.2", "10.88.0.1"
BROADCAST = "Permission denied (a broadcast address, or a prohibit route)"
RESUMED = (ROUTER, FAR)


def alive(address: str, mac: str = "", width: int = 15) -> str:
    return f"{address:{width}} alive        " + (f"RTT ms     {mac}\n" if mac else "RTT ms\n")


def other(address: str, state: str, reason: str = "") -> str:
    return f"{address:15} {state:12} {reason}".rstrip() + "\n"


def counted(engine: str, alive: int = 0, inactive: int = 0, unreachable: int = 0, not_probed: int = 0) -> str:
    """What is printed about all targets on stderr."""
    states = (alive, inactive, unreachable, not_probed)
    names = ("alive", "inactive", "unreachable", "not probed")
    words = ", ".join(f"{number} {name}" for number, name in zip(states, names, strict=True))
    return f"{sum(states)} target{'s' * (sum(states) != 1)}: {words} ({engine})\n"


ONE, ON_LINK = alive(ROUTER, "{mac}"), counted("link", 1)
SILENCE, NOBODY = other(SILENT, "inactive"), counted("link", 0, 1)
MULTICAST = other("224.0.0.1", "not probed", "not the address of one host")
VERDICT = '{"kind": "verdict", "time": "STAMP", "round": 0, '
JSON = (
    f'{VERDICT}"address": "{ROUTER}", "state": "alive", "rtt_ms": NUMBER, "reason": null, '
    '"mac": "{mac}", "responder": null}\n'
)
CSV = f"round,address,state,rtt_ms,reason,mac,responder\n0,{ROUTER},alive,NUMBER,,{{mac}},\n"
NOT_A_HOST = (
    '"state": "not probed", "rtt_ms": null, "reason": "not the address of one host", '
    '"mac": null, "responder": null'
)
XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<nmaprun scanner="fastnet" args="fastnet sweep --xml --timeout=300ms '
    f'{ROUTER} {SILENT} 224.0.0.1" start="NUMBER" version="{__version__}" xmloutputversion="1.05">\n'
    '<host><status state="up" reason="arp-response" reason_ttl="0"/>'
    f'<address addr="{ROUTER}" addrtype="ipv4"/><address addr="{{MAC}}" addrtype="mac"/>'
    '<times srtt="NUMBER" rttvar="0" to="0"/></host>\n'
    '<host><status state="down" reason="no-response" reason_ttl="0"/>'
    f'<address addr="{SILENT}" addrtype="ipv4"/></host>\n'
    '<host comment="not the address of one host"><status state="skipped" reason="unknown-response" '
    'reason_ttl="0"/><address addr="224.0.0.1" addrtype="ipv4"/></host>\n'
    '<runstats><finished time="NUMBER" elapsed="NUMBER" exit="success"/>'
    '<hosts up="1" down="1" total="3"/></runstats>\n</nmaprun>\n'
)
REQUEST = "icmp type echo-request"

USES = [
    # Which targets
    Row(ROUTER, ONE, ON_LINK),
    Row(
        f"--timeout=300ms {ROUTER} {SILENT} {FAR} 224.0.0.1",
        ONE + SILENCE + alive(FAR) + MULTICAST,
        counted("link+raw", 2, 1, 0, 1),
    ),
    Row(
        f"{ROUTER} 10.77.0.255",
        ONE + other("10.77.0.255", "not probed", BROADCAST),
        counted("link+raw", 1, 0, 0, 1),
    ),
    Row(f"{FAR} fd78::2", alive(FAR, width=39) + alive("fd78::2", width=39), counted("raw", 2)),
    Row("-f {files}/two", ONE + alive(FAR), counted("link+raw", 2)),
    Row("--file={files}/two -f - --alive 10.77.0.1", f"10.77.0.1\n{ROUTER}\n{FAR}\n", counted("link+raw", 3)),
    Row(f"-f - {FAR}", ONE + alive(FAR), counted("link+raw", 2), stdin=f"# one\n{ROUTER}"),
    Row("--exclude=10.77.0.3-9 --exclude 10.77.0.1 10.77.0.1-9 --alive", f"{ROUTER}\n", ON_LINK),
    Row("--exclude=10.77.0.1,3,4-5,10.77.0.6/31,10.77.0.8-9 10.77.0.1-9 --alive", f"{ROUTER}\n", ON_LINK),
    Row(
        "--exclude-file={files}/two --engine=raw 10.77.0.1-3 --alive",
        "10.77.0.1\n10.77.0.3\n",
        counted("raw", 2),
    ),
    Row("-4 --alive both", f"{ROUTER}\n", ON_LINK),
    Row("-6 --alive both", "fd77::2\n", ON_LINK),
    Row(f"--shard=1/2 {ROUTER} {SILENT} {FAR}", ONE + alive(FAR), counted("link+raw", 2)),
    Row(f"--shard 2/2 --timeout=20ms {ROUTER} {SILENT} {FAR}", SILENCE, NOBODY, 1),
    Row(
        f"--resume={{files}}/state {' '.join(RESUMED)}",
        alive(FAR),
        "2 targets: 1 alive, 0 inactive, 0 unreachable, 0 not probed, 1 decided before (link+raw)\n",
    ),
    Row(f"--resume {{files}}/new {ROUTER}", ONE, ON_LINK),
    # How they are probed
    Row(f"--engine=auto {ROUTER}", ONE, ON_LINK, packets=(REQUEST, 0)),
    Row(
        f"--engine=link {ROUTER} {FAR}",
        ONE + other(FAR, "not probed", "not on a link of this machine"),
        counted("link", 1, 0, 0, 1),
        packets=(REQUEST, 0),
    ),
    Row(f"--engine=raw {ROUTER}", alive(ROUTER), counted("raw", 1), packets=(REQUEST, 1)),
    Row(f"--engine datagram {ROUTER}", alive(ROUTER), counted("datagram", 1), packets=(REQUEST, 1)),
    Row(f"--engine=tcp {ROUTER}", alive(ROUTER), counted("tcp", 1), 0, ("tcp flags syn tcp dport 80", 1)),
    Row(f"--timeout=20ms --retries=0 {BEHIND}", other(BEHIND, "inactive"), counted("link", 0, 1), 1),
    Row(f"--interface=veth0 {BEHIND}", alive(BEHIND), counted("raw", 1)),
    Row(f"--timeout=20ms {LATE}", other(LATE, "inactive"), counted("raw", 0, 1), 1, (REQUEST, 2)),
    Row(f"--timeout 30s {LATE}", alive(LATE), counted("raw", 1)),
    Row(f"--timeout=auto {ROUTER} {SILENT}", ONE + SILENCE, counted("link", 1, 1)),
    Row(f"--timeout=20ms --retries=0 --engine=raw {SILENT}", SILENCE, counted("raw", 0, 1), 1, (REQUEST, 1)),
    Row(f"--timeout=20ms --retries 3 --engine=raw {SILENT}", SILENCE, counted("raw", 0, 1), 1, (REQUEST, 4)),
    Row(f"--max-rate=1000 {ROUTER} {FAR}", ONE + alive(FAR), counted("link+raw", 2)),
    Row(f"--rate 50.5 {ROUTER} {FAR}", ONE + alive(FAR), counted("link+raw", 2)),
    *(  # it does not wait for the time of one more
        Row(f"--rate=0.005 --engine={engine} {ROUTER}", stdout, counted(engine, 1))
        for engine, stdout in (("link", ONE), ("raw", alive(ROUTER)), ("tcp", alive(ROUTER)))
    ),
    Row(f"--seed=7 {ROUTER} {FAR}", ONE + alive(FAR), counted("link+raw", 2)),
    Row(f"--every=0 --count=3 {ROUTER}", ONE, ON_LINK * 3),
    Row(f"--every 1ms --count 2 --json {ROUTER}", JSON, ON_LINK * 2),
    # What is printed
    Row(f"--alive --timeout=300ms {ROUTER} {SILENT}", f"{ROUTER}\n", counted("link", 1, 1)),
    Row(f"--alive --timeout=20ms {SILENT}", "", NOBODY, 1),
    Row(f"--inactive --timeout=300ms {ROUTER} {SILENT}", f"{SILENT}\n", counted("link", 1, 1)),
    Row(f"--json {ROUTER} 224.0.0.1", f'{JSON}{VERDICT}"address": "224.0.0.1", {NOT_A_HOST}}}\n',
        counted("link+raw", 1, 0, 0, 1)),
    Row(f"--json --inactive {ROUTER}", "", ON_LINK),
    Row(f"--csv {ROUTER} 224.0.0.1", f"{CSV}0,224.0.0.1,not probed,,not the address of one host,,\n",
        counted("link+raw", 1, 0, 0, 1)),
    Row(f"--xml --timeout=300ms {ROUTER} {SILENT} 224.0.0.1", XML, counted("link+raw", 1, 1, 0, 1)),
    Row(f"--stream --timeout=300ms {SILENT} {ROUTER}", ONE + SILENCE, counted("link", 1, 1)),
    Row(f"--stream --csv {ROUTER}", CSV, ON_LINK),
    Row(f"-v --csv {ROUTER}", CSV, ON_LINK),
    Row(f"--verbose --csv {ROUTER}", CSV, ON_LINK),
]  # fmt: skip

A_RATE = "expected a number from 0.001 to 1e+06 SEE"
AT_MOST = "a sweep takes at most 16777216 (2^24); take shards (one of 2 or more)"
REFUSED = [
    refused("sweep", words, line)
    for words, line in (
        ("", "no targets: give some, as 10.0.2.0/24, or a file with -f"),
        ("-f -", "no targets: give some, as 10.0.2.0/24, or a file with -f"),
        ("--resume - ::1", "argument --resume: '-': expected the name of a file, as ./- SEE"),
        ("-f /dev/zero", "/dev/zero: a line of more than 1 MiB: expected targets"),
        ("10.0.0.0/33", "10.0.0.0/33: prefix length '33': expected 0 to 32"),
        ("010.0.0.1", "010.0.0.1: octet 010: a leading zero (octal or decimal?); write 10"),
        ("10.0.0.4-2", "10.0.0.4-2: 4-2 is a reversed range; did you mean 2-4?"),
        ("12.0.0.0/7", f"33554432 targets: {AT_MOST}"),
        ("no..name", "no..name: not a host name or an address"),
        ("::1 --exclude ::/64", "no targets are left after --exclude"),
        ("::1 --exclude 127.0.0.0/40", "127.0.0.0/40: prefix length '40': expected 0 to 32"),
        ("-4 -6 ::1", "argument -6: not allowed with argument -4 SEE"),
        ("::1 --shard=0/3", "argument --shard: '0/3': expected I/N, as 1/3, the first of three SEE"),
        ("::1 --shard=4/3", "argument --shard: '4/3': expected I/N, as 1/3, the first of three SEE"),
        ("::1 --shard=1", "argument --shard: '1': expected I/N, as 1/3, the first of three SEE"),
        ("::1 --resume=x --every=1", "--resume: not with --every"),
        ("::1 --engine=magic", "argument --engine: invalid choice: 'magic' CHOICES SEE"),
        ("::1 --interface=", "argument --interface: '': expected the name of an interface SEE"),
        ("::1 --interface=lo --engine=tcp", "interface lo: engine tcp leaves that to the routes"),
        ("::1 --timeout=0", "timeout 0.0: expected seconds, 0.001 to 1000000"),
        ("::1 --timeout=soon", f"argument --timeout: 'soon': {A_TIME}"),
        ("::1 --retries=-1", "argument --retries: '-1': expected a whole number from 0 to 100 SEE"),
        ("::1 --rate=0", f"argument --max-rate/--rate: '0': {A_RATE}"),
        ("::1 --max-rate=nan", f"argument --max-rate/--rate: 'nan': {A_RATE}"),
        ("::1 --max-rate=1_0", f"argument --max-rate/--rate: '1_0': {A_RATE}"),
        ("::1 --seed=-1", f"argument --seed: '-1': expected a whole number from 0 to {(1 << 64) - 1} SEE"),
        ("::1 --every=often", f"argument --every: 'often': {A_TIME}"),
        ("::1 --count=2", "--count: only with --every"),
        ("::1 --count=0", "argument --count: '0': expected a whole number from 1 to 2147483648 SEE"),
        ("::1 --alive --inactive", "argument --inactive: not allowed with argument --alive SEE"),
        ("::1 --xml --csv", "argument --csv: not allowed with argument --xml SEE"),
        ("::1 --xml --every=1", "--xml: not with --every: it is one document"),
    )
] + [
    refused("sweep", words, line, 3)
    for words, line in (
        (
            "-f /nonexistent",
            "/nonexistent: No such file or directory; nmap's `-f`: fragmented probes: there is none here",
        ),
        ("::1 --exclude-file=/nonexistent", "/nonexistent: No such file or directory"),
        ("::1 --resume=", "'': No such file or directory"),
        ("::1 --resume=/nonexistent/state", "/nonexistent/state: No such file or directory"),
        ("::1 --interface=no0", "no interface 'no0': there are lo, veth0, dead1, dead0"),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(hosts: Hosts) -> Hosts:
    """The files that rows speak of."""
    (hosts.files / "two").write_text(f"{ROUTER}  # and\n{FAR}\n")
    with StateFile(str(hosts.files / "state"), Targets(*RESUMED)) as state:
        state.save(b"\x01")
    return hosts


@pytest.mark.parametrize("row", [*USES, *REFUSED], ids=lambda row: row.words)
def test_each(prepared: Hosts, fastnet: Run, row: Row) -> None:
    prepared.check(fastnet, "sweep", row)
    assert not (prepared.files / "new").exists()


def test_every_option_is_used_and_every_key_documented() -> None:
    """Those of a cluster, of metrics and of pictures are in files of their own."""
    names = ("*/test_distributed*.py", "cli/test_plot.py", "cli/test_textfile.py")
    texts = [path.read_text() for name in names for path in Path(__file__).parents[1].glob(name)]
    elsewhere = {*re.findall(r'"(--?[a-z-]+)', "".join(texts))}
    assert options_of("sweep") - options_in(USES) - elsewhere == set()
    assert undocumented("sweep", JSON) == set()


def test_the_order_of_a_seed(hosts: Hosts, fastnet: Run) -> None:
    words = ("sweep", "--interface=veth0", "--engine=raw", "--alive", "10.88.0.0/28")
    targets = [*Targets("10.88.0.0/28")]
    orders = []
    for seed in ((), ("--seed=7",), ("--seed=7",), ("--seed=8",)):
        sock = hosts.router.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        with sock:
            sock.settimeout(60)
            ran = fastnet(*words, *seed, prefix=hosts.prefix)
            orders.append([socket.inet_ntoa(sock.recv(2048)[16:20]) for _ in targets])
        assert (ran.stdout.split(), ran.stderr, ran.returncode) == (targets, counted("raw", 16), 0)
    ascending, first, again, another = orders
    assert ascending == sorted(first, key=targets.index) == targets
    assert first == again != targets
    assert sorted(another) == sorted(first) != another != first
