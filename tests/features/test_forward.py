"""The forwarder between real clients and servers, in Python."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from forwarding import (
    PATIENCE,
    Server,
    WebServer,
    assert_reset,
    assert_soon,
    connect,
    digest,
    echo,
    fetch,
    free_port,
    read_all,
)

import fastnet as package
from fastnet._forward import Forwarder, Relayed, Stats, relay, relay_async
from fastnet.endpoints import Endpoint
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved

# In Python


def test_localhost_listens_on_both_families_and_on_one_port(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    with Forwarder("localhost:0", f"127.0.0.1:{server.port}") as forwarder:
        assert {address.host for address in forwarder.addresses} == {"127.0.0.1", "::1"}
        assert {address.port for address in forwarder.addresses} == {forwarder.port}
        for host in ("127.0.0.1", "::1"):
            with connect(forwarder.port, host) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
        assert_soon(lambda: forwarder.stats().active == 0)
        assert forwarder.stats() == Stats(2, 0, 0, 0, 0, 0, 0, 10, 10, 0)


def test_a_port_alone_is_loopback(serve: Callable[..., Server]) -> None:
    with Forwarder("0", f"127.0.0.1:{serve(echo).port}") as forwarder:
        assert {address.host for address in forwarder.addresses} == {"127.0.0.1", "::1"}


def test_a_star_is_every_address_of_both_families(serve: Callable[..., Server]) -> None:
    with Forwarder(Endpoint("*", 0), f"127.0.0.1:{serve(echo).port}") as forwarder:
        assert {address.host for address in forwarder.addresses} == {"0.0.0.0", "::"}


def test_an_ipv6_upstream_is_reached_from_ipv4(serve: Callable[..., Server]) -> None:
    server = serve(echo, "::1")
    with Forwarder("127.0.0.1:0", f"[::1]:{server.port}") as forwarder, connect(forwarder.port) as client:
        client.sendall(b"six")
        assert client.recv(3) == b"six"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.usefixtures("localhost")
def test_a_name_is_tried_at_every_address(serve: Callable[..., Server], host: str) -> None:
    """``localhost`` resolves to one or two addresses; the server has only one of them."""
    server = serve(echo, host)
    families = {
        answer[4][0] for answer in socket.getaddrinfo("localhost", server.port, 0, socket.SOCK_STREAM)
    }
    with Forwarder("127.0.0.1:0", f"localhost:{server.port}") as forwarder:
        if host not in families:
            assert_reset(forwarder.port)
            return
        with connect(forwarder.port) as client:
            client.sendall(b"found")
            assert client.recv(5) == b"found"


def test_half_close_is_kept_through_the_forwarder(serve: Callable[..., Server]) -> None:
    data = os.urandom(1 << 20)
    with Forwarder("0", f"127.0.0.1:{serve(digest).port}") as forwarder, connect(forwarder.port) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).decode() == hashlib.blake2b(data).hexdigest()


ENDLESS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
client, _ = server.accept()
client.recv(1)
while True:
    client.sendall(b"x" * 65536)
"""


def test_an_upstream_killed_in_mid_stream_resets_only_its_clients(serve: Callable[..., Server]) -> None:
    dying = subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True)
    assert dying.stdout
    port = int(dying.stdout.readline())
    with (
        Forwarder("0", f"127.0.0.1:{port}") as doomed,
        Forwarder("0", f"127.0.0.1:{serve(echo).port}") as other,
        connect(doomed.port) as client,
        connect(other.port) as survivor,
    ):
        client.sendall(b"go")
        assert client.recv(1) == b"x"
        dying.kill()
        dying.wait()
        with contextlib.suppress(ConnectionResetError):
            read_all(client)
        assert_reset(doomed.port)
        assert doomed.stats().unreachable == 1
        survivor.sendall(b"alive")
        assert survivor.recv(5) == b"alive"
    dying.stdout.close()


def test_a_thousand_idle_connections(serve: Callable[..., Server]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.fail(f"the limit of open files is {hard}: this test needs 8192")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    upstream = socket.create_server(("127.0.0.1", 0), backlog=2048)
    try:
        with (
            contextlib.ExitStack() as stack,
            upstream,
            Forwarder("127.0.0.1:0", f"127.0.0.1:{upstream.getsockname()[1]}") as forwarder,
        ):
            clients = [stack.enter_context(connect(forwarder.port)) for _ in range(1000)]
            servers = [stack.enter_context(upstream.accept()[0]) for _ in range(1000)]
            assert forwarder.stats().active == 1000
            for number, client in enumerate(clients):
                client.sendall(number.to_bytes(2, "big"))
            assert {server.recv(2) for server in servers} == {n.to_bytes(2, "big") for n in range(1000)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads_and_descriptors_are_as_before(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    forwarder = Forwarder("0", f"127.0.0.1:{server.port}")
    with forwarder:
        clients = [connect(forwarder.port) for _ in range(10)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()
    assert forwarder.stats()[:2] == (10, 0)
    assert_soon(lambda: (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before)
    forwarder.stop()


def test_drain_lets_connections_end_and_wait_tells(serve: Callable[..., Server]) -> None:
    with Forwarder("0", f"127.0.0.1:{serve(echo).port}") as forwarder:
        client = connect(forwarder.port)
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        forwarder.drain(PATIENCE)
        client.sendall(b"b")
        assert client.recv(1) == b"b"
        client.close()
        assert forwarder.wait() is True


def test_drain_cuts_what_is_left_when_the_time_is_up(serve: Callable[..., Server]) -> None:
    with (
        Forwarder("0", f"127.0.0.1:{serve(echo).port}") as forwarder,
        connect(forwarder.port) as client,
    ):
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        forwarder.drain(0.05)
        assert forwarder.wait() is False
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_it_works_in_an_event_loop(serve: Callable[..., Server]) -> None:
    async def main() -> bytes:
        async with Forwarder("0", f"127.0.0.1:{serve(echo).port}") as forwarder:
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
            writer.write(b"async")
            answer = await reader.readexactly(5)
            writer.close()
            await writer.wait_closed()
            forwarder.drain(PATIENCE)
            assert await forwarder.wait_async()
            return answer

    assert asyncio.run(main()) == b"async"


def test_a_port_that_is_taken_is_said_so(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    with pytest.raises(AddressInUse, match=rf"127\.0\.0\.1:{server.port} is in use"):
        Forwarder(f"127.0.0.1:{server.port}", "127.0.0.1:1").start()


def test_a_name_that_does_not_resolve_is_found_at_the_start() -> None:
    with pytest.raises(NameNotResolved, match=r"nowhere\.invalid"):
        Forwarder("0", "nowhere.invalid:80").start()


def test_forwarding_to_itself_is_refused() -> None:
    port = free_port()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidArgument, match="itself"):
        Forwarder(f"*:{port}", f"127.0.0.1:{port}").start()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rewrite_host": "sometimes"}, "rewrite_host"),
        ({"max_connections": 0}, "max_connections"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"head_timeout": -1.0}, "head_timeout"),
        ({"upstream": "example.com"}, "HOST:PORT"),
        ({"upstream": "example.com:0"}, "port 0"),
        ({"listen": "::1:80"}, "brackets"),
        ({"listen": "99999"}, "65535"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Forwarder(**{"listen": "0", "upstream": "127.0.0.1:1", **options})  # type: ignore[arg-type]


def test_a_reset_of_the_client_reaches_the_server(serve: Callable[..., Server]) -> None:
    ends: list[BaseException] = []

    def wait_for_reset(sock: socket.socket) -> None:
        try:
            read_all(sock)
        except ConnectionResetError as error:
            ends.append(error)

    server = serve(wait_for_reset)
    with Forwarder("0", f"127.0.0.1:{server.port}") as forwarder:
        client = connect(forwarder.port)
        client.sendall(b"x")
        assert_soon(lambda: forwarder.stats().sent_up == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert_soon(lambda: len(ends) == 1)


# The Host rewrite


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_the_host_becomes_the_given_upstream(web: WebServer, name: str) -> None:
    with Forwarder("0", f"127.0.0.1:{web.server_port}", rewrite_host=True) as forwarder:
        answer = fetch(forwarder.port, Host=f"{name}:{forwarder.port}")
        assert answer == {"host": f"127.0.0.1:{web.server_port}", "path": "/localhost:1", "body": ""}


def test_without_being_asked_nothing_is_rewritten(web: WebServer) -> None:
    with Forwarder("0", f"127.0.0.1:{web.server_port}") as forwarder:
        assert fetch(forwarder.port)["host"] == f"127.0.0.1:{forwarder.port}"


def test_another_host_is_rewritten_only_always(web: WebServer) -> None:
    upstream = f"127.0.0.1:{web.server_port}"
    with Forwarder("0", upstream, rewrite_host=True) as forwarder:
        assert fetch(forwarder.port, Host="other.example")["host"] == "other.example"
    with Forwarder("0", upstream, rewrite_host="always") as forwarder:
        assert fetch(forwarder.port, Host="other.example")["host"] == upstream


def test_a_host_split_over_two_segments_is_rewritten(web: WebServer) -> None:
    with (
        Forwarder("0", f"127.0.0.1:{web.server_port}", rewrite_host=True) as forwarder,
        connect(forwarder.port) as client,
    ):
        request = f"GET / HTTP/1.1\r\nHost: localhost:{forwarder.port}\r\nConnection: close\r\n\r\n".encode()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(request)):
            client.sendall(request[at : at + 1])
        assert f'"host":"127.0.0.1:{web.server_port}"'.encode() in read_all(client)


@pytest.mark.usefixtures("localhost")
def test_bodies_are_not_rewritten_and_keep_alive_goes_on(web: WebServer) -> None:
    with Forwarder("0", f"127.0.0.1:{web.server_port}", rewrite_host=True) as forwarder:
        name = f"localhost:{forwarder.port}"
        connection = http.client.HTTPConnection("localhost", forwarder.port, timeout=PATIENCE)
        for _ in range(3):
            connection.request("POST", f"/{name}", body=f"Host: {name}\r\n" * 100)
            answer = json.loads(connection.getresponse().read())
            assert answer["host"] == f"127.0.0.1:{web.server_port}"
            assert answer["path"] == f"/{name}"
            assert answer["body"] == f"Host: {name}\r\n" * 100
        connection.close()
        assert forwarder.stats().accepted == 1


def test_pipelined_requests_are_all_rewritten(web: WebServer) -> None:
    with (
        Forwarder("0", f"127.0.0.1:{web.server_port}", rewrite_host=True) as forwarder,
        connect(forwarder.port) as client,
    ):
        host = f"Host: localhost:{forwarder.port}\r\n"
        client.sendall(f"GET / HTTP/1.1\r\n{host}\r\n".encode() * 20)
        client.sendall(f"GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode())
        assert read_all(client).count(f'"host":"127.0.0.1:{web.server_port}"'.encode()) == 21


def test_curl_gets_its_page(web: WebServer, peer: Callable[[str], str]) -> None:
    with Forwarder("0", f"127.0.0.1:{web.server_port}", rewrite_host=True) as forwarder:
        page = subprocess.run(
            [
                *(peer("curl"), "-sS", "--max-time", "20", "--http1.1", "--data", "a=b"),
                f"http://localhost:{forwarder.port}/one",
                f"http://[::1]:{forwarder.port}/two",
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    answer = f'{{"host":"127.0.0.1:{web.server_port}","path":"%s","body":"a=b"}}'
    assert page == answer % "/one" + answer % "/two"


def test_an_upgraded_connection_is_relayed_raw(serve: Callable[..., Server]) -> None:
    seen: list[bytes] = []

    def switch(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        seen.append(head)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\n")
        echo(sock)

    server = serve(switch)
    with (
        Forwarder("0", f"127.0.0.1:{server.port}", rewrite_host=True) as forwarder,
        connect(forwarder.port) as client,
    ):
        raw = b"\x00\xffGET / HTTP/1.1\nHost: localhost\n\n"
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\n" + raw
        )
        received = b""
        while not received.endswith(raw):
            received += client.recv(4096)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
    (head,) = seen
    assert head.startswith(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: raw\r\n".encode())


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "bare LF"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "bare LF"),
    ],
)
def test_an_ambiguous_request_is_answered_400(web: WebServer, request_: bytes, reason: str) -> None:
    with (
        Forwarder("0", f"127.0.0.1:{web.server_port}", rewrite_host=True) as forwarder,
        connect(forwarder.port) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + request_)
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 400 Bad Request\r\n" in answer
        assert reason.encode() in answer
        assert forwarder.stats().refused == 1


def test_a_missing_upstream_is_answered_502() -> None:
    port = free_port()
    with (
        Forwarder("0", f"127.0.0.1:{port}", rewrite_host=True) as forwarder,
        connect(forwarder.port) as client,
    ):
        assert read_all(client).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


# relay()


def test_relay_moves_both_ways_and_counts() -> None:
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    with a, d:
        a.sendall(b"12345")
        a.shutdown(socket.SHUT_WR)
        d.sendall(b"123")
        d.shutdown(socket.SHUT_WR)
        assert relay(b, c) == Relayed(from_a=5, from_b=3, reset=False)
        assert (a.recv(10), d.recv(10)) == (b"123", b"12345")
        assert (b.fileno(), c.fileno()) == (-1, -1)
    assert package.relay is relay


def test_relay_can_be_awaited_and_cancelled() -> None:
    async def main() -> None:
        (a, b), (c, d) = socket.socketpair(), socket.socketpair()
        with a, d:
            a.sendall(b"12345")
            a.shutdown(socket.SHUT_WR)
            d.shutdown(socket.SHUT_WR)
            assert await relay_async(b, c) == Relayed(5, 0, False)
        (a, b), (c, d) = socket.socketpair(), socket.socketpair()
        with a, d:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(relay_async(b, c), 0.05)
            assert a.recv(1) == b""

    asyncio.run(main())


def test_relay_refuses_what_it_cannot_relay() -> None:
    a, b = socket.socketpair()
    unconnected, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    closed = socket.socket()
    closed.close()
    context = ssl.create_default_context()
    context.check_hostname = False
    secure = context.wrap_socket(socket.socket(), do_handshake_on_connect=False)
    with a, b, unconnected, datagram, secure:
        for other, message in (
            (a, "sock_b: the same"),
            (unconnected, "sock_b: .*connected"),
            (closed, "sock_b: .*connected"),
            (datagram, "sock_b .*stream"),
            (secure, "sock_b: a TLS"),
            (1, "sock_b 1: expected a socket"),
            (None, "sock_b None"),
            (a.fileno, "sock_b .*expected a socket"),
        ):
            with pytest.raises(InvalidArgument, match=message):
                relay(a, other)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match=message):
                asyncio.run(relay_async(a, other))  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="sock_a 1: expected a socket"):
            relay(1, 2)  # type: ignore[arg-type]
        assert a.fileno() > 0 < b.fileno()
