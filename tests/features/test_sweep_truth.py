"""Zero false results: sweeps of namespaces where it is known who answers, the exact sets compared."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_address
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from namespaces import Namespace

from fastnet._contract.probe import ALIVE, ENGINES, PENDING, SILENT, UNREACHABLE
from fastnet.errors import InvalidArgument

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
RUNS = 3
COUNT = 1 << 10
ROUTED = 0x0A500000
ROUTED_6 = 0xFD80 << 112
UNROUTED = 0x0A510000
PAIR = pytest.mark.parametrize("engine", ENGINES)

Truth = Callable[[int], int]
"""The state of target ``k``."""


class Swept(NamedTuple):
    states: bytes
    reasons: list[Any]
    sent: int


@pytest.fixture(params=["native", "pure"], scope="module")
def core(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "native" and not find_spec("fastnet._native.checksum"):
        pytest.skip("the native implementation is not installed")
    return import_module(f"fastnet._{request.param}.probe")


@pytest.fixture
def hosts(linked: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """The left one may use both kinds of socket; the right one is the /16 (/112) behind its own address."""
    left, right = linked
    left.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    left.ip("route", "add", "10.80.0.0/16", "via", "10.77.0.2")
    left.ip("route", "add", "fd80::/16", "via", "fd77::2")
    right.ip("route", "add", "local", "10.80.0.0/16", "dev", "lo")
    right.ip("route", "add", "local", "fd80::/16", "dev", "lo")
    # An error for each request: of these the kernel sends few by default.
    right.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv4.ip_forward=1")
    return left, right


def swept(
    core: ModuleType, host: Namespace, engine: str, first: int = ROUTED, count: int = COUNT, **options: Any
) -> Swept:
    family = socket.AF_INET if first < 1 << 32 else socket.AF_INET6
    settings: dict[str, Any] = {"timeout": 0.3, "retries": 1, "seed": 1, **options}

    def work() -> Swept:
        size = settings.pop("size", 56)
        with closing(core.Prober(family, engine, size=size)) as prober:
            sweeper = core.Sweeper(prober, [(first, first + count - 1)], **settings)
            while not sweeper.run(0.2):
                pass
            reasons = [sweeper.reason(target) for target in range(count)]
            return Swept(bytes(sweeper.states), reasons, sweeper.sent)

    return host.call(work)


def false_results(states: bytes, truth: Truth, first: int = ROUTED) -> Mapping[str, tuple[int, int]]:
    """The wrong verdicts."""
    return {
        str(ip_address(first + target)): (state, truth(target))
        for target, state in enumerate(states)
        if state != truth(target)
    }


def drop(host: Namespace, *rules: str) -> None:
    chain = "type filter hook prerouting priority raw;"
    text = "\n".join(["table inet truth {", "chain losses {", chain, *rules, "}", "}", ""])
    host.run("nft", "-f", "-", input=text)


def all_alive(target: int) -> int:
    return ALIVE


def even_alive(target: int) -> int:
    return SILENT if target % 2 else ALIVE


@PAIR
@pytest.mark.parametrize("first", [ROUTED, ROUTED_6], ids=["IPv4", "IPv6"])
def test_all_alive(core, hosts, engine, first):
    if first == ROUTED_6:
        for host in hosts:
            host.settle()
    for run in range(RUNS):
        found = swept(core, hosts[0], engine, first, seed=run, count=4 * COUNT)
        assert false_results(found.states, all_alive, first) == {}


@PAIR
def test_half_dead(core, hosts, engine):
    drop(hosts[1], "ip daddr & 0.0.0.1 == 0.0.0.1 drop")
    for seed in (None, 1):
        found = swept(core, hosts[0], engine, seed=seed, count=2 * COUNT)
        assert false_results(found.states, even_alive) == {}
        assert found.sent == 3 * COUNT


@PAIR
def test_all_dead(core, hosts, engine):
    drop(hosts[1], "drop")
    found = swept(core, hosts[0], engine)
    assert set(found.states) == {SILENT}
    assert found.sent == 2 * COUNT


@PAIR
def test_a_dead_half_then_a_live_one(core, hosts, engine):
    drop(hosts[1], f"ip daddr 10.80.0.0-10.80.{COUNT // 256 - 1}.255 drop")
    found = swept(core, hosts[0], engine, seed=None, count=2 * COUNT)
    assert false_results(found.states, lambda target: SILENT if target < COUNT else ALIVE) == {}


@PAIR
def test_what_is_not_sent_is_not_down(core, hosts, engine):
    hosts[0].ip("route", "add", "prohibit", "10.80.0.0/26")
    hosts[0].ip("route", "add", "blackhole", "10.80.0.64/26")
    hosts[0].ip("route", "add", "unreachable", "10.80.0.128/26")
    found = swept(core, hosts[0], engine, count=256)
    assert false_results(found.states, lambda target: PENDING if target < 192 else ALIVE) == {}
    assert set(found.reasons[:64]) == {errno.EACCES}
    assert set(found.reasons[64:128]) == {errno.EINVAL}
    assert set(found.reasons[128:192]) == {errno.EHOSTUNREACH}
    assert set(found.reasons[192:]) == {None}


@PAIR
def test_unreachable_with_reasons(core, hosts, engine):
    left, right = hosts
    left.ip("route", "add", "10.81.0.0/16", "via", "10.77.0.2")
    right.ip("route", "add", "local", "10.81.0.0/16", "dev", "lo")
    drop(
        right,
        "ip daddr 10.81.0.0/26 reject with icmp host-unreachable",
        "ip daddr 10.81.0.64/26 reject with icmp admin-prohibited",
        "ip daddr 10.81.0.128/26 drop",
    )
    first = ROUTED + (1 << 16)
    found = swept(core, left, engine, first, 256)
    truth = (UNREACHABLE, UNREACHABLE, SILENT, ALIVE)
    assert false_results(found.states, lambda target: truth[target // 64], first) == {}
    for target, reason in enumerate(found.reasons[:128]):
        code = 1 if target < 64 else 13
        assert (reason.tag, reason.responder, reason.error) == (target, "10.77.0.2", (3, code))
    assert set(found.reasons[128:]) == {None}


@PAIR
def test_a_share_is_lost(core, hosts, engine):
    drop(hosts[1], "numgen random mod 100 < 10 drop")
    for run in range(RUNS):
        # Of 1,024 targets one in 10^10 sweeps misses one.
        found = swept(core, hosts[0], engine, seed=run, retries=12, timeout=0.05)
        assert false_results(found.states, all_alive) == {}


@PAIR
def test_replies_are_rate_limited(core, hosts, engine):
    drop(hosts[1], "icmp type echo-request limit rate over 4000/second burst 64 packets drop")
    found = swept(core, hosts[0], engine, rate=2000)
    assert false_results(found.states, all_alive) == {}


@PAIR
def test_the_path_is_narrower_than_the_probe(core, hosts, engine):
    left, right = hosts
    left.ip("route", "add", "10.80.0.0/25", "via", "10.77.0.2", "mtu", "lock", "600")
    right.ip("link", "set", "veth0", "mtu", "1400")
    found = swept(core, left, engine, count=256, size=1000)
    assert false_results(found.states, all_alive) == {}


@PAIR
def test_the_answering_side_is_on_another_core(core, hosts, engine):
    for queue in hosts[1].run("sh", "-c", "ls -d /sys/class/net/veth0/queues/rx-*").stdout.split():
        hosts[1].run("sh", "-c", f"echo 2 > {queue}/rps_cpus")
    for run in range(RUNS):
        found = swept(core, hosts[0], engine, seed=run, count=4 * COUNT)
        assert false_results(found.states, all_alive) == {}


@PAIR
def test_who_answers_between_two_runs_is_alive(core, hosts, engine):
    def work() -> bytes:
        with closing(core.Prober(socket.AF_INET, engine)) as prober:
            sweeper = core.Sweeper(prober, [(ROUTED, ROUTED + 99)], timeout=0.05, retries=0)
            while not sweeper.run(0):
                time.sleep(0.06)
            return bytes(sweeper.states)

    assert false_results(hosts[0].call(work), all_alive) == {}


@PAIR
def test_what_the_system_refuses_counts_for_the_rate(core, hosts, engine):
    def work() -> int:
        with closing(core.Prober(socket.AF_INET, engine)) as prober:
            sweeper = core.Sweeper(prober, [(UNROUTED, UNROUTED + 50)], retries=0, rate=0.001)
            for _ in range(100):
                sweeper.run(0)
            return sum(sweeper.reason(target) is not None for target in range(sweeper.size))

    assert hosts[0].call(work) == 1


@PAIR
def test_a_pace_is_kept_once_it_is_set(core, hosts, engine):
    def work() -> float:
        with closing(core.Prober(socket.AF_INET, engine)) as prober:
            sweeper = core.Sweeper(prober, [(ROUTED, ROUTED + 50)], timeout=0.3, retries=0, rate=0.001)
            with pytest.raises(InvalidArgument, match="rate 0: expected more than 0"):
                sweeper.pace(0)
            sweeper.pace(200)
            started = time.monotonic()
            while not sweeper.run(1):
                pass
            return time.monotonic() - started

    assert hosts[0].call(work) >= 0.2
