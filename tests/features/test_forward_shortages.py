"""A forwarder that lacks descriptors, ports or threads for a while: it blames no upstream, and recovers."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from children import Child
from forwarding import PATIENCE, Server, assert_soon, connect, echo, free_port, open_files, say, who
from limits import descriptors, lower, lowest_free
from namespaces import over_hosts
from relays import BlackHole

from fastnet._forward import Forwarder, Rule
from fastnet._forward.health import check_upstreams
from fastnet.endpoints import Endpoint

if TYPE_CHECKING:
    from namespaces import Namespace

ADDRESS = tuple[int, tuple[str, int]]


def checked(rule: Rule, *addresses: ADDRESS) -> list[str | None]:
    """What a check of the rule's only upstream notes, which has these addresses."""
    noted: list[str | None] = []
    check_upstreams(rule, {rule.upstreams[0]: addresses}, lambda _, reason: noted.append(reason))
    return noted


def at(port: int, host: str = "127.0.0.1") -> ADDRESS:
    return socket.AF_INET, (host, port)


# The result of a check


@pytest.mark.parametrize("check", ["connect", "stable", "banner"])
def test_an_upstream_is_healthy_where_one_of_its_addresses_is(
    serve: Callable[..., Server], check: str
) -> None:
    """Also behind one that does not answer, and one that refuses."""
    hole = BlackHole()
    port = serve(say("x"), "127.0.0.2", hole.address[1][1]).port
    rule = Rule("0", f"two.test:{port}", health=check, health_timeout=PATIENCE)
    try:
        assert checked(rule, at(port), at(free_port()), at(port, "127.0.0.2")) == [None]
    finally:
        hole.close()


def test_an_international_name_is_asked_for_in_ascii(serve: Callable[..., Server]) -> None:
    asked: list[bytes] = []

    def answer(sock: socket.socket) -> None:
        asked.append(sock.recv(4096))
        sock.sendall(b"HTTP/1.1 204 Fine\r\n\r\n")

    rule = Rule("0", f"b\xfccher.test:{serve(answer).port}", health="http:/up", health_timeout=PATIENCE)
    assert isinstance(rule.upstreams[0], Endpoint)
    assert checked(rule, at(rule.upstreams[0].port)) == [None]
    assert f"Host: xn--bcher-kva.test:{rule.upstreams[0].port}\r\n".encode() in asked[0]


@pytest.mark.parametrize("answers", [True, False])
def test_without_a_free_port_nothing_is_noted(namespace: Callable[[], Namespace], answers: bool) -> None:
    inside = namespace()
    inside.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50001")

    def check() -> tuple[list[str | None], ...]:
        port = 40000 if answers else 40001
        rule = Rule("0", f"127.0.0.1:{port}", health="connect")
        with socket.create_server(("127.0.0.1", 40000)):
            with socket.socket() as one, socket.socket() as other:
                for taken in (one, other):
                    taken.bind(("127.0.0.1", 0))
                without = checked(rule, at(port))
            return without, checked(rule, at(port))

    without, then = inside.call(check)
    assert without == []
    assert then == [None if answers else "connection refused"]


# A forwarder


def test_no_upstream_is_blamed_for_descriptors_that_we_lack(serve: Callable[..., Server]) -> None:
    server = serve(say("x"))
    warnings: list[str] = []
    with Forwarder(
        "127.0.0.1:0",
        f"127.0.0.1:{server.port}",
        name="web",
        health="banner",
        health_timeout=PATIENCE,
        health_interval=0.1,
        warn=warnings.append,
    ) as forwarder:
        assert who(forwarder.port) == "x"
        with descriptors(lowest_free()):
            assert_soon(lambda: lower() or bool(warnings))
            assert [one.healthy for one in forwarder.upstreams()] == [True]
        server.close()
        assert_soon(lambda: [one.healthy for one in forwarder.upstreams()] == [False])
        assert_soon(lambda: len(warnings) == 2)
    assert warnings[0] == "web: upstreams are not checked: Too many open files"
    assert warnings[1].startswith(f"web: 127.0.0.1:{server.port} is not healthy: ")


def test_a_warning_that_takes_its_time_delays_nothing(serve: Callable[..., Server]) -> None:
    begun, over = threading.Event(), threading.Event()

    def warn(_: str) -> None:
        begun.set()
        over.wait()

    place = f"127.0.0.1:{serve(echo).port}"
    forwarder = Forwarder("127.0.0.1:0", place, warn=warn).start()
    try:
        with connect(forwarder.port) as client, socket.socket() as other:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            with descriptors(lowest_free()):
                other.connect(("127.0.0.1", forwarder.port))
                assert begun.wait(PATIENCE)
                client.sendall(b"y")
                assert client.recv(1) == b"y"
            other.settimeout(PATIENCE)
            other.sendall(b"z")
            assert other.recv(1) == b"z"
        forwarder.drain()
        assert forwarder.wait()
    finally:
        over.set()
        forwarder.stop()


FOLLOWING = """
import sys
from fastnet._forward import Forwarder
warn = lambda text: print("warned:", text, flush=True)
with Forwarder("127.0.0.1:0", sys.argv[1], name="web", resolve_interval=0.1, warn=warn) as forwarder:
    print(forwarder.port, flush=True)
    sys.stdin.read()
"""


def test_names_are_followed_again_after_a_time_without_descriptors(
    serve: Callable[..., Server], tmp_path: Path, root: None, peer: Callable[[str], str]
) -> None:
    first = serve(say("first"))
    second = serve(say("second"), "127.0.0.2", first.port)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 moving.test\n")
    command = (*over_hosts(peer("unshare"), hosts), sys.executable, "-c", FOLLOWING)
    with Child(
        [*command, f"moving.test:{second.port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        assert who(port) == "first"
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        assert process.stdout.readline() == "warned: web: names are not resolved again: Too many open files\n"
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        hosts.write_text("127.0.0.2 moving.test\n")
        assert_soon(lambda: who(port) == "second")
        out, _ = process.communicate("", timeout=PATIENCE)
        assert (out, process.returncode) == ("", 0)


def test_a_reload_for_which_there_is_no_thread_changes_nothing(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"127.0.0.1:{serve(echo).port}"
    with Forwarder("127.0.0.1:0", place) as forwarder:
        rules, files, threads = forwarder.rules, open_files(), threading.active_count()

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        changed: list[Any] = [
            rules[0]._replace(health="connect"),
            Rule("127.0.0.1:0", "localhost:1", name="two"),
        ]
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(OSError, match="can't start new thread"):
                forwarder.reload(changed)
        assert forwarder.rules == rules
        assert (open_files(), threading.active_count()) == (files, threads)
        with connect(forwarder.port) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
