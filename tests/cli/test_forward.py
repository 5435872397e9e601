"""``fastnet forward``: what it prints where, and how it ends, run for real."""

from __future__ import annotations

import contextlib
import pwd
import re
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forwarding import (
    PATIENCE,
    Command,
    Server,
    WebServer,
    assert_reset,
    connect,
    echo,
    fetch,
    forever,
    read_all,
)
from records import parse, untimed

Run = Callable[..., "subprocess.CompletedProcess[str]"]


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
    assert re.fullmatch(r"1 connection, 5 bytes up, 5 bytes down in \d+\.\d s\n", out)


def test_the_command_drains_on_ctrl_c_and_cuts_at_the_deadline(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("0", f"127.0.0.1:{serve(echo).port}", "--drain", "100ms", "--json")
    with connect(command.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        code, out, err = command.finish(signal.SIGINT)
        assert (code, err) == (130, "")
        summary = untimed(out)
        assert summary.pop("ran_s") > 0
        assert summary == {
            "kind": "forward_summary",
            "rule": None,
            "connections": 1,
            "unreachable": 0,
            "refused": 0,
            "denied": 0,
            "resets": 1,
            "timed_out": 0,
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
    assert parse(every.first_line)["upstreams"] == [upstream]
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
    assert out.startswith("41 connections, ")
    assert err.count("\n") == 1
    assert "accepting pauses at" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("0",), 2, "UPSTREAM"),
        (("0", "example.com"), 2, "expected HOST:PORT"),
        (("0", "example.com:0"), 2, "port 0"),
        (("x", "example.com:80"), 2, "expected a number or a service name"),
        (("0", "127.0.0.1:1", "--max-connections", "0"), 2, "max_connections 0: expected 1 to"),
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


# Every option


def ask(port: int, data: bytes = b"hello", host: str = "127.0.0.1") -> bytes:
    """Send, end, and return all that comes back."""
    with connect(port, host) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def naming(name: bytes) -> Callable[[socket.socket], None]:
    """A server that sends its name, and ends when the client does."""

    def handle(sock: socket.socket) -> None:
        sock.sendall(name)
        read_all(sock)

    return handle


def datagram_socket() -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(PATIENCE)
    return sock


@pytest.mark.parametrize(
    "options",
    [
        ("--engine", "copy"),
        ("--engine", "pure"),
        ("--threads", "2"),
        ("--spin", "1ms"),
        ("--policy", "least-connections"),
        ("--connect-timeout", "5s"),
        ("--max-failures", "1", "--failure-pause", "1s", "--resolve-interval", "1m"),
        ("--rate", "10M", "--connection-rate", "1M"),
        ("--congestion", "reno"),
        ("--reuse-port",),
        ("--allow", "127.0.0.0/8", "--allow", "::1", "--deny", "192.0.2.0/24"),
        ("--health", "connect", "--health-interval", "100ms", "--health-timeout", "1s"),
    ],
    ids=" ".join,
)
def test_bytes_pass_whatever_is_asked_for(
    forward: Callable[..., Command], serve: Callable[..., Server], options: tuple[str, ...]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", *options)
    assert ask(command.port, b"hello" * 1000) == b"hello" * 1000
    code, out, err = command.finish()
    assert (code, err) == (0, "")
    assert out.startswith("1 connection, 5000 bytes up, 5000 bytes down in ")


def test_several_upstreams_take_turns(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    ports = [serve(naming(name)).port for name in (b"one", b"two")]
    command = forward("127.0.0.1:0", *(f"127.0.0.1:{port}" for port in ports))
    assert command.first_line.endswith(f" to 127.0.0.1:{ports[0]}, 127.0.0.1:{ports[1]}\n")
    assert sorted(ask(command.port) for _ in range(4)) == [b"one", b"one", b"two", b"two"]


def test_options_may_stand_among_the_upstreams(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    one, two = (f"127.0.0.1:{serve(echo).port}" for _ in range(2))
    assert forward("127.0.0.1:0", "--json", one, "--drain", "1s", two).first_line.count(":") > 4


def test_udp(forward: Callable[..., Command]) -> None:
    with datagram_socket() as upstream, datagram_socket() as client:
        port = upstream.getsockname()[1]
        command = forward("127.0.0.1:0", f"127.0.0.1:{port}", "--udp", "--idle-timeout", "1h")
        assert command.first_line == f"forwarding udp 127.0.0.1:{command.port} to 127.0.0.1:{port}\n"
        client.sendto(b"question", ("127.0.0.1", command.port))
        question, source = upstream.recvfrom(100)
        upstream.sendto(b"answer", source)
        assert (question, client.recv(100)) == (b"question", b"answer")
        _, out, err = command.finish()
    assert err == ""
    assert out.startswith("1 connection")


def test_unix_sockets_at_both_ends(forward: Callable[..., Command], tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(inner))
        server.listen()
        command = forward(f"unix:{outer}", f"unix:{inner}")
        assert command.first_line == f"forwarding unix:{outer} to unix:{inner}\n"
        assert outer.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(outer))
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"hello")
                assert accepted.recv(5) == b"hello"
        assert command.finish()[0] == 0
    assert not outer.exists()


def test_responses_are_rewritten_back(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    places: list[int] = []

    def redirect(sock: socket.socket) -> None:
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        head = (
            f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{places[0]}/there\r\nContent-Length: 0\r\n\r\n"
        )
        sock.sendall(head.encode())
        read_all(sock)

    places.append(serve(redirect).port)
    command = forward("127.0.0.1:0", f"127.0.0.1:{places[0]}", "--rewrite-host", "--rewrite-responses")
    answer = ask(command.port, f"GET / HTTP/1.1\r\nHost: localhost:{command.port}\r\n\r\n".encode())
    assert f"\r\nLocation: http://localhost:{command.port}/there\r\n".encode() in answer


def test_an_idle_connection_is_ended(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--idle-timeout", "100ms")
    with connect(command.port) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    assert command.finish()[1].startswith("1 connection (1 timed out), ")


def test_a_half_closed_connection_is_ended(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    released = threading.Event()
    server = serve(lambda sock: released.wait(PATIENCE) and None)
    command = forward("127.0.0.1:0", f"127.0.0.1:{server.port}", "--half-closed-timeout", "100ms")
    with connect(command.port) as client:
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    released.set()
    assert command.finish()[1].startswith("1 connection (1 timed out), ")


def test_a_slow_head_is_answered_408(forward: Callable[..., Command], web: WebServer) -> None:
    command = forward(
        "127.0.0.1:0", f"127.0.0.1:{web.server_port}", "--rewrite-host", "--head-timeout", "100ms"
    )
    with connect(command.port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 408 ")
    assert command.finish()[1].startswith("1 connection (1 refused), ")


def test_no_more_connections_than_allowed_at_once(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(naming(b'!')).port}", "--max-connections", "1")
    with connect(command.port) as first, connect(command.port) as second:
        assert first.recv(1) == b"!"
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.recv(1)
        first.close()
        second.settimeout(PATIENCE)
        assert second.recv(1) == b"!"


def test_no_more_connections_of_one_source_than_allowed(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(naming(b'!')).port}", "--max-per-source", "1")
    with connect(command.port) as first:
        assert first.recv(1) == b"!"
        assert_reset(command.port)
    assert command.finish()[1].startswith("2 connections (1 denied), ")


@pytest.mark.parametrize("options", [("--deny", "127.0.0.0/8"), ("--allow", "192.0.2.0/24")])
def test_clients_that_are_not_welcome(
    forward: Callable[..., Command], serve: Callable[..., Server], options: tuple[str, ...]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", *options)
    assert_reset(command.port)
    assert command.finish()[1].startswith("1 connection (1 denied), ")


def test_a_proxy_header_is_sent(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--send-proxy", "1")
    with connect(command.port) as client:
        own = client.getsockname()[1]
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == f"PROXY TCP4 127.0.0.1 127.0.0.1 {own} {command.port}\r\nhello".encode()


def test_a_proxy_header_of_a_trusted_peer_is_taken(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward(
        "127.0.0.1:0",
        f"127.0.0.1:{serve(echo).port}",
        *("--trust-proxy", "127.0.0.0/8", "--log", "-", "--log-format", "json"),
    )
    assert ask(command.port, b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\nhello") == b"hello"
    lines = command.finish()[1].splitlines()
    assert parse(lines[0])["client"] == "192.0.2.7:1234"


def test_the_client_s_own_address_is_kept(
    root: None, forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    def who(sock: socket.socket) -> None:
        sock.sendall(sock.getpeername()[0].encode())

    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(who).port}", "--transparent")
    with socket.create_connection(("127.0.0.1", command.port), PATIENCE, ("127.0.0.77", 0)) as client:
        assert read_all(client) == b"127.0.0.77"


def test_an_unhealthy_upstream_is_told_and_avoided(
    forward: Callable[..., Command], serve: Callable[..., Server], free_port: int
) -> None:
    server = serve(naming(b"!"))
    command = forward(
        "127.0.0.1:0",
        *(f"127.0.0.1:{free_port}", f"127.0.0.1:{server.port}"),
        *("--health", "connect", "--health-interval", "100ms"),
    )
    assert command.process.stderr
    news = command.process.stderr.readline()
    assert news.startswith(f"fastnet forward: 127.0.0.1:0: 127.0.0.1:{free_port} is not healthy: ")
    assert [ask(command.port) for _ in range(3)] == [b"!"] * 3


def test_engine_pure_and_native_say_what_they_lack(fastnet: Run) -> None:
    ran = fastnet("forward", "0", "127.0.0.1:1", "--engine", "copy", "--dump")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    assert "pure" in ran.stderr


# Nothing is done, but everything checked


def test_a_dry_run_tells_how_it_was_understood(fastnet: Run) -> None:
    ran = fastnet("forward", "8080", "example.com:http", "unix:/run/web", "--dry-run")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "forwarding localhost:8080 to example.com:80, unix:/run/web\n"
    ran = fastnet("forward", "*:53", "[2001:db8::1]:53", "--udp", "--dry-run", "--json")
    assert untimed(ran.stdout) == {
        "kind": "rule",
        "rule": "*:53",
        "protocol": "udp",
        "addresses": ["*:53"],
        "upstreams": ["[2001:db8::1]:53"],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected LISTEN and UPSTREAM, or -f FILE"),
        (("0", "a:1", "systemd:web"), "upstreams systemd:web: expected HOST:PORT, or unix:/path"),
        (("0", "a:1", "--policy", "random"), "invalid choice: 'random'"),
        (("0", "a:1", "--rate", "1T"), "'1T': expected a number of bytes, as 65536, 64k, 10M or 1G"),
        (("0", "a:1", "--rate", "9999999999999"), "rate 9999999999999: expected 0 to"),
        (("0", "a:1", "--allow", "10.0.0.0/33"), "allow"),
        (("0", "a:1", "--deny", "nonsense"), "deny"),
        (("0", "a:1", "--trust-proxy", "::/129"), "trust_proxy"),
        (("0", "a:1", "--send-proxy", "3"), "invalid choice: 3"),
        (
            ("0", "a:1", "--health", "pulse"),
            "health 'pulse': expected one of connect, stable, banner, or http:/path",
        ),
        (("0", "a:1", "--health-interval", "0"), "health_interval"),
        (("0", "a:1", "--rewrite-responses"), "rewrite_responses without rewrite_host"),
        (("0", "a:1", "--udp", "--rewrite-host"), "rewrite_host"),
        (("0", "unix:/x", "--udp"), "unix:/x"),
        (("0", "a:1", "--threads", "0"), "expected a whole number from 1 to 256"),
        (("0", "a:1", "--spin", "2s"), "spin"),
        (("0", "a:1", "--engine", "warp"), "invalid choice: 'warp'"),
        (("0", "a:1", "--log-format", "xml"), "invalid choice: 'xml'"),
        (("0", "a:1", "--metrics", "nonsense"), "expected a number or a service name"),
        (("0", "a:1", "--top", "--dump"), "not allowed with"),
        (("0", "a:1", "--top"), "--top: standard output is not a terminal"),
        (("0", "a:1", "--user", "no-such-user"), "no user 'no-such-user'"),
        (("unix:", "a:1"), "expected unix:/path or unix:@name"),
        (("0", "a:1", "-f", "x.toml"), "LISTEN and UPSTREAM belong in x.toml"),
        (("-f", "x.toml", "--udp"), "protocol belongs in x.toml"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line(
    fastnet: Run, arguments: tuple[str, ...], message: str
) -> None:
    ran = fastnet("forward", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


# Root is given up


def test_a_user_instead_of_root(
    root: None, forward: Callable[..., Command], serve: Callable[..., Server], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = forward(
        "127.0.0.1:0",
        f"127.0.0.1:{serve(echo).port}",
        "--user",
        "nobody",
        "--threads",
        "2",
        "--log",
        str(log),
    )
    account = pwd.getpwnam("nobody")
    for thread in Path(f"/proc/{command.process.pid}/task").iterdir():
        status = (thread / "status").read_text()
        assert re.search(rf"^Uid:(\t{account.pw_uid}){{4}}$", status, re.MULTILINE)
        assert re.search(rf"^Gid:(\t{account.pw_gid}){{4}}$", status, re.MULTILINE)
        assert re.search(rf"^Groups:\t{account.pw_gid} ?$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert ask(command.port) == b"hello"
    code, _, err = command.finish()
    assert (code, err) == (0, "")
    assert log.read_text().endswith(" 5 5 closed\n")
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (account.pw_uid, 0o600)


def test_a_low_port_and_then_no_root(
    namespace: Callable[[], Any], root: None, fastnet: Run, forward: Callable[..., Command]
) -> None:
    command = forward("127.0.0.1:1023", "127.0.0.1:1", "--user", "nobody", prefix=namespace().prefix)
    assert command.port == 1023
    assert command.finish()[0] == 0


@pytest.mark.parametrize(("user", "cure"), [("daemon", "root, or as daemon"), ("root", "root")])
def test_only_root_can_become_somebody(
    root: None, fastnet: Run, peer: Callable[[str], str], user: str, cure: str
) -> None:
    unprivileged = (peer("setpriv"), "--inh-caps=-all", "--bounding-set=-all")
    ran = fastnet("forward", "127.0.0.1:0", "127.0.0.1:1", "--user", user, prefix=unprivileged)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr == f"fastnet forward: only root may become {user}: start it as {cure}\n"


# The bytes that pass


def test_the_dump_shows_the_bytes_readably(
    forward: Callable[..., Command], serve: Callable[..., Server]
) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", "--dump")
    assert ask(command.port, b"GET /\\ \r\n\x00\xff'\"\n") == b"GET /\\ \r\n\x00\xff'\"\n"
    lines = command.finish()[1].splitlines()
    assert sorted(lines[:-1]) == [
        r"127.0.0.1:0 1 -> GET /\\ \r\n",
        r"127.0.0.1:0 1 -> \x00\xff'" + r'"\n',
        r"127.0.0.1:0 1 <- GET /\\ \r\n",
        r"127.0.0.1:0 1 <- \x00\xff'" + r'"\n',
    ]


def test_the_dump_as_json(forward: Callable[..., Command], serve: Callable[..., Server]) -> None:
    command = forward("127.0.0.1:0", f"127.0.0.1:{serve(naming(b'')).port}", "--dump", "--json")
    assert ask(command.port, b"hello\n") == b""
    shown = untimed(command.finish()[1].splitlines()[0])
    assert shown == {
        "kind": "data",
        "rule": "127.0.0.1:0",
        "number": 1,
        "direction": "up",
        "data": "hello\\n",
    }
