"""``fastnet interfaces --watch``: lines and records until Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from environment import COMMAND_TIMEOUT

ABSENT = "fastnet interfaces: there is no interface 'left' yet\n"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(host, "--json")``: the command in a namespace, whose state has been printed."""
    with ExitStack() as stack:

        def begin(host: Any, *words: str) -> subprocess.Popen[str]:
            command = [*host.prefix, sys.executable, "-m", "fastnet", "interfaces", "--watch", *words]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = stack.enter_context(subprocess.Popen(command, **pipes))
            stack.callback(process.kill)
            assert process.stdout
            process.first = process.stdout.readline()
            return process

        yield begin


def interrupted(process: subprocess.Popen[str], last: str, remark: str = "") -> list[str]:
    """The lines up to one that has this, after which Ctrl-C ends the command."""
    assert process.stdout
    lines = [process.first]
    while last not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "it has ended"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=COMMAND_TIMEOUT)
    assert (process.returncode, errors) == (130, remark)
    return [line.rstrip("\n") for line in lines]


def test_lines(namespace: Callable[[], Any], start: Start) -> None:
    host = namespace()
    process = start(host)
    for words in (
        "link add left type veth peer name right",
        "link set left name renamed",
        "link set renamed mtu 1400",
        "link set renamed up",
        "link set right up",
        "address add 10.0.0.1/24 dev renamed",
        "route add default via 10.0.0.9",
        "route add 10.9.0.0/16 nexthop via 10.0.0.8 nexthop via 10.0.0.7",
        "route replace default via 10.0.0.8",
        "address del 10.0.0.1/24 dev renamed",
        "link del renamed",
    ):
        host.ip(*words.split())
    lines = interrupted(process, "renamed: removed")
    assert lines[0] == "lo: unknown 127.0.0.1/8 ::1/128"
    wanted = [
        "left: added",
        "renamed: renamed from left",
        "renamed: mtu 1500 -> 1400",
        "renamed: carrier",
        "renamed: address 10.0.0.1/24 added",
        "default via 10.0.0.9 dev renamed added",
        "default gateway: none -> default via 10.0.0.9 dev renamed",
        "10.9.0.0/16 via 10.0.0.8 dev renamed via 10.0.0.7 dev renamed added",
        "default via 10.0.0.8 dev renamed changed: gateway 10.0.0.9 -> 10.0.0.8",
        "default gateway: default via 10.0.0.9 dev renamed -> default via 10.0.0.8 dev renamed",
        "renamed: address 10.0.0.1/24 removed",
        "renamed: removed",
    ]
    assert [line for line in lines if line in wanted] == wanted


def test_records(namespace: Callable[[], Any], start: Start) -> None:
    host = namespace()
    process = start(host, "--json", "left")
    host.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    host.ip("link", "del", "left")
    records = [json.loads(line) for line in interrupted(process, "link_removed", ABSENT)]
    assert [record["event"] for record in records if record["event"] != "link_changed"] == [
        *("state", "link_added", "link_removed"),
    ]
    assert [interface["name"] for interface in records[0]["after"]["interfaces"]] == ["lo"]
    assert (records[1]["interface"], records[1]["before"], records[1]["after"]["name"]) == (
        "left",
        None,
        "left",
    )


def test_a_name_is_escaped(namespace: Callable[[], Any], start: Start) -> None:
    host = namespace()
    process = start(host)
    host.ip("link", "add", "name", "bad\x1bname", "type", "veth", "peer", "name", "right")
    host.ip("link", "del", "right")
    assert "bad\\x1bname: added" in interrupted(process, "right: removed")
