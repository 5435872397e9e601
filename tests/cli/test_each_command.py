"""Each command once, and each engine of those that have several: every wheel is tried with these."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from environment import COMMAND_TIMEOUT, Run
from forwarding import Command, WebServer, fetch
from namespaces import MakeNamespace, Namespace

from fastnet import implementation
from fastnet._forward import ENGINES as FORWARD_ENGINES
from fastnet._ping.pinger import ENGINES as PING_ENGINES
from fastnet._portscan import ENGINES as PORTSCAN_ENGINES
from fastnet._sweep import ENGINES as SWEEP_ENGINES
from fastnet._trace import ENGINES as TRACE_ENGINES
from fastnet.cli import COMMANDS
from fastnet.ipv6 import ENGINES as ADDRESS_ENGINES

Hosts = tuple[Namespace, Namespace]

ECHO_REQUEST = "4500002100000000400166da0a0000010a0000020800b4250007000168656c6c6f"
ANSWERS = {
    "address": (["address", "lo"], 0, "127.0.0.1/8"),
    "interfaces": (["interfaces"], 0, "lo "),
    "ipc": (["ipc", "pair", "--message", "hello"], 0, "The child got: hello"),
    "ipv6": (["ipv6", "--prefix", "fe80::1/64"], 0, "fe80::/64"),
    "ping": (["ping", "-c1", "127.0.0.1"], 0, "1 sent, 1 received"),
    "portscan": (["portscan", "-p", "1", "127.0.0.1"], 1, "closed  refused"),
    "routes": (["routes", "127.0.0.1"], 0, "127.0.0.1"),
    "schema": (["schema", "reply"], 0, '"title": "reply"'),
    "status": (["status", "lo"], 0, "lo is up"),
    "sweep": (["sweep", "127.0.0.1"], 0, "alive"),
    "tour": (["tour"], 0, "every stop answered"),
    "trace": (["trace", "127.0.0.1"], 0, "1  127.0.0.1"),
    "wait": (["wait", "--gone", "127.0.0.1:1", "--", sys.executable, "-c", "print('ran')"], 0, "ran"),
}
"""Those that answer and end: what to run, the exit code, and what is among the output."""
OTHERS = {"echo", "forward", "packet"}
"""Those that have a test of their own here."""


def test_no_command_is_forgotten() -> None:
    assert {*ANSWERS} | OTHERS == {*COMMANDS}


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_command_answers(root: None, fastnet: Run, name: str) -> None:
    words, code, printed = ANSWERS[name]
    ran = fastnet(*words)
    assert ran.returncode == code, ran.stderr
    assert printed in ran.stdout


def test_a_packet_is_parsed(fastnet: Run) -> None:
    shown = fastnet("packet", "parse", "--link", "ipv4", "--json", input=ECHO_REQUEST)
    assert (shown.stderr, shown.returncode) == ("", 0)
    assert '"src": "10.0.0.1"' in shown.stdout


def test_an_echo_server_is_measured(fastnet: Run) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "fastnet", "echo", "serve", "--host", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout
        (port,) = re.findall(r"127\.0\.0\.1:(\d+)", server.stdout.readline())
        measured = fastnet("echo", "client", f"127.0.0.1:{port}", "-c3")
        server.terminate()
        server.communicate(timeout=COMMAND_TIMEOUT)
    assert (measured.stderr, measured.returncode) == ("", 0)


@pytest.mark.parametrize("engine", FORWARD_ENGINES)
def test_each_engine_forwards(forward: Callable[..., Command], web: WebServer, engine: str) -> None:
    if engine == "splice" and implementation("relay") == "pure":
        pytest.skip("splice is the native implementation's alone")
    command = forward("0", f"127.0.0.1:{web.server_port}", "--rewrite-host", "--engine", engine)
    assert fetch(command.port)["host"] == f"127.0.0.1:{web.server_port}"
    assert command.finish()[0] == 0


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("engine", PING_ENGINES)
def test_each_engine_pings(engines: Hosts, fastnet: Run, engine: str) -> None:
    ran = fastnet("ping", "-c1", "--engine", engine, "10.77.0.2", "fd77::2", prefix=engines[0].prefix)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("1 sent, 1 received") == 2


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("engine", TRACE_ENGINES)
def test_each_engine_traces(engines: Hosts, fastnet: Run, engine: str) -> None:
    ran = fastnet("trace", "--engine", engine, "10.77.0.2", prefix=engines[0].prefix)
    assert ran.returncode == 0, ran.stderr
    assert "1  10.77.0.2" in ran.stdout


@pytest.mark.xdist_group("icmp")
@pytest.mark.parametrize("engine", SWEEP_ENGINES)
def test_each_engine_sweeps(
    engines: Hosts, fastnet: Run, reference: Callable[[str], object], engine: str
) -> None:
    if engine == "turbo" and implementation("probe") == "pure":
        pytest.skip("turbo is the native implementation's alone")
    if engine == "scapy":
        reference("scapy.all")
    left, right = engines
    right.ip("route", "add", "local", "10.99.0.1", "dev", "lo")
    left.ip("route", "add", "10.99.0.1", "via", "10.77.0.2")
    target = "10.77.0.2" if engine == "link" else "10.99.0.1"
    ran = fastnet("sweep", "--engine", engine, target, prefix=left.prefix)
    assert ran.returncode == 0, ran.stderr
    assert re.match(rf"{target} +alive", ran.stdout)


@pytest.mark.parametrize("engine", PORTSCAN_ENGINES)
def test_each_engine_scans_ports(
    fastnet: Run, web: WebServer, peer: Callable[[str], str], reference: Callable[[str], object], engine: str
) -> None:
    if engine == "nmap":
        peer("nmap")
        reference("nmap")
    ran = fastnet("portscan", "--engine", engine, "-p", str(web.server_port), "127.0.0.1")
    assert ran.returncode == 0, ran.stderr
    assert "open" in ran.stdout


@pytest.mark.parametrize("engine", ADDRESS_ENGINES)
def test_each_engine_knows_prefixes(
    namespace: MakeNamespace, fastnet: Run, reference: Callable[[str], object], engine: str
) -> None:
    if engine != "fastnet":
        reference(engine)
    ran = fastnet("ipv6", "--engine", engine, "--json", prefix=namespace().prefix)
    assert '"address": "::1", "prefix_length": 128' in ran.stdout, ran.stderr
