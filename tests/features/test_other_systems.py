"""Systems other than Linux, as far as Linux can show them.

``sys.platform`` is another, and what Python has not on that system is taken away before fastnet is imported.
Whether the rest behaves as it does there is not tested: that would take such a machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from environment import Run
from other_systems import SYSTEMS, lacking, prelude

import fastnet
from fastnet.cli.commands import COMMANDS, PORTABLE

PORTABLE_NAMES = {
    *("FastnetError", "checksum", "checksums", "endpoints", "errors", "implementation", "packet", "targets"),
}
SHOWN = """
import contextlib, socket
from fastnet import checksum, checksums, endpoints, errors, implementation, packet, targets
from fastnet.packet import IPv4, IPv6, TCP, UDP, Ethernet, ICMPEcho, from_hex, as_dict
print(implementation(), checksum(b"abc"), checksums.verify(bytes(2)), checksums.kernel())
for packet_ in (
    Ethernet() / IPv4(src="10.0.0.1", dst="10.0.0.2") / ICMPEcho() / b"data",
    Ethernet() / IPv6(src="fe80::1", dst="fe80::2") / TCP(sport=1, dport=2, flags="S"),
):
    print(packet.dump(packet_), packet.parse(bytes(packet_)), as_dict(packet_))
print(from_hex("4500 0014"))
given = targets.Targets("10.0.0.0/30", "fe80::1-fe80::3", "10.0.2-3.*")
print(len(given), given[0], [*given][-1], "10.0.2.9" in given, targets.parse_prefix("10.0.0.0/8"))
print(targets.read_targets(["10.0.0.1  # one", ""]))
for text in ("localhost:http", "[::1]:80", "unix:/run/x", "unix:@x", "systemd:web"):
    print(endpoints.parse_place(text))
print(endpoints.parse_port("https"), endpoints.parse_endpoint("80", default_host="::1"))
for host in ("127.0.0.1", "::1", "localhost", "a.localhost", "fe80::1%lo"):
    print([(each.host, each.as_dict()) for each in endpoints.resolve(host, 80)])
for host in ("no.invalid", "010.0.0.1"):
    with contextlib.suppress(errors.NameNotResolved, errors.InvalidArgument):
        print(endpoints.resolve(host))
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for listener in endpoints.listen(endpoints.Endpoint("localhost", 0), type=kind):
        with listener:
            print(listener.family, listener.type)
"""
USED = {
    ("fastnet/cli/__init__.py", "pthread_kill"),
    ("fastnet/cli/output.py", "PIPE_BUF"),
    ("fastnet/endpoints.py", "AF_UNIX"),
    ("fastnet/endpoints.py", "SO_REUSEPORT"),
}
"""What Windows has not, and these modules use: if it is there, or for Linux's features."""

pytestmark = pytest.mark.skipif(
    fastnet.implementation() == "native", reason="the wheel for other systems is pure"
)

Elsewhere = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def elsewhere(python: Run, system: str) -> Elsewhere:
    """Run a program on the other system."""
    return lambda code, **options: python("-c", prelude(system) + code, **options)


def command(*words: str) -> str:
    """The program that is installed as ``fastnet``."""
    return f"import sys\nfrom fastnet.__main__ import main\nsys.argv = {['fastnet', *words]!r}\nmain()"


def test_what_a_system_has_not_is_known() -> None:
    windows = {module: {*lacking(module, "win32")} for module in ("os", "select", "signal", "socket")}
    assert windows["os"] >= {"fork", "geteuid", "memfd_create", "sched_getaffinity"}
    assert windows["select"] >= {"PIPE_BUF", "epoll", "poll"}
    assert windows["signal"] >= {"SIGCHLD", "SIGHUP", "SIGWINCH", "pthread_kill"}
    assert windows["socket"] >= {"AF_NETLINK", "AF_PACKET", "AF_UNIX", "SO_REUSEPORT"}
    assert not windows["socket"] & {"AF_INET6", "IPV6_V6ONLY", "SO_REUSEADDR", "getaddrinfo"}
    assert {*lacking("select", "darwin")} >= {"epoll"}
    assert not {*lacking("select", "darwin")} & {"PIPE_BUF", "poll"}


def test_it_is_taken_away(elsewhere: Elsewhere, system: str) -> None:
    code = "import os, select, socket; print(hasattr(select, 'epoll'), hasattr(socket, 'AF_PACKET'))\n"
    ran = elsewhere(code + "import fcntl")
    assert ran.stdout == "False False\n"
    assert ("ModuleNotFoundError" in ran.stderr) == (system == "win32")


def test_what_needs_linux_says_so_and_the_rest_is_there(elsewhere: Elsewhere, system: str) -> None:
    code = """
import json, fastnet
from fastnet.errors import SystemUnsupported
found = {}
for name in fastnet.__all__:
    try:
        getattr(fastnet, name)
        found[name] = ""
    except SystemUnsupported as error:
        found[name] = str(error)
print(json.dumps(found))
"""
    ran = elsewhere(code)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert {name for name, error in found.items() if not error} == PORTABLE_NAMES
    for name in found.keys() - PORTABLE_NAMES:
        assert found[name] == f"fastnet.{name} needs Linux; this system is {system}"


@pytest.mark.parametrize("module", sorted({*fastnet._MODULES, "compat.netifaces"} - PORTABLE_NAMES))
def test_a_module_that_needs_linux_says_so_when_imported(
    elsewhere: Elsewhere, system: str, module: str
) -> None:
    ran = elsewhere(f"import fastnet.{module}")
    refused = f"fastnet.{module.partition('.')[0]} needs Linux; this system is {system}"
    assert ran.stderr.splitlines()[-1] == f"fastnet.errors.SystemUnsupported: {refused}"


def test_what_is_there_does_what_it_does_on_linux(elsewhere: Elsewhere, python: Run) -> None:
    ran, here = elsewhere(SHOWN), python("-c", SHOWN)
    assert (ran.returncode, ran.stderr) == (here.returncode, here.stderr) == (0, "")
    assert ran.stdout == here.stdout


def test_what_is_there_uses_nothing_that_the_system_has_not(
    elsewhere: Elsewhere, python: Run, system: str, tmp_path: Path
) -> None:
    """Also where no test comes by: mypy knows which names a system has."""
    code = """
import sys
from fastnet import checksums, endpoints, packet, targets
from fastnet.cli import full_parser, packet, schema
print(*(name for name in sys.modules if name.partition(".")[0] == "fastnet"))
"""
    modules = [word for name in elsewhere(code).stdout.split() for word in ("-m", name)]
    assert len(modules) > 50
    source = Path(fastnet.__file__).parents[1]
    words = ("--platform", system, "--follow-imports=silent", "--config-file=", "--cache-dir", str(tmp_path))
    checked = python("-m", "mypy", *words, *modules, cwd=source, env={"MYPYPATH": str(source)})
    found = re.findall(r'^(.*):\d+: error: Module has no attribute "(\w+)"', checked.stdout, re.MULTILINE)
    assert (checked.returncode, checked.stdout.count("error:")) == (bool(found), len(found))
    assert {*found} == (USED if system == "win32" else set())


def test_a_port_is_shared_on_linux_only(elsewhere: Elsewhere, system: str) -> None:
    """And on Windows no other program may take one that is in use, which SO_REUSEADDR would allow."""
    code = """
import socket
from fastnet.endpoints import Endpoint, listen
from fastnet.errors import SystemUnsupported
with listen(Endpoint("127.0.0.1", 0))[0] as listener:
    print(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
try:
    with listen(Endpoint("127.0.0.1", 0), reuse_port=True)[0]:
        print("shared")
except SystemUnsupported as error:
    print(error)
"""
    reused, shared = elsewhere(code).stdout.splitlines()
    if system == "win32":
        assert (reused, shared) == ("0", "reuse_port needs Linux; this system is win32")
    else:
        assert (reused, shared) == ("1", "shared")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command(elsewhere: Elsewhere, system: str, name: str) -> None:
    ran = elsewhere(command(name, "--help"))
    if name in PORTABLE:
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("usage: ")
    else:
        line = f"fastnet {name}: this command needs Linux; this system is {system}\n"
        assert (ran.returncode, ran.stdout, ran.stderr) == (3, "", line)


@pytest.mark.parametrize(
    "words",
    [
        *(["--version"], ["--help"], [], ["nosuch"], ["schema"], ["schema", "reply"], ["schema", "nosuch"]),
        *(["packet", "parse", "--link", "ipv4"], ["packet", "parse", "--link", "ipv4", "--json"], ["packet"]),
        *(["packet", "parse", "--nosuch"], ["packet", "parse", "/nosuch"]),
    ],
    ids=" ".join,
)
def test_a_command_does_what_it_does_on_linux(elsewhere: Elsewhere, python: Run, words: list[str]) -> None:
    code, given = command(*words), "4500 0014 0000 0000 4001 0000 0a000001 0a000002"
    ran, here = elsewhere(code, input=given), python("-c", code, input=given)
    assert (ran.returncode, ran.stderr) == (here.returncode, here.stderr)
    assert without_time(ran.stdout) == without_time(here.stdout)
    assert "Traceback" not in here.stderr


def without_time(text: str) -> str:
    return re.sub(r'"time": "[^"]*"', "", text)
