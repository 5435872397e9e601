"""The server of the metrics' pages: what it answers, whom it drops, and that it outlives shortages."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from forwarding import PATIENCE, assert_soon, connect, forever, open_files, read_all
from limits import descriptors, lowest_free

from fastnet._forward import pages
from fastnet._forward.pages import Page, PageServer, Request

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = os.urandom(10 << 20)


class Counting(PageServer):
    """Counts its turns, and how often it paused."""

    turns = pauses = 0

    def _turn(self) -> bool:
        self.turns += 1
        return super()._turn()

    def _pause(self) -> None:
        self.pauses += 1
        super()._pause()


class Pages:
    """A server of pages, what it was asked for and what it warned of."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port: int = self.listener.getsockname()[1]
        self.asked: list[Request] = []
        self.warnings: list[str] = []
        self.error: Exception | None = None
        self.server = Counting([self.listener], self._make, self.warnings.append)
        self.server.start()

    def _make(self, request: Request) -> Page:
        self.asked.append(request)
        if self.error:
            raise self.error
        return Page("200 OK", [("X-Made", "yes")], LARGE if request.path == "/large" else b"the page")

    def answer(self, request: bytes) -> tuple[str, bytes]:
        """The status line and the body that this brings."""
        with connect(self.port) as client:
            client.sendall(request)
            head, _, body = read_all(client).partition(b"\r\n\r\n")
            return head.split(b"\r\n")[0].decode(), body


@pytest.fixture
def served() -> Iterator[Pages]:
    served = Pages()
    yield served
    served.server.stop()
    served.listener.close()


OK = ("HTTP/1.0 200 OK", b"the page")


def test_a_page_is_made_of_what_is_asked_for(served: Pages) -> None:
    with connect(served.port) as client:
        for part in (b"GET /metrics?name[]=a&", b"b HTTP/1.1\r\nAccept: x/y\r", b"\nHost:  z \r\n\r", b"\n"):
            client.sendall(part)
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    assert answer == (
        b"HTTP/1.0 200 OK\r\nX-Made: yes\r\nContent-Length: 8\r\nConnection: close\r\n\r\nthe page"
    )
    assert served.asked == [Request("/metrics", "name[]=a&b", {"accept": "x/y", "host": "z"})]
    assert served.answer(b"GET / HTTP/1.0\n\n") == OK


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", "200 OK"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + bytes(5_000_000), "405 Method Not Allowed"),
        (b"nonsense\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x00\xff\n\n", "400 Bad Request"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000, "431 Request Header Fields Too Large"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", "431 Request Header Fields Too Large"),
    ],
)
def test_another_request_than_a_get(served: Pages, request_: bytes, status: str) -> None:
    """What was sent and not read costs nobody the answer."""
    shown, body = b"", b""
    with connect(served.port) as client:
        with suppress(ConnectionError):
            client.sendall(request_)
        with suppress(ConnectionError):
            while data := client.recv(65536):
                shown += data
    line, _, body = shown.partition(b"\r\n")
    assert line.decode() == f"HTTP/1.0 {status}"
    if status == "200 OK":
        assert body.endswith(b"\r\nContent-Length: 8\r\nConnection: close\r\n\r\n")
    assert served.answer(GET) == OK


def test_a_slow_reader_gets_all_of_a_large_page(served: Pages) -> None:
    with connect(served.port) as client:
        client.sendall(GET.replace(b"/metrics", b"/large"))
        first = client.recv(1000)
        assert served.answer(GET) == OK
        assert (first + read_all(client)).partition(b"\r\n\r\n")[2] == LARGE


def test_silent_clients_keep_nobody_out(served: Pages) -> None:
    threads, files = threading.active_count(), open_files()
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(served.port)) for _ in range(300)]
        assert served.answer(GET) == OK
        assert threading.active_count() == threads
        assert_soon(lambda: open_files() <= files + 300 + 32)
        assert silent[0].recv(1) == b""  # It made room.
        silent[-1].sendall(GET)
        assert read_all(silent[-1]).endswith(b"the page")
    assert_soon(lambda: open_files() == files)


@pytest.mark.parametrize("data", [b"", b"G"])
def test_whoever_takes_too_long_is_dropped(
    served: Pages, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """Also one that never stops sending."""
    monkeypatch.setattr(pages, "_SECONDS", 0.1)
    with connect(served.port) as client:
        if data:
            client.settimeout(0.01)
            with pytest.raises(ConnectionError):
                forever(lambda: _drip(client, data))
        else:
            assert client.recv(1) == b""


def _drip(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    with suppress(TimeoutError):
        if not client.recv(1):
            raise ConnectionError


def test_an_answer_that_nobody_takes_is_given_up(served: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_SECONDS", 0.1)
    files = open_files()
    with connect(served.port) as client:
        client.sendall(GET.replace(b"/metrics", b"/large"))
        assert client.recv(1) == b"H"
        assert_soon(lambda: open_files() == files + 1)


def test_a_page_that_can_not_be_made(served: Pages) -> None:
    served.error = MemoryError()
    for _ in range(3):
        assert served.answer(GET)[0] == "HTTP/1.0 500 Internal Server Error"
    assert served.warnings == ["no page could be made: MemoryError"]
    served.error = None
    assert served.answer(GET) == OK
    served.error = ValueError("x")
    served.answer(GET)
    assert served.warnings[1:] == ["no page could be made: x"]


def test_without_descriptors_clients_wait_and_no_time_is_burnt(served: Pages) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(5)]
        with descriptors(lowest_free()):
            for client in clients:
                client.settimeout(PATIENCE)
                client.connect(("127.0.0.1", served.port))
                client.sendall(GET)
            before = served.server.turns, served.server.pauses
            assert_soon(lambda: served.server.pauses - before[1] >= 3)
            assert served.server.turns - before[0] < 20
        for client in clients:
            assert read_all(client).endswith(b"the page")


def test_where_descriptors_run_out_the_one_that_is_silent_makes_room(served: Pages) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(served.port)) for _ in range(5)]
        assert served.answer(GET) == OK
        asking = [stack.enter_context(socket.socket()) for _ in range(5)]
        with descriptors(lowest_free()):
            for client in asking:
                client.settimeout(PATIENCE)
                client.connect(("127.0.0.1", served.port))
                client.sendall(GET)
                assert read_all(client).endswith(b"the page")
        assert silent[0].recv(1) == b""


def test_the_end_waits_for_no_client(served: Pages) -> None:
    with connect(served.port) as client:
        assert served.answer(GET) == OK
        stopping = Pages()
        with connect(stopping.port) as other:
            assert stopping.answer(GET) == OK
            stopping.server.stop()
            stopping.listener.close()
            assert other.recv(1) == b""
        client.sendall(GET)
        assert read_all(client).endswith(b"the page")
