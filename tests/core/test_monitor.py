"""Results kept until an event: changes, floods, other namespaces, forks, threads, closed descriptors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from environment import open_fds

TOPIC = "monitor"

CHANGES = (
    ("link", "add", "left", "type", "veth", "peer", "name", "right"),
    ("address", "add", "10.0.0.1/24", "dev", "left"),
    ("address", "change", "10.0.0.1/24", "dev", "left", "preferred_lft", "900", "valid_lft", "1000"),
    ("address", "add", "fd77::1/64", "dev", "left", "nodad"),
    ("address", "del", "fd77::1/64", "dev", "left"),
    ("link", "set", "left", "name", "renamed"),
    ("link", "set", "renamed", "mtu", "1400"),
    ("link", "set", "renamed", "address", "02:00:00:00:00:07"),
    ("link", "set", "renamed", "up"),
    ("link", "property", "add", "dev", "renamed", "altname", "another"),
    ("link", "set", "right", "up"),
    ("link", "set", "right", "down"),
    ("link", "add", "br0", "type", "bridge"),
    ("link", "set", "renamed", "master", "br0"),
    ("link", "del", "right"),
)


@pytest.mark.parametrize("words", CHANGES, ids=" ".join)
def test_nothing_is_kept_over_a_change(core: ModuleType, namespace: Any, words: tuple[str, ...]) -> None:
    host = namespace()
    for earlier in CHANGES[: CHANGES.index(words)]:
        host.ip(*earlier)

    def ask() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        core.kept()["answer"] = 1
        while not core.kept():  # a carrier that comes a little later is an event too
            core.kept()["answer"] = 1
        before = dict(core.kept())
        host.ip(*words)
        while "nodad" in words and core.kept():
            pass  # IPv6 reports a new address from a work queue, after the command has ended
        return before, core.kept(), core.kept()

    before, after, again = host.call(ask)
    assert (before, after) == ({"answer": 1}, {})
    assert after is again or not again


def test_what_is_put_in_stays_while_nothing_changes(core: ModuleType, namespace: Any) -> None:
    def ask() -> None:
        kept = core.kept()
        assert kept == {}
        kept["answer"] = 1
        for _ in range(1000):
            assert core.kept() is kept
        assert kept == {"answer": 1}

    namespace().call(ask)


def test_more_events_than_the_buffer_holds(core: ModuleType, namespace: Any) -> None:
    host = namespace()
    flood = "\n".join(f"address {verb} 10.0.0.1/32 dev lo" for verb in ("add", "del") * 200)

    def ask() -> None:
        for _ in range(2):
            core.kept()["answer"] = 1
            host.run("ip", "-batch", "-", input=flood)
            assert core.kept() == {}
        kept = core.kept()
        assert core.kept() is kept
        host.ip("address", "add", "10.0.0.1/32", "dev", "lo")
        assert core.kept() is not kept

    host.call(ask)


def test_a_change_is_kept_from_no_thread(core: ModuleType, namespace: Any) -> None:
    """Each thread reads after it has seen the change, also where another saw it first."""
    host = namespace()
    rounds = threading.Barrier(4, action=lambda: host.ip("link", "set", "lo", "mtu", str(next(mtus))))
    mtus = iter(range(2000, 2010))
    stale: list[int] = []

    def ask() -> None:
        host.enter()
        for number in range(10):
            core.kept()["round"] = number
            rounds.wait()
            if "round" in core.kept():
                stale.append(number)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stale == []


def test_a_thread_that_moves_to_and_fro(core: ModuleType, namespace: Any) -> None:
    hosts = [namespace(), namespace()]

    def wander() -> None:
        for _ in range(2):
            for host in hosts:
                host.enter()
                assert core.kept() == {}
                core.kept()["where"] = host.name

    hosts[0].call(wander)


@pytest.fixture
def script(core: ModuleType, python: Callable[..., Any]) -> Callable[..., None]:
    """Runs Python code that has ``core`` in a process of its own, in a network namespace of its own."""

    def run(code: str, *prefix: str) -> None:
        head = f"import os\nimport {core.__name__} as core\n"
        done = python("-W", "error", "-c", head + code, prefix=prefix)
        assert (done.returncode, done.stderr) == (0, "")

    return run


def test_a_forked_child_begins_with_nothing(script: Callable[..., None], namespace: Any) -> None:
    code = """
core.kept()["answer"] = 1
before = len(os.listdir("/proc/self/fd"))
child = os.fork()
if child == 0:
    assert len(os.listdir("/proc/self/fd")) == before - 2
    assert core.kept() == {}
    core.kept()["answer"] = 2
    os._exit(0 if core.kept() == {"answer": 2} else 1)
assert os.waitpid(child, 0)[1] == 0
assert core.kept() == {"answer": 1}
"""
    script(code, *namespace().prefix)


def test_a_daemon_that_closes_every_descriptor(script: Callable[..., None], namespace: Any) -> None:
    code = """
import socket
core.kept()["answer"] = 1
os.closerange(3, 100)
silent = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(6)]
assert core.kept() == {}
core.kept()["answer"] = 1
assert core.kept() == {"answer": 1}
for each in silent:
    each.close()
"""
    script(code, *namespace().prefix)


def test_without_proc_nothing_is_kept(script: Callable[..., None], unshare: str) -> None:
    code = """
import ctypes
assert ctypes.CDLL(None).umount2(b"/proc", 2) == 0
core.kept()["answer"] = 1
assert core.kept() == {}
"""
    script(code, unshare, "--mount", "--net")


def test_without_a_descriptor_nothing_is_kept(script: Callable[..., None]) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
core.kept()["answer"] = 1
assert core.kept() == {}
"""
    script(code)


def test_two_descriptors_a_thread_until_it_ends(core: ModuleType) -> None:
    counts = []

    def ask() -> None:
        before = len(open_fds())
        core.kept()
        core.kept()
        counts.append(len(open_fds()) - before)

    before = len(open_fds())
    for _ in range(10):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert {*counts} == {2}
    assert len(open_fds()) == before
