"""Port scans against listeners, refusals and silences that are known, with nmap as the oracle."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from children import Child
from hypothesis import given
from hypothesis import strategies as st

from fastnet._portscan import ENGINES, PortScan, format_ports, parse_ports, portscan, portscan_async
from fastnet.errors import EngineMissing, InvalidArgument, NameNotResolved

ALIKE = 300
SMALL_LIMIT = 40


def scan_sync(*arguments: Any, **options: Any) -> PortScan:
    return portscan(*arguments, **options)


def scan_async(*arguments: Any, **options: Any) -> PortScan:
    return asyncio.run(portscan_async(*arguments, **options))


both = pytest.mark.parametrize("scan", [scan_sync, scan_async])
loopbacks = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


@contextmanager
def listeners(address: str, count: int) -> Iterator[list[int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server((address, 0), family=family)) for _ in range(count)
        ]
        yield sorted(server.getsockname()[1] for server in servers)


@contextmanager
def bound(address: str) -> Iterator[int]:
    """A port that surely does not listen: somebody holds it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        yield sock.getsockname()[1]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, reference: Any, peer: Any) -> str:
    if request.param == "nmap":
        reference("nmap")
        peer("nmap")
    return str(request.param)


@both
@loopbacks
def test_open_and_closed(scan: Callable[..., PortScan], address: str, engine: str) -> None:
    with listeners(address, 3) as listening, bound(address) as silent:
        found = scan(address, [silent, *listening], engine=engine)
    assert (found.host, found.address, found.engine) == (address, address, engine)
    assert {port.port: port.state for port in found.ports} == {
        silent: "closed",
        **dict.fromkeys(listening, "open"),
    }
    assert list(found.open) == listening
    assert [port.port for port in found.ports] == sorted([silent, *listening])


@both
def test_reasons(scan: Callable[..., PortScan]) -> None:
    with listeners("127.0.0.1", 1) as [listening], bound("127.0.0.1") as silent:
        found = scan("127.0.0.1", [silent, listening])
    assert {port.port: port.reason for port in found.ports} == {silent: "refused", listening: "accepted"}


@pytest.fixture
def silence(linked: tuple[Any, Any]) -> Any:
    """A host from which 10.77.0.2 is reached, whose answers are then lost."""
    left, right = linked
    right.ip("route", "add", "blackhole", "10.99.0.1/32")
    left.ip("address", "add", "10.99.0.1/32", "dev", "lo")
    left.ip("route", "change", "10.77.0.0/24", "dev", "veth0", "src", "10.99.0.1")
    return left


@both
def test_silence(scan: Callable[..., PortScan], silence: Any, engine: str) -> None:
    found = silence.call(lambda: scan("10.77.0.2", "70-71", engine=engine, timeout=0.3))
    assert [(port.port, port.state) for port in found.ports] == [(70, "filtered"), (71, "filtered")]
    if engine == "connect":
        assert {port.reason for port in found.ports} == {"no answer"}


@both
def test_a_router_that_says_no(scan: Callable[..., PortScan], linked: tuple[Any, Any], engine: str) -> None:
    left, right = linked
    left.ip("route", "add", "10.88.0.0/24", "via", "10.77.0.2")
    right.ip("route", "add", "unreachable", "10.88.0.0/24")
    right.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    found = left.call(lambda: scan("10.88.0.2", "70", engine=engine, timeout=5))
    assert [port.state for port in found.ports] == ["filtered"]
    if engine == "connect":
        assert found.ports[0].reason == "host unreachable"


@both
def test_a_firewall_that_refuses(scan: Callable[..., PortScan], linked: tuple[Any, Any], peer) -> None:
    """The system reports its ICMP error as a refused connection; RST is one, whoever sent it."""
    left, right = linked
    right.run(
        peer("nft"),
        "table inet t { chain c { type filter hook input priority 0; tcp dport 70 reject; "
        "tcp dport 71 reject with tcp reset; }; }",
    )
    for host in ("10.77.0.2", "fd77::2"):
        found = left.call(lambda host=host: scan(host, "70-72", timeout=5))
        assert [(port.state, port.reason) for port in found.ports] == [
            ("filtered", "port unreachable"),
            ("closed", "refused"),
            ("closed", "refused"),
        ]


@both
def test_many_silent_ports_share_one_wait(scan: Callable[..., PortScan], silence: Any) -> None:
    found = silence.call(lambda: scan("10.77.0.2", f"1-{ALIKE}", timeout=0.2, concurrency=ALIKE // 2))
    assert [(port.state, port.reason) for port in found.ports] == [("filtered", "no answer")] * ALIKE


@both
def test_a_scoped_address(scan: Callable[..., PortScan], linked: tuple[Any, Any], engine: str) -> None:
    left, right = linked
    right.ip("address", "add", "fe80::77/64", "dev", "veth0", "nodad")
    found = left.call(lambda: scan("fe80::77%veth0", "1-2", engine=engine))
    assert found.address == "fe80::77%veth0"
    assert [port.state for port in found.ports] == ["closed", "closed"]


@both
def test_where_nothing_can_be_sent(scan: Callable[..., PortScan], namespace: Any) -> None:
    host = namespace()
    for address in ("10.1.2.3", "2001:db8::1"):
        with pytest.raises(OSError, match=f"unreachable.*{address} port 7") as raised:
            host.call(lambda a=address: scan(a, "7-9"))
        assert raised.value.errno == errno.ENETUNREACH


@both
def test_a_port_that_the_kernel_gives_to_us_is_not_open(
    scan: Callable[..., PortScan], namespace: Any
) -> None:
    """Both ends of a connection may get one port: then it connects to itself, with nobody listening."""
    host = namespace()
    host.run("sh", "-c", "echo '40000 40001' > /proc/sys/net/ipv4/ip_local_port_range")

    def each() -> set[str]:
        return {scan("127.0.0.1", [40000 + i % 2]).ports[0].state for i in range(20)}

    assert host.call(each) == {"closed"}


@both
def test_few_descriptors_are_enough(scan: Callable[..., PortScan]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    with listeners("127.0.0.1", 1) as [listening], ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + SMALL_LIMIT, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        found = scan("127.0.0.1", [*range(1, ALIKE), listening], concurrency=10 * SMALL_LIMIT)
    assert len(found.ports) == ALIKE
    assert listening in found.open
    assert len(os.listdir("/proc/self/fd")) == before


@both
def test_few_descriptors_with_silence(scan: Callable[..., PortScan], silence: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + SMALL_LIMIT, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        found = silence.call(lambda: scan("10.77.0.2", f"1-{3 * SMALL_LIMIT}", timeout=0.2))
    assert {port.state for port in found.ports} == {"filtered"}
    assert len(found.ports) == 3 * SMALL_LIMIT


def test_a_cancelled_scan_leaves_nothing_open(silence: Any) -> None:
    async def cancelled() -> tuple[int, int]:
        before = len(os.listdir("/proc/self/fd"))
        scan = asyncio.ensure_future(portscan_async("10.77.0.2", "1-50", timeout=60))
        async with asyncio.timeout(30):
            while len(os.listdir("/proc/self/fd")) < before + 50:
                await asyncio.sleep(0.01)
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        return before, len(os.listdir("/proc/self/fd"))

    before, after = silence.call(lambda: asyncio.run(cancelled()))
    assert after == before


def test_many_ports_of_one_state(engine: str) -> None:
    """nmap does not list them one by one."""
    with listeners("127.0.0.1", 1) as [listening]:
        found = portscan("127.0.0.1", [*range(1, ALIKE), listening], engine=engine)
    assert [port.port for port in found.ports] == [*range(1, ALIKE), listening]
    assert listening in found.open


def test_an_address_of_its_family() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        assert portscan(address, "1", family=family).address == address
    with pytest.raises(NameNotResolved, match=r"::1: "):
        portscan("::1", "1", family=socket.AF_INET)
    with pytest.raises(NameNotResolved, match=r"name\.invalid"):
        portscan("name.invalid", "1")


def test_the_package_itself_is_called() -> None:
    import fastnet

    assert fastnet.portscan("127.0.0.1", "1").ports[0].port == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "telnet"}, "engine 'telnet': expected one of connect, nmap"),
        ({"timeout": 0}, "expected seconds, 0.001 to"),
        ({"timeout": -1}, "expected seconds, 0.001 to"),
        ({"timeout": float("nan")}, "expected seconds, 0.001 to"),
        ({"timeout": float("inf")}, "expected seconds, 0.001 to"),
        ({"concurrency": 0}, "concurrency 0: expected 1 to"),
    ],
)
@both
def test_refusals(scan: Callable[..., PortScan], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        scan("127.0.0.1", "1", **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("21-23,80", (21, 22, 23, 80)),
        ("80,21-23", (21, 22, 23, 80)),
        (" 80 , 21 ", (21, 80)),
        ("5-7,6-9,6", (5, 6, 7, 8, 9)),
        ("65535", (65535,)),
        ("7-7", (7,)),
        ("http,https", (80, 443)),
        ("65534-", (65534, 65535)),
        ("-3", (1, 2, 3)),
        ("-", tuple(range(1, 65536))),
        ([443, 80, 80], (80, 443)),
        (["https", 80, "-2"], (1, 2, 80, 443)),
    ],
)
def test_parse_ports(text: Any, expected: tuple[int, ...]) -> None:
    assert parse_ports(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected ports from 1 to 65535"),
        ("80,", "expected ports from 1 to 65535"),
        ("0", "ports '0': expected ports from 1 to 65535"),
        ("65536", "expected ports from 1 to 65535"),
        ("-0", "ports '-0': expected ports from 1 to 65535"),
        ("--5", "ports '--5': expected ports from 1 to 65535"),
        ("65536-", "expected ports from 1 to 65535"),
        ("no-such-service", "ports 'no-such-service': expected ports from 1 to 65535, or names of services"),
        ("ssh-http", "ports 'ssh-http': expected ports from 1 to 65535, or names of services"),
        ("1-2-3", "expected ports from 1 to 65535"),
        ("T:22", "ports 'T:22': expected ports from 1 to 65535"),
        ("8 0", "expected ports from 1 to 65535"),
        ("+80", "expected ports from 1 to 65535"),
        ("\u0668\u0660", "expected ports from 1 to 65535"),
        ("1" * 5000, "expected ports from 1 to 65535"),
        ("23-21", "ports '23-21': the range ends before it begins"),
        ([], "no ports"),
        ([80, -1], "expected ports from 1 to 65535"),
        ([80.5], "expected ports from 1 to 65535"),
    ],
)
def test_parse_ports_refuses(text: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_ports(text)


@given(ports=st.sets(st.integers(1, 65535), min_size=1, max_size=50))
def test_format_ports_is_read_back(ports: set[int]) -> None:
    assert parse_ports(format_ports(sorted(ports))) == tuple(sorted(ports))


def test_engines_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, reference: Any) -> None:
    reference("nmap")
    with monkeypatch.context() as change:
        change.setenv("PATH", str(tmp_path))
        with pytest.raises(EngineMissing, match="the program nmap is missing: apt-get install nmap"):
            portscan("127.0.0.1", "1", engine="nmap")
    monkeypatch.setitem(__import__("sys").modules, "nmap", None)
    with pytest.raises(EngineMissing, match="the Python package python-nmap is missing: pip install"):
        portscan("127.0.0.1", "1", engine="nmap")


def test_an_nmap_that_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, reference: Any, peer: Any
) -> None:
    """It must not pass for a host without ports."""
    reference("nmap")
    real = peer("nmap")
    for script in ("echo 'nmap: out of paper' >&2; exit 1", f"[ $1 = -V ] && exec {real} -V; echo gone >&2"):
        program = tmp_path / "nmap"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert shutil.which("nmap") == str(program)
        with pytest.raises(OSError, match="nmap: "):
            portscan("127.0.0.1", "1", engine="nmap")


def test_command(fastnet: Any, engine: str) -> None:
    with listeners("127.0.0.1", 1) as [listening], bound("127.0.0.1") as silent:
        ports = f"{listening},{silent}"
        done = fastnet("portscan", "127.0.0.1", "-p", ports, "--engine", engine)
        assert done.returncode == 0
        rows = [line.split() for line in done.stdout.splitlines()]
        assert rows[0] == ["PORT", "STATE", "REASON"]
        assert sorted(row[:2] for row in rows[1:]) == sorted(
            [[str(listening), "open"], [str(silent), "closed"]]
        )
        assert done.stderr == "127.0.0.1: 1 closed, 1 open\n"

        done = fastnet("portscan", "127.0.0.1", "-p", ports, "--open", "--engine", engine)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)

        done = fastnet("portscan", "127.0.0.1", "-p", ports, "--json", "--engine", engine)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert {record["port"]: record["state"] for record in records} == {
            listening: "open",
            silent: "closed",
        }

        done = fastnet("portscan", "127.0.0.1", "-p", str(silent), "--open", "--engine", engine)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "127.0.0.1: 1 closed\n")


@contextmanager
def mute(address: str) -> Iterator[int]:
    """A port that does not answer: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((address, 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_ctrl_c_says_what_is_known() -> None:
    with mute("127.0.0.1") as silent, socket.create_server(("127.0.0.1", 0)) as server:
        listening = server.getsockname()[1]
        command = [sys.executable, "-m", "fastnet", "portscan", "127.0.0.1", "--timeout", "60s"]
        with Child(
            [*command, "-p", f"{listening},{silent}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            scanned, _ = server.accept()
            with scanned:
                assert scanned.recv(1) == b""  # found open, and closed again
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            output, remarks = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [line.split()[:2] for line in output.splitlines()[1:]] == [[str(listening), "open"]]
    assert remarks == "127.0.0.1: 1 open\ninterrupted: 1 of 2 ports known\n"


def test_command_families_and_bounds(fastnet: Any) -> None:
    for option, address in (("-4", "127.0.0.1"), ("-6", "::1")):
        done = fastnet("portscan", address, option, "-p", "1", "--timeout", "5s", "--concurrency", "1")
        assert (done.returncode, done.stderr) == (1, f"{address}: 1 closed\n")
    done = fastnet("portscan", "127.0.0.1")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["PORT", "21", "22", "23", "80"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("127.0.0.1", "-p", "0"), 2, "expected ports from 1 to 65535"),
        (("127.0.0.1", "-p", "9-1"), 2, "the range ends before it begins"),
        (("127.0.0.1", "--engine", "telnet"), 2, "invalid choice: 'telnet'"),
        (("127.0.0.1", "--timeout", "0"), 2, "expected seconds, 0.001 to"),
        (("127.0.0.1", "--timeout", "nan"), 2, "expected a time"),
        (("127.0.0.1", "--concurrency", "0"), 2, "expected a whole number from 1"),
        (("name.invalid",), 2, "name.invalid: "),
        (("::1", "-4"), 2, "::1: "),
        ((), 2, "the following arguments are required: HOST"),
    ],
)
def test_command_refuses(fastnet: Any, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = fastnet("portscan", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_command_where_nothing_can_be_sent(fastnet: Any, namespace: Any) -> None:
    done = fastnet("portscan", "10.1.2.3", prefix=namespace().prefix)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "fastnet portscan: 10.1.2.3 port 21: Network is unreachable\n"
