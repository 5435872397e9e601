"""Where a forwarder listens and connects: the Unix domain, UDP, systemd, and ports that threads share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import Child
from forwarding import (
    PATIENCE,
    Load,
    Server,
    assert_soon,
    connect,
    echo,
    named_digest,
    open_files,
    read_all,
    say,
    who,
)

from fastnet._backend import implementation
from fastnet._forward import Forwarder, Record, Rule
from fastnet.endpoints import Endpoint, UnixEndpoint
from fastnet.errors import AddressInUse, InvalidArgument


@pytest.fixture(params=["auto", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Each test leaves no descriptor and no thread behind."""
    files, threads = open_files(), threading.active_count()
    yield
    assert_soon(lambda: open_files() <= files and threading.active_count() <= threads)


def connect_unix(address: str) -> socket.socket:
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(PATIENCE)
        sock.connect(address)
        undo.pop_all()
    return sock


# Unix-domain sockets


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_tcp_to_unix_and_back(serve: Callable[..., Server], tmp_path: Path, engine: str, kind: str) -> None:
    place = f"unix:{tmp_path}/sock" if kind == "path" else f"unix:@fastnet-{os.getpid()}"
    address = place.removeprefix("unix:").replace("@", "\0")
    upstream = f"127.0.0.1:{serve(echo).port}"
    rules = [Rule(place, upstream, name="in"), Rule("127.0.0.1:0", place, name="out")]
    with Forwarder.from_rules(rules, threads=2, engine=engine, record=True) as forwarder:
        assert [*map(str, forwarder.addresses_of(rules[0]))] == [place]
        for client in (connect(forwarder.port), connect_unix(address)):
            with client:
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"hello"
        assert_soon(lambda: forwarder.stats().active == 0)
        records: list[Record] = []
        assert_soon(lambda: len(records.extend(forwarder.records()) or records) == 3)
        ends = {(record.rule.name, record.client.partition(":")[0], record.upstream) for record in records}
        assert ends == {("out", "127.0.0.1", place), ("in", "unix", upstream)}
    with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        connect_unix(address)


def test_a_unix_path_is_the_owner_s_only_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with Forwarder(f"unix:{path}", "127.0.0.1:1") as forwarder:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert forwarder.addresses == [UnixEndpoint(str(path))]
        with pytest.raises(InvalidArgument, match="has no port"):
            _ = forwarder.port
        with pytest.raises(AddressInUse, match="a server listens there"):
            Forwarder(f"unix:{path}", "127.0.0.1:1").start()
        forwarder.reload([forwarder.rules[0]._replace(max_connections=1)])
        assert path.exists()
        forwarder.drain(PATIENCE)
        assert forwarder.wait()
        assert not path.exists()
    path.write_text("precious")
    with pytest.raises(AddressInUse, match="not a socket"):
        Forwarder(f"unix:{path}", "127.0.0.1:1").start()
    assert path.read_text() == "precious"


def test_a_unix_path_goes_with_its_rule(tmp_path: Path, serve: Callable[..., Server]) -> None:
    rules = [Rule(f"unix:{tmp_path}/{name}", f"127.0.0.1:{serve(echo).port}") for name in ("a", "b")]
    with Forwarder.from_rules(rules) as forwarder, connect_unix(f"{tmp_path}/a") as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        forwarder.reload(rules[1:])
        assert sorted(os.listdir(tmp_path)) == ["b"]
        client.sendall(b"b")
        assert client.recv(1) == b"b"


# UDP


@pytest.fixture
def udp_echo() -> Iterator[Endpoint]:
    """A UDP server that answers each datagram with the same one."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        def answer() -> None:
            while True:
                data, client = sock.recvfrom(65535)
                if data == b"stop":
                    return
                sock.sendto(data, client)

        thread = threading.Thread(target=answer)
        thread.start()
        yield Endpoint("127.0.0.1", port)
        with socket.socket(type=socket.SOCK_DGRAM) as stopping:
            stopping.sendto(b"stop", ("127.0.0.1", port))
        thread.join()


def ask(sock: socket.socket, data: bytes) -> bytes:
    """The answer to a datagram, which may be lost and is then sent again."""
    sock.settimeout(1)
    for _ in range(int(PATIENCE)):
        sock.send(data)
        try:
            return sock.recv(65535)
        except TimeoutError:
            continue
    pytest.fail("no answer")


def test_udp_has_a_flow_for_each_client(udp_echo: Endpoint, engine: str) -> None:
    with Forwarder("localhost:0", udp_echo, protocol="udp", threads=2, engine=engine) as forwarder:
        assert {address.host for address in forwarder.addresses if isinstance(address, Endpoint)} == {
            "127.0.0.1",
            "::1",
        }
        clients = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")) * 2:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.connect((host, forwarder.port))
            clients.append(sock)
        for sock in clients * 2:
            data = str(sock.getsockname()).encode() * 10
            assert ask(sock, data) == data
        stats = forwarder.stats()
        assert (stats.accepted, stats.active) == (4, 4)
        assert len(forwarder.connections()) == 4
        for sock in clients:
            sock.close()


def test_udp_flows_end_when_they_are_idle(udp_echo: Endpoint, engine: str) -> None:
    with (
        Forwarder("127.0.0.1:0", udp_echo, protocol="udp", idle_timeout=0.1, engine=engine) as forwarder,
        socket.socket(type=socket.SOCK_DGRAM) as sock,
    ):
        sock.connect(("127.0.0.1", forwarder.port))
        assert ask(sock, b"one") == b"one"
        assert_soon(lambda: forwarder.stats().active == 0)
        assert ask(sock, b"two") == b"two"


def test_a_udp_port_that_is_taken_is_said_so(udp_echo: Endpoint) -> None:
    with pytest.raises(AddressInUse, match="is in use"):
        Forwarder(udp_echo, "127.0.0.1:1", protocol="udp").start()


# Threads and engines


def test_threads_share_a_port_and_the_connections(serve: Callable[..., Server], engine: str) -> None:
    server = serve(named_digest("a"))
    with Forwarder("localhost:0", f"127.0.0.1:{server.port}", threads=3, engine=engine) as forwarder:
        assert len(forwarder.addresses) == 2
        with Load(forwarder.port, clients=6) as load:
            assert_soon(lambda: load.served.get("a", 0) > 100)
        assert_soon(lambda: forwarder.stats().active == 0)
        assert forwarder.stats().accepted == load.served["a"]
        with pytest.raises(AddressInUse):
            Forwarder(f"127.0.0.1:{forwarder.port}", "127.0.0.1:1", threads=2).start()


def test_a_port_is_shared_with_another_forwarder_where_both_ask(serve: Callable[..., Server]) -> None:
    upstreams = [f"127.0.0.1:{serve(say(name)).port}" for name in "ab"]
    with Forwarder("127.0.0.1:0", upstreams[0], reuse_port=True) as first:
        listen = f"127.0.0.1:{first.port}"
        with pytest.raises(AddressInUse):
            Forwarder(listen, upstreams[1]).start()
        with Forwarder(listen, upstreams[1], reuse_port=True):
            said = set()
            assert_soon(lambda: said.add(who(first.port)) or said == {"a", "b"})


@pytest.mark.parametrize("engine", ["auto", "copy", "splice", "pure"])
def test_every_engine_forwards(serve: Callable[..., Server], engine: str) -> None:
    if engine == "splice" and implementation("relay") == "pure":
        with pytest.raises(InvalidArgument, match="splice"):
            Forwarder("127.0.0.1:0", "127.0.0.1:1", engine=engine).start()
        return
    data = os.urandom(3_000_000)
    server = serve(named_digest("a"))
    with Forwarder("127.0.0.1:0", f"127.0.0.1:{server.port}", engine=engine, spin=0.001) as forwarder:
        with connect(forwarder.port) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert len(read_all(client)) == 130
        assert_soon(lambda: forwarder.stats().active == 0)
        assert (forwarder.stats().sent_up, forwarder.stats().sent_down) == (3_000_000, 130)


def test_a_tap_sees_the_bytes(serve: Callable[..., Server]) -> None:
    seen: list[tuple[str, int, bool, bytes]] = []

    def tap(rule: Rule, number: int, up: bool, data: bytes) -> None:
        seen.append((rule.name, number, up, bytes(data)))

    with (
        Forwarder("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", tap=tap) as forwarder,
        connect(forwarder.port) as client,
    ):
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    assert seen == [("127.0.0.1:0", 1, True, b"hello"), ("127.0.0.1:0", 1, False, b"hello")]


# Records


def test_connections_are_told_while_they_are_open_and_after(
    serve: Callable[..., Server], engine: str
) -> None:
    upstream = f"127.0.0.1:{serve(echo).port}"
    with Forwarder("127.0.0.1:0", upstream, record=True, name="told", engine=engine) as forwarder:
        with connect(forwarder.port) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            name = f"127.0.0.1:{client.getsockname()[1]}"
            assert_soon(lambda: forwarder.stats().sent_down == 5)
            (now,) = forwarder.connections()
            assert (now.rule, now.client, now.upstream, now.ended) == (forwarder.rules[0], name, upstream, "")
            assert (now.number, now.sent_up, now.sent_down) == (1, 5, 5)
        assert_soon(lambda: forwarder.connections() == [])
        records: list[Record] = []
        assert_soon(lambda: bool(records.extend(forwarder.records()) or records))
        (then,) = records
        assert (then.client, then.upstream, then.ended) == (name, upstream, "closed")
        assert then.seconds >= now.seconds
        assert then.opened == pytest.approx(now.opened)
        assert forwarder.records() == []
        assert forwarder.lost_records == 0
        assert [(one.name, one.healthy, one.active, one.failures) for one in forwarder.upstreams()] == [
            (upstream, True, 0, 0)
        ]


# systemd


INHERITED = """
import os, socket, sys
from fastnet._forward import Forwarder, Rule
rules = [Rule("systemd:web", sys.argv[1])]
with Forwarder.from_rules(rules, threads=2) as forwarder:
    print(*forwarder.addresses, flush=True)
    sys.stdin.read()
"""
ACTIVATE = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)  # where it had that number already
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="web", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def test_a_socket_is_inherited_from_systemd(serve: Callable[..., Server]) -> None:
    upstream = f"127.0.0.1:{serve(say('behind')).port}"
    with Child(
        [sys.executable, "-c", ACTIVATE, INHERITED, upstream],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline().rpartition(":")[2])
        assert [who(port) for _ in range(4)] == ["behind"] * 4
        process.communicate("")
        assert process.returncode == 0


def test_what_systemd_did_not_pass_on_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="systemd:web"):
        Forwarder("systemd:web", "127.0.0.1:1").start()


# Children


FORKING = """
import os, socket, sys
from fastnet._forward import Forwarder
ours, its = socket.socketpair()
with Forwarder("127.0.0.1:0", "127.0.0.1:1") as forwarder:
    if os.fork() == 0:
        ours.close()
        its.send(b"x")  # What is to be closed in a child is closed now.
        its.recv(1)
        os._exit(0)
    ours.recv(1)
    port = forwarder.port
try:
    socket.create_connection(("127.0.0.1", port))
except ConnectionRefusedError:
    print("closed")
ours.close()
os.wait()
"""


def test_a_forked_child_keeps_no_listener_open() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert ran.stdout == "closed\n"


# relay(), broken off


RELAYING = """
import socket
from fastnet._forward import relay
(a, b), (c, d) = socket.socketpair(), socket.socketpair()
print("relaying", flush=True)
try:
    relay(b, c)
except KeyboardInterrupt:
    print(a.recv(1), d.recv(1))
"""


def test_ctrl_c_breaks_a_relay_off() -> None:
    with Child([sys.executable, "-c", RELAYING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "relaying\n"
        # Until it relays, Ctrl-C may still find it before.
        assert_soon(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode) == ("b'' b''\n", 0)
