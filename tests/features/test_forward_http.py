"""HTTP through a forwarder that rewrites the Host, with real clients and servers at its ends."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from urllib.request import urlopen

import pytest
from forwarding import PATIENCE, Server, Web, WebServer, assert_reset, assert_soon, connect, read_all
from traffic import read_exactly
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as open_socket
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_sockets

from fastnet import Forwarder, implementation

ENGINES = ["copy", "splice", "pure"] if implementation("relay") == "native" else ["pure"]
LARGE = 24 << 20

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type text/plain;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    if_modified_since before;
    gzip on;
    gzip_types text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location /seen {{ return 200 "$request_method $http_host $request_uri\\n"; }}
        location /moved {{ return 302 http://$http_host/seen; }}
        location /put/ {{ dav_methods PUT; }}
    }}
}}
"""


@pytest.fixture(params=ENGINES)
def forwarder(request: pytest.FixtureRequest) -> Iterator[Callable[..., Forwarder]]:
    """``forwarder(port)`` leads to that port of this machine, the Host rewritten; each engine in turn."""
    started: list[Forwarder] = []

    def start(port: int, host: str = "127.0.0.1", **options: object) -> Forwarder:
        options = {"rewrite_host": True, "engine": request.param, **options}
        started.append(Forwarder("0", f"{host}:{port}", **options).start())  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.stop()


class Nginx:
    def __init__(self, program: str, folder: Path) -> None:
        self.files = folder / "files"
        (self.files / "put").mkdir(parents=True)
        folder.chmod(0o755)
        self._command = [program, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        self._folder = folder
        while not self._listens():
            pass

    def _listens(self) -> bool:
        """Try a port that is free now; another may be quicker to take it."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port: int = sock.getsockname()[1]
        configuration = CONFIGURATION.format(folder=self._folder, port=self.port)
        (self._folder / "nginx.conf").write_text(configuration)
        self.process = subprocess.Popen(self._command)
        pid = self._folder / "nginx.pid"
        assert_soon(lambda: pid.exists() or self.process.poll() is not None)
        return self.process.poll() is None

    def file(self, name: str, size: int) -> str:
        """Makes a file of random bytes, and returns its hash."""
        data = Random(size).randbytes(size)
        (self.files / name).write_bytes(data)
        return hashlib.blake2b(data).hexdigest()

    def hash_of(self, name: str) -> str:
        return hashlib.blake2b((self.files / name).read_bytes()).hexdigest()


@pytest.fixture
def nginx(peer: Callable[[str], str], tmp_path: Path) -> Iterator[Nginx]:
    server = Nginx(peer("nginx"), tmp_path)
    yield server
    server.process.terminate()
    server.process.wait(PATIENCE)


Curl = Callable[..., bytes]


@pytest.fixture
def curl(peer: Callable[[str], str]) -> Curl:
    """``curl("http://...", ...)``: what it prints; it must succeed."""
    program = peer("curl")

    def run(*words: str, **options: object) -> bytes:
        command = [program, "--silent", "--show-error", "--noproxy", "*", "--max-time", str(PATIENCE), *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout  # type: ignore[call-overload,no-any-return]

    return run


# curl and nginx


def test_requests_of_one_connection_reach_nginx_under_its_own_name(
    forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl
) -> None:
    ours = forwarder(nginx.port)
    address = f"http://localhost:{ours.port}/seen"
    shown = curl("-w", "%{num_connects}\n", f"{address}/1", f"{address}/2", "-X", "POST", "-d", "x=y")
    name = f"127.0.0.1:{nginx.port}"
    assert shown.decode() == f"POST {name} /seen/1\n1\nPOST {name} /seen/2\n0\n"
    assert curl("-H", "Host: elsewhere", address) == b"GET elsewhere /seen\n"
    assert ours.stats().accepted == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_every_name_of_the_listener(
    forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl, host: str
) -> None:
    ours = forwarder(nginx.port)
    expected = f"GET 127.0.0.1:{nginx.port} /seen\n".encode()
    assert curl(f"http://{host}:{ours.port}/seen") == expected
    proxy = f"http://{host}:{ours.port}"
    assert curl("--noproxy", "", "--proxy", proxy, f"{proxy}/seen") == expected, "an absolute target"


def test_a_large_download_is_whole_and_the_connection_goes_on(
    forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl
) -> None:
    ours = forwarder(nginx.port)
    expected = nginx.file("large", LARGE)
    nginx.file("small", 3)
    address = f"http://localhost:{ours.port}"
    data = curl(f"{address}/large", f"{address}/small", "-w", "%{num_connects}")
    assert hashlib.blake2b(data[:LARGE]).hexdigest() == expected
    assert (data[LARGE : LARGE + 1], data[-1:]) == (b"1", b"0")


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_is_whole(
    forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl, tmp_path: Path, expect: str, chunked: bool
) -> None:
    ours = forwarder(nginx.port)
    expected = nginx.file("large", LARGE)
    address = f"http://localhost:{ours.port}"
    shown = tmp_path / "shown"
    with (nginx.files / "large").open("rb") as file, shown.open("wb") as errors:
        source = "-" if chunked else str(nginx.files / "large")
        words = ("-v", "-H", expect, "-T", source, f"{address}/put/it", "-w", "%{http_code} %{num_connects}")
        done = curl(*words, "--next", f"{address}/seen", stdin=file, stderr=errors)
    assert done == f"201 1GET 127.0.0.1:{nginx.port} /seen\n".encode()
    assert nginx.hash_of("put/it") == expected
    said = shown.read_text(errors="replace")
    assert ("HTTP/1.1 100 Continue" in said) == (expect != "Expect:")
    assert ("> Transfer-Encoding: chunked" in said) == chunked
    assert ours.stats().accepted == 1


def test_head_and_not_modified_have_no_body(
    forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl
) -> None:
    ours = forwarder(nginx.port)
    nginx.file("large", 1 << 20)
    address = f"http://localhost:{ours.port}/large"
    shown = curl("-w", "%{http_code} %{num_connects}\n", "--head", address, address).decode()
    assert shown.count("Content-Length: 1048576\r\n") == 2
    assert shown.endswith("200 0\n")
    later = "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT"
    shown = curl("-w", "%{http_code} %{num_connects}\n", "-H", later, address, address).decode()
    assert shown == "304 1\n304 0\n"


def test_a_chunked_response_passes(forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl) -> None:
    ours = forwarder(nginx.port)
    text = "".join(f"line {number}\n" for number in range(20000))
    (nginx.files / "text.txt").write_text(text)
    address = f"http://localhost:{ours.port}/text.txt"
    shown = curl(
        "--compressed", "-w", "%{num_connects}%header{transfer-encoding}\n", address, address
    ).decode()
    assert shown == f"{text}1chunked\n{text}0chunked\n"


def test_a_redirect_leads_back_to_the_forwarder(
    forwarder: Callable[..., Forwarder], nginx: Nginx, curl: Curl
) -> None:
    ours = forwarder(nginx.port, rewrite_responses=True)
    address = f"http://localhost:{ours.port}"
    shown = curl("--location", "-w", "%{url_effective} %{num_redirects}", f"{address}/moved")
    assert shown == f"GET 127.0.0.1:{nginx.port} /seen\n{address}/seen 1".encode()
    assert ours.stats().accepted == 1


# Python's own


class Methods(Web):
    """Answers any method; /cookie sets one for the Host that it was asked for, and returns what came."""

    def do_GET(self) -> None:
        if self.path != "/cookie":
            super().do_GET()
            return
        body = self.headers.get("Cookie", "").encode()
        self.send_response(200)
        domain = self.headers["Host"].partition(":")[0]
        self.send_header("Set-Cookie", f"seen=yes; Path=/; Domain={domain}; HttpOnly")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def do_PUT(self) -> None:
        """Counts a chunked body."""
        total = hashlib.blake2b()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            total.update(self.rfile.read(size))
            assert self.rfile.readline() == b"\r\n"
        while self.rfile.readline() != b"\r\n":
            pass
        answer = total.hexdigest().encode()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x;x=y\r\n%s\r\n0\r\nT: v\r\n\r\n" % (len(answer), answer))


@pytest.fixture
def methods() -> Iterator[int]:
    with WebServer(("127.0.0.1", 0), Methods) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def converse(port: int, upstream: str, seed: int) -> int:
    """Random requests over one connection, each answer checked; returns how many."""
    random = Random(seed)
    connection = http.client.HTTPConnection("localhost", port, timeout=PATIENCE)
    for _ in range(25):
        method = random.choice(["GET", "POST", "HEAD", "DELETE", "PUT"])
        size = random.choice([0, 1, 100, 70_000, 300_000])
        data = random.randbytes(size).hex().encode()
        if method == "PUT":
            pieces = [data[at : at + 9999] for at in range(0, len(data), 9999)]
            connection.request(method, "/", iter(pieces), encode_chunked=True)
            answer = connection.getresponse()
            assert answer.read().decode() == hashlib.blake2b(data).hexdigest()
            continue
        connection.request(method, "/path", data if method == "POST" else None)
        answer = connection.getresponse()
        body = answer.read()
        if method in ("HEAD", "DELETE"):
            assert (answer.status, body) == (200 if method == "HEAD" else 204, b"")
        else:
            asked = data.decode() if method == "POST" else ""
            assert body.decode() == f'{{"host":"{upstream}","path":"/path","body":"{asked}"}}'
    connection.close()
    return 25


@pytest.mark.usefixtures("localhost")
def test_http_client_and_server_converse_at_random(forwarder: Callable[..., Forwarder], methods: int) -> None:
    ours = forwarder(methods)
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda seed: converse(ours.port, f"127.0.0.1:{methods}", seed), range(8))
        assert sum(done) == 200
    assert_soon(lambda: ours.stats().active == 0)
    assert (ours.stats().accepted, ours.stats().refused, ours.stats().resets) == (8, 0, 0)


@pytest.mark.usefixtures("localhost")
def test_http_1_0_until_the_end(forwarder: Callable[..., Forwarder], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 300_000)

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with WebServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        ours = forwarder(server.server_address[1])
        with urlopen(f"http://localhost:{ours.port}/file", timeout=PATIENCE) as answer:
            assert answer.read() == b"x" * 300_000
        server.shutdown()
        thread.join()


def test_a_cookie_of_the_upstream_comes_back(
    forwarder: Callable[..., Forwarder], methods: int, curl: Curl, tmp_path: Path
) -> None:
    ours = forwarder(methods, "localhost", rewrite_responses=True)
    address = f"http://127.0.0.1:{ours.port}/cookie"
    jar = str(tmp_path / "jar")
    assert curl("-b", jar, "-c", jar, address, address) == b"seen=yes"
    assert "127.0.0.1\tFALSE\t/\tFALSE\t0\tseen\tyes" in (tmp_path / "jar").read_text()


def test_pipelined_requests_are_answered_in_order(forwarder: Callable[..., Forwarder], methods: int) -> None:
    ours = forwarder(methods)
    body = "b" * 5000
    request = f"POST /%d HTTP/1.1\r\nHost: localhost:{ours.port}\r\nContent-Length: 5000\r\n\r\n{body}"
    last = f"GET /last HTTP/1.1\r\nHost: LOCALHOST:{ours.port}\r\nConnection: close\r\n\r\n"
    stream = "".join(request % number for number in range(300)) + last
    with connect(ours.port) as client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.sendall, stream.encode())
        answers = read_all(client)
        sending.result()
    name = f"127.0.0.1:{methods}"
    assert answers.count(b"HTTP/1.1 200 OK") == 301
    paths = [f'{{"host":"{name}","path":"/{number}","body":"{body}"}}' for number in range(300)]
    at = 0
    for expected in [*paths, f'{{"host":"{name}","path":"/last","body":""}}']:
        at = answers.index(expected.encode(), at)


def test_single_bytes_in_both_directions(
    forwarder: Callable[..., Forwarder], serve: Callable[..., Server]
) -> None:
    request = (
        b"PUT /x HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nhi\r\n0\r\nT: v\r\n\r\n"
    )
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://%s/\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )

    def single(sock: socket.socket, data: bytes) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            sock.sendall(bytes([byte]))

    def handle(sock: socket.socket) -> None:
        name = b"127.0.0.1:%d" % server.port
        expected = (request % name) * 3
        seen.append(read_exactly(sock, len(expected)) == expected)
        single(sock, (answer % name) * 3)

    seen: list[bool] = []
    server = serve(handle)
    ours = forwarder(server.port, rewrite_responses=True)
    name = b"localhost:%d" % ours.port
    with connect(ours.port) as client:
        single(client, (request % name) * 3)
        assert read_all(client) == (answer % name) * 3
    assert seen == [True]


# What is refused


def ask(port: int, *pieces: bytes) -> bytes:
    with connect(port) as client:
        for piece in pieces:
            client.sendall(piece)
        return read_all(client)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "both Content-Length and Transfer-Encoding"),
        ("Host: b\r\n", "more than one Host"),
        ("X: y\n", "a line that ends in a bare LF"),
        ("Transfer-Encoding : chunked\r\n", "a header line without a name"),
        ("Transfer-Encoding: chunked\r\n\r\nx\r\n", "an invalid chunk size"),
    ],
)
def test_what_is_ambiguous_is_answered_400_behind_the_answers_before_it(
    forwarder: Callable[..., Forwarder], methods: int, fields: str, reason: str
) -> None:
    ours = forwarder(methods)
    good = b"GET /good HTTP/1.1\r\nHost: localhost\r\n\r\n"
    bad = f"PUT /bad HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()
    answers = ask(ours.port, good + bad + good)
    first, _, refusal = answers.partition(b"HTTP/1.1 400 Bad Request\r\n")
    assert first.endswith(f'{{"host":"127.0.0.1:{methods}","path":"/good","body":""}}'.encode())
    assert refusal.endswith(f"Connection: close\r\n\r\n{reason}\n".encode())
    assert b"/bad" not in answers
    assert_soon(lambda: ours.stats().refused == 1)


def test_a_slow_head_is_answered_408(forwarder: Callable[..., Forwarder], methods: int) -> None:
    ours = forwarder(methods, head_timeout=0.2)
    assert ask(ours.port, b"GET / HTTP/1.1\r\nHost: loc").startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    good = b"GET /good HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = ask(ours.port, good, b"G")
    assert (answers.count(b'"path":"/good"'), answers.count(b"HTTP/1.1 408 ")) == (1, 1)
    assert ours.stats().refused == 2


def test_no_upstream_is_answered_502(forwarder: Callable[..., Forwarder]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ours = forwarder(unused.getsockname()[1])
        assert ask(ours.port, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert ours.stats().unreachable == 1


def test_an_upstream_that_speaks_no_http_is_cut_off(
    forwarder: Callable[..., Forwarder], serve: Callable[..., Server]
) -> None:
    def greet(sock: socket.socket) -> None:
        sock.sendall(b"SSH-2.0-x\r\n")
        read_all(sock)

    ours = forwarder(serve(greet).port)
    assert_reset(ours.port)


# WebSocket


@pytest.fixture
def socket_server() -> Iterator[int]:
    def handle(connection: ServerConnection) -> None:
        assert connection.request
        connection.send(connection.request.headers["Host"])
        for message in connection:
            connection.send(message)

    def decide(connection: ServerConnection, request: object) -> object:
        refused = connection.request and connection.request.path == "/refused"
        return connection.respond(403, "no\n") if refused else None

    with serve_sockets(handle, "127.0.0.1", 0, process_request=decide, max_size=None) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("localhost")
def test_a_websocket(forwarder: Callable[..., Forwarder], socket_server: int) -> None:
    ours = forwarder(socket_server)
    large = Random(1).randbytes(3 << 20)
    with open_socket(f"ws://localhost:{ours.port}/", max_size=None, open_timeout=PATIENCE) as client:
        assert client.recv(PATIENCE) == f"127.0.0.1:{socket_server}"
        for message in ("text", b"GET / HTTP/1.1\r\nHost: localhost\n\n", large, "é" * 1000):
            client.send(message)
            assert client.recv(PATIENCE) == message
        assert client.ping().wait(PATIENCE)
    assert client.close_code == 1000
    assert_soon(lambda: ours.stats().active == 0)
    assert ours.stats().sent_up > len(large)


@pytest.mark.usefixtures("localhost")
def test_a_websocket_that_is_declined(forwarder: Callable[..., Forwarder], socket_server: int) -> None:
    ours = forwarder(socket_server)
    with pytest.raises(InvalidStatus, match="403"):
        open_socket(f"ws://localhost:{ours.port}/refused", open_timeout=PATIENCE)
