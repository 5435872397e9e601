"""Neither a yes nor a no that was not established: what is cut off, what is silent, what goes wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from services import PATIENCE, Make, greet, keep, reset

import fastnet._wait as wait_module
from fastnet._wait import Outcome, wait, wait_all, wait_async, wait_stream
from fastnet._wait.checks import STABLE_SECONDS
from fastnet.endpoints import resolve
from fastnet.errors import NameNotResolved, WaitTimeout

Run = Callable[..., "subprocess.CompletedProcess[str]"]


PROHIBITED = [
    ("10.77.0.2", "icmp type admin-prohibited"),
    ("10.77.0.2", "icmp type prot-unreachable"),
    ("[fd77::2]", "icmpv6 type admin-prohibited"),
]


def ask(sock: socket.socket) -> None:
    """Read a request and leave it unanswered."""
    sock.recv(4096)


# What the end of the time, or of an attempt's, cuts off


@pytest.mark.parametrize("gone", [False, True], ids=["ready", "gone"])
@pytest.mark.parametrize("check", ["stable", "banner", "http"])
def test_what_the_deadline_cuts_off_is_neither(service: Make, check: str, gone: bool) -> None:
    one = service(ask if check == "http" else keep)
    target = f"http://{one.target}/" if check == "http" else one.target
    name: Any = "connect" if check == "http" else check
    (outcome,) = wait_stream([target], STABLE_SECONDS / 2, check=name, gone=gone, attempt_timeout=PATIENCE)
    assert (outcome.ready, outcome.address, outcome.attempts) == (False, None, 1)


@pytest.mark.parametrize("check", ["banner", "http"])
def test_what_an_attempt_s_time_cuts_off_is_not_gone(service: Make, check: str) -> None:
    one = service(ask if check == "http" else keep)
    target = f"http://{one.target}/" if check == "http" else one.target
    name: Any = "connect" if check == "http" else check
    (outcome,) = wait_stream([target], 1.0, check=name, gone=True, attempt_timeout=0.05)
    assert (outcome.ready, outcome.address) == (False, None)
    assert outcome.attempts > 1
    assert outcome.reason in ("accepts, but sends nothing", "no answer within 0.05 s")


def test_stable_is_a_time_of_its_own(service: Make) -> None:
    """However short an attempt's connect and answer may be."""
    assert wait(service(keep).target, PATIENCE, attempt_timeout=0.05).attempts == 1


def test_an_answer_of_the_round_before_outlives_one_that_is_cut_off(service: Make) -> None:
    turns = [reset] * 3 + [keep] * 1000
    one = service(lambda sock: turns.pop(0)(sock))
    seen: list[Outcome] = []
    (outcome,) = wait_stream(
        [one.target], 3.0, seen.append, check="banner", attempt_timeout=PATIENCE, interval=0.05
    )
    assert outcome.reason == "accepts, then closes at once"
    assert outcome.attempts == len(seen) == 4


def test_one_deadline_for_all(service: Make) -> None:
    one = service(ask)
    targets = [f"http://{one.target}/{number}" for number in range(30)]
    outcomes = list(wait_stream(targets, 1.0, attempt_timeout=PATIENCE))
    assert [outcome.target for outcome in outcomes if outcome.ready] == []
    assert {outcome.target for outcome in outcomes} == set(targets)
    assert min(outcome.waited_s for outcome in outcomes) >= 1.0


# What gone means


def test_silence_is_not_gone() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        target = "{}:{}".format(*server.getsockname())
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        with pytest.raises(WaitTimeout, match=r"no answer within 0\.05 s"):
            wait(target, 0.5, gone=True, check="connect", attempt_timeout=0.05)
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("check", ["connect", "stable", "banner"])
def test_refused_is_gone(service: Make, check: Any) -> None:
    assert wait(service(started=False).target, PATIENCE, gone=True, check=check).attempts == 1


@pytest.mark.parametrize("handle", [reset, socket.socket.close])
def test_closed_is_gone_but_for_who_asks_for_no_more_than_to_be_accepted(
    service: Make, handle: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastnet._wait.checks.STABLE_SECONDS", PATIENCE)
    one = service(handle)
    assert wait(one.target, PATIENCE, gone=True).attempts == 1
    with pytest.raises(WaitTimeout, match="is up"):
        wait(one.target, 0.3, gone=True, check="connect")


def test_a_unix_socket_is_gone_with_its_file_or_its_server(service: Make, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert wait(f"unix:{path}", PATIENCE, gone=True).attempts == 1
    one = service(path=path)
    with pytest.raises(WaitTimeout, match=f"{path} is up"):
        wait(f"unix:{path}", 0.3, gone=True, check="connect")
    one.close()
    assert wait(f"unix:{path}", PATIENCE, gone=True, check="connect").attempts == 1
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with datagrams:
        datagrams.bind(str(tmp_path / "d"))
        assert wait(f"unix:{tmp_path}/d", PATIENCE, gone=True, check="connect").attempts == 1


def test_a_full_queue_of_a_unix_socket_is_not_gone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first.connect(str(tmp_path / "s"))
        (outcome,) = wait_stream([f"unix:{tmp_path}/s"], 0.5, gone=True, attempt_timeout=0.1)
    assert (outcome.ready, outcome.reason) == (False, "no answer within 0.1 s")


@pytest.mark.parametrize("route", ["unreachable", "none"])
def test_unreachable_is_gone_and_prohibited_is_not(
    namespace: Callable[[], Any], fastnet: Run, route: str
) -> None:
    host = namespace()
    if route == "unreachable":
        host.ip("route", "add", "unreachable", "192.0.2.0/24")
    target = "192.0.2.1:80"
    assert fastnet("wait", "--gone", target, prefix=host.prefix).returncode == 0
    host.ip("route", "replace", "prohibit", "192.0.2.0/24")
    ran = fastnet("wait", "--gone", target, "--timeout", "300ms", prefix=host.prefix)
    assert ran.returncode == 124
    assert ran.stderr.endswith(f"{target}: permission denied (a prohibit route)\n")


@pytest.mark.parametrize(("address", "how"), PROHIBITED)
def test_what_is_prohibited_elsewhere_is_unreachable(
    linked: tuple[Any, Any], fastnet: Run, peer: Callable[[str], str], address: str, how: str
) -> None:
    """Whatever errno the system has for that."""
    left, right = linked
    rule = f"chain c {{ type filter hook input priority 0; tcp dport 9 reject with {how}; }}"
    right.run(peer("nft"), f"table inet t {{ {rule}; }}")
    for host in linked:
        host.settle()
    assert fastnet("wait", "--gone", f"{address}:9", prefix=left.prefix).returncode == 0
    ran = fastnet("portscan", "-p9", "--timeout=500ms", address.strip("[]"), prefix=left.prefix)
    assert "filtered" in ran.stdout
    assert "no answer" not in ran.stdout
    ran = fastnet("sweep", "--engine", "tcp", "--json", address.strip("[]"), prefix=left.prefix)
    assert "a prohibit route" not in ran.stdout


@pytest.mark.parametrize("host", ["::1%nosuch", "fe80::1%nosuch"])
def test_an_address_whose_interface_is_not_there_is_not_gone(host: str) -> None:
    (outcome,) = wait_stream([f"[{host}]:9"], 0.5, gone=True)
    assert (outcome.ready, outcome.reason) == (False, f"{host}: Name or service not known")


def test_a_family_that_this_machine_lacks_is_gone(
    knowing: Callable[[str], tuple[str, ...]], fastnet: Run
) -> None:
    prefix = knowing("127.0.0.1 some.example\n::1 some.example\n2001:db8::1 some.example\n")
    off = ("sh", "-c", 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; exec "$@"', "sh")
    assert fastnet("wait", "--gone", "some.example:9", prefix=(*prefix, *off)).returncode == 0


def test_a_name_is_gone_if_it_is_not_known_but_not_if_nobody_could_be_asked(
    namespace: Callable[[], Any], fastnet: Run
) -> None:
    prefix = namespace().prefix
    assert fastnet("wait", "--gone", "nowhere.invalid:80", prefix=prefix).returncode == 0
    ran = fastnet("wait", "--gone", "nowhere.example:80", "--timeout", "1s", prefix=prefix)
    assert ran.returncode == 124
    assert ran.stderr.startswith("fastnet wait: time is up after 1.")


# Whatever goes wrong is one target's reason


def test_no_error_ends_the_watching_of_a_target(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [
        *(
            UnicodeError("label empty"),
            ValueError("embedded null byte"),
            MemoryError(),
            RecursionError("deep"),
        ),
        *(RuntimeError("can't start new thread"), OSError(24, "Too many open files"), KeyError("x")),
    ]
    port = service().sock.getsockname()[1]

    def fail_at_first(*arguments: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return resolve(*arguments, **options)

    monkeypatch.setattr(wait_module, "addresses_of", fail_at_first)
    seen: list[Outcome] = []
    (outcome,) = wait_stream([f"localhost:{port}"], PATIENCE, seen.append, interval=0.01)
    assert (outcome.ready, outcome.attempts) == (True, 8)
    reasons = [str(each.reason) for each in seen]
    assert reasons[0] == "UnicodeError: label empty"
    assert reasons[2].startswith("MemoryError")
    assert reasons[5] == "too many open files"


def test_an_error_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise UnicodeError("label too long")

    monkeypatch.setattr(wait_module, "addresses_of", fail)
    (outcome,) = wait_stream(["somewhere.example:80"], 0.3, gone=True)
    assert (outcome.ready, outcome.reason) == (False, "UnicodeError: label too long")


def test_a_name_that_hangs_is_not_waited_for(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hang(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "hangs.example":
            free.wait(PATIENCE)
            raise NameNotResolved("late")
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(wait_module, "addresses_of", hang)
    good = service().target
    first, second = wait_stream([good, "hangs.example:80"], 1.0, gone=False)
    free.set()
    assert (first.target, first.ready) == (good, True)
    assert (second.ready, second.reason) == (False, "its name is still being resolved")


FEW_DESCRIPTORS = """
import json, resource, sys
from fastnet._wait import wait_stream
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
seen = []
outcomes = list(wait_stream(json.load(sys.stdin), 3.0, seen.append, attempt_timeout=0.2, check="banner"))
print(len(outcomes), any(outcome.ready for outcome in outcomes))
print(*sorted({outcome.reason for outcome in seen}), sep="; ")
"""


def test_a_lack_of_descriptors_is_a_reason_too(service: Make, python: Run) -> None:
    one = service(keep)
    ran = python("-c", FEW_DESCRIPTORS, input=json.dumps([one.target] * 100))
    assert (ran.returncode, ran.stderr) == (0, "")
    count, reasons = ran.stdout.splitlines()
    assert count == "100 False"
    assert reasons == "accepts, but sends nothing; too many open files"


def test_the_good_are_ready_beside_the_bad(service: Make) -> None:
    good, bad = service(greet), service(reset)
    outcomes = list(wait_stream([bad.target, good.target, "nowhere.invalid:1"], 1.0))
    assert outcomes[0] == Outcome(good.target, True, good.target, None, 1, outcomes[0].waited_s)
    assert {outcome.target: outcome.ready for outcome in outcomes[1:]} == {
        bad.target: False,
        "nowhere.invalid:1": False,
    }
    with pytest.raises(WaitTimeout) as raised:
        wait_all([bad.target, good.target], 0.5)
    assert good.target not in str(raised.value)
    assert str(raised.value).startswith("time is up after ")


# Whoever waits


def test_a_slow_taker_keeps_no_target_waiting(service: Make) -> None:
    """While it has one outcome in hand, the others are watched."""
    first, late = service(greet), service(greet, started=False)
    outcomes = wait_stream([first.target, late.target], 2 * PATIENCE)
    assert next(outcomes).target == first.target
    late.start()
    for _ in range(int(PATIENCE / 0.01)):
        if late.accepted:
            break
        time.sleep(0.01)
    assert late.accepted == 1
    assert next(outcomes).ready


def test_what_is_not_wanted_any_more_is_left_at_once(service: Make) -> None:
    first, hung = service(greet), service(ask)
    before = threading.active_count(), set(os.listdir("/proc/self/fd"))
    outcomes = wait_stream([first.target, f"http://{hung.target}/"], None, attempt_timeout=1000.0)
    assert next(outcomes).target == first.target
    outcomes.close()
    assert threading.active_count() <= before[0] + 1
    left = set(os.listdir("/proc/self/fd")) - before[1]
    assert all("socket" in os.readlink(f"/proc/self/fd/{fd}") for fd in left), "only the servers' own"


def test_an_awaited_wait_leaves_nothing_where_it_is_cancelled(service: Make) -> None:
    import asyncio

    hung = service(ask)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait_async(f"http://{hung.target}/", None, attempt_timeout=1000.0), 0.3)
        assert await asyncio.to_thread(hung.held_is_closed)

    asyncio.run(main())


def test_an_error_of_progress_reaches_whoever_gave_it(service: Make) -> None:
    def fail(_: Outcome) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(wait_stream([service(reset).target], PATIENCE, fail))
