"""Every option of ``fastnet trace``: what it prints on stdout and stderr, how it ends, and what it sends."""

from __future__ import annotations

import pytest
from command_table import A_TIME, SILENT, Hosts, Row, options_in, options_of, refused, undocumented
from environment import Run

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
ROUTER, FAR, BEHIND = "10.77.0.2", "10.78.0.2", "10.88.0.1"


def hop(ttl: int, responder: str, tries: int = 3) -> str:
    return f"{ttl:3}  {responder}" + "  RTT ms" * tries + "\n"


def hop_json(ttl: int, responder: str, name: str = "null", tries: int = 3) -> str:
    response = (
        f'{{"responder": "{responder}", "rtt_ms": NUMBER, "error": null, "mark": null, "name": {name}}}'
    )
    return (
        f'{{"kind": "hop", "time": "STAMP", "ttl": {ttl}, "responses": [{", ".join([response] * tries)}]}}\n'
    )


def summary(hops: int, mtu: str = "null", engine: str = "udp") -> str:
    found = f'"host": "{FAR}", "address": "{FAR}", "engine": "{engine}"'
    ended = f'"reached": true, "error": null, "hops": {hops}, "mtu": {mtu}'
    return f'{{"kind": "trace_summary", "time": "STAMP", {found}, {ended}}}\n'


WAY = hop(1, ROUTER) + hop(2, FAR)
ONE = hop(1, ROUTER, 1) + hop(2, FAR, 1)
WAY6 = hop(1, "fd77::2") + hop(2, "fd78::2")
MTU = (
    f'{{"host": "{FAR}", "address": "{FAR}", "engine": "udp", "mtu_bytes": 1400, '
    f'"limits": [{{"router": "{ROUTER}", "mtu_bytes": 1400}}], "error": null}}'
)
NAMED = hop_json(1, ROUTER, '"router"') + hop_json(2, FAR, '"far"') + summary(2, MTU)
NOBODY = f"  1  *\n{SILENT}: not reached in 1 hop\n"
DATAGRAM, DATAGRAM6 = f"ip daddr {FAR} udp dport 33434-40000", "ip6 daddr fd78::2 udp dport 33434-40000"

USES = [
    Row(FAR, WAY),
    Row("fd78::2", WAY6),
    Row("far", WAY),
    Row("-4 both", hop(1, ROUTER)),
    Row("-6 both", hop(1, "fd77::2")),
    # How far, how often, how long
    Row(f"--max-hops=1 {FAR}", f"{hop(1, ROUTER)}{FAR}: not reached in 1 hop\n", code=1),
    Row(f"--max-hops 2 {FAR}", WAY),
    Row(f"--tries=2 --max-hops=2 {FAR}", hop(1, ROUTER, 2) + hop(2, FAR, 2), packets=(DATAGRAM, 4)),
    Row(f"-c1 --max-hops=1 -W10ms {SILENT}", NOBODY, code=1),
    Row(f"-c1 --max-hops=1 --timeout=10ms {SILENT}", NOBODY, code=1),
    # What is sent
    Row(f"-c1 --max-hops=2 -s 1000 {FAR}", ONE, packets=(f"{DATAGRAM} ip length 1028", 2)),
    Row(f"-c1 --max-hops=2 --size=0 {FAR}", ONE, packets=(f"{DATAGRAM} ip length 28", 2)),
    Row(f"-c1 --max-hops=2 {FAR}", ONE, packets=(f"{DATAGRAM} ip length 60", 2)),
    Row(f"-c1 --max-hops=2 -O ef {FAR}", ONE, packets=(f"{DATAGRAM} ip dscp ef", 2)),
    Row("-c1 --max-hops=2 --tos=0x20 fd78::2", hop(1, "fd77::2", 1) + hop(2, "fd78::2", 1), "", 0,
        (f"{DATAGRAM6} ip6 dscp cs1", 2)),
    Row(f"-c1 -m2 --mark 7 {FAR}", ONE, packets=(f"{DATAGRAM} meta mark 7", 2)),
    Row(f"-c1 --max-hops=2 --mark=4294967295 {FAR}", ONE, packets=(f"{DATAGRAM} meta mark 0xffffffff", 2)),
    Row(f"-c1 --max-hops=2 -I 10.77.0.3 {FAR}", ONE, packets=(f"{DATAGRAM} ip saddr 10.77.0.3", 2)),
    Row("--source=fd77::1 both", hop(1, "fd77::2")),
    Row(f"-c1 --max-hops=1 -W10ms {BEHIND}", NOBODY.replace(SILENT, BEHIND), code=1),
    Row(f"--interface=veth0 {BEHIND}", hop(1, BEHIND)),
    Row(f"-I veth0 {BEHIND}", hop(1, BEHIND)),
    Row(f"-n {BEHIND} --interface=veth0", hop(1, BEHIND)),
    Row(f"--numeric -I veth0 {BEHIND}", hop(1, BEHIND)),
    # Over which socket, and what is printed
    Row(f"-v {FAR}", WAY, f"{FAR} is {FAR}, by a udp socket\n"),
    Row(f"--verbose --engine=udp {FAR}", WAY, f"{FAR} is {FAR}, by a udp socket\n"),
    *(
        Row(f"-v --engine={engine} -c1 --max-hops=2 {FAR}", ONE, f"{FAR} is {FAR}, by a {kind} socket\n", 0,
            ("icmp type echo-request", 2))
        for engine, kind in (("icmp", "raw"), ("raw", "raw"), ("datagram", "datagram"))
    ),
    Row(f"--mtu {FAR}", f"{WAY}path MTU 1400, 1400 behind {ROUTER}\n"),
    Row("--mtu fd78::2", f"{WAY6}path MTU 1400, 1400 behind fd77::2\n"),
    Row(f"--names {FAR}", hop(1, f"router ({ROUTER})") + hop(2, f"far ({FAR})")),
    Row(f"--json {FAR}", hop_json(1, ROUTER) + hop_json(2, FAR) + summary(2)),
    Row(f"--json --engine=raw -c1 {FAR}", hop_json(1, ROUTER, tries=1) + hop_json(2, FAR, tries=1)
        + summary(2, engine="raw")),
    Row(f"--json --names --mtu {FAR}", NAMED),
]  # fmt: skip

REFUSED = [
    refused("trace", words, line)
    for words, line in (
        ("", "the following arguments are required: HOST SEE"),
        ("::1 ::2", "unrecognized arguments: ::2 SEE"),
        ("no..name", "no..name: not a host name or an address"),
        ("224.0.0.1", "224.0.0.1: not the address of one host"),
        ("0.0.0.0", "0.0.0.0: not the address of one host"),
        ("fe80::1", "fe80::1: a link-local address needs its interface, as fe80::1%eth0"),
        ("-6 127.0.0.1", "127.0.0.1: Address family for hostname not supported"),
        ("-4 -6 ::1", "argument -6: not allowed with argument -4 SEE"),
        ("--max-hops=0 ::1", "argument -m/--max-hops: '0': expected a whole number from 1 to 255 SEE"),
        ("-c0 ::1", "argument -c/--tries: '0': expected a whole number from 1 to 10 SEE"),
        ("-c11 ::1", "argument -c/--tries: '11': expected a whole number from 1 to 10 SEE"),
        ("-W0 ::1", "timeout 0.0: expected seconds, 0.001 to 1000000"),
        ("-W auto ::1", f"argument -W/--timeout: 'auto': {A_TIME}"),
        ("-s65508 ::1", "argument -s/--size: '65508': expected a whole number from 0 to 65507 SEE"),
        ("-O256 ::1", "argument -O/--tos: '256': expected 0 to 255, 0xb8, or a DSCP as ef, af41 or cs1 SEE"),
        ("--mark=-1 ::1", "argument --mark: '-1': expected a whole number from 0 to 4294967295 SEE"),
        ("--engine=tcp ::1", "argument --engine: invalid choice: 'tcp' CHOICES SEE"),
        ("--interface= ::1", "argument --interface: '': expected the name of an interface SEE"),
    )
] + [
    refused("trace", "--interface=no0 ::1", "no interface 'no0': there are lo, veth0, dead1, dead0", 3),
    refused("trace", "-I 192.0.2.1 127.0.0.1", "source 192.0.2.1: not an address of this machine", 3),
]


@pytest.mark.parametrize("row", [*USES, *REFUSED], ids=lambda row: row.words)
def test_each(hosts: Hosts, fastnet: Run, row: Row) -> None:
    hosts.check(fastnet, "trace", row)


def test_every_option_is_used_and_every_key_documented() -> None:
    assert options_of("trace") - options_in(USES) == {"--plot"}  # tests/cli/test_plot.py
    assert undocumented("trace", hop_json(1, "") + summary(1)) == set()
