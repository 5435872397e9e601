"""The echo server and its client, against each other and against socat, on both families."""

import asyncio
import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace

import pytest
from children import Child
from echo_peers import half_in_time, listening, reset, serve, silent, too_little, too_much, wrong_byte
from environment import Run
from forking import forked
from forwarding import assert_soon
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic import read_exactly

from fastnet.echo import (
    MAX_COUNT,
    MAX_SIZE,
    EchoClient,
    EchoResult,
    EchoServer,
    Reply,
    echo,
    echo_async,
)
from fastnet.echo.client import messages
from fastnet.endpoints import Endpoint
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


def connected(server: EchoServer, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, server.port), timeout=20)


def read_to_end(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


# The server


def test_localhost_is_both_loopbacks_on_one_port(server: EchoServer) -> None:
    assert server.addresses == [Endpoint("::1", server.port), Endpoint("127.0.0.1", server.port)]
    for host in ("::1", "127.0.0.1"):
        with connected(server, host) as sock:
            sock.sendall(b"hello")
            assert sock.recv(100) == b"hello"


def test_the_star_is_every_address_of_both_families() -> None:
    with EchoServer("*") as server:
        assert sorted(address.host for address in server.addresses) == ["0.0.0.0", "::"]
        assert echo("127.0.0.1", server.port).ok
        assert echo("::1", server.port).ok


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_one_family_if_asked(family: int, host: str) -> None:
    with EchoServer(family=family) as server:
        assert [address.host for address in server.addresses] == [host]


def test_it_serves_one_connection_after_the_other(server: EchoServer) -> None:
    for number in range(50):
        with connected(server) as sock:
            sock.sendall(b"%d" % number)
            assert sock.recv(100) == b"%d" % number
    assert_soon(lambda: server.stats.active == 0)
    assert server.stats.accepted == 50


def test_it_serves_many_connections_at_once(server: EchoServer) -> None:
    socks = [connected(server, host) for host in ("::1", "127.0.0.1") * 100]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
    for number, sock in enumerate(socks):
        assert sock.recv(100) == b"%d" % number
    assert server.stats.active == 200
    for sock in socks:
        sock.close()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 32))
def test_every_byte_comes_back_in_order_whatever_the_splits(seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(60_000)
    with EchoServer() as server, connected(server) as sock:

        def write() -> None:
            at = 0
            while at < len(data):
                size = chance.choice((1, 10, 1000, 20_000))
                sock.sendall(data[at : at + size])
                at += size
            sock.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        assert read_to_end(sock) == data
        writer.join()


def test_after_a_half_close_all_the_rest_comes_back(server: EchoServer) -> None:
    data = os.urandom(100_000)
    with connected(server) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == data


def fill(sock: socket.socket) -> int:
    """Send until no more is taken; how many bytes were."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(1 << 20))
        except TimeoutError:
            return sent


def test_one_that_does_not_read_is_not_read_from_and_the_others_are_served(server: EchoServer) -> None:
    with connected(server) as slow:
        slow.settimeout(0.3)
        sent = fill(slow)
        assert sent < 64 << 20
        assert echo("::1", server.port, count=20).ok
        slow.settimeout(20)
        returned = 0
        slow.shutdown(socket.SHUT_WR)
        while data := slow.recv(1 << 20):
            returned += len(data)
        assert returned == sent


def test_a_reset_ends_one_connection_only(server: EchoServer) -> None:
    with connected(server) as other:
        sock = connected(server)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert_soon(lambda: server.stats.accepted == 2)
        sock.close()
        assert_soon(lambda: server.stats.failed == 1)
        other.sendall(b"still here")
        assert other.recv(100) == b"still here"


def test_clients_over_the_limit_wait_for_their_turn() -> None:
    with EchoServer(max_connections=2) as server, connected(server) as first, connected(server) as second:
        for sock in (first, second):
            sock.sendall(b"hello")
            assert sock.recv(100) == b"hello"
        with connected(server, "::1") as third:
            third.sendall(b"me too")
            third.settimeout(0.1)
            with pytest.raises(TimeoutError):
                third.recv(100)
            assert server.stats.accepted == 2
            first.close()
            third.settimeout(20)
            assert third.recv(100) == b"me too"


def test_idle_connections_are_ended_and_busy_ones_are_not() -> None:
    with EchoServer(idle_timeout=1) as server, connected(server) as idle, connected(server) as busy:
        idle.settimeout(0.02)
        ended = b"?"
        while ended:
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            try:
                ended = idle.recv(1)
            except TimeoutError:
                continue
        assert server.stats.timed_out == 1
        busy.sendall(b"y")
        assert busy.recv(1) == b"y"


@pytest.fixture(params=["clock", "clock that passes the end of a pause between two readings"])
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "clock":
        readings = count()
        late = SimpleNamespace(monotonic=lambda: 0.03 * next(readings))
        monkeypatch.setattr("fastnet.echo.server.time", late)


@pytest.mark.usefixtures("slow")
def test_out_of_descriptors_only_delays(server: EchoServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sock = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, hard))
    try:
        sock.connect(("127.0.0.1", server.port))
        time.sleep(0.15)
        assert server.stats.accepted == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with sock:
        sock.settimeout(20)
        sock.sendall(b"at last")
        assert sock.recv(100) == b"at last"


def test_stop_ends_connections_and_may_be_called_twice() -> None:
    server = EchoServer().start()
    port = server.port
    with connected(server) as sock:
        assert_soon(lambda: server.stats.active == 1)
        server.stop()
        assert sock.recv(100) == b""
    server.stop()
    assert (server.addresses, server.port) == ([], 0)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
    with server:
        assert echo(*server.addresses[0]).ok
        with pytest.raises(InvalidArgument, match="started already"):
            server.start()


def test_a_forked_child_stops_nothing(server: EchoServer) -> None:
    with connected(server) as client:
        with forked(server.stop):
            pass
        client.sendall(b"hello")
        assert read_exactly(client, 5) == b"hello"


def test_a_port_in_use_is_said(server: EchoServer) -> None:
    with pytest.raises(AddressInUse, match=rf"\[::1\]:{server.port}"):
        EchoServer(port=server.port).start()


def test_settings_that_can_not_be_are_refused() -> None:
    for port in (-1, 65536):
        with pytest.raises(InvalidArgument, match="expected 0 to 65535"):
            EchoServer(port=port)
    with pytest.raises(InvalidArgument, match="max_connections 0"):
        EchoServer(max_connections=0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="expected seconds"):
            EchoServer(idle_timeout=wrong)
        with pytest.raises(InvalidArgument, match="expected seconds"):
            EchoClient("::1", 7, timeout=wrong)
        with pytest.raises(InvalidArgument, match="expected seconds"):
            echo("::1", 7, interval=wrong)
    with pytest.raises(NameNotResolved, match=r"nowhere\.invalid"):
        EchoServer("nowhere.invalid").start()


# The client


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost"])
def test_each_message_comes_back_and_is_timed(server: EchoServer, host: str) -> None:
    heard: list[Reply] = []
    result = echo(host, server.port, count=10, size=100, on_reply=heard.append)
    assert result.ok
    assert result.error is None
    assert (result.host, result.sent, result.received) == (host, 10, 10)
    assert result.replies == tuple(heard)
    assert [(reply.seq, reply.size) for reply in heard] == [(seq, 100) for seq in range(10)]
    rtts = sorted(reply.rtt_ms or 0 for reply in heard)
    assert 0 < rtts[0] == result.rtt_min_ms
    assert rtts[-1] == result.rtt_max_ms


def test_percentiles_are_of_nearest_rank() -> None:
    result = EchoResult("h", "a", tuple(Reply(seq, 1, float(seq + 1), None) for seq in range(200)))
    assert (result.rtt_p50_ms, result.rtt_p90_ms, result.rtt_p99_ms) == (100, 180, 198)
    assert (result.rtt_min_ms, result.rtt_avg_ms, result.rtt_max_ms) == (1, 100.5, 200)
    one = EchoResult("h", "a", (Reply(0, 1, 7.0, None), Reply(1, 1, None, "no answer")))
    assert (one.rtt_p50_ms, one.rtt_p99_ms, one.ok, one.error) == (7, 7, False, "no answer")
    none = EchoResult("h", "a", ())
    assert (none.rtt_p50_ms, none.rtt_avg_ms, none.rtt_min_ms, none.rtt_max_ms) == (None,) * 4
    assert (none.ok, none.error) == (False, None)


def test_a_message_longer_than_all_buffers_comes_back(server: EchoServer) -> None:
    assert echo("::1", server.port, count=1, size=MAX_SIZE, timeout=60).ok


def test_messages_differ_from_one_to_the_next() -> None:
    first, second, third = messages(3, 1000)
    assert len({first, second, third}) == 3
    assert {len(first), len(second), len(third)} == {1000}
    assert list(messages(2, message=b"hi")) == [b"hi", b"hi"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"count": 0}, "count 0"),
        ({"count": MAX_COUNT + 1}, "count"),
        ({"size": 0}, "size 0"),
        ({"size": MAX_SIZE + 1}, "size"),
        ({"message": b""}, "a message of 0 bytes"),
    ],
)
def test_messages_that_can_not_be_are_refused(settings: dict[str, int], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        echo("::1", 7, **settings)  # type: ignore[arg-type]


def test_a_port_that_can_not_be_is_refused() -> None:
    for port in (0, -1, 65536):
        with pytest.raises(InvalidArgument, match="expected 1 to 65535"):
            echo("::1", port)


BAD = [
    (wrong_byte, "wrong answer at byte 3"),
    (too_much, "wrong answer at byte 64"),
    (too_little, "the server closed after 5 of 64 bytes"),
    (half_in_time, "only 5 of 64 bytes came back"),
    (silent, "no answer"),
    (reset, "the connection failed: Connection reset by peer"),
]


@pytest.mark.parametrize(("handler", "error"), BAD)
def test_what_does_not_come_back_right_is_said(
    answering: Callable[..., int], handler: Callable[[socket.socket], None], error: str
) -> None:
    result = echo("127.0.0.1", answering(handler), count=5, timeout=1)
    assert (result.ok, result.error, result.sent, result.received) == (False, error, 1, 0)


def test_each_address_is_tried(server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with EchoServer("127.0.0.1") as only_ipv4:
        both = server._endpoint._replace(port=only_ipv4.port)
        from fastnet.echo import client as module
        from fastnet.endpoints import resolve

        monkeypatch.setattr(
            module, "resolve", lambda *where, **options: resolve(*where, passive=True, **options)
        )
        result = echo(*both)
    assert result.ok
    assert result.address == f"127.0.0.1:{both.port}"


def test_a_refused_connection_is_an_error_that_names_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1") as caught:
        echo("127.0.0.1", port)
    assert caught.value.filename == f"127.0.0.1:{port}"
    with pytest.raises(NameNotResolved):
        echo("nowhere.invalid", 7)


def test_a_connection_that_nothing_answers_times_out(linked: tuple[object, object]) -> None:
    left, right = linked
    right.ip("link", "set", "lo", "down")  # type: ignore[attr-defined]
    right.ip("route", "add", "blackhole", "10.77.0.1")  # type: ignore[attr-defined]
    code = "from fastnet.echo import echo; echo('10.77.0.2', 7, timeout=0.2)"
    done = subprocess.run(
        [*left.prefix, sys.executable, "-c", code],  # type: ignore[attr-defined]
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "WaitTimeout: 10.77.0.2:7: no connection in 0.2 s (10.77.0.2)" in done.stderr


def test_async_twins() -> None:
    async def talk() -> None:
        async with EchoServer() as server:
            port = server.port
            results = await asyncio.gather(
                *(echo_async(host, port, count=50, size=1000) for host in ("::1", "127.0.0.1") * 5)
            )
            assert all(result.ok for result in results)
            async with EchoClient("localhost", port) as client:
                assert (await client.exchange_async(b"hello")).error is None
            started = time.monotonic()
            assert (await echo_async("::1", port, count=3, interval=0.05)).ok
            assert time.monotonic() - started >= 0.1
        with pytest.raises(ConnectionRefusedError):
            await echo_async("127.0.0.1", port)

    asyncio.run(talk())


@pytest.mark.parametrize(("version", "host"), [("4", "127.0.0.1"), ("6", "[::1]")])
def test_with_socat_at_the_other_end(
    server: EchoServer, version: str, host: str, peer: Callable[[str], str]
) -> None:
    socat = peer("socat")
    with Child(
        [socat, "-d", "-d", f"TCP{version}-LISTEN:0,bind={host},fork", "EXEC:/bin/cat"],
        stderr=subprocess.PIPE,
        text=True,
    ) as plain:
        assert plain.stderr is not None
        listening = next(line for line in plain.stderr if "listening on" in line)
        port = int(listening.rpartition(":")[2])
        assert echo(host.strip("[]"), port, count=20, size=10_000).ok
        plain.terminate()
    data = os.urandom(1 << 20)
    done = subprocess.run(
        [socat, "-t20", "-", f"TCP{version}:{host}:{server.port}"],
        input=data,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == data


def test_link_local_addresses_with_their_scope(linked: tuple[object, object], fastnet: Run) -> None:
    left, right = linked
    shown = json.loads(right.ip("-j", "-6", "address", "show", "dev", "veth0", "scope", "link"))  # type: ignore[attr-defined]
    address = next(each["local"] for each in shown[0]["addr_info"] if "local" in each)
    for host in (left, right):
        host.run("sh", "-c", "until ! ip -6 address show tentative | grep -q inet6; do sleep 0.05; done")  # type: ignore[attr-defined]
    with serve("--host", "*", "--port", "7777", prefix=right.prefix) as server:  # type: ignore[attr-defined]
        assert listening(server) == "listening on 0.0.0.0:7777"
        for host in (f"[{address}%veth0]", "[fd77::2]", "10.77.0.2"):
            done = fastnet("echo", "client", f"{host}:7777", "-c", "2", prefix=left.prefix)  # type: ignore[attr-defined]
            assert done.returncode == 0, done.stderr
            assert "2 sent, 2 received" in done.stdout
        server.terminate()


@pytest.mark.parametrize("family", ["inet", "inet6"])
def test_a_machine_with_one_family_only(namespace: Callable[[], object], fastnet: Run, family: str) -> None:
    host = namespace()
    other, alone = ("::1/128", "127.0.0.1") if family == "inet" else ("127.0.0.1/8", "[::1]")
    host.ip("address", "delete", other, "dev", "lo")  # type: ignore[attr-defined]
    with serve("--port", "7777", prefix=host.prefix) as server:  # type: ignore[attr-defined]
        assert listening(server) == f"listening on {alone}:7777"
        done = fastnet("echo", "client", f"{alone}:7777", prefix=host.prefix)  # type: ignore[attr-defined]
        assert done.returncode == 0, done.stderr
        server.terminate()
