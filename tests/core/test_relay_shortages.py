"""Where descriptors run out, or many come at once: who is served, who waits, and that nobody is harmed."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from types import ModuleType
from typing import Any

import pytest
from datagrams import EchoServer, Served, ask, bound
from forwarding import PATIENCE, Server, assert_soon
from limits import descriptors, lowest_free
from relays import running

TOPIC = "relay"


# Flows of datagrams


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with bound() as sock:
        yield sock


@contextmanager
def crowd(size: int) -> Iterator[list[socket.socket]]:
    """So many clients, and descriptors for so many flows beside them."""
    wanted = lowest_free() + 2 * size + 50
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert wanted <= hard
    with descriptors(wanted), ExitStack() as stack:
        yield [stack.enter_context(bound()) for _ in range(size)]


def test_where_descriptors_run_out_the_flow_that_was_quiet_for_longest_makes_room(
    core: ModuleType, server: EchoServer
) -> None:
    warnings: list[str] = []
    rule = core.Rule([core.Upstream([server.address])], core.Options(record=True))
    served = Served(core, rule, bound(), warn=warnings.append)
    try:
        with crowd(60) as clients, descriptors(lowest_free() + 20):
            for number, client in enumerate(clients):
                assert ask(client, served.addresses[0], b"%d" % number) == b"%d" % number
            assert ask(clients[0], served.addresses[0]) == b"hello"
            assert (rule.counters.active, rule.counters.timed_out) == (20, 41)
            assert (rule.counters.denied, rule.counters.unreachable) == (0, 0)
            assert [record.number for record in served.loop.records()] == [*range(1, 42)]
    finally:
        served.end()
    assert warnings == []


def test_without_a_flow_to_end_a_datagram_is_lost(
    core: ModuleType, server: EchoServer, client: socket.socket
) -> None:
    warnings: list[str] = []
    rule = core.Rule([core.Upstream([server.address])])
    served = Served(core, rule, bound(), warn=warnings.append)
    try:
        with descriptors(lowest_free()):
            client.sendto(b"hello", served.addresses[0])
            assert_soon(lambda: bool(warnings))
        client.settimeout(0.2)
        for _ in range(100):
            try:
                assert ask(client, served.addresses[0]) == b"hello"
                break
            except TimeoutError:
                continue
        assert (rule.counters.unreachable, rule.counters.active) == (1, 1)
    finally:
        served.end()
    (warning,) = warnings
    assert warning.startswith("accepting pauses at ")
    assert warning.endswith(f" 1 connection: {os.strerror(errno.EMFILE)}")


def test_many_flows_leave_descriptors_to_others(core: ModuleType, server: EchoServer) -> None:
    with crowd(400) as clients:
        limit = lowest_free() + 100
        with descriptors(limit):
            rule = core.Rule([core.Upstream([server.address])])
            served = Served(core, rule, bound())
            try:
                for client in clients:
                    assert ask(client, served.addresses[0]) == b"hello"
                with ExitStack() as others:
                    for _ in range(limit // 16):
                        others.enter_context(open(os.devnull))
                assert rule.counters.active > 100 - limit // 16 - 20
            finally:
                served.end()


@pytest.mark.parametrize("short_of", ["descriptors", "connections"])
def test_the_flow_that_makes_room_may_be_another_loops(
    core: ModuleType, server: EchoServer, client: socket.socket, short_of: str
) -> None:
    """One loop has all flows there may be, the other one has none to end."""
    options = core.Options(max_connections=20) if short_of == "connections" else core.Options()
    rule = core.Rule([core.Upstream([server.address])], options)
    greedy, poor = (Served(core, rule, bound()) for _ in range(2))
    try:
        with crowd(20) as clients, descriptors(lowest_free() + 20 if short_of == "descriptors" else 2048):
            for one in clients:
                assert ask(one, greedy.addresses[0]) == b"hello"
            assert rule.counters.active == 20
            client.settimeout(0.2)
            assert_soon(lambda: answers(client, poor.addresses[0]))
            assert 0 < rule.counters.active <= 20
    finally:
        greedy.end()
        poor.end()


def test_the_flow_that_makes_room_may_be_another_rules(
    core: ModuleType, server: EchoServer, client: socket.socket
) -> None:
    greedy, poor = (core.Rule([core.Upstream([server.address])]) for _ in range(2))
    elsewhere = bound()
    address = elsewhere.getsockname()
    served = Served(core, greedy, bound())
    served.loop.listen(poor, [elsewhere])
    try:
        with crowd(20) as clients, descriptors(lowest_free() + 20):
            for one in clients:
                assert ask(one, served.addresses[0]) == b"hello"
            assert greedy.counters.active == 20
            assert ask(client, address) == b"hello"
            assert (greedy.counters.active, poor.counters.active) == (19, 1)
            assert ask(clients[-1], served.addresses[0]) == b"hello"
            assert ask(clients[0], served.addresses[0]) == b"hello"
            assert (greedy.counters.active, poor.counters.active) == (19, 1)
    finally:
        served.end()


def answers(client: socket.socket, address: Any) -> bool:
    try:
        return ask(client, address) == b"hello"
    except TimeoutError:
        return False


def test_a_burst_of_new_clients_loses_no_first_datagram(core: ModuleType) -> None:
    """All are there before the first one is looked at."""
    with crowd(500) as clients, bound() as upstream:
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        rule = core.Rule([core.Upstream([(socket.AF_INET, upstream.getsockname())])])
        loop = core.Loop()
        listener = bound()
        address = listener.getsockname()
        loop.listen(rule, [listener])
        for number, client in enumerate(clients):
            client.sendto(b"%d" % number, address)
        with running(loop):
            assert {int(upstream.recv(10)) for _ in clients} == {*range(500)}
        assert rule.counters.accepted == 500


# Connections: a process of its own, whose descriptors are few

FEW_DESCRIPTORS = """
import resource, socket, sys, threading
from importlib import import_module
core, port, listener, loops, trusted = import_module(sys.argv[1]), *map(int, sys.argv[2:])
listener = socket.socket(fileno=listener)
rule = core.Rule(
    [core.Upstream([(socket.AF_INET, ("127.0.0.1", port))])],
    core.Options(connect_timeout=0.2, trust_proxy=[(socket.AF_INET, bytes(4), 0)] if trusted else ()),
)
warnings = []
loops = [core.Loop(warn=warnings.append) for _ in range(loops)]
for loop in loops:
    loop.listen(rule, [listener.dup()])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # before anything is accepted: clients are waiting
for loop in loops:
    threading.Thread(target=loop.run).start()
for _ in sys.stdin:
    counters = rule.counters
    print(counters.accepted, counters.unreachable, counters.denied, len(warnings), flush=True)
for loop in loops:
    loop.stop()
"""


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("loops", [1, 3])
def test_only_clients_that_can_be_served_are_accepted(
    core: ModuleType, serve: Callable[..., Server], loops: int, trusted: bool
) -> None:
    """Also where another loop takes them over, and where they are silent at first."""
    reached: list[socket.socket] = []

    def hold(sock: socket.socket) -> None:
        assert sock.recv(5) == b"hello"
        reached.append(sock)
        assert sock.recv(1) == b""

    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" if trusted else b""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    words = (core.__name__, serve(hold).port, listener.fileno(), loops, int(trusted))
    with ExitStack() as stack:
        child = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", FEW_DESCRIPTORS, *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[listener.fileno()],
            )
        )
        stack.callback(child.kill)

        def counters() -> tuple[int, int, int, int]:
            assert child.stdin
            assert child.stdout
            print(file=child.stdin, flush=True)
            accepted, unreachable, denied, warnings = map(int, child.stdout.readline().split())
            return accepted, unreachable, denied, warnings

        clients = [
            stack.enter_context(closing(socket.create_connection(listener.getsockname(), PATIENCE)))
            for _ in range(60)
        ]
        listener.close()
        if not trusted:
            for client in clients:
                client.sendall(b"hello")
        assert_soon(lambda: counters()[3] > 0)
        if trusted:
            for client in clients:
                client.sendall(header + b"hello")
        # Those on their way to another loop are not counted yet.
        assert_soon(lambda: 10 < counters()[0] == len(reached))
        assert len(reached) < 30
        assert counters()[1:3] == (0, 0)
        for client in clients:
            client.close()
        assert_soon(lambda: counters()[0] == len(reached) == 60)
        assert counters()[1:3] == (0, 0)
