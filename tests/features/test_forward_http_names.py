"""The names in requests through a forwarder that rewrites them: CONNECT, IDNA, and what is refused."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forwarding import PATIENCE, Command, Server, WebServer, connect, fetch, read_all
from namespaces import over_hosts
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as open_socket
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_sockets
from websockets.typing import Origin

from fastnet import Forwarder, implementation

ENGINES = ["copy", "splice", "pure"] if implementation("relay") == "native" else ["pure"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte
        head += byte
    return head


def ask(port: int, data: bytes) -> bytes:
    with connect(port) as client:
        client.sendall(data)
        return read_all(client)


@pytest.fixture
def tunnel(serve: Callable[..., Server]) -> tuple[Server, list[bytes]]:
    """A proxy that accepts CONNECT and sends back what comes behind it; and the heads that it saw."""
    seen: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        seen.append(read_head(sock))
        sock.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)

    return serve(handle), seen


@pytest.mark.parametrize("rewrite", [True, "always"])
def test_connect_reaches_the_upstream_under_one_name(
    engine: str, tunnel: tuple[Server, list[bytes]], rewrite: bool
) -> None:
    server, seen = tunnel
    raw = b"\x16\x03\x01 GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Forwarder("0", f"127.0.0.1:{server.port}", rewrite_host=rewrite, engine=engine) as forwarder:
        target = b"other:443" if rewrite == "always" else b"localhost:%d" % forwarder.port
        with connect(forwarder.port) as client:
            client.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target) + raw)
            assert read_head(client) == b"HTTP/1.1 200 Established\r\n\r\n"
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == raw
    name = b"127.0.0.1:%d" % server.port
    assert seen == [b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (name, name)]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"CONNECT localhost:%d HTTP/1.1\r\nHost: other:443\r\n", b"a CONNECT target that differs from Host"),
        (b"GET http://me@localhost:%d/ HTTP/1.1\r\nHost: localhost\r\n", b"user information in a host"),
        (
            b"GET http://localhost:%d\\@other/ HTTP/1.1\r\nHost: localhost\r\n",
            b"user information in a host",
        ),
        (
            b"GET http:/localhost:%d/ HTTP/1.1\r\nHost: localhost\r\n",
            b"an invalid request target",
        ),
        (b"GET * HTTP/1.1\r\nHost: localhost:%d\r\n", b"an invalid request target"),
        (b"GET / HTTP/1.1\r\nHost: localhost:%d, other\r\n", b"an invalid port"),
        (b"GET / HTTP/1.1\r\nHost: http://localhost:%d/\r\n", b"an invalid port"),
        (b"GET /%d HTTP/1.1\r\nHost:\r\n", b"an empty host"),
        (b"GET /%d HTTP/1.1\r\n", b"no Host in HTTP/1.1"),
    ],
)
@pytest.mark.parametrize("rewrite", [True, "always"])
def test_a_request_that_is_not_clearly_for_one_host_is_answered_400(
    engine: str, web: WebServer, head: bytes, reason: bytes, rewrite: bool
) -> None:
    upstream = f"127.0.0.1:{web.server_port}"
    with Forwarder("0", upstream, rewrite_host=rewrite, engine=engine) as forwarder:
        answers = ask(forwarder.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + head % forwarder.port + b"\r\n")
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert answers.count(b"HTTP/1.1 ") == 2
        _, _, refusal = answers.partition(b"HTTP/1.1 400 Bad Request\r\n")
        assert refusal.endswith(b"Connection: close\r\n\r\n" + reason + b"\n")
        assert forwarder.stats().refused == 1


def test_a_name_of_the_listener_is_known_as_clients_send_it(
    web: WebServer, tmp_path: Path, root: None, peer: Callable[[str], str]
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 xn--bcher-kva.test\n")
    prefix = over_hosts(peer("unshare"), hosts)
    upstream = f"127.0.0.1:{web.server_port}"
    command = Command("bücher.test:0", upstream, "--rewrite-host", prefix=prefix)
    host = f"XN--bcher-kva.test:{command.port}"
    try:
        assert fetch(command.port, Host=host)["host"] == upstream
    finally:
        command.finish()


# Origin


@pytest.fixture
def own_pages_only() -> Iterator[int]:
    """A WebSocket server that takes only pages of its own origin, as Jupyter and others do."""

    def is_own(connection: ServerConnection, request: object) -> object:
        headers = request.headers  # type: ignore[attr-defined]
        own = headers["Origin"] == f"http://{headers['Host']}"
        return None if own else connection.respond(403, "no\n")

    def handle(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve_sockets(handle, "127.0.0.1", 0, process_request=is_own) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("localhost")
def test_a_page_of_the_forwarder_is_one_of_the_upstream(engine: str, own_pages_only: int) -> None:
    upstream = f"127.0.0.1:{own_pages_only}"
    options = {"rewrite_host": True, "engine": engine}
    with Forwarder("0", upstream, rewrite_origin=True, **options) as forwarder:  # type: ignore[arg-type]
        place = f"localhost:{forwarder.port}"
        with open_socket(f"ws://{place}/", origin=Origin(f"http://{place}"), open_timeout=PATIENCE) as client:
            client.send("hello")
            assert client.recv(PATIENCE) == "hello"
        for other in (f"http://evil.test:{forwarder.port}", "http://localhost", f"http://{place}.evil.test"):
            with pytest.raises(InvalidStatus, match="403"):
                open_socket(f"ws://{place}/", origin=Origin(other), open_timeout=PATIENCE)
    with Forwarder("0", upstream, **options) as forwarder:  # type: ignore[arg-type]
        place = f"localhost:{forwarder.port}"
        with pytest.raises(InvalidStatus, match="403"):
            open_socket(f"ws://{place}/", origin=Origin(f"http://{place}"), open_timeout=PATIENCE)


def test_the_names_of_the_upstream_are_the_forwarders_on_the_way_back(
    engine: str, serve: Callable[..., Server]
) -> None:
    fields = (
        "Content-Location: http://{0}/a\r\nRefresh: 5; url=http://{0}/b\r\n"
        "Link: <http://{0}/c>; rel=next, <http://other/>\r\nAccess-Control-Allow-Origin: http://{0}\r\n"
    )

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        named = fields.format(f"127.0.0.1:{server.port}")
        sock.sendall(f"HTTP/1.1 200 OK\r\n{named}Content-Length: 0\r\n\r\n".encode())

    server = serve(handle)
    upstream = f"127.0.0.1:{server.port}"
    with Forwarder("0", upstream, rewrite_host=True, rewrite_responses=True, engine=engine) as forwarder:
        host = f"localhost:{forwarder.port}"
        answer = ask(forwarder.port, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert fields.format(host).encode() in answer


def test_the_command_has_the_options(serve: Callable[..., Server]) -> None:
    seen: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        seen.append(read_head(sock))
        sock.sendall(b"HTTP/1.1 204 No\r\n\r\n")
        read_all(sock)

    server = serve(handle)
    options = ("--rewrite-host", "--rewrite-origin", "--keep-alive-timeout", "100ms")
    command = Command("127.0.0.1:0", f"127.0.0.1:{server.port}", *options)
    try:
        name = b"localhost:%d" % command.port
        head = b"GET / HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nReferer: http://%s/x\r\n\r\n"
        assert ask(command.port, head % ((name,) * 3)) == b"HTTP/1.1 204 No\r\n\r\n"
        assert seen == [head % ((b"127.0.0.1:%d" % server.port,) * 3)]
    finally:
        code, out, _ = command.finish()
    assert code == 0
    assert out.count("1 connection, ") == 1
