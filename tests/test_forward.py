"""Recipe 3.2: the forwarder between real clients and servers, in Python and as a command."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastnet as package
from fastnet.endpoints import Endpoint
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved
from fastnet.forward import Forwarder, Relayed, relay, relay_async

PATIENCE = 20.0
FORWARD = (sys.executable, "-m", "fastnet", "forward")


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), PATIENCE)


def assert_reset(port: int) -> None:
    """A connection is accepted and reset: so soon, sometimes, that connecting already tells."""
    with pytest.raises(ConnectionResetError), connect(port) as client:
        client.recv(1)


def forever(step: Callable[[], object]) -> None:
    """Until it raises."""
    while True:
        step()


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def assert_soon(condition: Callable[[], bool]) -> None:
    """The condition becomes true while others still work; a generous limit ends a failing test."""
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    assert condition()


class Server:
    """A TCP server with a thread for each connection, which ``handle`` gets."""

    def __init__(self, handle: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.create_server((host, 0), family=family, backlog=2048)
        self.port: int = self.sock.getsockname()[1]
        self._handle = handle
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                thread = threading.Thread(target=self._serve, args=self.sock.accept()[:1])
                thread.start()
                self._threads.append(thread)

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(ConnectionError):
            self._handle(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for thread in (self._accepting, *self._threads):
            thread.join(PATIENCE)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """``serve(handle)`` starts a server; all of them are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Server:
            server = Server(handle, host)
            stack.callback(server.close)
            return server

        yield start


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def digest(sock: socket.socket) -> None:
    """Answers only after the client's end, the way a half-closing client needs it."""
    total = hashlib.blake2b()
    while data := sock.recv(1 << 18):
        total.update(data)
    sock.sendall(total.hexdigest().encode())


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = json.dumps(
            {"host": self.headers["Host"], "path": self.path, "body": body.decode()}, separators=(",", ":")
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class WebServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Connections that end badly are part of the tests."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(port: int, host: str = "127.0.0.1", **headers: str) -> dict[str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/localhost:1", headers=headers)
        answer: dict[str, str] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


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
        assert forwarder.stats() == (2, 0, 0, 0, 0, 10, 10)


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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
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
    context = ssl.create_default_context()
    context.check_hostname = False
    secure = context.wrap_socket(socket.socket(), do_handshake_on_connect=False)
    with a, b, unconnected, datagram, secure:
        for other, message in (
            (a, "same"),
            (unconnected, "connected"),
            (datagram, "stream"),
            (secure, "TLS"),
        ):
            with pytest.raises(InvalidArgument, match=message):
                relay(a, other)
        assert a.fileno() > 0


# As a command


class Command:
    """A running ``fastnet forward``, and where it listens."""

    def __init__(self, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, *FORWARD, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        assert self.process.stdout
        self.first_line = self.process.stdout.readline()
        self.port = int(re.findall(r":(\d{4,5})\b", self.first_line)[0])

    def finish(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def forward() -> Iterator[Callable[..., Command]]:
    """``forward("0", "127.0.0.1:80")`` runs the command; what still runs in the end is killed."""
    commands: list[Command] = []

    def start(*arguments: str, **options: tuple[str, ...]) -> Command:
        commands.append(Command(*arguments, **options))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.communicate()


def test_the_command_forwards_and_sums_up_on_sigterm(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    server = serve(echo)
    command = forward("127.0.0.1:0", f"127.0.0.1:{server.port}")
    assert command.first_line == f"forwarding 127.0.0.1:{command.port} to 127.0.0.1:{server.port}\n"
    with connect(command.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert out.startswith("1 connections (0 unreachable, 0 refused, 0 reset), 5 bytes up, 5 bytes down in ")


def test_the_command_drains_on_ctrl_c_and_cuts_at_the_deadline(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("0", f"127.0.0.1:{serve(echo).port}", "--drain", "100ms", "--json")
    with connect(command.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        code, out, err = command.finish(signal.SIGINT)
        assert (code, err) == (130, "")
        summary = json.loads(out)
        assert summary.pop("ran_s") > 0
        assert summary == {
            "event": "summary",
            "connections": 1,
            "unreachable": 0,
            "refused": 0,
            "resets": 1,
            "sent_up_bytes": 5,
            "sent_down_bytes": 5,
        }
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_second_signal_means_now(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--drain", "1h")
    with connect(command.port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        command.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionError):
            forever(lambda: connect(command.port).close())
        code, _, _ = command.finish()
    assert code == 1


def test_the_command_rewrites(forward: Callable[..., Command], web: WebServer) -> None:
    upstream = f"127.0.0.1:{web.server_port}"
    ours = forward("0", upstream, "--rewrite-host")
    every = forward("0", upstream, "--rewrite-host-always", "--json")
    assert json.loads(every.first_line)["upstream"] == upstream
    assert fetch(ours.port)["host"] == upstream
    assert fetch(ours.port, Host="other")["host"] == "other"
    assert fetch(every.port, Host="other")["host"] == upstream


def test_the_memory_of_a_stopped_reader_is_bounded(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    stopped = threading.Event()
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(lambda sock: stopped.wait(PATIENCE) and None).port}")

    def resident() -> int:
        with open(f"/proc/{command.process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    clients = [connect(command.port) for _ in range(8)]
    before = resident()
    for client in clients:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            forever(lambda client=client: client.send(bytes(1 << 20)))
    held = resident() - before
    for client in clients:
        client.close()
    stopped.set()
    assert held < 8 * 2 * 262144 + (2 << 20)


def test_no_descriptors_left_pauses_accepting_with_one_warning_and_recovers(
    forward: Callable[..., Command], serve: Callable[..., Server], peer: Callable[[str], str]
) -> None:
    server = serve(echo)
    limit = (peer("prlimit"), "--nofile=40:40")
    command = forward("127.0.0.1:0", f"127.0.0.1:{server.port}", prefix=limit)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connect(command.port))
        first.sendall(b"one")
        assert first.recv(3) == b"one"
        crowd = [stack.enter_context(connect(command.port)) for _ in range(40)]
        for client in crowd:
            client.sendall(b"crowd")
        first.sendall(b"two")
        assert first.recv(3) == b"two"
        for client in crowd:  # Each gets its turn as soon as one before it has left.
            assert client.recv(5) == b"crowd"
            client.close()
    code, out, err = command.finish()
    assert code == 0
    assert out.startswith("41 connections (0 unreachable, 0 refused, 0 reset)")
    assert err.count("\n") == 1
    assert "accepting pauses at" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("0",), 2, "UPSTREAM"),
        (("0", "example.com"), 2, "expected HOST:PORT"),
        (("0", "example.com:0"), 2, "port 0"),
        (("x", "example.com:80"), 2, "expected a number or a service name"),
        (("0", "127.0.0.1:1", "--max-connections", "0"), 2, "expected a whole number from 1"),
        (("0", "127.0.0.1:1", "--drain", "-1"), 2, "expected"),
        (("0", "127.0.0.1:1", "--head-timeout", "0"), 2, "head_timeout"),
        (("0", "127.0.0.1:1", "--connect-timeout", "x"), 2, "expected a time"),
        (("0", "127.0.0.1:1", "--rewrite-host", "--rewrite-host-always"), 2, "not allowed with"),
        (("0", "nowhere.invalid:80"), 2, "nowhere.invalid"),
        (("192.0.2.1:0", "127.0.0.1:1"), 3, "192.0.2.1"),
    ],
)
def test_bad_input_of_the_command(
    fastnet: Callable[..., subprocess.CompletedProcess[str]],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    ran = fastnet("forward", *arguments)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_privileged_port_is_refused_with_the_cure(
    namespace: Callable[[], Any],
    peer: Callable[[str], str],
    fastnet: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    powerless = (*namespace().prefix, peer("setpriv"), "--inh-caps=-all", "--bounding-set=-all")
    ran = fastnet("forward", "127.0.0.1:1023", "127.0.0.1:1", prefix=powerless)
    assert ran.returncode == 3
    assert "cap_net_bind_service" in ran.stderr


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
