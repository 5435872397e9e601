"""Every option of ``fastnet ping``: what it prints on stdout and stderr, how it ends, and what it sends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from children import Child
from command_table import (
    A_TIME,
    LATE,
    SILENT,
    THIRD,
    THREE,
    Hosts,
    Row,
    options_in,
    options_of,
    refused,
    undocumented,
)
from environment import Run
from records import parse

from fastnet._ping import Reply, Summary
from fastnet.cli.ping import line

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
A_NAME = "expected the name of a file, as ./-"
OF_Q = "; ping's `-Q TOS`: `--tos TOS` here SEE"
LISTED = " (`fastnet interfaces` lists the interfaces)"
ROUTER, FAR, BEHIND = "10.77.0.2", "10.78.0.2", "10.88.0.1"


def replies(host: str, count: int = 1, ttl: int = 64) -> str:
    return "".join(f"{host}: seq={seq} rtt=RTT ms ttl={ttl}\n" for seq in range(count))


def total(host: str, count: int = 1, more: str = "") -> str:
    """The summary of a host that answered each of its requests."""
    jitter = ", jitter RTT ms" if count > 1 else ""
    return f"{host}: {count} sent, {count} received, 0% loss{more}, TIMES{jitter}\n"


def lost(host: str) -> str:
    """The summary of a host that one request was lost to."""
    return f"{host}: 1 sent, 0 received, 100% loss, 1 s outage\n"


def unanswered(host: str, reason: str = "no answer") -> str:
    return f"{host}: seq=0 {reason}\n{lost(host)}"


ONE = replies(ROUTER) + total(ROUTER)
TWO = replies(ROUTER, 2) + total(ROUTER, 2)
REPLY = (
    '{"kind": "reply", "time": "STAMP", '
    f'"host": "{ROUTER}", "address": "{ROUTER}", "seq": 0, "rtt_ms": NUMBER, "ttl": 64, '
    '"error": null, "duplicate": false, "tries": 1, "responder": null}\n'
)
SUM = (
    '{"kind": "summary", "time": "STAMP", '
    f'"host": "{ROUTER}", "address": "{ROUTER}", "engine": "raw", "sent": 1, '
    '"not_sent": 0, "received": 1, "waiting": 0, "duplicates": 0, "loss_percent": 0.0, "error": null, '
    '"rtt_min_ms": NUMBER, "rtt_avg_ms": NUMBER, "rtt_max_ms": NUMBER, "rtt_stddev_ms": 0.0, '
    '"rtt_p50_ms": NUMBER, "rtt_p90_ms": NUMBER, "rtt_p99_ms": NUMBER, "jitter_ms": null, '
    '"outage_s": 0.0}\n'
)
MTU = (
    '{"kind": "mtu", "time": "STAMP", '
    f'"host": "{FAR}", "address": "{FAR}", "engine": "raw", "mtu_bytes": 1400, '
    f'"limits": [{{"router": "{ROUTER}", "mtu_bytes": 1400}}], "error": null}}\n'
)
EXPIRED = (
    f"{FAR}: seq=0 time to live exceeded from {ROUTER}\nfd78::2: seq=0 hop limit exceeded from fd77::2\n"
)
THRICE = (
    f"{THREE}: seq=0 rtt=RTT ms ttl=63\n"
    f"{THREE}: seq=0 rtt=RTT ms ttl=63 (duplicate)\n"
    f"{THREE}: seq=0 rtt=RTT ms ttl=63 (duplicate)\n"
    f"{SILENT}: seq=0 no answer\n" + total(THREE, more=", 2 duplicates") + lost(SILENT)
)
NOT_ONE = (
    "fastnet ping: no..name: not a host name or an address\n"
    "fastnet ping: ::ffff:10.77.0.2: an IPv4-mapped address: write 10.77.0.2\n"
)
FLOODED = (
    "fastnet ping: /etc/hosts: not a host name or an address\n"
    "fastnet ping: -f is a flood, as in ping(8): a file of hosts is --file /etc/hosts\n"
)
UNKNOWN = (
    '{"kind": "reply", "time": "STAMP", '
    '"host": "no..name", "address": "", "seq": 0, "rtt_ms": null, "ttl": null, '
    '"error": "not a host name or an address", "duplicate": false, "tries": 0, "responder": null}\n'
    '{"kind": "summary", "time": "STAMP", '
    '"host": "no..name", "address": "", "engine": "", "sent": 0, '
    '"not_sent": 1, "received": 0, "waiting": 0, "duplicates": 0, "loss_percent": null, '
    '"error": "not a host name or an address", "rtt_min_ms": null, "rtt_avg_ms": null, "rtt_max_ms": null, '
    '"rtt_stddev_ms": null, "rtt_p50_ms": null, "rtt_p90_ms": null, "rtt_p99_ms": null, "jitter_ms": null, '
    '"outage_s": 1.0}\n'
)
UNCUT = "".join(f"{ROUTER}: seq={seq} not sent: Message too long\n" for seq in (0, 1))
BOTH = {version: f"both ({address})" for version, address in ((4, ROUTER), (6, "fd77::2"))}
REQUEST, REQUEST6 = "icmp type echo-request", "icmpv6 type echo-request"

USES = [
    # Who
    Row(f"-c1 {ROUTER}", ONE, packets=(REQUEST, 1)),
    Row(f"-c1 {ROUTER} {SILENT} {ROUTER} -W300ms -q", total(ROUTER) + lost(SILENT), code=1),
    Row("-c1 far", replies("far (10.78.0.2)", ttl=63) + total("far (10.78.0.2)")),
    Row("-c1 fd78::2", replies("fd78::2", ttl=63) + total("fd78::2"), packets=(REQUEST6, 1)),
    Row("-4 -c1 both", replies(BOTH[4]) + total(BOTH[4]), packets=(REQUEST, 1)),
    Row("-6 -c1 both", replies(BOTH[6]) + total(BOTH[6]), packets=(REQUEST6, 1)),
    Row("--all-addresses -q -c1 -4 many", total(f"many ({ROUTER})") + total(f"many ({FAR})")),
    Row(
        f"--all-addresses -q -c1 many -v {ROUTER}",
        total("many (fd78::2)") + total(f"many ({ROUTER})") + total(f"many ({FAR})") + total(ROUTER),
        "".join(f"many is {address}, by a raw socket\n" for address in ("fd78::2", ROUTER, FAR))
        + f"{ROUTER} is {ROUTER}, by a raw socket\n",
    ),
    Row(f"-q -c1 --file - {ROUTER}", total(ROUTER) + total(FAR), stdin=f"# one\n{FAR} {ROUTER}"),
    Row(f"-c1 {ROUTER} no..name ::ffff:10.77.0.2", ONE, NOT_ONE, 2),
    Row(f"-c1 -W20ms -q no..name ::ffff:10.77.0.2 {SILENT}", lost(SILENT), NOT_ONE, 2),
    Row(f"--mtu {ROUTER} no..name ::ffff:10.77.0.2", f"{ROUTER}: path MTU 1500\n", NOT_ONE, 2),
    Row("-l no..name", "", "fastnet ping: no..name: not a host name or an address\n", 2),
    Row("-l --every=60s -f /etc/hosts", "", FLOODED, 2),
    Row("-c1 --json no..name", UNKNOWN, "fastnet ping: no..name: not a host name or an address\n", 2),
    # When, and how often
    Row(f"-c2 -i0 {ROUTER}", TWO, packets=(REQUEST, 2)),
    Row(f"--count=2 --interval 5ms {ROUTER}", TWO, packets=(REQUEST, 2)),
    Row(
        f"-c2 -i30ms -W20ms {SILENT}",
        f"{SILENT}: seq=0 no answer\n{SILENT}: seq=1 no answer\n"
        f"{SILENT}: 2 sent, 0 received, 100% loss, 0.06 s outage\n",
        code=1,
    ),
    Row(f"-c1 -W20ms {LATE}", unanswered(LATE), code=1),
    Row(f"-c1 --timeout=30s {LATE}", replies(LATE, ttl=63) + total(LATE)),
    Row(f"-c2 -i0 -W auto {ROUTER}", TWO),
    Row(f"-c1 --timeout=auto {FAR} -q", total(FAR)),
    Row(f"-c1 -W20ms -r2 {SILENT}", unanswered(SILENT, "no answer (3 tries)"), "", 1, (REQUEST, 3)),
    Row(f"-c1 -W20ms --retries=0 {SILENT}", unanswered(SILENT), "", 1, (REQUEST, 1)),
    Row(f"-c1 -W20ms -r3 -B1 {SILENT}", unanswered(SILENT, "no answer (4 tries)"), "", 1, (REQUEST, 4)),
    Row(
        f"-c1 -W20ms -r3 --backoff=10 {THIRD}",
        f"{THIRD}: seq=0 rtt=RTT ms ttl=63 (3 tries)\n" + total(THIRD),
        packets=(REQUEST, 3),
    ),
    Row(f"-l -x1 -i1h {ROUTER}", ONE, packets=(REQUEST, 1)),
    Row(f"--loop --enough=2 -q -i1h {ROUTER} {FAR}", total(ROUTER) + total(FAR), packets=(REQUEST, 2)),
    Row(
        f"-l -x1 -i1h -W1h {SILENT} {ROUTER}",
        f"{replies(ROUTER)}{SILENT}: 1 sent, 0 received, 1 still awaited\n{total(ROUTER)}",
    ),
    Row(f"-x1 -c1 -W20ms {SILENT}", unanswered(SILENT), code=1),
    Row(f"-w1h -c2 -i10ms {ROUTER}", TWO, packets=(REQUEST, 2)),
    Row(f"-w1h -c1 -i1h -q {ROUTER} {FAR}", total(ROUTER) + total(FAR), packets=(REQUEST, 2)),
    Row(f"-w1h -c2 -x1 -i10ms -q {ROUTER}", total(ROUTER, 2), packets=(REQUEST, 2)),
    Row(f"-w1h -c3 -f {ROUTER}", total(ROUTER, 3), packets=(REQUEST, 3)),
    Row(f"-w1 -c1 {SILENT}", unanswered(SILENT), code=1, packets=(REQUEST, 1)),
    Row(
        f"--deadline=40ms -i1h -W1h {SILENT}",
        f"{SILENT}: 1 sent, 0 received, 1 still awaited\n",
        code=1,
        packets=(REQUEST, 1),
    ),
    Row(f"-f -c1000 {ROUTER}", total(ROUTER, 1000), packets=(REQUEST, 1000)),
    Row(f"--flood -c20 -W20ms {SILENT}", f"{SILENT}: 20 sent, 0 received, 100% loss\n", code=1),
    Row("--flood -c1000 fd77::2", total("fd77::2", 1000), packets=(REQUEST6, 1000)),
    Row(f"-c1 -W1s {THREE} {SILENT}", THRICE, code=1),
    # What is sent
    Row(f"-c1 -s 1000 {ROUTER}", ONE, packets=(f"{REQUEST} ip length 1028", 1)),
    Row(f"-c1 --size=0 {ROUTER}", ONE, packets=(f"{REQUEST} ip length 28", 1)),
    Row(
        f"-c1 -p abcdef -s40 {ROUTER}",
        ONE,
        packets=(f"{REQUEST} @th,192,96 0x{'abcdef' * 4} @th,288,96 0x{'abcdef' * 4}", 1),
    ),
    Row(f"-c1 --pattern=1f -s 24 {ROUTER}", ONE, packets=(f"{REQUEST} @th,192,32 0x1f1f1f1f", 1)),
    Row(
        f"-c1 -t1 {FAR} fd78::2",
        EXPIRED + lost(FAR) + lost("fd78::2"),
        code=1,
        packets=(f"{REQUEST} ip ttl 1", 1),
    ),
    Row(f"-c1 --ttl 2 {FAR}", replies(FAR, ttl=63) + total(FAR), packets=(f"{REQUEST} ip ttl 2", 1)),
    *(
        Row(f"-c1 --tos {tos} {ROUTER}", ONE, packets=(f"{REQUEST} ip dscp {dscp} ip ecn {ecn}", 1))
        for tos, dscp, ecn in (("af41", "af41", 0), ("CS1", "cs1", 0), ("0x10", 4, 0), ("3", "cs0", 3))
    ),
    Row(
        "-c1 --tos=0xb8 fd77::2", replies("fd77::2") + total("fd77::2"), "", 0, (f"{REQUEST6} ip6 dscp ef", 1)
    ),
    Row(f"-c1 -M no {ROUTER}", ONE, packets=(f"{REQUEST} ip frag-off & 0x4000 == 0x4000", 1)),
    Row(
        f"-c2 -i0 -s2000 --fragment=no {ROUTER}",
        f"{UNCUT}{ROUTER}: 0 sent, 0 received, 2 not sent: Message too long\n",
        code=1,
    ),
    *(
        Row(f"-c1 -M {word} {ROUTER}", ONE, packets=(f"{REQUEST} ip frag-off & 0x4000 == 0x4000", 1))
        for word in ("do", "probe", "want")
    ),
    Row(f"-c1 -s2000 -M dont {ROUTER}", ONE, packets=(f"{REQUEST} ip frag-off & 0x4000 == 0", 1)),
    Row(f"-c1 -s2000 -M yes {ROUTER}", ONE, packets=(f"{REQUEST} ip frag-off & 0x4000 == 0", 1)),
    # The way it takes
    Row(f"-c1 -I 10.77.0.3 {ROUTER}", ONE, packets=(f"{REQUEST} ip saddr 10.77.0.3", 1)),
    Row(f"-c1 -I veth0 {BEHIND}", replies(BEHIND) + total(BEHIND)),
    Row(
        f"-c1 -I 10.77.0.3 -I veth0 {BEHIND}",
        replies(BEHIND) + total(BEHIND),
        packets=(f"{REQUEST} ip saddr 10.77.0.3", 1),
    ),
    Row("-c1 --source=fd77::1 both", replies(BOTH[6]) + total(BOTH[6])),
    Row(f"-c1 -W20ms {BEHIND}", unanswered(BEHIND), code=1),
    Row(f"-c1 --interface=veth0 {BEHIND}", replies(BEHIND) + total(BEHIND)),
    Row(f"-c1 -m 7 {ROUTER}", ONE, packets=(f"{REQUEST} meta mark 7", 1)),
    Row(f"-c1 --mark=4294967295 {ROUTER}", ONE, packets=(f"{REQUEST} meta mark 0xffffffff", 1)),
    Row(
        f"--mtu {FAR} fd78::2 {ROUTER}",
        f"{FAR}: path MTU 1400, 1400 behind {ROUTER}\nfd78::2: path MTU 1400"
        f", 1400 behind fd77::2\n{ROUTER}: path MTU 1500\n",
    ),
    Row(f"--mtu --json {FAR}", MTU),
    Row(f"--mtu -W10ms {SILENT}", f"{SILENT}: no MTU: no answer\n", code=1),
    # Over which socket, and what is printed
    Row(
        f"-c1 -v {ROUTER} both -4 -q",
        total(ROUTER) + total(BOTH[4]),
        f"{ROUTER} is {ROUTER}, by a raw socket\nboth is {ROUTER}, by a raw socket\n",
    ),
    Row(f"-c1 --verbose --engine=raw {ROUTER}", ONE, f"{ROUTER} is {ROUTER}, by a raw socket\n"),
    Row(f"-c1 -v --engine datagram {ROUTER}", ONE, f"{ROUTER} is {ROUTER}, by a datagram socket\n"),
    Row(f"-c1 -v --engine=auto {ROUTER}", ONE, f"{ROUTER} is {ROUTER}, by a raw socket\n"),
    Row(
        f"--mtu -v {FAR}",
        f"{FAR}: path MTU 1400, 1400 behind {ROUTER}\n",
        f"{FAR} is {FAR}, by a raw socket\n",
    ),
    Row(f"-q -c2 -i0 {ROUTER}", total(ROUTER, 2)),
    Row(f"--quiet -c1 {SILENT} -W20ms", lost(SILENT), code=1),
    Row(f"-c2 -i0 -Q1h {ROUTER}", f"[CLOCK]\n{total(ROUTER, 2)}{total(ROUTER, 2)}"),
    *(
        Row(
            f"-c1 -Q {tos} {ROUTER}",
            f"[CLOCK]\n{total(ROUTER) * 2}",
            f"fastnet ping: -Q {tos} is a report each {tos} s, as fping's; ping's -Q {tos} is --tos {tos}\n",
        )
        for tos in (4, 16, 60, 252)
    ),
    *(
        Row(f"-c1 -Q {time} {ROUTER}", f"[CLOCK]\n{total(ROUTER) * 2}")
        for time in ("1", "10", "16s", "16.0", "254", "255", "256", "1000000")
    ),
    Row(f"-c1 --every=1h --json {ROUTER}", SUM.replace("summary", "interval") + SUM),
    Row(f"-c1 --json {ROUTER}", REPLY + SUM),
    Row(f"-n -O -c1 {ROUTER}", ONE),
    Row(f"--numeric --outstanding -c1 -W20ms {SILENT}", unanswered(SILENT), code=1),
    Row(f"-c1 -D {ROUTER}", "STAMP " + ONE),
    Row(f"-c1 --timestamps -Q1h {ROUTER}", "STAMP\n" + total(ROUTER) * 2),
]


REFUSED = [
    refused("ping", words, line)
    for words, line in (
        ("", "no hosts: give some, or a file of them with --file"),
        ("--file=/dev/null", "no hosts: give some, or a file of them with --file"),
        ("--wrong ::1", "unrecognized arguments: --wrong SEE"),
        ("no..name", "no..name: not a host name or an address"),
        ("224.0.0.1", "224.0.0.1: not the address of one host"),
        ("--mtu 224.0.0.1", "224.0.0.1: not the address of one host"),
        ("--mtu fe80::1", "fe80::1: a link-local address needs its interface, as fe80::1%eth0"),
        ("0.0.0.0", "0.0.0.0: not the address of one host"),
        ("fe80::1", "fe80::1: a link-local address needs its interface, as fe80::1%eth0"),
        ("-6 10.77.0.2", "10.77.0.2: Address family for hostname not supported"),
        ("-4 -I ::1 127.0.0.1", f"source ::1: Address family for hostname not supported{LISTED}"),
        ("-4 -6 ::1", "argument -6: not allowed with argument -4 SEE"),
        ("-c0 ::1", "argument -c/--count: '0': expected a whole number from 1 to 9223372036854775807 SEE"),
        ("-c1 -l ::1", "argument -l/--loop: not allowed with argument -c/--count SEE"),
        ("-i soon ::1", f"argument -i/--interval: 'soon': {A_TIME}"),
        ("-i -1 ::1", f"argument -i/--interval: '-1': {A_TIME}"),
        ("-f -i1 ::1", "argument -i/--interval: not allowed with argument -f/--flood SEE"),
        ("-W0.0001 ::1", "timeout 0.0001: expected seconds, 0.001 to 1000000"),
        ("--mtu -W0.0001 ::1", "timeout 0.0001: expected seconds, 0.001 to 1000000"),
        ("-W never ::1", f"argument -W/--timeout: 'never': {A_TIME}"),
        ("-r101 ::1", "argument -r/--retries: '101': expected a whole number from 0 to 100 SEE"),
        ("-B0 ::1", "argument -B/--backoff: '0': expected a number from 1 to 10 SEE"),
        ("-B1_0 ::1", "argument -B/--backoff: '1_0': expected a number from 1 to 10 SEE"),
        ("-x0 ::1", "argument -x/--enough: '0': expected a whole number from 1 to 16777216 SEE"),
        ("-s65508 ::1", "argument -s/--size: '65508': expected a whole number from 0 to 65507 SEE"),
        (
            "-t0 ::1",
            "argument -t/--ttl: '0': expected a whole number from 1 to 255"
            "; fping's `-t 500`: `-W 500ms` here SEE",
        ),
        ("-p abc ::1", "argument -p/--pattern: 'abc': expected 1 to 16 bytes in hex, as ff00 SEE"),
        (
            "-M maybe ::1",
            "argument -M/--fragment: invalid choice: 'maybe' CHOICES; fping's `-M`: `-M do` here SEE",
        ),
        ("--tos ef0 ::1", "argument --tos: 'ef0': expected 0 to 255, 0xb8, or a DSCP as ef, af41 or cs1 SEE"),
        ("-O 16 ::1", "-O takes no value, as that of ping(8): fping's -O 16 is --tos 16"),
        ("-w0s ::1", "argument -w/--deadline: '0s': expected more than 0 SEE"),
        ("-Q0s ::1", "argument -Q/--every: '0s': expected more than 0" + OF_Q),
        ("-Q 0 ::1", "argument -Q/--every: '0': expected more than 0" + OF_Q),
        ("-Q 0x10 ::1", f"argument -Q/--every: '0x10': {A_TIME.removesuffix(' SEE')}{OF_Q}"),
        ("--textfile - ::1", f"argument --textfile: '-': {A_NAME} SEE"),
        ("--file=/dev/zero", "/dev/zero: a line of more than 1 MiB: expected targets"),
        ("-I nosuch ::1", f"-I: no interface 'nosuch'{LISTED}"),
        ("--mtu --source nosuch ::1", f"-I: no interface 'nosuch'{LISTED}"),
        ("-I lo -I veth0 ::1", "-I: lo contradicts veth0"),
        ("-I lo --interface veth0 ::1", "-I: lo contradicts veth0"),
        ("-I ::1 -I 127.0.0.1 ::1", "-I: ::1 contradicts 127.0.0.1"),
        ("-m-1 ::1", "argument -m/--mark: '-1': expected a whole number from 0 to 4294967295 SEE"),
        ("--engine=magic ::1", "argument --engine: invalid choice: 'magic' CHOICES SEE"),
        ("--mtu --engine=tcp ::1", "engine 'tcp': expected one of auto, icmp, raw, datagram, udp"),
        ("-Q often ::1", f"argument -Q/--every: 'often': {A_TIME}"),
        ("--interface= ::1", "argument --interface: '': expected the name of an interface SEE"),
        ("--source= ::1", f"source '': not a host name or an address{LISTED}"),
    )
] + [
    refused("ping", "--file=/nonexistent ::1", "/nonexistent: No such file or directory", 3),
    refused("ping", "--interface=no0 ::1", "no interface 'no0': there are lo, veth0, dead1, dead0", 3),
    refused("ping", "-I 192.0.2.1 127.0.0.1", "source 192.0.2.1: not an address of this machine", 3),
]  # fmt: skip


@pytest.mark.parametrize("row", [*USES, *REFUSED], ids=lambda row: row.words)
def test_each(hosts: Hosts, fastnet: Run, row: Row) -> None:
    hosts.check(fastnet, "ping", row)


def test_every_option_is_used_and_every_key_documented() -> None:
    distributed = {"--distributed", "--vantages", "--absence", "--tls-ca", "--tls-cert", "--tls-key"}
    # tests/cli/test_distributed.py, test_plot.py, test_textfile.py
    assert options_of("ping") - options_in(USES) == distributed | {"--plot", "--textfile"}
    assert undocumented("ping", REPLY + SUM + MTU) == set()


class TestInterrupted:
    """Requests that are still awaited when Ctrl-C comes: sent, and not lost."""

    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_what_is_still_awaited(self, hosts: Hosts, form: tuple[str, ...]) -> None:
        words = ("ping", *form, "-l", "-i1h", "-W1h", SILENT, ROUTER)
        command = [*hosts.prefix, "env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert ROUTER in process.stdout.readline()  # who was asked second
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "")
        silent, answering = output.splitlines()
        if form:
            counts = ("sent", "not_sent", "received", "waiting", "loss_percent", "outage_s", "error")
            told = [[parse(line)[key] for key in counts] for line in (silent, answering)]
            assert told == [[1, 0, 0, 1, None, 0, "no answer"], [1, 0, 1, 0, 0, 0, None]]
        else:
            assert silent == f"{SILENT}: 1 sent, 0 received, 1 still awaited"
            assert re.match(r"10\.77\.0\.2: 1 sent, 1 received, 0% loss, rtt ", answering)

    def test_a_search_of_path_mtus(self, hosts: Hosts) -> None:
        words = ("ping", "--mtu", "-v", "-W1h", SILENT)
        command = [*hosts.prefix, "env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert SILENT in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (130, "", "interrupted: 0 of 1 path MTU known\n")

    def test_loss_and_outage_are_of_the_others(self) -> None:
        summary = Summary("h", "192.0.2.1", "raw", 0.5)
        for seq, rtt_ms in enumerate((1.0, None, 2.0, 3.0)):
            summary.add(Reply("h", "192.0.2.1", seq, rtt_ms, None, None))
        result = summary.result()
        assert (result.sent, result.loss_percent, result.outage_s) == (4, 25, 0.5)
        for seq in range(4, 10):
            summary.add(Reply("h", "192.0.2.1", seq, None, None, "no answer"), waiting=True)
        result = summary.result()
        assert (result.sent, result.waiting, result.loss_percent, result.outage_s) == (10, 6, 25, 0.5)

    @pytest.mark.parametrize(
        ("lost", "of", "text"), [(1, 1000, "0.1"), (999, 1000, "99.9"), (2, 3, "66.6667")]
    )
    def test_a_little_loss_is_some_and_a_reply_is_not_all(self, lost: int, of: int, text: str) -> None:
        """As ping(8) prints it."""
        summary = Summary("h", "192.0.2.1", "raw", 0.5)
        for seq in range(of):
            summary.add(Reply("h", "192.0.2.1", seq, None if seq < lost else 1.0, None, None))
        assert f", {text}% loss" in line(summary.result())
