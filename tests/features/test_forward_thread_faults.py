"""Each call of the system that a thread beside the relays makes fails once: then it goes on as before."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from faults import MOST_THREAD_ERRORS, ThreadFaults, faults_of_threads
from forwarding import PATIENCE, Server, assert_soon, connect, say, who

from fastnet._forward import Forwarder, access_log, pages, upstreams
from fastnet._forward.access_log import AccessLog
from fastnet._threads import Repeated
from fastnet.endpoints import Endpoint

NEVER = 1 << 60


@pytest.fixture(scope="module")
def faults() -> Iterator[ThreadFaults]:
    yield from faults_of_threads()


@pytest.fixture(params=["auto", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=range(MOST_THREAD_ERRORS))
def error(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is repeated, and what pauses after a failure, does not take its time."""

    def repeated(
        step: Callable[[], object], name: str, what: str, warn: Callable[[str], None], *_: float
    ) -> Repeated:
        return Repeated(step, name, what, warn, 0.005)

    monkeypatch.setattr(upstreams, "Repeated", repeated)
    monkeypatch.setattr(access_log, "_PAUSE", 0.005)
    monkeypatch.setattr(pages, "_PAUSE", 0.01)


def thread_of(name: str) -> int:
    [found] = [one.native_id for one in threading.enumerate() if one.name == name]
    assert found
    return found


def let_each_fail(faults: ThreadFaults, name: str, error: int, work: Callable[[], object]) -> None:
    """Each call that the thread makes for this work fails once; the work raises where it does not go on."""
    thread = thread_of(name)
    work()
    with faults.one_fails(thread, NEVER, error):
        work()
        calls = faults.called
    for number in range(calls):
        with faults.one_fails(thread, number, error):
            work()
        work()
    assert thread_of(name) == thread


def test_names_are_followed_again(
    serve: Callable[..., Server],
    faults: ThreadFaults,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    error: int,
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2"]
    port = serve(say(hosts[0]), hosts[0]).port
    serve(say(hosts[1]), hosts[1], port)
    real = socket.getaddrinfo
    asks, answers = threading.Semaphore(0), threading.Semaphore(1)

    def look_up(name: bytes | None, *arguments: Any) -> list[Any]:
        if name != b"moving.test":
            return real(name, *arguments)
        asks.release()
        assert answers.acquire(timeout=PATIENCE)
        return real(hosts[0], *arguments)

    def move() -> None:
        """The thread looks the name up once; where that fails, it does once more."""
        hosts.reverse()
        answers.release()
        assert asks.acquire(timeout=PATIENCE)
        if who(forwarder.port) != hosts[0]:
            assert faults.failed
            answers.release()
            assert asks.acquire(timeout=PATIENCE)
        assert who(forwarder.port) == hosts[0]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    place = f"moving.test:{port}"
    with Forwarder("127.0.0.1:0", place, engine=engine, warn=lambda _: None) as forwarder:
        for _ in range(2):  # That of the start, and the thread's first.
            assert asks.acquire(timeout=PATIENCE)
        let_each_fail(faults, "fastnet-forward-names", error, move)
        monkeypatch.setattr(socket, "getaddrinfo", real)
        answers.release(2)


@pytest.mark.parametrize("check", ["connect", "banner", "http:/"])
def test_no_upstream_is_blamed_and_health_is_checked_again(
    serve: Callable[..., Server], faults: ThreadFaults, check: str, error: int
) -> None:
    """The engine has no part in that."""
    checks = 0

    def answer(sock: socket.socket) -> None:
        nonlocal checks
        if check == "http:/":
            sock.recv(4096)
        sock.sendall(b"HTTP/1.0 204 Fine\r\n\r\n")
        checks += 1

    def check_twice() -> None:
        before = checks
        assert_soon(lambda: checks > before + 1)
        assert forwarder.upstreams()[0].healthy

    warnings: list[str] = []
    server = serve(answer)
    place = f"127.0.0.1:{server.port}"
    given = {"health": check, "health_timeout": PATIENCE, "warn": warnings.append}
    with Forwarder("127.0.0.1:0", place, **given) as forwarder:
        let_each_fail(faults, "fastnet-forward-health", error, check_twice)
        assert not [text for text in warnings if "healthy" in text]
        server.close()
        assert_soon(lambda: not forwarder.upstreams()[0].healthy)


def test_the_log_goes_on_and_what_it_lost_is_counted(
    serve: Callable[..., Server], faults: ThreadFaults, tmp_path: Path, engine: str, error: int
) -> None:
    path = tmp_path / "log"
    place = f"127.0.0.1:{serve(say('x')).port}"
    connections = 0

    def lines() -> int:
        return sum(not line.startswith(b"#") for line in path.read_bytes().splitlines())

    def log_one() -> None:
        nonlocal connections
        lost = log.lost
        log.reopen()
        connections += 1
        with connect(forwarder.port) as client:
            assert client.recv(1) == b"x"
        assert_soon(lambda: lines() + log.lost == connections)
        if not faults.failed:
            assert log.lost == lost

    log = AccessLog(str(path), "text", lambda _: None)
    with Forwarder("127.0.0.1:0", place, engine=engine, record=True) as forwarder:
        log.start(forwarder)
        let_each_fail(faults, "fastnet-access-log", error, log_one)
    log.close()
    assert lines() + log.lost == connections


def test_metrics_answer_again(
    serve: Callable[..., Server], faults: ThreadFaults, reference: Callable[[str], Any], error: int
) -> None:
    """Its thread calls nothing of the engine but counters."""
    reference("prometheus_client")
    from fastnet._forward.metrics import Exporter

    def scrape() -> int:
        client = HTTPConnection("127.0.0.1", exporter.addresses[0].port, timeout=PATIENCE)
        try:
            client.request("GET", "/metrics")
            return client.getresponse().status
        finally:
            client.close()

    def scrape_or_fail() -> None:
        with suppress(OSError, HTTPException):
            if scrape() == 200:
                return
        assert faults.failed

    exporter = Exporter(Endpoint("127.0.0.1", 0), lambda _: None)
    try:
        with Forwarder("127.0.0.1:0", f"127.0.0.1:{serve(say('x')).port}") as forwarder:
            exporter.start(forwarder)
            let_each_fail(faults, "fastnet-metrics", error, scrape_or_fail)
    finally:
        exporter.close()


def test_warnings_go_on(serve: Callable[..., Server], faults: ThreadFaults, error: int) -> None:
    written: list[str] = []
    warned = 0

    def write(text: str) -> None:
        os.write(null, text.encode())
        written.append(text)

    def warn() -> None:
        nonlocal warned
        warned += 1
        text = str(warned)
        forwarder._warner(text)
        assert_soon(lambda: text in written or faults.failed)

    null = os.open(os.devnull, os.O_WRONLY)
    with Forwarder("127.0.0.1:0", f"127.0.0.1:{serve(say('x')).port}", warn=write) as forwarder:
        let_each_fail(faults, "fastnet-forward-warnings", error, warn)
    os.close(null)
