"""``fastnet echo``: the server, the client, and the tour of them."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from children import Child
from echo_peers import listening, serve, silent, too_little
from environment import Run
from records import untimed

from fastnet.echo import (
    EchoServer,
    echo,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_stops_cleanly_on_a_signal(signum: int, code: int) -> None:
    with serve() as server:
        where = [listening(server), listening(server)]
        port = int(where[0].rpartition(":")[2])
        assert where == [f"listening on [::1]:{port}", f"listening on 127.0.0.1:{port}"]
        assert echo("::1", port, count=2, size=50).ok
        server.send_signal(signum)
        output, errors = server.communicate(timeout=30)
    assert output == "stopped: 1 connection, 100 bytes echoed, 0 timed out, 0 failed\n"
    assert (errors, server.returncode) == ("", code)


def test_serve_options_and_json() -> None:
    options = ("--json", "--host", "127.0.0.1", "-4", "--idle-timeout", "100ms", "--max-connections", "1")
    with serve(*options) as server:
        record = untimed(listening(server))
        port = record["port"]
        assert record == {"kind": "echo_listening", "host": "127.0.0.1", "port": port}
        with socket.create_connection(("127.0.0.1", port), timeout=20) as idle:
            assert idle.recv(1) == b""
        server.terminate()
        output, errors = server.communicate(timeout=30)
    assert untimed(output) == {
        "kind": "echo_served",
        "accepted": 1,
        "active": 0,
        "echoed_bytes": 0,
        "timed_out": 1,
        "failed": 0,
    }
    assert errors == ""


def test_client_prints_each_reply_and_a_summary(server: EchoServer, fastnet: Run) -> None:
    done = fastnet("echo", "client", f"[::1]:{server.port}", "-c", "2", "-s", "100", "-i", "10ms")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"[::1]:{server.port}: seq=0 size=100 rtt=")
    assert lines[1].startswith(f"[::1]:{server.port}: seq=1 size=100 rtt=")
    assert lines[2].startswith(f"[::1]:{server.port}: 2 sent, 2 received, rtt min/avg/max/p50/p90/p99 = ")
    assert (len(lines), done.stderr, done.returncode) == (3, "", 0)


def test_client_json(server: EchoServer, fastnet: Run) -> None:
    done = fastnet("echo", "client", "--json", f"localhost:{server.port}", "-4", "--message", "Grüße", "-c1")
    reply, summary = map(untimed, done.stdout.splitlines())
    rtt = reply.pop("rtt_ms")
    assert reply == {"kind": "echo_reply", "seq": 0, "size_bytes": 7, "error": None}
    assert summary.pop("rtt_p50_ms") == pytest.approx(rtt, abs=1e-6)
    assert summary.keys() >= {f"rtt_{name}_ms" for name in ("min", "avg", "max", "p90", "p99")}
    assert (summary["sent"], summary["received"], summary["error"]) == (1, 1, None)
    assert summary["address"] == f"127.0.0.1:{server.port}"
    assert (done.stderr, done.returncode) == ("", 0)


def test_client_says_what_was_wrong(answering: Callable[..., int], fastnet: Run) -> None:
    port = answering(too_little)
    done = fastnet("echo", "client", f"127.0.0.1:{port}")
    assert done.stdout.splitlines() == [
        f"127.0.0.1:{port}: seq=0 the server closed after 5 of 64 bytes",
        f"127.0.0.1:{port}: 1 sent, 0 received",
    ]
    assert (done.stderr, done.returncode) == ("", 1)
    port = answering(silent)
    done = fastnet("echo", "client", "-W", "500ms", "--json", f"127.0.0.1:{port}")
    reply, summary = map(untimed, done.stdout.splitlines())
    assert reply == {"kind": "echo_reply", "seq": 0, "size_bytes": 64, "rtt_ms": None, "error": "no answer"}
    assert summary["rtt_avg_ms"] is None
    assert done.returncode == 1


def test_client_interrupted_prints_the_summary(server: EchoServer) -> None:
    command = [sys.executable, "-m", "fastnet", "echo", "client", f"[::1]:{server.port}", "-i", "1h"]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert "seq=0" in client.stdout.readline()
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate(timeout=30)
    assert output.startswith(f"[::1]:{server.port}: 1 sent, 1 received, rtt ")
    assert (errors, client.returncode) == ("", 130)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["client", "localhost"], 2, "expected HOST:PORT"),
        (["client", "::1:7"], 2, "brackets"),
        (["client", "127.0.0.1:7", "-c", "0"], 2, "expected a whole number from 1 to"),
        (["client", "127.0.0.1:7", "-s", "0"], 2, "expected a whole number from 1 to"),
        (["client", "127.0.0.1:7", "-i", "-1"], 2, "-i"),
        (["client", "127.0.0.1:7", "-W", "nan"], 2, "expected a time"),
        (["client", "127.0.0.1:7", "--message", ""], 2, "a message of 0 bytes"),
        (["client", "127.0.0.1:7", "--message", "x", "-s", "1"], 2, "not allowed with"),
        (["client", "127.0.0.1:0"], 2, "port 0: expected 1 to 65535"),
        (["client", "nowhere.invalid:7"], 2, "nowhere.invalid"),
        (["client", "127.0.0.1:1"], 3, "127.0.0.1:1: Connection refused (127.0.0.1)"),
        (["serve", "--port", "65536"], 2, "expected a whole number from 0 to 65535"),
        (["serve", "--host", "nowhere.invalid"], 2, "nowhere.invalid"),
        (["serve", "--host", "192.0.2.1"], 3, "192.0.2.1"),
        (["serve", "-4", "-6"], 2, "not allowed with"),
        ([], 2, "ACTION"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    arguments: list[str], code: int, message: str, fastnet: Run
) -> None:
    done = fastnet("echo", *arguments)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", code)


def test_serve_refuses_a_port_in_use(server: EchoServer, fastnet: Run) -> None:
    done = fastnet("echo", "serve", "--port", str(server.port))
    assert done.stderr == f"fastnet echo: [::1]:{server.port} is in use\n"
    assert done.returncode == 3


def test_the_tour_stop_answers() -> None:
    from fastnet.tour.echo import visit

    sights = list(visit())
    assert len(sights) == 5
    assert all(sight.ok for sight in sights)
