"""What a forwarder must keep of the connections that go through it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from children import Child
from forwarding import read_all
from traffic import MIB, Line, digest, read_exactly, receive, reset, sample, send, sizes, soon

LATE = 0.7
"""Seconds after which a late answer comes; socat waits for half a second."""
IDLE_SHARE = 0.3
"""The share of a processor that only a forwarder which spins takes while nothing moves."""
HELD = 256 << 10
"""Bytes that a direction may hold for a reader that has stopped."""

Pair = tuple[socket.socket, socket.socket]
Lines = Callable[..., contextlib.AbstractContextManager[Line]]
Note = Callable[[str], None]

both_ways = pytest.mark.parametrize("way", ["up", "down"])


def ends(pair: Pair, way: str) -> Pair:
    """The sending and the receiving end of a client and its upstream."""
    return pair if way == "up" else (pair[1], pair[0])


def assert_echo(pair: Pair) -> None:
    """The connection is alive, in both directions."""
    for way in ("up", "down"):
        source, sink = ends(pair, way)
        source.sendall(b"alive")
        assert read_exactly(sink, 5) == b"alive"


def is_reset(sock: socket.socket) -> bool:
    """Whether the connection ends by a reset, and nothing came before."""
    try:
        assert sock.recv(1) == b"", "it sends something"
    except ConnectionResetError:
        return True
    return False


def assert_ends(sock: socket.socket) -> None:
    """The connection ends, by whatever means, and nothing came before."""
    with contextlib.suppress(ConnectionResetError):
        assert sock.recv(1) == b"", "it sends something"


def transfer(pairs: list[Pair], total: int, ending: bool = True) -> None:
    """Send so much in both directions of each connection at once, and end each; compare what arrives."""

    def give(source: socket.socket, seed: int) -> None:
        send(source, total, seed)
        if ending:
            source.shutdown(socket.SHUT_WR)

    with ThreadPoolExecutor(4 * len(pairs)) as pool:
        giving, taking = [], []
        for seed, pair in enumerate(pairs):
            for sock in pair:
                giving.append(pool.submit(give, sock, seed))
                taking.append(pool.submit(receive, sock, -seed, *([] if ending else [total])))
        taken = [future.result() for future in taking]
        for future in giving:
            future.result()
    assert [count for count, _ in taken] == [total] * len(taken), "bytes are missing"
    assert {found for _, found in taken} == {digest(total)}, "bytes are wrong"


# Ends and resets


@both_ways
def test_a_late_answer_after_a_half_close(line: Lines, way: str) -> None:
    with line() as it:
        asking, answering = ends(it.pair(), way)
        asking.sendall(sample(MIB))
        asking.shutdown(socket.SHUT_WR)
        assert read_all(answering) == sample(MIB)
        assert it.running.busy(LATE) < IDLE_SHARE, "it spins while it waits"
        with contextlib.suppress(ConnectionError):
            answering.sendall(sample(MIB))
            answering.close()
        assert receive(asking, 1) == (MIB, digest(MIB)), "the answer"


@both_ways
def test_a_reset_is_passed_on_behind_the_bytes_before_it(line: Lines, way: str) -> None:
    with line() as it:
        sender, receiver = ends(it.pair(), way)
        sender.sendall(b"before")
        assert read_exactly(receiver, 6) == b"before"
        sender.sendall(b"last words")
        reset(sender)
        assert read_exactly(receiver, 10) == b"last words"
        assert is_reset(receiver), "the reset: an end came in its place"


def test_a_reader_that_goes_away_resets_the_sender(line: Lines) -> None:
    with line() as it:
        client, server = it.pair()
        server.close()
        assert client.recv(1) == b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(10_000):
                client.sendall(bytes(65536))
            raise AssertionError("the reset: the sender goes on")


# Bytes


def test_a_long_transfer_both_ways_until_half_closes(line: Lines, forwarder: Any) -> None:
    with line() as it:
        transfer([it.pair()], forwarder.bulk)


def test_segments_of_one_byte(line: Lines) -> None:
    with line() as it:
        pair = it.pair()
        for sock in pair:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(2000):
            for sock in pair:
                sock.sendall(sample(1, position))
        for sock in pair:
            assert read_exactly(sock, 2000) == sample(2000)


async def talk(sock: socket.socket, number: int, total: int, expected: int) -> int:
    """Send so much and end, in fits and starts, while reading to the end; how many bytes were missing."""
    loop, chance = asyncio.get_running_loop(), random.Random(number)
    heard = 0

    async def pause(probability: float) -> None:
        if chance.random() < probability:
            await asyncio.sleep(chance.random() * 0.01)

    async def say() -> None:
        position = 0
        with contextlib.suppress(ConnectionError):
            for size in sizes(total, number):
                await loop.sock_sendall(sock, sample(size, position))
                position += size
                await pause(0.2)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    async def hear() -> None:
        nonlocal heard
        with contextlib.suppress(ConnectionError):
            while part := await loop.sock_recv(sock, chance.randrange(1, MIB // 4)):
                assert part == sample(len(part), heard), "bytes are wrong"
                heard += len(part)
                await pause(0.1)

    await asyncio.gather(say(), hear())
    return expected - heard


def test_streams_that_half_close_while_the_other_way_goes_on(line: Lines) -> None:
    chance = random.Random(5)
    with line() as it:
        pairs = it.pairs(200)
        amounts = [(int(2 ** chance.uniform(0, 22)), int(2 ** chance.uniform(0, 22))) for _ in pairs]
        for pair in pairs:
            for sock in pair:
                sock.setblocking(False)

        async def main() -> list[int]:
            async with asyncio.timeout(it.patience * 2):
                return await asyncio.gather(
                    *(
                        talk(sock, number, *(amount if sock is pair[0] else amount[::-1]))
                        for number, (pair, amount) in enumerate(zip(pairs, amounts, strict=True))
                        for sock in pair
                    )
                )

        missing = [count for count in asyncio.run(main()) if count]
        assert not missing, f"{sum(missing)} bytes in {len(missing)} of {len(pairs)} streams"


def test_waits_that_signals_interrupt(line: Lines, forwarder: Any) -> None:
    """Stopping and continuing ends a wait with EINTR even where no signal is handled."""
    with line() as it:
        if forwarder.ours:
            it.running.tell("storm")
        over = threading.Event()

        def interrupt() -> None:
            while not over.wait(0.001):
                it.running.interrupt()

        with ThreadPoolExecutor(1) as pool:
            interrupting = pool.submit(interrupt)
            try:
                transfer([it.pair()], 16 * MIB, ending=False)
            finally:
                over.set()
                interrupting.result()


# Back-pressure


def fill(senders: list[socket.socket]) -> list[int]:
    """Send until nothing more is taken for a while; how much each has sent."""
    sent = [0] * len(senders)
    for sock in senders:
        sock.setblocking(False)
    quiet_since = time.monotonic()
    while time.monotonic() < quiet_since + LATE:
        for number, sock in enumerate(senders):
            with contextlib.suppress(BlockingIOError):
                sent[number] += sock.send(sample(MIB, sent[number]))
                quiet_since = time.monotonic()
        time.sleep(0.001)
    return sent


def test_a_reader_that_stops_for_long(line: Lines, note: Note) -> None:
    with line() as it:
        pairs = [ends(pair, way) for way in ("up", "down") for pair in it.pairs(4)]
        before = it.running.memory()
        sent = fill([sender for sender, _ in pairs])
        held = it.running.memory() - before
        note(f"{held / len(pairs) / 1024:.0f} KiB of memory for a stopped reader")
        assert held <= len(pairs) * HELD + 4 * MIB, f"it holds {held // MIB} MiB for them"
        assert it.running.busy(LATE) < IDLE_SHARE, "it spins while it waits"
        for (sender, reader), size in zip(pairs, sent, strict=True):
            sender.setblocking(True)
            sender.shutdown(socket.SHUT_WR)
            assert receive(reader, 1) == (size, digest(size)), "bytes are missing"


# Crowds


def test_ten_thousand_idle_connections(line: Lines, forwarder: Any, many_files: int, note: Note) -> None:
    """Or as many as the limit of open files lets the forwarder, and this process, hold."""
    count = min(forwarder.crowd, many_files // 2 - 256)
    with line(max_connections=count) as it:
        before = it.running.memory()
        pairs = it.pairs(count)
        note(f"{(it.running.memory() - before) / count:,.0f} bytes of memory each of {count:,}")
        assert it.running.busy(LATE) < IDLE_SHARE, "it spins while it waits"
        for pair in pairs[::100]:
            assert_echo(pair)


def test_five_thousand_opened_and_closed_at_once(line: Lines, forwarder: Any) -> None:
    count = min(forwarder.crowd, 5000)
    with line(max_connections=count) as it:
        threads = it.running.threads()
        with ThreadPoolExecutor(1) as pool:
            accepting = pool.submit(lambda: [it.accept() for _ in range(count)])
            for client in [it.connect(wait=False) for _ in range(count)]:
                # Where a backlog overflows, only a client that sends something is heard of again.
                client.settimeout(it.patience)
                client.sendall(b"x")
            assert {read_exactly(server, 1) for server in accepting.result()} == {b"x"}
        it.close()
        soon(it.running.quiet, it.patience, "it keeps connections open that have ended")
        assert it.running.threads() == threads
        assert_echo(it.pair())


def churn(it: Line, count: int) -> None:
    """Open and end so many connections, in every way."""
    for number, (client, server) in enumerate(it.pairs(count)):
        first, second = (client, server) if number % 2 else (server, client)
        if number % 3:
            first.shutdown(socket.SHUT_WR)
            second.sendall(b"late")
        if number % 5:
            reset(first)
        else:
            first.close()
    it.close()
    soon(it.running.quiet, it.patience, "it keeps connections open that have ended")


def test_thousands_of_connections_leave_nothing_behind(line: Lines, forwarder: Any) -> None:
    count = min(forwarder.crowd, 1000)

    def memory() -> int:
        if forwarder.ours:
            it.running.tell("collect")
        return it.running.memory()

    with line() as it:
        churn(it, 2 * count)
        threads, before = it.running.threads(), memory()
        for _ in range(3):
            churn(it, count)
        grown = (memory() - before) / (3 * count)
        assert grown < 1024, f"it grew by {grown:.0f} bytes a connection"
        assert it.running.threads() == threads


# Upstreams that fail


def test_an_upstream_that_refuses(line: Lines) -> None:
    with line() as it:
        port = it.upstream.getsockname()[1]
        survivor = it.pair()
        it.upstream.close()
        for _ in range(20):
            with contextlib.suppress(ConnectionResetError):
                assert_ends(it.connect())
        assert_echo(survivor)
        it.upstream = it.keep(socket.create_server(("127.0.0.1", port)))
        assert_echo(it.pairs(1)[0])


@contextlib.contextmanager
def full(it: Line) -> Iterator[None]:
    """The upstream's backlog is full meanwhile: SYNs are dropped."""
    it.upstream.listen(0)
    fillers = [it.keep(socket.socket()) for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(it.upstream.getsockname())
    yield
    for filler in fillers:
        filler.close()
    it.upstream.listen(128)


def speaker(it: Line) -> socket.socket:
    """The first connection to the upstream that brings something."""
    while True:
        server = it.accept()
        with contextlib.suppress(ConnectionResetError):
            if server.recv(1, socket.MSG_PEEK):
                return server


def test_an_upstream_that_does_not_answer(line: Lines) -> None:
    with line(connect_timeout=0.5) as it:
        survivor = it.pair()
        with full(it):
            for client in [it.connect() for _ in range(20)]:
                assert_ends(client)
            assert_echo(survivor)
        it.connect().sendall(b"again")
        assert read_exactly(speaker(it), 5) == b"again"


def test_a_client_that_ends_before_the_upstream_answers(line: Lines) -> None:
    with line() as it:
        with full(it):
            client, quitter = it.connect(), it.connect()
            client.sendall(sample(MIB // 4))
            client.shutdown(socket.SHUT_WR)
            reset(quitter)
        server = speaker(it)
        assert read_all(server) == sample(MIB // 4)
        server.sendall(b"answer")
        server.close()
        assert read_all(client) == b"answer", "the answer"


ENDLESS = """
import select, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
select.select([listener], [], [])  # it is the test's too, and does not block there
sock, _ = listener.accept()
sock.setblocking(True)
sock.recv(1)
while True:
    sock.sendall(bytes(65536))
"""


def test_an_upstream_that_is_killed_in_mid_stream(line: Lines) -> None:
    with line() as it:
        survivor = it.pair()
        listener = it.upstream.fileno()
        with Child([sys.executable, "-c", ENDLESS, str(listener)], pass_fds=[listener]) as upstream:
            client = it.connect()
            client.sendall(b"go, and more than it reads")
            assert read_exactly(client, MIB) == bytes(MIB)
            upstream.kill()
        with contextlib.suppress(ConnectionResetError):
            assert not any(read_all(client)), "bytes are wrong"
        assert_echo(survivor)
        assert_echo(it.pair())


# What runs out


def serve(it: Line, clients: list[socket.socket]) -> None:
    """Answer each client once, and reset its connection, so that its port is free at once."""
    for number, client in enumerate(clients):
        client.sendall(bytes([number]))
    left = dict(enumerate(clients))
    while left:
        try:
            server = it.accept()
        except TimeoutError:
            raise AssertionError(f"{len(left)} of {len(clients)} connections") from None
        number = read_exactly(server, 1)
        server.sendall(number)
        assert read_exactly(left.pop(number[0]), 1) == number
        reset(server)


def assert_one_warning(it: Line) -> None:
    (warning,) = it.running.said()
    assert "accepting pauses" in warning


def test_descriptors_run_out(line: Lines, forwarder: Any) -> None:
    with line() as it:
        survivors = it.pairs(3)
        it.running.limit_descriptors(20)
        clients = [it.connect() for _ in range(40)]
        soon(lambda: it.running.sockets() > 12, it.patience, "it accepts none")
        assert it.running.busy(LATE) < IDLE_SHARE, "it spins while it waits"
        serve(it, clients)
        for pair in survivors:
            assert_echo(pair)
        if forwarder.ours:
            assert_one_warning(it)


def test_ports_run_out(line: Lines, forwarder: Any, namespace: Callable[[], Any]) -> None:
    inside = namespace()

    def check() -> None:
        with line() as it:
            survivors = it.pairs(3)
            inside.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=61000 61019")
            clients = [it.connect() for _ in range(60)]
            assert it.running.busy(LATE) < IDLE_SHARE, "it spins while it waits"
            serve(it, clients)
            for pair in survivors:
                assert_echo(pair)
            if forwarder.ours:
                assert_one_warning(it)

    inside.call(check)


# Our own forwarder's life


def flow(stack: contextlib.ExitStack, pairs: list[Pair]) -> tuple[list[int], list[Future[None]]]:
    """Send in both directions of each connection until it ends: how much has moved, and what will end."""
    pool = stack.enter_context(ThreadPoolExecutor(4 * len(pairs)))
    moved = [0]

    def flood(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(sample(MIB))

    def swallow(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(MIB):
                moved[0] += len(data)

    return moved, [pool.submit(work, sock) for pair in pairs for sock in pair for work in (flood, swallow)]


def test_a_stop_under_load_leaves_nothing(line: Lines, ours: None) -> None:
    with line() as it, contextlib.ExitStack() as stack:
        moved, ending = flow(stack, it.pairs(8))
        soon(lambda: moved[0] > 64 * MIB, it.patience, "nothing flows")
        assert it.running.tell("stop") == it.running.tell("before")
        for end in ending:
            end.result(it.patience)


def test_a_drain_under_load_loses_nothing(line: Lines, ours: None) -> None:
    with line() as it, ThreadPoolExecutor(2) as pool:
        last, *pairs = it.pairs(9)
        moving = pool.submit(transfer, pairs, 16 * MIB)
        draining = pool.submit(it.running.tell, "drain")
        soon(lambda: not accepts(it), it.patience, "it still accepts")
        assert_echo(last)
        moving.result()
        assert not draining.done()
        for sock in last:
            sock.close()
        assert draining.result() == "True"


def accepts(it: Line) -> bool:
    try:
        reset(it.connect())
    except ConnectionError:
        return False
    return True


def test_a_fork_beside_holds_nothing(line: Lines, ours: None) -> None:
    with line() as it, contextlib.ExitStack() as stack:
        (client, server), (quitter, left), *pairs = it.pairs(10)
        moved, _ = flow(stack, pairs)
        assert it.running.tell("fork") == "0"
        client.close()
        assert server.recv(1) == b""
        reset(quitter)
        assert is_reset(left)
        assert_echo(it.pair())
        before = moved[0]
        soon(lambda: moved[0] > before + 64 * MIB, it.patience, "nothing flows")
        for pair in pairs:
            for sock in pair:
                reset(sock)


def test_rules_that_change_under_load_lose_no_connection(line: Lines, ours: None) -> None:
    """Two threads relay while connections come and go, upstreams change, and rules are replaced."""
    with (
        line(threads=2) as it,
        socket.create_server(("127.0.0.1", 0), backlog=4096) as other,
        ThreadPoolExecutor() as pool,
    ):
        survivors = it.pairs(20)
        threads = it.running.threads()
        with contextlib.ExitStack() as ending:
            for listener in (it.upstream, other):
                ending.callback(listener.shutdown, socket.SHUT_RDWR)
                pool.submit(answer, listener)
            asking = [pool.submit(ask, it, 200) for _ in range(4)]
            turns = 0
            while not all(future.done() for future in asking):
                for listener in (other, it.upstream):
                    host, port = listener.getsockname()
                    it.running.tell(f"turn {host}:{port} {4000 + turns % 7}")
                    turns += 1
            answers = [future.result() for future in asking]
        assert answers == [200] * 4
        for pair in survivors:
            assert_echo(pair)
        assert it.running.threads() == threads


def answer(listener: socket.socket) -> None:
    """Answer each connection's first byte with itself, until the listener is shut down."""
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(sock.recv(1))


def ask(it: Line, count: int) -> int:
    """Have so many connections answered, one after another; how many were."""
    answered = 0
    for number in range(count):
        with it.connect() as sock:
            sock.sendall(bytes([number]))
            answered += sock.recv(1) == bytes([number])
    return answered
