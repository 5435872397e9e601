"""A forwarder's upstreams: several of them, names that lead elsewhere in time, and health that is checked."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import Child
from forwarding import (
    PATIENCE,
    Load,
    Server,
    assert_reset,
    assert_soon,
    connect,
    echo,
    free_port,
    named_digest,
    say,
    who,
)
from namespaces import over_hosts

from fastnet._forward import Forwarder, Rule, UpstreamState
from fastnet._forward import upstreams as upstreams_module
from fastnet.endpoints import Resolved
from fastnet.errors import NameNotResolved


@pytest.fixture(params=["auto", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def healthy(forwarder: Forwarder) -> list[bool]:
    return [upstream.healthy for upstream in forwarder.upstreams()]


# Several


def test_each_takes_its_turn(serve: Callable[..., Server], engine: str) -> None:
    places = [f"127.0.0.1:{serve(say(name)).port}" for name in "abc"]
    with Forwarder("127.0.0.1:0", places, engine=engine) as forwarder:
        assert Counter(who(forwarder.port) for _ in range(9)) == {"a": 3, "b": 3, "c": 3}


def test_the_one_with_the_fewest_connections_is_taken(serve: Callable[..., Server], engine: str) -> None:
    places = [f"127.0.0.1:{serve(say(name)).port}" for name in "ab"]
    with Forwarder("127.0.0.1:0", places, policy="least-connections", engine=engine) as forwarder:
        clients, names = [], []
        for _ in range(4):  # each is connected before the next one comes
            clients.append(connect(forwarder.port))
            names.append(clients[-1].recv(1))
        assert Counter(names) == {b"a": 2, b"b": 2}
        for client, name in zip(clients, names, strict=True):
            if name == b"a":
                client.close()
        assert_soon(lambda: forwarder.stats().active == 2)
        assert [who(forwarder.port), who(forwarder.port)] == ["a", "a"]
        for client in clients:
            client.close()


def test_where_one_refuses_the_next_is_taken(serve: Callable[..., Server], engine: str) -> None:
    places = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{serve(say('alive')).port}"]
    with Forwarder("127.0.0.1:0", places, max_failures=2, failure_pause=1000, engine=engine) as forwarder:
        assert {who(forwarder.port) for _ in range(10)} == {"alive"}
        stats = forwarder.stats()
        assert (stats.unreachable, stats.connects_retried) == (0, 2)
        assert forwarder.upstreams()[0] == UpstreamState(places[0], True, 0, 2)


def test_where_all_refuse_the_client_is_reset(engine: str) -> None:
    places = [f"127.0.0.1:{free_port()}", "unix:/none/such"]
    with Forwarder("127.0.0.1:0", places, engine=engine) as forwarder:
        assert_reset(forwarder.port)
        assert forwarder.stats().unreachable == 1


# Names


RESOLVING = """
import sys
from fastnet._forward import Forwarder
warn = lambda text: print("warned:", text, flush=True)
with Forwarder("127.0.0.1:0", sys.argv[1], resolve_interval=0.1, warn=warn) as forwarder:
    print(forwarder.port, flush=True)
    sys.stdin.read()
"""


def test_a_name_that_leads_elsewhere_is_followed(
    serve: Callable[..., Server], tmp_path: Path, root: None, peer: Callable[[str], str]
) -> None:
    """The resolver's own: in a mount namespace whose /etc/hosts is the test's."""
    first = serve(say("first"))
    second = serve(say("second"), "127.0.0.2", first.port)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 moving.test\n")
    command = (*over_hosts(peer("unshare"), hosts), sys.executable, "-c", RESOLVING)
    with Child(
        [*command, f"moving.test:{second.port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        with connect(port) as client:
            assert client.recv(100) == b"first"
            hosts.write_text("127.0.0.2 moving.test\n")
            assert_soon(lambda: who(port) == "second")
            hosts.write_text("")  # The name is gone: what it was stays.
            warning = process.stdout.readline()
            assert warning.startswith("warned: moving.test: ")
            assert who(port) == "second"
            client.sendall(b"still")
            assert client.recv(5) == b"still"
            hosts.write_text("127.0.0.1 moving.test\n")
            assert_soon(lambda: who(port) == "first")
        out, _ = process.communicate("", timeout=PATIENCE)
        assert (out, process.returncode) == ("", 0)


def test_what_a_name_led_to_is_kept_while_the_resolver_fails(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve(named_digest("a")).port
    asked = threading.Semaphore(0)
    answers: list[Any] = []

    def resolve(host: str, *_: object, **__: object) -> list[Resolved]:
        asked.release()
        if not answers:
            raise NameNotResolved(f"{host}: no answer")
        return [Resolved(socket.AF_INET, (answers[0], port))]

    monkeypatch.setattr(upstreams_module, "resolve", resolve)
    warnings: list[str] = []
    forwarder = Forwarder("127.0.0.1:0", f"name.test:{port}", resolve_interval=0.1, warn=warnings.append)
    with pytest.raises(NameNotResolved, match=r"name\.test: no answer"):
        forwarder.start()
    answers.append("127.0.0.1")
    with forwarder, Load(forwarder.port) as load:
        answers.clear()
        for _ in range(6):
            assert asked.acquire(timeout=PATIENCE)
        count = load.served.get("a", 0)
        assert_soon(lambda: load.served.get("a", 0) > count + 10)
    assert warnings == ["name.test: no answer: the old addresses stay in use"]
    assert forwarder.stats().unreachable == 0


def test_what_needs_no_resolver_and_no_check_has_no_thread(serve: Callable[..., Server]) -> None:
    with Forwarder(
        "127.0.0.1:0", [f"127.0.0.1:{serve(echo).port}", "[::1]:1", "unix:/x"], resolve_interval=0.1
    ):
        names = {thread.name for thread in threading.enumerate()}
        expected = {"fastnet-forward", "fastnet-forward-keeper", "fastnet-forward-warnings"}
        assert {name for name in names if "fastnet" in name} == expected


# Health


@pytest.mark.parametrize("check", ["connect", "stable", "banner"])
def test_an_upstream_that_dies_is_avoided_until_it_comes_back(
    serve: Callable[..., Server], engine: str, check: str
) -> None:
    dying, living = serve(say("dying")), serve(say("living"))
    places = [f"127.0.0.1:{server.port}" for server in (dying, living)]
    warnings: list[str] = []
    with Forwarder(
        "127.0.0.1:0",
        places,
        health=check,
        health_timeout=PATIENCE,
        health_interval=0.1,
        name="web",
        warn=warnings.append,
        engine=engine,
    ) as forwarder:
        assert {who(forwarder.port) for _ in range(4)} == {"dying", "living"}
        dying.close()
        assert_soon(lambda: healthy(forwarder) == [False, True])
        before = forwarder.stats().connects_retried
        assert {who(forwarder.port) for _ in range(6)} == {"living"}
        assert forwarder.stats().connects_retried == before
        serve(say("revived"), "127.0.0.1", dying.port)
        assert_soon(lambda: healthy(forwarder) == [True, True])
        assert_soon(lambda: who(forwarder.port) == "revived")
        assert_soon(lambda: len(warnings) == 2)
    assert warnings[0].startswith(f"web: {places[0]} is not healthy: ")
    assert warnings[1] == f"web: {places[0]} is healthy again"


def test_who_is_asked_by_http_must_answer_well(serve: Callable[..., Server]) -> None:
    status = ["503 Busy"]

    def answer(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(4096)
            if not data:
                return
            head += data
        asked.append(head.partition(b"\r\n")[0])
        sock.sendall(f"HTTP/1.1 {status[0]}\r\nContent-Length: 0\r\n\r\n".encode())

    asked: list[bytes] = []
    place = f"127.0.0.1:{serve(answer).port}"
    with Forwarder("127.0.0.1:0", place, health="http:/up?now", health_interval=0.1) as forwarder:
        assert_soon(lambda: healthy(forwarder) == [False])
        status[0] = "204 Fine"
        assert_soon(lambda: healthy(forwarder) == [True])
    assert set(asked) == {b"GET /up?now HTTP/1.1"}


def test_where_none_is_healthy_all_are_tried(serve: Callable[..., Server], engine: str) -> None:
    silent = f"127.0.0.1:{serve(echo).port}"
    with Forwarder(
        "127.0.0.1:0", silent, health="banner", health_timeout=0.05, health_interval=0.1, engine=engine
    ) as forwarder:
        assert_soon(lambda: healthy(forwarder) == [False])
        with connect(forwarder.port) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_checks_follow_the_rule(serve: Callable[..., Server]) -> None:
    first = f"127.0.0.1:{serve(echo).port}"
    dead = f"127.0.0.1:{free_port()}"
    rule = Rule("127.0.0.1:0", first, health="connect", health_interval=0.1)
    with Forwarder.from_rules([rule]) as forwarder:
        forwarder.set_upstream([first, dead])
        assert_soon(lambda: healthy(forwarder) == [True, False])
        forwarder.reload([forwarder.rules[0]._replace(health="")])
        assert healthy(forwarder) == [True, True]
        assert_soon(
            lambda: not any(thread.name == "fastnet-forward-health" for thread in threading.enumerate())
        )
