"""A small HTTP server for pages that are made at once: one thread, with limits for each client.

A request is a head of 8 KiB at most, whole within ten seconds of connecting; the answer must be taken in
that time too. A new client beyond the limit replaces the oldest one, also when
descriptors run out, so a silent client keeps no other one out.
"""

import os
import resource
import selectors
import socket
import time
from _collections_abc import Callable, Iterator
from contextlib import ExitStack, suppress

from fastnet._threads import reason_of, start_thread
from fastnet._typing import NamedTuple

_MOST_CLIENTS = 32
_SECONDS = 10.0
_LINGER = 1.0
"""Seconds that a client has to read the end of its answer."""
_PAUSE = 0.2
"""Seconds without accepting after a failed accept."""
_HEAD = 8192
_CHUNK = 65536


class Request(NamedTuple):
    """What a client asks for."""

    path: str
    query: str
    headers: dict[str, str]
    """By their names in lower case."""


class Page(NamedTuple):
    """The answer to it."""

    status: str
    """As ``200 OK``."""
    headers: list[tuple[str, str]]
    body: bytes


def _error(status: str, *headers: tuple[str, str]) -> Page:
    return Page(status, [("Content-Type", "text/plain"), *headers], f"{status}\n".encode())


class _Client:
    """``deadline``: when it is dropped, whatever it does."""

    __slots__ = ("deadline", "head", "is_answered", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = time.monotonic() + _SECONDS
        self.head = b""
        self.unsent = memoryview(b"")
        self.is_answered = False


class PageServer:
    """Serves at listening sockets, which stay the caller's, from ``start`` until ``stop``.

    ``make`` is called in its thread; where it raises, the client gets status 500. ``warn`` is called with a
    line of text then, and where it can't serve for a while.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        make: Callable[[Request], Page],
        warn: Callable[[str], None],
    ) -> None:
        self._sockets = sockets
        self._make = make
        self._warn = warn
        self._clients: dict[_Client, None] = {}
        """The oldest is the first."""
        self._failing = False
        self._listening: list[socket.socket] = []
        self._listen_again_at = 0.0

    def start(self) -> None:
        """Start answering. Raises OSError if there is no thread or descriptor for it."""
        with ExitStack() as undo:
            for sock in self._sockets:
                sock.setblocking(False)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, self._waker)
            self._selector.register(self._waker, selectors.EVENT_READ)
            files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._most_clients = max(1, min(_MOST_CLIENTS, files // 8)) if files > 0 else _MOST_CLIENTS
            self._thread = start_thread(self._run, "fastnet-metrics")
            self._opened = undo.pop_all()

    def stop(self) -> None:
        """Stop answering: open connections are closed."""
        os.eventfd_write(self._waker, 1)
        self._thread.join()
        for client in [*self._clients]:
            self._drop(client)
        self._opened.close()

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._turn()
            except Exception as error:
                self._report("clients wait", error)
                self._pause()
                time.sleep(_PAUSE)

    def _report(self, what: str, error: Exception) -> None:
        """Warn once, until a page is made again."""
        if not self._failing:
            self._failing = True
            with suppress(Exception):  # It continues even if the warning fails.
                self._warn(f"{what}: {reason_of(error)}")

    def _turn(self) -> bool:
        self._set_listening()
        for key, _ in self._selector.select(self._until_next_deadline()):
            if key.fileobj == self._waker:
                return False
            if key.data is None:
                self._accept(key.fileobj)  # type: ignore[arg-type]
            elif key.data in self._clients:  # It may have made room.
                self._serve(key.data)
        now = time.monotonic()
        for client in [client for client in self._clients if client.deadline <= now]:
            self._drop(client)
        return True

    def _until_next_deadline(self) -> float | None:
        deadlines = [client.deadline for client in self._clients]
        if not self._listening:
            deadlines.append(self._listen_again_at)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _set_listening(self) -> None:
        if self._listening or time.monotonic() < self._listen_again_at:
            return
        for sock in self._sockets:
            self._selector.register(sock, selectors.EVENT_READ)
            self._listening.append(sock)

    def _pause(self) -> None:
        while self._listening:
            self._selector.unregister(self._listening.pop())
        self._listen_again_at = time.monotonic() + _PAUSE

    # Clients

    def _accept(self, listener: socket.socket) -> None:
        if len(self._clients) >= self._most_clients:
            self._drop(next(iter(self._clients)))
        if not self._listening:
            return
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # The client has closed before it was accepted.
            return
        except OSError:  # Out of descriptors or memory: it waits in the queue.
            if self._clients:
                self._drop(next(iter(self._clients)))
            else:
                self._pause()
            return
        sock.setblocking(False)
        client = _Client(sock)
        try:
            self._selector.register(sock, selectors.EVENT_READ, client)
        except OSError:
            sock.close()
            self._pause()
            return
        self._clients[client] = None

    def _drop(self, client: _Client) -> None:
        del self._clients[client]
        self._selector.unregister(client.sock)
        client.sock.close()

    def _serve(self, client: _Client) -> None:
        try:
            if client.unsent:
                self._send(client)
            else:
                self._read(client)
        except BlockingIOError:
            pass
        except OSError:  # The client has closed; others are not affected.
            self._drop(client)

    def _read(self, client: _Client) -> None:
        data = client.sock.recv(_CHUNK)
        if not data:
            self._drop(client)
            return
        if client.is_answered:  # Further bytes from it are discarded.
            return
        client.head += data
        head, end, _ = client.head.replace(b"\r\n", b"\n").partition(b"\n\n")
        if end or len(client.head) > _HEAD:
            page, has_body = self._answer(head if end else None)
            client.unsent = memoryview(b"".join(_response(page, has_body)))
            self._selector.modify(client.sock, selectors.EVENT_WRITE, client)
            self._send(client)

    def _send(self, client: _Client) -> None:
        client.unsent = client.unsent[client.sock.send(client.unsent) :]
        if client.unsent:
            return
        # Closed at once with unread bytes, it would be reset, and the answer might be lost.
        client.is_answered = True
        client.deadline = min(client.deadline, time.monotonic() + _LINGER)
        client.sock.shutdown(socket.SHUT_WR)
        self._selector.modify(client.sock, selectors.EVENT_READ, client)

    def _answer(self, head: bytes | None) -> tuple[Page, bool]:
        """The page for a head (None: it is too long), and whether its body is wanted."""
        if head is None or len(head) > _HEAD:
            return _error("431 Request Header Fields Too Large"), True
        first, *lines = head.decode("latin-1").split("\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            return _error("400 Bad Request"), True
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _error("405 Method Not Allowed", ("Allow", "GET, HEAD")), True
        path, _, query = target.partition("?")
        fields = (line.partition(":") for line in lines)
        request = Request(path, query, {name.lower(): value.strip() for name, _, value in fields})
        try:
            page = self._make(request)
        except Exception as error:
            self._report("no page could be made", error)
            return _error("500 Internal Server Error"), True
        self._failing = False
        return page, method == "GET"


def _response(page: Page, has_body: bool) -> Iterator[bytes]:
    headers = [*page.headers, ("Content-Length", str(len(page.body))), ("Connection", "close")]
    yield f"HTTP/1.0 {page.status}\r\n".encode("latin-1")
    yield "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
    yield b"\r\n"
    if has_body:
        yield page.body
