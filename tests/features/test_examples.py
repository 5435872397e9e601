"""Each program of examples/, on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Child
from environment import COMMAND_TIMEOUT, ROOT, Run
from namespaces import MakeNamespace

EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(python: Run) -> Callable[..., str]:
    def run(name: str, *words: object) -> str:
        ran = python(str(EXAMPLES / name), *map(str, words))
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    return run


def test_there_is_a_test_of_each() -> None:
    text = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text] == []


def test_monitor_to_prometheus(example, tmp_path: Path, root: None) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    path = tmp_path / "ping.prom"
    example("monitor_to_prometheus.py", path, 0, "127.0.0.1", "127.0.0.2")
    samples = [
        each for family in parser.text_string_to_metric_families(path.read_text()) for each in family.samples
    ]
    up = {each.labels["host"]: each.value for each in samples if each.name == "ping_up"}
    assert up == {"127.0.0.1": 1, "127.0.0.2": 1}
    assert len([each for each in samples if each.name == "ping_rtt_seconds"]) == 2


def test_forwarder_in_pytest(python: Run) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null")
    ran = python(*words, str(EXAMPLES / "forwarder_in_pytest.py"))
    assert "2 passed" in ran.stdout, ran.stdout


def test_replace_netifaces(example) -> None:
    assert "lo 127.0.0.1\n" in example("replace_netifaces.py")


def test_sweep_to_parquet(example, reference, tmp_path: Path, root: None) -> None:
    pyarrow = reference("pyarrow.parquet")
    path = tmp_path / "verdicts.parquet"
    assert example("sweep_to_parquet.py", "127.0.0.0/28", path) == "16 of 16 are alive\n"
    table = pyarrow.read_table(path)
    assert table.num_rows == 16
    assert set(table["state"].to_pylist()) == {"alive"}


def test_unix_service(example, tmp_path: Path) -> None:
    path = tmp_path / "service"
    words = [sys.executable, EXAMPLES / "unix_service.py", path, "serve"]
    with Child(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        try:
            assert server.stdout.readline() == "serving until Enter\n"
            assert example("unix_service.py", path, "ask").endswith(" asked 'who am I?'\n")
            server.stdin.close()
            assert server.wait(COMMAND_TIMEOUT) == 0
        finally:
            server.kill()


def test_wait_for_services(example) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=keep_accepting, args=[listener], daemon=True).start()
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        assert example("wait_for_services.py", place).startswith(place)
        listener.shutdown(socket.SHUT_RDWR)


def keep_accepting(listener: socket.socket) -> None:
    kept = []
    try:
        while True:
            kept.append(listener.accept()[0])
    except OSError:
        for each in kept:
            each.close()


def test_watch_interfaces(namespace: MakeNamespace, peer: Callable[[str], str]) -> None:
    host = namespace()
    words = [*host.prefix, sys.executable, "-u", EXAMPLES / "watch_interfaces.py", "2"]
    with Child(words, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        try:
            assert "WatchState" in watching.stdout.readline()
            host.ip("link", "add", "made", "type", "veth", "peer", "other")
            assert "made" in watching.stdout.read()
            assert watching.wait(COMMAND_TIMEOUT) == 0
        finally:
            watching.kill()


def test_read_packets(example) -> None:
    assert "192.0.2.53" in example("read_packets.py")


def test_echo_latency(example) -> None:
    assert [line.split()[0] for line in example("echo_latency.py", 100).splitlines()] == ["p50", "p90", "p99"]


def test_ping_many_async(example, root: None) -> None:
    lines = sorted(example("ping_many_async.py", "127.0.0.1", "127.0.0.2").splitlines())
    assert [line.partition(":")[0] for line in lines] == ["127.0.0.1", "127.0.0.2"]
    assert all(line.endswith(" ms") for line in lines)
