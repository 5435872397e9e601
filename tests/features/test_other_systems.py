"""Systems other than Linux, as far as Linux can show them.

``sys.platform`` is another, and what Python has on Linux only is taken away before fastnet is imported.
Whether the rest behaves as it does there is not tested.
"""

from __future__ import annotations

import json

import pytest
from environment import Run

import fastnet
from fastnet.cli.commands import COMMANDS, PORTABLE

PRELUDE = """
import _socket, os, select, socket, sys
sys.platform = "darwin"
PREFIXES = ("AF_NETLINK", "AF_PACKET", "CAN_", "EPOLL", "IP_TRANSPARENT", "NETLINK_", "PACKET_", "SCM_CRED",
    "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SO_BINDTO", "SO_DOMAIN", "SO_INCOMING", "SO_MARK", "SO_PEERCRED",
    "SO_PROTOCOL", "TCP_")
NAMES = ("epoll", "eventfd", "memfd_create", "pidfd_open", "pipe2", "sched_getaffinity", "setns", "splice",
    "unshare")
for module in (_socket, os, select, socket):
    for name in dir(module):
        if name in NAMES or name.startswith(PREFIXES) and name != "TCP_NODELAY":
            delattr(module, name)
"""

pytestmark = pytest.mark.skipif(
    fastnet.implementation() == "native", reason="the wheel for other systems is pure"
)


def test_what_needs_linux_says_so_and_the_rest_is_there(python: Run) -> None:
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
    ran = python("-c", PRELUDE + code)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    there = {
        "FastnetError",
        "checksum",
        "checksums",
        "endpoints",
        "errors",
        "implementation",
        "packet",
        "targets",
    }
    assert {name for name, error in found.items() if not error} == there
    for name in found.keys() - there:
        assert found[name] == f"fastnet.{name} needs Linux; this system is darwin"


def test_what_is_there_works(python: Run) -> None:
    code = """
import fastnet
from fastnet.packet import ICMPEcho, IPv4
from fastnet.targets import Targets
echo = IPv4(src="10.0.0.1", dst="10.0.0.2") / ICMPEcho()
data = bytes(echo)
print(fastnet.checksum(data[:20]), fastnet.packet.parse(data, "ipv4")[IPv4].dst, len(Targets("10.0.0.0/30")))
"""
    ran = python("-c", PRELUDE + code)
    assert (ran.stdout, ran.stderr) == ("0 10.0.0.2 4\n", "")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command(python: Run, command: str) -> None:
    code = f"from fastnet.cli import main; sys.exit(main([{command!r}, '--help']))"
    ran = python("-c", PRELUDE + code)
    if command in PORTABLE:
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("usage: ")
    else:
        line = f"fastnet {command}: this command needs Linux; this system is darwin\n"
        assert (ran.returncode, ran.stdout, ran.stderr) == (3, "", line)
