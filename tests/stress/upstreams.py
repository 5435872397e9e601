"""Where the forwarder connects to: listeners that serve, refuse, never answer, or die for a while."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from .reactor import READ, Reactor


class Listener:
    """A place that accepts; ``die`` and ``revive`` close and open it."""

    def __init__(self, reactor: Reactor, place: str, on_accept: Callable[[socket.socket], None]) -> None:
        self._reactor = reactor
        self._on_accept = on_accept
        self._path = place.removeprefix("unix:") if place.startswith("unix:") else ""
        self._address: tuple[str, int] | str = self._path or ("127.0.0.1", 0)
        self._sock: socket.socket | None = None
        self._closed = False
        self.revive()
        assert self._sock
        if not self._path:
            self._address = self._sock.getsockname()

    @property
    def port(self) -> int:
        assert isinstance(self._address, tuple)
        return self._address[1]

    @property
    def place(self) -> str:
        return f"unix:{self._path}" if self._path else f"127.0.0.1:{self.port}"

    def revive(self) -> None:
        if self._sock or self._closed:
            return
        self._sock = sock = socket.socket(socket.AF_UNIX if self._path else socket.AF_INET)
        if self._path:
            Path(self._path).unlink(missing_ok=True)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(self._address)
        sock.listen(1000)
        sock.setblocking(False)
        self._reactor.watch(sock.fileno(), READ, lambda _: self._accept())

    def die(self) -> None:
        if self._sock:
            self._reactor.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def close(self) -> None:
        self.die()
        self._closed = True

    def _accept(self) -> None:
        for _ in range(20):
            if not self._sock:
                return
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            self._on_accept(sock)


class Upstreams:
    """The upstreams of a round, of a kind of ``options``, and where else the rule may be set to."""

    def __init__(self, reactor: Reactor, kind: str, on_accept: Callable[[socket.socket], None]) -> None:
        self._undo = contextlib.ExitStack()
        self.kind = kind
        unix = kind == "unix"
        room = self._undo.enter_context(tempfile.TemporaryDirectory())
        self._listeners = [
            Listener(reactor, f"unix:{room}/{number}" if unix else "", on_accept) for number in range(2)
        ]
        first, second = (listener.place for listener in self._listeners)
        if kind == "two":
            self.places = [first, second]
        elif kind == "refused first":
            self.places = [self._refusing(), first]
        elif kind == "black hole first":
            self.places = [self._black_hole(), first]
        elif kind == "name":
            self.places = [f"localhost:{self._listeners[0].port}"]
        else:
            self.places = [first]
        # The first is what Hosts are rewritten to.
        self.others = [*self.places[:1], second] if kind != "two" else [first]

    def _refusing(self) -> str:
        sock = self._undo.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"

    def _black_hole(self) -> str:
        """A listener whose backlog is full: it answers nothing any more."""
        sock = self._undo.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(2):
            client = self._undo.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
        return f"127.0.0.1:{sock.getsockname()[1]}"

    @property
    def may_fail(self) -> bool:
        """Not every client can be served."""
        return self.kind in ("refused first", "black hole first", "dying")

    def die(self) -> None:
        for listener in self._listeners:
            listener.die()

    def revive(self) -> None:
        for listener in self._listeners:
            listener.revive()

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._undo.close()
