"""The probe engine among those who lie, on systems that refuse: never an exception, never a wrong verdict."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest
from environment import COMMAND_TIMEOUT

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
TOPIC = "probe"
ENGINES = ["raw", "datagram"]

ALIVE = {
    *("honest", "options", "noise", "three", "thousand", "late"),
    *("redirect-then-reply", "quench-then-reply", "error-then-reply"),
}
SILENT = {
    *("checksum", "source", "ident", "sequence", "cookie", "truncated", "headless", "request"),
    *("silence", "redirect", "quench", "third"),
    *("error-for-other-ident", "error-for-other-host", "error-bad-cookie"),
}
ERRORS = {"error": (3, 1), "error-short-quote": (3, 13)}


def number(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), "big")


def swept(core: ModuleType, *spans: tuple[str, str], engine: str = "auto", **options: Any) -> Any:
    """A sweep of these spans that is finished."""
    probing = {name: options.pop(name) for name in ("size", "dont_fragment") if name in options}
    with closing(core.Prober(socket.AF_INET, engine, **probing)) as prober:
        sweeper = core.Sweeper(prober, [(number(first), number(last)) for first, last in spans], **options)
        while not sweeper.run(0.5):
            pass
    return sweeper


def send(prober: Any, *probe: Any) -> None:
    """The neighbour table is one for all namespaces: another suite's test may have filled it for a moment."""
    deadline = time.monotonic() + COMMAND_TIMEOUT
    while True:
        try:
            return prober.send(*probe)
        except OSError as error:
            if error.errno != errno.ENOBUFS or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


class TestAdversary:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_sweep(self, core, linked, responder, engine):
        behaviours = sorted(ALIVE | SILENT | {*ERRORS}, key=lambda each: number(responder(each)))
        first, last = responder(behaviours[0]), responder(behaviours[-1])
        sweeper = linked[0].call(lambda: swept(core, (first, last), engine=engine))
        states = dict(zip(behaviours, sweeper.states, strict=True))
        assert {name for name, state in states.items() if state == core.ALIVE} == ALIVE
        assert {name for name, state in states.items() if state == core.SILENT} == SILENT
        for index, name in enumerate(behaviours):
            reason = sweeper.reason(index)
            assert (reason and (reason.error, reason.responder)) == (
                (ERRORS[name], "10.77.0.2") if name in ERRORS else None
            )
            assert states[name] != core.ALIVE or 0 < sweeper.rtts_ms[index] < 60_000

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_conversation(self, core, linked, responder, engine):
        behaviours = sorted(ALIVE | SILENT | {*ERRORS})
        replies = {name: {"three": 3, "thousand": 1000}.get(name, 1) for name in ALIVE}
        errors = {**ERRORS, "error-then-reply": (3, 1)}

        def converse() -> list[Any]:
            with closing(core.Prober(socket.AF_INET, engine)) as prober:
                for tag, name in enumerate(behaviours):
                    send(prober, (responder(name), 0), tag, 30.0)
                answers: list[Any] = []
                deadline = time.monotonic() + 30
                while len(answers) < sum(replies.values()) + len(errors) and time.monotonic() < deadline:
                    answers += prober.receive()
                    time.sleep(0.01)
                return answers

        answers = linked[0].call(converse)
        assert Counter(behaviours[answer.tag] for answer in answers if answer.error is None) == replies
        assert {behaviours[answer.tag]: answer.error for answer in answers if answer.error} == errors


class TestRefusals:
    def test_each_is_told_by_its_errno(self, core, engines, peer):
        left, right = engines
        right.ip("route", "add", "local", "10.99.0.0/24", "dev", "lo")
        left.ip("route", "add", "10.99.0.0/24", "via", "10.77.0.2")
        for kind, host in (("unreachable", "10.99.0.1"), ("prohibit", "10.99.0.2")):
            left.ip("route", "add", kind, host)
        table = "table ip t { chain c { type filter hook output priority 0; ip daddr 10.99.0.3 drop; }; }"
        left.run(peer("nft"), table)
        sweeper = left.call(
            lambda: swept(core, ("10.99.0.0", "10.99.0.7"), ("10.200.0.1", "10.200.0.1"), timeout=0.5)
        )
        reasons = {
            index: sweeper.reason(index) for index in range(9) if sweeper.states[index] == core.PENDING
        }
        assert reasons == {1: errno.EHOSTUNREACH, 2: errno.EACCES, 3: errno.EPERM, 8: errno.ENETUNREACH}
        assert {state for index, state in enumerate(sweeper.states) if index not in reasons} == {core.ALIVE}

    def test_who_can_not_be_asked_again_is_not_silent_but_may_still_answer(
        self, core, linked, responder, peer
    ):
        left, _ = linked
        names = ("late", "cookie", "silence")
        blocked = f"{responder('late')}, {responder('cookie')}"
        hook = f"type filter hook output priority 0; ip daddr {{ {blocked} }} drop;"

        def sweep() -> Any:
            with closing(core.Prober(socket.AF_INET)) as prober:
                spans = sorted((number(responder(name)),) * 2 for name in names)
                sweeper = core.Sweeper(prober, spans, timeout=0.4)
                while sweeper.sent < 3:
                    assert not sweeper.run(0)
                left.run(peer("nft"), f"table ip t {{ chain c {{ {hook} }}; }}")
                while not sweeper.run(0.5):
                    pass
                return sweeper

        sweeper = left.call(sweep)
        assert sweeper.sent == 4
        found = {
            name: (sweeper.states[index], sweeper.reason(index))
            for index, name in enumerate(sorted(names, key=lambda each: number(responder(each))))
        }
        assert found == {
            "late": (core.ALIVE, None),
            "cookie": (core.PENDING, errno.EPERM),
            "silence": (core.SILENT, None),
        }

    def test_too_big(self, core, engines):
        sweeper = engines[0].call(
            lambda: swept(core, ("10.77.0.2", "10.77.0.2"), size=2000, dont_fragment=True, timeout=0.2)
        )
        assert (sweeper.states[0], sweeper.reason(0), sweeper.sent) == (core.PENDING, errno.EMSGSIZE, 0)

    def test_a_full_queue_is_waited_for(self, core, engines, peer):
        left, right = engines
        right.ip("route", "add", "local", "10.99.0.0/24", "dev", "lo")
        left.ip("route", "add", "10.99.0.0/24", "via", "10.77.0.2")
        queue = ("tbf", "rate", "400kbit", "burst", "1600", "limit", "600")
        left.run(peer("tc"), "qdisc", "add", "dev", "veth0", "root", *queue)
        sweeper = left.call(lambda: swept(core, ("10.99.0.0", "10.99.0.255"), timeout=5.0))
        assert Counter(sweeper.states) == {core.ALIVE: 256}

    def test_an_interface_that_goes_down(self, core, engines):
        left, right = engines
        right.ip("route", "add", "local", "10.99.0.0/20", "dev", "lo")
        left.ip("route", "add", "10.99.0.0/20", "via", "10.77.0.2")

        def sweep() -> Any:
            with closing(core.Prober(socket.AF_INET)) as prober:
                spans = [(number("10.99.0.0"), number("10.99.15.255"))]
                sweeper = core.Sweeper(prober, spans, timeout=0.5, rate=2000)
                while core.ALIVE not in bytes(sweeper.states):
                    assert not sweeper.run(0.05)
                left.ip("link", "set", "veth0", "down")
                while not sweeper.run(0.5):
                    pass
            return sweeper

        sweeper = left.call(sweep)
        states = bytes(sweeper.states)
        counts = Counter(states)
        assert counts[core.ALIVE] > 0
        assert counts[core.PENDING] > 0
        # Nobody is silent: what had left when it went down could not be asked again.
        assert counts[core.ALIVE] + counts[core.PENDING] == 4096
        pending = [index for index, state in enumerate(states) if state == core.PENDING]
        assert {sweeper.reason(index) for index in pending} == {errno.ENETUNREACH}


@pytest.fixture
def script(core: ModuleType, python: Callable[..., Any], root: None) -> Callable[[str], str]:
    """``script(code)`` runs it in an interpreter of its own, where ``core`` and ``SPANS`` are known."""

    def run(code: str) -> str:
        prelude = (
            f"import gc, os, resource, socket\nimport {core.__name__} as core\n"
            "FAMILY, SPANS = socket.AF_INET, [(0x7F4D0200, 0x7F4D02FF)]\n"
        )
        result = python("-c", prelude + code)
        assert result.stderr == ""
        return str(result.stdout)

    return run


class TestProcess:
    def test_fork_in_mid_use(self, script):
        code = """
prober = core.Prober(FAMILY, "raw")
sweeper = core.Sweeper(prober, SPANS, window=8)
sweeper.run(0)
child = os.fork()
if child == 0:
    del sweeper
    prober.close()
    os._exit(0)
os.waitpid(child, 0)
while not sweeper.run(0.1):
    pass
print(bytes(sweeper.states) == bytes([core.ALIVE]) * 256)
"""
        assert script(code) == "True\n"

    def test_what_never_leaves_is_not_remembered_for_ever(self, core, linked, python):
        left, right = linked
        left.ip("neighbour", "add", "10.77.0.9", "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        right.ip("link", "set", "veth0", "down")
        # Without a carrier it takes packets and drops them, once the kernel has taken notice.
        while "state UP" in left.ip("link", "show", "dev", "veth0"):
            time.sleep(0.02)
        code = f"""
import gc, socket
from {core.__name__} import Prober
prober = Prober(socket.AF_INET, "udp", transmit_timestamps=True)

def send():
    for tag in range(1 << 15):
        prober.send(("10.77.0.9", 0), tag, 0.0)
    return len(gc.get_objects())

print(-len(gc.get_objects()) + send() < 5000, -send() + send() < 100)
"""
        result = python("-c", code, prefix=left.prefix)
        assert (result.stdout, result.stderr) == ("True True\n", "")

    def test_a_thousand_runs_leave_nothing(self, script):
        code = """
def run():
    prober = core.Prober(FAMILY, "raw", transmit_timestamps=True)
    prober.send(("127.77.2.1", 0), 1, 1.0)
    sweeper = core.Sweeper(prober, [(0x7F4D0201, 0x7F4D0204), (0xE0000001, 0xE0000002)])
    while not sweeper.run(0.01):
        pass
    assert bytes(sweeper.states) == bytes([core.ALIVE] * 4 + [core.PENDING] * 2)
    prober.close()

def measured():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for _ in range(100):
    run()
before = measured()
for _ in range(1000):
    run()
after = measured()
print(after[0] - before[0], after[1] - before[1] < 2048)
"""
        assert script(code) == "0 True\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_buffer_is_waited_for(core: ModuleType, engines: Any, engine: str) -> None:
    """Requests to hosts that are not there wait for their address and fill the socket's buffer: EAGAIN."""
    left, _ = engines
    first, last = number("10.77.0.2"), number("10.77.0.5")

    def sweep() -> tuple[list[int], list[Any]]:
        with closing(core.Prober(socket.AF_INET, engine, size=1400)) as prober:
            with socket.socket(fileno=os.dup(prober.fileno())) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            sweeper = core.Sweeper(prober, [(first, last)], retries=0, timeout=0.1)
            while not sweeper.run(0.5):
                pass
            return list(sweeper.states), [sweeper.reason(place) for place in range(1, sweeper.size)]

    states, reasons = left.call(sweep)
    assert states[0] == core.ALIVE
    assert set(states[1:]) <= {core.SILENT, core.UNREACHABLE}
    assert {reason for reason in reasons if isinstance(reason, int)} == set()
