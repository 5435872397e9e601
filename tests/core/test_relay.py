"""The relay's loop on real sockets: what it is asked to do while it runs, its end, what it leaves behind."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest
from forking import forked
from forwarding import PATIENCE, assert_soon, forever
from hypothesis import given
from hypothesis import strategies as st
from relays import Relay, Service, closed_port, reset, running, tcp_pair
from traffic import read_exactly

from fastnet.errors import InvalidArgument

TOPIC = "relay"

Relays = Callable[..., Relay]
Services = Callable[..., Service]


def listener(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listener that shares its port with others."""
    return socket.create_server((host, port), backlog=2048, reuse_port=True)


def exchange(client: socket.socket, server: socket.socket) -> None:
    """Bytes pass both ways."""
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"the answer")
    assert client.recv(100) == b"the answer"


# One connection


def test_joined_sockets_are_relayed_and_counted(core: ModuleType) -> None:
    loop = core.Loop()
    (client, down), (up, server) = tcp_pair(), tcp_pair()
    counters = loop.join(down, up)
    with client, server, running(loop) as results:
        exchange(client, server)
        client.close()
        server.close()
        assert_soon(lambda: results == [True])
    assert (counters.sent_up, counters.sent_down, counters.active, counters.resets) == (8, 10, 0, 0)


def own_pipes() -> set[str]:
    """The pipes of this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if name.startswith("pipe:")}


def test_short_messages_are_copied_and_long_ones_spliced(core: ModuleType) -> None:
    loop, before = core.Loop(), own_pipes()
    (client, down), (up, server) = tcp_pair(), tcp_pair()
    loop.join(down, up)

    def ask_for(size: int) -> None:
        client.sendall(b"?")
        assert server.recv(1) == b"?"
        sender = threading.Thread(target=server.sendall, args=(bytes(size),))
        sender.start()
        assert len(read_exactly(client, size)) == size
        sender.join()

    with client, server, running(loop):
        for _ in range(32):
            ask_for(49152)
        assert own_pipes() == before
        ask_for(4 << 20)
        # Only native splices.
        assert (own_pipes() > before) is core.__name__.startswith("fastnet._native")
        client.close()
        server.close()


def test_a_rule_may_be_given_to_what_is_joined(core: ModuleType) -> None:
    loop, rule = core.Loop(), core.Rule((), core.Options(record=True, max_connections=1))
    pairs = [(tcp_pair(), tcp_pair()) for _ in range(2)]
    for (client, down), (up, server) in pairs:
        assert loop.join(down, up, rule) is rule.counters
        client.close()
        server.close()
    assert loop.run() is True
    records = loop.records()
    assert [(record.rule, record.ended) for record in records] == [(rule, "closed")] * 2


def test_half_a_connection_may_be_a_unix_socket(core: ModuleType) -> None:
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    with a, d:
        a.sendall(b"up")
        a.shutdown(socket.SHUT_WR)
        d.sendall(b"down")
        d.shutdown(socket.SHUT_WR)
        loop = core.Loop()
        counters = loop.join(b, c)
        assert loop.run() is True
        assert (counters.sent_up, counters.sent_down) == (2, 4)
        assert (a.recv(9), d.recv(9)) == (b"down", b"up")


@pytest.mark.parametrize("listening", ["path", "abstract", "::1"])
@pytest.mark.parametrize("connecting", ["path", "abstract", "::1"])
def test_any_family_on_either_side(
    relays: Relays, services: Services, tmp_path: object, listening: str, connecting: str
) -> None:
    def place(kind: str, name: str) -> tuple[int, str]:
        if kind == "::1":
            return socket.AF_INET6, kind
        return socket.AF_UNIX, f"{tmp_path}/{name}" if kind == "path" else f"\0fastnet-{os.getpid()}-{name}"

    upstream = services(Service, *place(connecting, "up"))
    relay = relays(upstream, listener=Service(*place(listening, "down")).sock, record=True)
    with relay.connect() as client, upstream.accept() as server:
        exchange(client, server)
    [record] = relay.records(1)
    assert (record.client[0], record.upstream) == (relay.address[0], upstream.address)
    assert record.ended == "closed"


def test_a_spinning_loop_relays_and_sleeps_again(core: ModuleType, service: Service) -> None:
    rule, loop = core.Rule([core.Upstream([service.address])]), core.Loop(spin=0.01)
    sock = listener()
    address = sock.getsockname()
    loop.listen(rule, [sock])
    with running(loop), socket.create_connection(address) as client, service.accept() as server:
        exchange(client, server)


# Rules come and go


def test_rules_do_not_disturb_each_other(core: ModuleType, service: Service) -> None:
    loop, socks = core.Loop(), [listener() for _ in range(2)]
    bad, good = (sock.getsockname() for sock in socks)
    failing = core.Rule([core.Upstream([closed_port()])])
    loop.listen(failing, [socks[0]])
    loop.listen(core.Rule([core.Upstream([service.address])]), [socks[1]])
    with running(loop), socket.create_connection(good) as client, service.accept() as server:
        for _ in range(5):
            with pytest.raises(ConnectionResetError), socket.create_connection(bad) as refused:
                refused.recv(1)
        exchange(client, server)
        assert_soon(lambda: (failing.counters.unreachable, failing.counters.active) == (5, 0))


def test_a_rule_without_an_upstream_lets_nothing_through(relays: Relays) -> None:
    relay = relays()
    relay.assert_rejects()
    assert_soon(lambda: (relay.counters.unreachable, relay.counters.accepted) == (1, 1))


def test_listening_begins_while_it_runs(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service)
    for number in range(3):
        more, rule = listener(), core.Rule([core.Upstream([service.address])])
        address = more.getsockname()
        relay.loop.listen(rule, [more])
        with socket.create_connection(address) as client, service.accept() as server:
            exchange(client, server)
        assert_soon(lambda rule=rule: (rule.counters.accepted, rule.counters.active) == (1, 0)), number


def test_one_rule_may_listen_at_several_sockets(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service)
    more = listener("127.0.0.2")
    address = more.getsockname()
    relay.loop.listen(relay.rule, [more])
    for target in (address, relay.address[1]):
        with socket.create_connection(target) as client, service.accept() as server:
            exchange(client, server)
    assert relay.counters.accepted == 2


def test_unlistening_lets_connections_go_on(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service)
    other = listener()
    relay.loop.listen(core.Rule(()), [other])  # So that it has a reason to run on.
    with relay.connect() as client, service.accept() as server:
        relay.loop.unlisten(relay.rule)
        with pytest.raises(ConnectionRefusedError):
            relay.connect()
        exchange(client, server)
        again = socket.create_server(relay.address[1])
        relay.loop.listen(relay.rule, [again])
        with relay.connect() as second, service.accept() as second_server:
            exchange(second, second_server)
        exchange(client, server)


def test_a_rule_that_is_served_no_more_is_let_go() -> None:
    """By the pure loop; the native one holds it until its last record has been asked for."""
    pure = import_module("fastnet._pure.relay")
    loop, rules = pure.Loop(), [pure.Rule(()) for _ in range(2)]
    left = weakref.ref(rules[0])
    loop.listen(rules[0], [listener()])
    loop.unlisten(rules.pop(0))
    loop.listen(rules[0], [listener()])
    gc.collect()
    assert left() is None
    loop.close()


def test_a_loop_whose_last_listener_is_gone_ends(core: ModuleType, service: Service) -> None:
    loop, rule, sock = core.Loop(), core.Rule([core.Upstream([service.address])]), listener()
    address = sock.getsockname()
    loop.listen(rule, [sock])
    with running(loop) as results:
        with socket.create_connection(address) as client, service.accept() as server:
            loop.unlisten(rule)
            exchange(client, server)
            assert results == []
        assert_soon(lambda: results == [True])
    late = listener()
    with late, pytest.raises(RuntimeError, match="this loop has ended"):
        loop.listen(rule, [late])
    loop.unlisten(rule)
    assert loop.connections() == []


def test_a_listener_that_is_duplicated_elsewhere_is_let_go(core: ModuleType, service: Service) -> None:
    loop, rule, sock = core.Loop(), core.Rule([core.Upstream([service.address])]), listener()
    kept = sock.dup()
    loop.listen(rule, [sock])
    loop.listen(core.Rule(()), [listener()])
    with kept, running(loop):
        loop.unlisten(rule)
        kept.settimeout(PATIENCE)
        with socket.create_connection(kept.getsockname()), kept.accept()[0]:
            assert rule.counters.accepted == 0


def test_new_connections_go_to_new_upstreams(core: ModuleType, relays: Relays, services: Services) -> None:
    old, new = services(), services()
    relay = relays(old)
    with relay.connect() as first, old.accept() as first_server:
        relay.rule.set_upstreams([core.Upstream([new.address])])
        with relay.connect() as second, new.accept() as second_server:
            exchange(second, second_server)
            exchange(first, first_server)


def test_an_accepted_connection_goes_to_the_least_loaded_loop(core: ModuleType, service: Service) -> None:
    loops, rule = [core.Loop() for _ in range(3)], core.Rule([core.Upstream([service.address])])
    sock = listener()
    address = sock.getsockname()
    for loop in loops:
        loop.listen(rule, [sock if loop is loops[0] else listener(*address)])
    with running(*loops), contextlib.ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(socket.create_connection(address))
            exchange(client, stack.enter_context(service.accept()))
        assert [len(loop.connections()) for loop in loops] == [4, 4, 4]
        assert (rule.counters.accepted, rule.counters.active) == (12, 12)


# What is reported


def test_open_connections_are_told(relays: Relays, service: Service) -> None:
    relay = relays(service)
    assert relay.loop.connections() == []
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        [record] = relay.loop.connections()
        assert record.client == (socket.AF_INET, client.getsockname())
        assert record.upstream == service.address
        assert (record.number, record.sent_up, record.sent_down, record.ended) == (1, 8, 10, "")
        assert record.rule is relay.rule
    assert_soon(lambda: relay.loop.connections() == [])


# The end


def test_stop_resets_what_is_open(relays: Relays, service: Service) -> None:
    relay = relays(service, record=True)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        relay.loop.stop()
        for sock in (client, server):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert relay.ended() == "stopped"
    assert (relay.counters.resets, relay.counters.active) == (1, 0)


def test_run_tells_whether_a_connection_was_cut(core: ModuleType, service: Service) -> None:
    for cut in (False, True):
        loop, sock = core.Loop(), listener()
        address = sock.getsockname()
        loop.listen(core.Rule([core.Upstream([service.address])]), [sock])
        with (
            running(loop) as results,
            socket.create_connection(address) as client,
            service.accept() as server,
        ):
            exchange(client, server)
            if not cut:
                client.close()
                server.close()
                assert_soon(lambda loop=loop: loop.connections() == [])
            loop.stop()
            assert_soon(lambda results=results, cut=cut: results == [not cut])


def test_a_drain_waits_for_open_connections(relays: Relays, service: Service) -> None:
    relay = relays(service, record=True)
    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        relay.loop.drain(PATIENCE)
        assert_soon(lambda: not relay.listens())
        exchange(client, server)
    assert relay.ended() == "closed"


def test_a_drain_has_a_deadline(core: ModuleType, service: Service) -> None:
    loop, sock = core.Loop(), listener()
    address = sock.getsockname()
    loop.listen(core.Rule([core.Upstream([service.address])]), [sock])
    with running(loop) as results, socket.create_connection(address) as client, service.accept() as server:
        exchange(client, server)
        loop.drain(PATIENCE)
        loop.drain(0.05)
        assert_soon(lambda: results == [False])


def test_stop_under_load(core: ModuleType, service: Service) -> None:
    """Streams in full flow, and connections being made: all end, and nothing is left open."""
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    loop, sock = core.Loop(), listener()
    address = sock.getsockname()
    rule = core.Rule([core.Upstream([service.address])])
    loop.listen(rule, [sock])

    def stream() -> None:
        with contextlib.suppress(OSError), socket.create_connection(address) as client:
            forever(lambda: client.sendall(bytes(65536)))

    def sink() -> None:
        with contextlib.suppress(OSError), service.accept() as server:
            forever(lambda: server.recv(65536) or reset(server))

    workers = [threading.Thread(target=target) for target in (stream, sink) * 8]
    with running(loop):
        for worker in workers:
            worker.start()
        assert_soon(lambda: rule.counters.sent_up > 1 << 24)
        loop.stop()
        service.sock.shutdown(socket.SHUT_RDWR)  # For a sink that nobody has come to.
        for worker in workers:
            worker.join(PATIENCE)
    assert rule.counters.active == 0
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (before, threads)


def test_every_descriptor_is_closed_again(core: ModuleType) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        loop = core.Loop()
        (client, down), (up, server) = tcp_pair(), tcp_pair()
        loop.join(down, up)
        client.close()
        server.close()
        loop.run()
    idle = core.Loop()
    idle.listen(core.Rule(()), [listener()])
    idle.close()
    idle.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fork_beside_it_keeps_nothing_open(relays: Relays, service: Service) -> None:
    relay = relays(service)
    client = relay.connect()
    server = service.accept()
    exchange(client, server)
    ready, hold = os.pipe()

    def hold_what_it_has() -> None:
        os.close(hold)
        client.close()
        server.close()
        os.read(ready, 1)

    with forked(hold_what_it_has):
        os.close(ready)
        reset(client)
        with server, pytest.raises(ConnectionResetError):
            server.recv(1)
        relay.loop.stop()
        assert_soon(lambda: relay.counters.active == 0)
        assert_soon(lambda: not relay.listens())
        os.close(hold)


def test_a_child_may_use_the_rule_of_its_parent(core: ModuleType, relays: Relays, service: Service) -> None:
    relay = relays(service, max_connections=1, max_per_source=1)

    def use_the_rule() -> None:
        loop = core.Loop()
        (near, down), (up, far) = tcp_pair(), tcp_pair()
        loop.join(down, up, relay.rule)
        near.sendall(b"x")
        near.close()
        far.close()
        loop.run()
        assert (relay.rule.counters.active, relay.upstreams[0].active) == (0, 0)

    with relay.connect() as client, service.accept() as server:
        exchange(client, server)
        with forked(use_the_rule):
            pass
        exchange(client, server)


# What can't be meant

PREFIX = (socket.AF_INET, b"\x7f\0\0\0", 8)
MISTAKES = [
    {"policy": "random"},
    {"engine": "sockmap"},
    {"engine": ""},
    {"max_connections": 0},
    {"max_connections": -1},
    {"max_per_source": -1},
    {"source_prefix": 0},
    {"source_prefix": 129},
    {"connect_timeout": 0.0},
    {"connect_timeout": float("nan")},
    {"connect_timeout": float("inf")},
    {"head_timeout": 0.0},
    {"head_timeout": 1e7},
    {"keep_alive_timeout": -0.1},
    {"keep_alive_timeout": 1e7},
    {"idle_timeout": -1.0},
    {"half_closed_timeout": float("nan")},
    {"keepalive": 32768.0},
    {"user_timeout": -1.0},
    {"rate": -1},
    {"connection_rate": 10**13},
    {"max_failures": 0},
    {"failure_pause": -0.1},
    {"allow": [(socket.AF_UNIX, b"", 0)]},
    {"allow": [(socket.AF_INET, b"\x7f\0\0", 8)]},
    {"deny": [(socket.AF_INET, b"\x7f\0\0\0", 33)]},
    {"trust_proxy": [(socket.AF_INET6, bytes(16), -1)]},
    {"send_proxy": 3},
    {"congestion": "no-such-thing"},
]


@pytest.mark.parametrize("options", MISTAKES, ids=repr)
def test_what_cant_be_meant_is_refused_in_the_same_words(
    core: ModuleType, options: dict[str, object]
) -> None:
    words = []
    for twin in (core, import_module("fastnet._pure.relay")):
        with pytest.raises(InvalidArgument) as caught:
            twin.Rule((), twin.Options(**options))
        words.append(str(caught.value))
    assert words[0] == words[1]
    assert words[0].startswith((*options, "prefix"))


def test_an_upstream_needs_an_address(core: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match="an upstream without an address: expected one or more"):
        core.Upstream([])


@pytest.mark.parametrize("spin", [-1.0, float("nan"), 1e9])
def test_spinning_has_bounds(core: ModuleType, spin: float) -> None:
    with pytest.raises(InvalidArgument, match=r"^spin "):
        core.Loop(spin=spin)


@given(
    numbers=st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**9)),
    times=st.tuples(st.floats(0.001, 1e6), st.floats(0, 1e6)),
)
def test_what_can_be_meant_is_taken(
    core: ModuleType, numbers: tuple[int, int, int], times: tuple[float, float]
) -> None:
    most, per_source, rate = numbers
    options = core.Options(
        policy="least-connections",
        max_connections=most,
        max_per_source=per_source,
        rate=rate,
        connection_rate=rate,
        connect_timeout=times[0],
        idle_timeout=times[1],
        allow=[PREFIX],
        deny=[PREFIX],
        trust_proxy=[PREFIX],
        send_proxy=2,
    )
    assert core.Rule((), options).counters.accepted == 0


def test_read_only_is_what_is_so(core: ModuleType) -> None:
    upstream = core.Upstream([closed_port()], "name")
    assert (upstream.name, upstream.active, upstream.failures, upstream.healthy) == ("name", 0, 0, True)
    assert isinstance(upstream.addresses, tuple)
    for owner, name in ((upstream, "active"), (upstream, "addresses"), (core.Rule(()).counters, "accepted")):
        with pytest.raises(AttributeError):
            setattr(owner, name, 1)
    upstream.healthy = False
    assert upstream.healthy is False


def test_each_engine_relays_where_it_exists(core: ModuleType, relays: Relays, service: Service) -> None:
    assert core.ENGINES == ("auto", "copy", "splice")
    for engine in core.ENGINES:
        if engine == "splice" and "_pure" in core.__name__:
            with pytest.raises(InvalidArgument, match="only the native implementation has it"):
                core.Rule((), core.Options(engine=engine))
            continue
        relay = relays(service, engine=engine)
        with relay.connect() as client, service.accept() as server:
            exchange(client, server)
