"""Whom a relay serves, and how much: connection limits, prefixes, rates, and descriptors that run out."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import ModuleType

import pytest
from forwarding import PATIENCE, assert_soon, read_all
from relays import Relay, Service, running

TOPIC = "relay"

Relays = Callable[..., Relay]
Services = Callable[..., Service]

LOOPBACK = (socket.AF_INET, bytes([127, 0, 0, 0]), 8)
ONE = (socket.AF_INET, bytes([127, 0, 0, 1]), 32)
TEN = (socket.AF_INET, bytes([10, 0, 0, 0]), 8)


def assert_passes(relay: Relay, service: Service, source: str | None = None) -> None:
    with relay.connect(source) as client, service.accept() as server:
        client.sendall(b"x")
        assert server.recv(1) == b"x"


# How many


def test_a_connection_limit_lets_the_rest_wait(relays: Relays, service: Service) -> None:
    relay = relays(service, max_connections=2)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(relay.connect()) for _ in range(3)]
        servers = [stack.enter_context(service.accept()) for _ in range(2)]
        assert relay.counters.accepted == 2
        clients[0].close()
        servers[0].close()
        third = stack.enter_context(service.accept())
        clients[2].sendall(b"third")
        assert third.recv(5) == b"third"
        assert relay.counters.accepted == 3


def test_the_limit_is_that_of_all_loops_together(core: ModuleType, service: Service) -> None:
    rule = core.Rule([core.Upstream([service.address])], core.Options(max_connections=3))
    loops = [core.Loop() for _ in range(2)]
    first = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    address = first.getsockname()
    for loop, sock in zip(loops, (first, socket.create_server(address, reuse_port=True)), strict=True):
        loop.listen(rule, [sock])
    with running(*loops), contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(address))
        servers = [service.accept() for _ in range(3)]
        assert not service.has_a_caller()
        assert (rule.counters.accepted, rule.counters.active) == (3, 3)
        stack.close()
        for server in servers:
            server.close()
        for _ in range(5):
            service.accept().close()
        assert_soon(lambda: (rule.counters.accepted, rule.counters.active) == (8, 0))


def test_one_source_has_so_many_connections(relays: Relays, service: Service) -> None:
    relay = relays(service, max_per_source=2, record=True)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(relay.connect("127.0.0.2"))
            held = stack.enter_context(service.accept())
        relay.assert_rejects("127.0.0.2")
        assert relay.ended() == "denied"
        assert (relay.counters.denied, relay.counters.active, relay.counters.resets) == (1, 2, 0)
        assert_passes(relay, service, "127.0.0.3")
        held.close()
    assert_soon(lambda: relay.counters.active == 0)
    assert_passes(relay, service, "127.0.0.2")


# Who


@pytest.mark.parametrize(
    ("options", "passing"),
    [
        ({}, True),
        ({"allow": [LOOPBACK]}, True),
        ({"allow": [TEN]}, False),
        ({"allow": [TEN, ONE]}, True),
        ({"deny": [TEN]}, True),
        ({"deny": [ONE]}, False),
        ({"allow": [LOOPBACK], "deny": [ONE]}, False),
        ({"allow": [ONE], "deny": [LOOPBACK]}, False),
    ],
    ids=repr,
)
def test_prefixes_say_who_is_served(
    relays: Relays, service: Service, options: dict[str, object], passing: bool
) -> None:
    relay = relays(service, record=True, **options)
    if passing:
        assert_passes(relay, service)
        assert relay.ended() == "closed"
    else:
        relay.assert_rejects()
        assert relay.ended() == "denied"
        assert not service.has_a_caller()
    assert relay.counters.denied == (not passing)


def test_a_mapped_address_is_the_one_that_it_maps(relays: Relays, service: Service) -> None:
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    relay = relays(service, listener=both, deny=[ONE])
    address = ("127.0.0.1", relay.address[1][1])
    with pytest.raises(ConnectionResetError), socket.create_connection(address) as client:
        client.recv(1)
    with socket.create_connection(("::1", address[1])) as client, service.accept() as server:
        client.sendall(b"x")
        assert server.recv(1) == b"x"


def test_a_unix_client_is_not_judged_by_prefixes(relays: Relays, service: Service, tmp_path: object) -> None:
    listener = Service(socket.AF_UNIX, f"{tmp_path}/down").sock
    relay = relays(service, listener=listener, allow=[TEN], deny=[LOOPBACK], max_per_source=1)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(relay.connect())
            client.sendall(b"x")
            assert stack.enter_context(service.accept()).recv(1) == b"x"


# How fast


@pytest.mark.parametrize("option", ["rate", "connection_rate"])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_a_rate_is_kept_to(relays: Relays, service: Service, option: str, up: bool) -> None:
    relay = relays(service, **{option: 1_000_000})
    with relay.connect() as client, service.accept() as server:
        sender, reader = (client, server) if up else (server, client)
        started = time.monotonic()
        sender.sendall(bytes(250_000))
        sender.shutdown(socket.SHUT_WR)
        assert len(read_all(reader)) == 250_000
        # Whatever the machine's speed, it is never sooner; a twentieth of a second's bytes pass at once.
        assert time.monotonic() - started >= 0.19


def test_all_connections_share_a_rate(relays: Relays, service: Service) -> None:
    relay = relays(service, rate=1_000_000)
    with contextlib.ExitStack() as stack:
        pairs = [
            (stack.enter_context(relay.connect()), stack.enter_context(service.accept())) for _ in range(2)
        ]
        started = time.monotonic()
        for client, server in pairs:
            client.sendall(bytes(125_000))
            server.sendall(b"x" * 25_000)
            client.shutdown(socket.SHUT_WR)
            server.shutdown(socket.SHUT_WR)
        for client, server in pairs:
            assert (len(read_all(server)), len(read_all(client))) == (125_000, 25_000)
        assert time.monotonic() - started >= 0.24


def test_a_slow_rate_passes_single_bytes(relays: Relays, service: Service) -> None:
    relay = relays(service, connection_rate=20)
    with relay.connect() as client, service.accept() as server:
        client.sendall(b"12345")
        client.close()
        assert read_all(server) == b"12345"


# Descriptors

STARVED = """
import resource, socket, sys, threading, time
from importlib import import_module
core = import_module(sys.argv[1])
listener = socket.socket(fileno=int(sys.argv[3]))
rule = core.Rule([core.Upstream([(socket.AF_INET, ("127.0.0.1", int(sys.argv[2])))])])
loop = core.Loop(warn=lambda text: print(text, flush=True))
loop.listen(rule, [listener])
def stop_after_thirty():
    while rule.counters.accepted < 30 or rule.counters.active:
        time.sleep(0.01)
    loop.stop()
threading.Thread(target=stop_after_thirty).start()
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
print(loop.run(), rule.counters.unreachable, rule.counters.resets)
"""


def test_where_descriptors_run_out_the_rest_wait(core: ModuleType, service: Service) -> None:
    """One warning, nobody harmed, and all are served in the end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    command = (
        sys.executable,
        "-c",
        STARVED,
        core.__name__,
        str(service.address[1][1]),
        str(listener.fileno()),
    )
    with contextlib.ExitStack() as stack:
        child = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[listener.fileno()])
        )
        stack.callback(child.kill)
        assert child.stdout
        clients = []
        for number in range(30):
            clients.append(stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE)))
            clients[-1].sendall(b"%02d" % number)
        listener.close()
        warning = child.stdout.readline()
        assert re.fullmatch(r"accepting pauses at \d+ connections: Too many open files\n", warning)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        served = []
        for _ in clients:
            with service.accept() as server:
                served.append(read_all(server))
        assert sorted(served) == [b"%02d" % number for number in range(30)]
        assert child.communicate(timeout=PATIENCE)[0] == "True 0 0\n"
        assert child.returncode == 0
