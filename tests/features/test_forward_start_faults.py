"""Each call of the system that a forwarder's start makes fails once: it fails with a reason, or serves."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from faults import MOST_THREAD_ERRORS, ThreadFaults, faults_of_threads
from forwarding import PATIENCE, Server, assert_soon, open_files, say, who

from fastnet._forward import Forwarder, Rule

START_ERRORS = (OSError, MemoryError)


@pytest.fixture(scope="module")
def faults() -> Iterator[ThreadFaults]:
    yield from faults_of_threads()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def rules_of(place: Path, port: int) -> list[Rule]:
    return [
        Rule("localhost:0", f"localhost:{port}", name="tcp", health="connect"),
        Rule(f"unix:{place}/socket", f"127.0.0.1:{port}", name="unix", max_per_source=3),
        # Elsewhere: this port may be the free one that UDP takes, which would be a circle.
        Rule("127.0.0.1:0", f"127.0.0.2:{port}", name="udp", protocol="udp"),
        Rule("127.0.0.1:0", f"localhost:{port}", name="http", rewrite_host=True),
    ]


def assert_serves(forwarder: Forwarder, path: Path) -> None:
    tcp, unix, *_ = forwarder.rules
    assert who(forwarder.addresses_of(tcp)[0].port) == "x"  # type: ignore[union-attr]
    assert unix.listen.path == str(path / "socket")  # type: ignore[union-attr]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path / "socket"))
        assert client.recv(1) == b"x"


def start(
    faults: ThreadFaults, forwarder: Forwarder, number: int, error: int
) -> tuple[Exception | None, bool]:
    """What the start raises where the call of this number fails, and whether one did; in its own thread."""
    with faults.one_fails(threading.get_native_id(), number, error):
        try:
            forwarder.start()
        except START_ERRORS as reason:
            return reason.with_traceback(None), faults.failed
        return None, faults.failed


@pytest.mark.parametrize("engine", ["auto", "pure"])
@pytest.mark.parametrize("error", range(MOST_THREAD_ERRORS))
def test_a_start_fails_with_a_reason_or_serves(
    serve: Callable[..., Server],
    faults: ThreadFaults,
    pool: ThreadPoolExecutor,
    tmp_path: Path,
    engine: str,
    error: int,
) -> None:
    rules = rules_of(tmp_path, serve(say("x")).port)

    def attempt(number: int) -> bool:
        """Whether a call has failed: there are as many."""
        forwarder = Forwarder.from_rules(rules, threads=2, engine=engine, warn=lambda _: None)
        reason, failed = pool.submit(start, faults, forwarder, number, error).result(PATIENCE)
        if reason is None:
            assert_serves(forwarder, tmp_path)
            forwarder.stop()
        else:
            assert failed
            assert isinstance(reason, MemoryError) or str(reason)
        return failed

    attempt(1_000_000)  # What is loaded at first is there afterwards.
    files, threads = open_files(), threading.active_count()

    def is_as_before() -> bool:
        return threading.active_count() <= threads and open_files() <= files

    for number in count():
        failed = attempt(number)
        assert os.listdir(tmp_path) == [], number
        assert_soon(is_as_before)
        if not failed:
            break
    assert number > 0
