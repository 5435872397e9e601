"""Each program of examples/, on loopback."""

from __future__ import annotations

import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import Child
from environment import COMMAND_TIMEOUT, NOBODY, ROOT, Run
from namespaces import MakeNamespace

from fastnet._ping import Summary

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted({path.name for path in EXAMPLES.glob("*.py")} - {"forwarder_in_pytest.py"})
"""All but the one that pytest runs."""
NOT_THERE = "/nosuch/file"
WRONG: dict[str, list[list[str]]] = {
    "echo_latency.py": [[], ["x"], ["0"]],
    "monitor_to_prometheus.py": [[], *([NOT_THERE, each, "127.0.0.1"] for each in ("x", "-1", "nan"))],
    "ping_many_async.py": [[]],
    "read_packets.py": [["x"]],
    "replace_netifaces.py": [["x"]],
    "sweep_to_parquet.py": [[], [NOT_THERE], [NOT_THERE, "10.0.0.0/33"]],
    "unix_service.py": [[], [NOT_THERE, "x"], ["", "ask"], ["", "serve"]],
    "wait_for_services.py": [[], ["localhost"]],
    "watch_interfaces.py": [[], ["x"], ["0"], ["-1"]],
}
FAILING = [
    ("monitor_to_prometheus.py", NOT_THERE, "0", "127.0.0.1"),
    ("sweep_to_parquet.py", NOT_THERE, "127.0.0.1"),
    ("unix_service.py", NOT_THERE, "ask"),
    ("unix_service.py", NOT_THERE, "serve"),
]


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


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(python: Run, reference, name: str) -> None:
    reference("pyarrow")
    ran = python(str(EXAMPLES / name), "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"usage: {name} ")


@pytest.mark.parametrize(
    ("name", "words"), [(name, words) for name in PROGRAMS for words in WRONG[name]], ids=str
)
def test_wrong_arguments(python: Run, reference, root: None, name: str, words: list[str]) -> None:
    reference("pyarrow")
    ran = python(str(EXAMPLES / name), *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"usage: {name} ")
    assert ran.stderr.splitlines()[-1].startswith(f"{name}: error: ")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("words", FAILING, ids=str)
def test_a_failure_of_the_system_is_one_line(python: Run, reference, root: None, words: tuple[str]) -> None:
    reference("pyarrow")
    ran = python(str(EXAMPLES / words[0]), *words[1:])
    assert (ran.returncode, ran.stdout) == (3, "")
    assert re.fullmatch(rf"{words[0]}: error: .*/nosuch.*\n", ran.stderr)


@contextmanager
def interrupted(code: int, name: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A running example; Ctrl-C then ends it with this code and without a word."""
    command = [sys.executable, EXAMPLES / name, *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as running:
        try:
            yield running
            running.send_signal(signal.SIGINT)
            assert running.communicate(timeout=COMMAND_TIMEOUT)[1] == ""
            assert running.returncode == code
        finally:
            running.kill()


def test_an_interrupted_monitor(tmp_path: Path, root: None) -> None:
    path = tmp_path / "ping.prom"
    with interrupted(130, "monitor_to_prometheus.py", path, 60, "127.0.0.1") as running:
        while not path.exists():
            assert running.poll() is None
            time.sleep(0.01)


def test_an_interrupted_watch() -> None:
    with interrupted(130, "watch_interfaces.py", 10) as running:
        assert running.stdout
        assert "WatchState" in running.stdout.readline()


def test_an_interrupted_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with interrupted(130, "wait_for_services.py", place):
            listener.accept()[0].close()


def test_an_interrupted_question(tmp_path: Path) -> None:
    path = str(tmp_path / "service")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with interrupted(130, "unix_service.py", path, "ask"):
            connection, _ = listener.accept()
        connection.close()


def test_monitor_to_prometheus(example, reference, tmp_path: Path, root: None) -> None:
    parser = reference("prometheus_client.parser")
    path = tmp_path / "ping.prom"
    example("monitor_to_prometheus.py", path, 0, "127.0.0.1", "127.0.0.2")
    samples = [
        each for family in parser.text_string_to_metric_families(path.read_text()) for each in family.samples
    ]
    up = {each.labels["host"]: each.value for each in samples if each.name == "ping_up"}
    assert up == {"127.0.0.1": 1, "127.0.0.2": 1}
    assert len([each for each in samples if each.name == "ping_rtt_seconds"]) == 2


def test_a_host_of_any_text_is_a_label(reference) -> None:
    parser = reference("prometheus_client.parser")
    host = 'a"b\\n\nc'
    text = runpy.run_path(str(EXAMPLES / "monitor_to_prometheus.py"))["text_of"](
        [Summary(host, "", "").result()]
    )
    up, _ = parser.text_string_to_metric_families(text)
    assert [each.labels for each in up.samples] == [{"host": host}]


def test_forwarder_without_pytest(python: Run) -> None:
    ran = python(str(EXAMPLES / "forwarder_in_pytest.py"), "--help")
    line = "these are tests, which pytest runs: pytest forwarder_in_pytest.py\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", line)


def test_forwarder_in_pytest(python: Run) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null")
    ran = python(*words, str(EXAMPLES / "forwarder_in_pytest.py"))
    assert "2 passed" in ran.stdout, ran.stdout


def test_replace_netifaces(example) -> None:
    assert "lo 127.0.0.1\n" in example("replace_netifaces.py")


def test_sweep_to_parquet(example, reference, tmp_path: Path, root: None) -> None:
    pyarrow = reference("pyarrow.parquet")
    path = tmp_path / "verdicts.parquet"
    printed = example("sweep_to_parquet.py", path, "127.0.0.0/28", "no.invalid")
    assert printed == "16 of 17 are alive\n"
    *alive, unresolved = pyarrow.read_table(path).to_pylist()
    assert [(row["address"], row["state"]) for row in alive] == [(f"127.0.0.{n}", "alive") for n in range(16)]
    assert all(row["rtt_ms"] > 0 and row["reason"] is None for row in alive)
    assert (unresolved["address"], unresolved["state"]) == ("no.invalid", "not probed")
    assert unresolved["rtt_ms"] is None
    assert unresolved["reason"]


def test_sweep_to_parquet_without_pyarrow(python: Run, tmp_path: Path) -> None:
    text = "raise ModuleNotFoundError(\"No module named 'pyarrow'\", name='pyarrow')"
    (tmp_path / "pyarrow.py").write_text(text)
    ran = python(str(EXAMPLES / "sweep_to_parquet.py"), env={"PYTHONPATH": str(tmp_path)})
    line = "the Python package pyarrow is missing: pip install pyarrow\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "", line)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_unix_service(example, python: Run, root: None, ending: signal.Signals) -> None:
    """Whose standard input is empty, and whose users are several."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "service")
        words = [sys.executable, EXAMPLES / "unix_service.py", path, "serve"]
        with Child(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            assert server.stdout.readline() == "serving until Ctrl-C or SIGTERM\n"
            assert example("unix_service.py", path, "ask") == "root asked 'who am I?'\n"
            asked = python(str(EXAMPLES / "unix_service.py"), str(path), "ask", prefix=NOBODY)
            assert re.fullmatch(r"(nobody|65534) asked 'who am I\?'\n", asked.stdout), asked.stderr
            server.send_signal(ending)
            assert server.wait(COMMAND_TIMEOUT) == 0
            assert not path.exists()


def test_a_user_without_a_name_is_a_number() -> None:
    example = runpy.run_path(str(EXAMPLES / "unix_service.py"))
    assert [example["user_name"](uid) for uid in (0, 4_000_000_000)] == ["root", "4000000000"]


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
    """Each host has a line, also where others are none."""
    hosts = ["127.0.0.1", "127.0.0.2", "nosuch..x", "224.0.0.1"]
    lines = sorted(example("ping_many_async.py", *hosts).splitlines())
    assert [line.partition(":")[0] for line in lines] == sorted(hosts)
    assert [line.endswith(" ms") for line in lines] == [True, True, False, False]
