"""The relay loop on real sockets: ends, resets, back-pressure, limits, what a forked child may not hold."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

TOPIC = "relay"

RESET = struct.pack("ii", 1, 0)
PATIENCE = 20.0


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """Two ends of a real TCP connection."""
    with socket.create_server((host, 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    for sock in (client, accepted):
        sock.settimeout(PATIENCE)
    return client, accepted


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def forever(step: Callable[[], object]) -> None:
    """Until it raises."""
    while True:
        step()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


@contextlib.contextmanager
def running(loop: object) -> Iterator[list[bool]]:
    """The loop in a thread; what ``run`` returned is in the list afterwards."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(loop.run()))  # type: ignore[attr-defined]
    thread.start()
    try:
        yield results
    finally:
        loop.stop()  # type: ignore[attr-defined]
        thread.join(PATIENCE)
    assert not thread.is_alive()


Joined = Callable[[], tuple[socket.socket, socket.socket, object]]


@pytest.fixture
def joined(core: ModuleType) -> Iterator[Joined]:
    """``client, server, counters = joined()``: the outer ends of two connections, a relay between them."""
    with contextlib.ExitStack() as stack:

        def join() -> tuple[socket.socket, socket.socket, object]:
            loop = core.Loop()
            client, down = tcp_pair()
            up, server = tcp_pair()
            counters = loop.join(down, up)
            stack.enter_context(running(loop))
            for sock in (client, server):
                stack.callback(sock.close)
            return client, server, counters

        yield join


def test_bytes_pass_both_ways_and_are_counted(joined: Joined) -> None:
    client, server, counters = joined()
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"the answer")
    assert client.recv(100) == b"the answer"
    assert_soon(lambda: (counters.sent_up, counters.sent_down) == (8, 10))


@pytest.mark.parametrize("swapped", [False, True])
def test_half_close_is_kept_and_a_late_answer_arrives(joined: Joined, swapped: bool) -> None:
    client, server, _ = joined()
    if swapped:
        client, server = server, client
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"last words"
    answer = os.urandom(1 << 20)
    server.sendall(answer)
    server.close()
    assert read_all(client) == answer


@pytest.mark.parametrize("swapped", [False, True])
def test_a_reset_is_passed_on_behind_what_was_sent_before(joined: Joined, swapped: bool) -> None:
    client, server, _ = joined()
    if swapped:
        client, server = server, client
    client.sendall(b"before")
    assert server.recv(6) == b"before"
    client.sendall(b"and more")
    reset(client)
    received: list[bytes] = []
    with pytest.raises(ConnectionResetError):
        forever(lambda: received.append(server.recv(100)))
    assert b"".join(received) == b"and more"


def test_a_peer_that_is_gone_resets_the_sender(joined: Joined) -> None:
    client, server, _ = joined()
    server.close()
    assert client.recv(1) == b""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        forever(lambda: client.sendall(b"x" * 65536))


def test_full_duplex_transfer_is_exact(joined: Joined) -> None:
    """100 MiB up and 100 MiB down at once, in random sizes."""
    client, server, counters = joined()
    total = 100 << 20
    block = os.urandom(1 << 20)
    sums: dict[str, str] = {}

    def send(name: str, sock: socket.socket, seed: int) -> None:
        chance, digest, left = random.Random(seed), hashlib.blake2b(), total
        while left:
            size = min(left, chance.randrange(1, len(block)))
            sock.sendall(block[:size])
            digest.update(block[:size])
            left -= size
        sock.shutdown(socket.SHUT_WR)
        sums[f"{name} sent"] = digest.hexdigest()

    def receive(name: str, sock: socket.socket, seed: int) -> None:
        chance, digest = random.Random(seed), hashlib.blake2b()
        while data := sock.recv(chance.randrange(1, 1 << 20)):
            digest.update(data)
        sums[f"{name} received"] = digest.hexdigest()

    threads = [
        threading.Thread(target=function, args=arguments)
        for function, arguments in (
            (send, ("up", client, 1)),
            (receive, ("up", server, 2)),
            (send, ("down", server, 3)),
            (receive, ("down", client, 4)),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums["up sent"] == sums["up received"]
    assert sums["down sent"] == sums["down received"]
    assert (counters.sent_up, counters.sent_down) == (total, total)


def test_single_bytes_pass(joined: Joined) -> None:
    client, server, _ = joined()
    for number in range(300):
        client.sendall(bytes([number % 256]))
        assert server.recv(2) == bytes([number % 256])


def test_a_stopped_reader_stops_the_sender(joined: Joined) -> None:
    client, server, counters = joined()
    client.settimeout(1.0)
    sizes: list[int] = []
    with pytest.raises(TimeoutError):
        forever(lambda: sizes.append(client.send(b"x" * (1 << 20))))
    assert counters.sent_up <= sum(sizes)
    client.shutdown(socket.SHUT_WR)
    assert len(read_all(server)) == sum(sizes)


def test_unix_sockets_are_relayed_too(core: ModuleType) -> None:
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


def test_stop_resets_what_is_open(core: ModuleType) -> None:
    loop = core.Loop()
    client, down = tcp_pair()
    up, server = tcp_pair()
    loop.join(down, up)
    with client, server:
        with running(loop) as results:
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        assert results == [False]
        for sock in (client, server):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_every_descriptor_is_closed_again(core: ModuleType) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        loop = core.Loop()
        client, down = tcp_pair()
        up, server = tcp_pair()
        loop.join(down, up)
        client.close()
        server.close()
        loop.run()
    idle = core.Loop()
    idle.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


# Forwarding


class Service:
    """A listening socket, and what a test does with the connections that come through a forwarding loop."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.sock.settimeout(PATIENCE)

    @property
    def upstream(self) -> tuple[int, object]:
        return socket.AF_INET, self.sock.getsockname()

    def accept(self) -> socket.socket:
        accepted, _ = self.sock.accept()
        accepted.settimeout(PATIENCE)
        return accepted


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.sock.close()


def closed_port() -> tuple[int, object]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.AF_INET, server.getsockname()


def listen(
    core: ModuleType, loop: Any, listener: socket.socket, addresses: list[tuple[int, Any]], **options: object
) -> Any:
    """Forward from this listener to an upstream of these addresses; the rule's counters."""
    rule = core.Rule([core.Upstream(addresses)], **options)
    loop.listen(rule, [listener])
    return rule.counters


def connect(address: object) -> socket.socket:
    return socket.create_connection(address, PATIENCE)  # type: ignore[arg-type]


def test_every_address_of_the_upstream_is_tried(core: ModuleType, service: Service) -> None:
    loop = core.Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    missing_family = (socket.AF_APPLETALK, ("x", 1))
    counters = listen(core, loop, listener, [missing_family, closed_port(), service.upstream])
    with running(loop), connect(address) as client, service.accept() as server:
        client.sendall(b"found")
        assert server.recv(5) == b"found"
        assert (counters.accepted, counters.active, counters.unreachable) == (1, 1, 0)


def test_an_upstream_that_refuses_harms_only_its_own_connection(core: ModuleType, service: Service) -> None:
    loop = core.Loop()
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    bad, good = (listener.getsockname() for listener in listeners)
    failing = listen(core, loop, listeners[0], [closed_port()])
    listen(core, loop, listeners[1], [service.upstream])
    with running(loop), connect(good) as client, service.accept() as server:
        for _ in range(5):
            with pytest.raises(ConnectionResetError), connect(bad) as refused:
                refused.recv(1)
        client.sendall(b"still here")
        assert server.recv(100) == b"still here"
        assert_soon(lambda: (failing.unreachable, failing.active) == (5, 0))


def test_what_an_upstream_sends_before_its_reset_arrives(core: ModuleType, service: Service) -> None:
    loop = core.Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    counters = listen(core, loop, listener, [service.upstream])
    clients = [connect(address) for _ in range(20)]
    for _ in clients:  # The connections wait in the backlog: the loop begins only now.
        threading.Thread(target=lambda: say_and_reset(service.accept())).start()
    with running(loop):
        for client in clients:
            received: list[bytes] = []
            with pytest.raises(ConnectionResetError):
                forever(lambda client=client, received=received: received.append(client.recv(100)))
            assert b"".join(received) == b"last words"
            client.close()
        assert (counters.accepted, counters.unreachable) == (20, 0)


def say_and_reset(sock: socket.socket) -> None:
    sock.sendall(b"last words")
    reset(sock)


def test_an_upstream_that_does_not_answer_times_out(core: ModuleType, service: Service) -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = []
    for _ in range(4):  # A backlog that is full drops SYNs.
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        fillers.append(filler)
    loop = core.Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    full_one = core.Upstream([(socket.AF_INET, full.getsockname())])
    loop.listen(core.Rule([full_one, core.Upstream([service.upstream])], connect_timeout=0.2), [listener])
    with running(loop), connect(address) as client, service.accept() as server:
        server.sendall(b"second address")
        assert client.recv(100) == b"second address"
    for sock in (full, *fillers):
        sock.close()


def test_a_connection_limit_lets_the_rest_wait(core: ModuleType, service: Service) -> None:
    loop = core.Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    counters = listen(core, loop, listener, [service.upstream], max_connections=2)
    with running(loop):
        clients = [connect(address) for _ in range(3)]
        servers = [service.accept() for _ in range(2)]
        assert counters.accepted == 2
        clients[0].close()
        servers[0].close()
        servers.append(service.accept())
        clients[2].sendall(b"third")
        assert servers[2].recv(5) == b"third"
        for sock in clients + servers:
            sock.close()


def test_a_drain_waits_for_open_connections(core: ModuleType, service: Service) -> None:
    loop = core.Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    listen(core, loop, listener, [service.upstream])
    with running(loop) as results:
        client, server = connect(address), service.accept()
        loop.drain(PATIENCE)
        client.sendall(b"last")
        assert server.recv(4) == b"last"
        with pytest.raises(ConnectionError):
            forever(lambda: connect(address).close())
        client.close()
        server.close()
        assert_soon(lambda: results == [True])


def assert_soon(condition: Callable[[], bool]) -> None:
    """The condition becomes true while others still work; a generous limit ends a failing test."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    assert condition()


def test_a_slow_head_is_answered_408(core: ModuleType, service: Service) -> None:
    from fastnet._backend import http_head

    loop = core.Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    rewrite = http_head.HostRewrite(["localhost"], address[1], "example.com")
    counters = listen(core, loop, listener, [service.upstream], rewrite=rewrite, head_timeout=0.2)
    with running(loop), connect(address) as client, service.accept() as server:
        client.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert read_all(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        assert counters.refused == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_beside_it_keeps_no_connection_open(core: ModuleType, joined: Joined) -> None:
    client, server, _ = joined()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    ready, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        client.close()
        server.close()
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    reset(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    os.close(hold)
    assert os.waitpid(child, 0)[1] == 0
