"""The server of echo."""

import os
import selectors
import socket
import time
from contextlib import ExitStack

from fastnet._limits import (
    Host,
    bounded,
    check_family,
    check_timeout,
    host_text,
)
from fastnet._log import ERROR, WARNING, log
from fastnet._results import as_dict, shown
from fastnet._threads import Work, reason_of
from fastnet._typing import Any, NamedTuple, Self
from fastnet.endpoints import Endpoint, Resolved, listen
from fastnet.errors import InvalidArgument

_MOST_CONNECTIONS = 1_000_000

_CHUNK_BYTES = 1 << 16
_PAUSE_SECONDS = 0.05


class EchoStats(NamedTuple):
    """Counters of a server."""

    accepted: int
    active: int
    echoed_bytes: int
    timed_out: int
    """Connections closed by the idle timeout."""
    failed: int
    """Connections that the peer reset."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class _Connection:
    """A client's socket, and the bytes that are still to be sent back."""

    __slots__ = ("address", "deadline", "pending", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pending = memoryview(b"")
        self.deadline = 0.0


class EchoServer:
    """Sends back what each connection sends, on every address that ``host`` stands for.

    ``localhost`` is both loopbacks and ``*`` every address, each family by a socket of its own; port 0 takes
    a free port, the same in both. All connections are served by one thread. Nothing is read from a client
    that does not read, so each holds at most 64 KiB. After a half-close the client gets all the rest, and is
    then closed. Over ``max_connections``, clients wait to be accepted; ``idle_timeout`` seconds without
    data end a connection (None: never). A context manager, sync and async.
    """

    def __init__(
        self,
        host: Host = "localhost",
        port: int = 0,
        *,
        family: int = socket.AF_UNSPEC,
        max_connections: int = 1000,
        idle_timeout: float | None = None,
    ) -> None:
        bounded("port", port, 0, 65535)
        check_family(family)
        bounded("max_connections", max_connections, 1, _MOST_CONNECTIONS)
        check_timeout("idle_timeout", idle_timeout)
        self._endpoint = Endpoint(host_text("host", host), port)
        self._family = family
        self._max_connections = max_connections
        self._idle_timeout = idle_timeout
        self._listeners: list[socket.socket] = []
        self._work: Work[None] | None = None
        self._connections: dict[_Connection, None] = {}
        """In the order of their last data, the longest idle first."""
        self._listening = False
        self._listen_again_at = 0.0
        self._is_short = False
        self._accepted = self._echoed = self._timed_out = self._failed = 0

    @property
    def addresses(self) -> list[Endpoint]:
        """Where it listens."""
        names = [Resolved(sock.family, sock.getsockname()) for sock in self._listeners]
        return [Endpoint(name.host, name.address[1]) for name in names]

    @property
    def port(self) -> int:
        """The port that it listens on, 0 while it does not."""
        return self.addresses[0].port if self._listeners else 0

    @property
    def _place(self) -> Endpoint:
        return self._endpoint._replace(port=self.port)

    @property
    def stats(self) -> EchoStats:
        """The counters."""
        return EchoStats(self._accepted, len(self._connections), self._echoed, self._timed_out, self._failed)

    def __repr__(self) -> str:
        """Its state, and where it listens."""
        if not self._listeners:
            return f"<EchoServer {self._endpoint}: not running>"
        return f"<EchoServer {', '.join(map(str, self.addresses))}: running, {len(self._connections)} active>"

    def start(self) -> Self:
        """Listen, and serve in a thread. Raises NameNotResolved, AddressInUse, NotPermitted, OSError."""
        if self._work is not None:
            raise InvalidArgument("this server has been started already")
        with ExitStack() as undo:
            listeners = [undo.enter_context(sock) for sock in listen(self._endpoint, family=self._family)]
            for listener in listeners:
                listener.setblocking(False)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._waker = os.eventfd(0)
            undo.callback(os.close, self._waker)
            self._selector.register(self._waker, selectors.EVENT_READ)
            self._listeners = listeners
            self._work = Work(self._serve, "fastnet-echo")
            self._opened = undo.pop_all()
        return self

    def wait(self) -> None:
        """Wait until it has stopped. Raises the error that ended it, if it was not ``stop``."""
        if self._work is not None:
            self._work.result()

    def stop(self) -> None:
        """Close the listeners and all connections, and wait for the thread. Raises as ``wait`` does.

        In a child process that forked off it does nothing: the parent's server goes on.
        """
        if self._work is None or not self._work.is_ours:
            return
        os.eventfd_write(self._waker, 1)
        try:
            self._work.result()
        finally:
            self._work = None
            self._opened.close()
            self._listeners = []
            self._listening = False

    async def start_async(self) -> Self:
        """``start`` as a coroutine: the name is looked up without holding the event loop."""
        import asyncio

        return await asyncio.to_thread(self.start)

    async def stop_async(self) -> None:
        """``stop`` as a coroutine."""
        import asyncio

        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await self.start_async()

    async def __aexit__(self, *_: object) -> None:
        await self.stop_async()

    def _serve(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException:
            log("echo", ERROR, f"{self._place}: the server ended", exc_info=True)
            for listener in self._listeners:  # Nobody will be accepted any more.
                listener.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            for connection in self._connections:
                connection.sock.close()
            self._connections.clear()

    def _turn(self) -> bool:
        """Serve whatever is ready; False when asked to stop."""
        now = time.monotonic()  # one for both: a pause that ended between them would never end
        self._set_listening(now)
        for key, _ in self._selector.select(self._until_next_deadline(now)):
            if key.fileobj == self._waker:
                return False
            if key.data is None:
                self._accept(key.fileobj)  # type: ignore[arg-type]
            else:
                self._echo(key.data)
        self._close_idle()
        return True

    def _set_listening(self, now: float) -> None:
        """Accept only while there is room: clients over the limit wait in the kernel's queue."""
        wanted = len(self._connections) < self._max_connections and now >= self._listen_again_at
        if wanted == self._listening:
            return
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                self._selector.register(listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(listener)

    def _until_next_deadline(self, now: float) -> float | None:
        deadlines = [] if self._listen_again_at <= now else [self._listen_again_at]
        if self._idle_timeout is not None and self._connections:
            deadlines.append(next(iter(self._connections)).deadline)
        return max(0.0, min(deadlines) - now) if deadlines else None

    def _accept(self, listener: socket.socket) -> None:
        if len(self._connections) >= self._max_connections:
            return
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # it closed before it was accepted
            return
        except OSError as error:
            # Out of descriptors or memory: it stays queued until there is room.
            self._pause(error)
            return
        connection = _Connection(sock)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(sock, selectors.EVENT_READ, connection)
        except OSError as error:
            sock.close()
            self._failed += 1
            self._pause(error)
            return
        self._accepted += 1
        self._is_short = False
        self._touch(connection)

    def _pause(self, error: OSError) -> None:
        """Accept nobody for a moment. Logged once until somebody is accepted."""
        self._listen_again_at = time.monotonic() + _PAUSE_SECONDS
        if not self._is_short:
            self._is_short = True
            log("echo", WARNING, f"{self._place}: accepting pauses: {reason_of(error)}")

    def _echo(self, connection: _Connection) -> None:
        """Send what is pending, else read; the next chunk is read only when the last is gone."""
        try:
            if not connection.pending:
                data = connection.sock.recv(_CHUNK_BYTES)
                if not data:
                    self._close(connection)
                    return
                connection.pending = memoryview(data)
            sent = connection.sock.send(connection.pending)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._failed += 1
            self._close(connection)
            return
        self._echoed += sent
        connection.pending = connection.pending[sent:]
        event = selectors.EVENT_WRITE if connection.pending else selectors.EVENT_READ
        if self._selector.get_key(connection.sock).events != event:
            self._selector.modify(connection.sock, event, connection)
        self._touch(connection)

    def _touch(self, connection: _Connection) -> None:
        if self._idle_timeout is not None:
            connection.deadline = time.monotonic() + self._idle_timeout
        self._connections.pop(connection, None)
        self._connections[connection] = None

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()
        del self._connections[connection]

    def _close_idle(self) -> None:
        if self._idle_timeout is None:
            return
        now = time.monotonic()
        while (oldest := next(iter(self._connections), None)) and oldest.deadline <= now:
            self._timed_out += 1
            self._close(oldest)
