"""Echo over TCP, on IPv6 and IPv4: a server, and a client that measures how long each message takes.

::

    with EchoServer() as server:                        # [::1] and 127.0.0.1, on a free port
        result = echo("localhost", server.port, count=10)
        result.ok, result.rtt_avg_ms                    # (True, 0.08)
"""

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from fastnet._contract.values import counted
from fastnet._limits import (
    Host,
    bounded,
    check_callback,
    check_family,
    check_seconds,
    check_timeout,
    check_type,
    host_text,
    quoted,
)
from fastnet._log import ERROR, WARNING, log
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, WRITABLE, Steps, Wait, deadline_in, run, run_async
from fastnet._threads import Work, reason_of
from fastnet._typing import Any, NamedTuple, Self
from fastnet.endpoints import Endpoint, Resolved, listen, resolve
from fastnet.errors import InvalidArgument, WaitTimeout

__all__ = [
    "MAX_COUNT",
    "MAX_SIZE",
    "EchoClient",
    "EchoResult",
    "EchoServer",
    "EchoStats",
    "Reply",
    "echo",
    "echo_async",
]

MAX_COUNT = 1_000_000
MAX_SIZE = 1 << 24
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


class Reply(NamedTuple):
    """The result of one message."""

    seq: int
    """0 for the first message."""
    size: int
    """In bytes."""
    rtt_ms: float | None
    """From the first byte sent to the last byte received; None if the reply is missing."""
    error: str | None
    """Why it did not: ``no answer``, ``wrong answer at byte 3``, ``the server closed after 3 bytes``."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class EchoResult(NamedTuple):
    """All that came back. After a message that did not, no more are sent."""

    host: str
    address: str
    """The address that accepted the connection, ``[::1]:7``."""
    replies: tuple[Reply, ...]

    @property
    def sent(self) -> int:
        return len(self.replies)

    @property
    def received(self) -> int:
        return len(self._rtts)

    @property
    def ok(self) -> bool:
        """Whether each message came back as it was sent."""
        return bool(self.replies) and self.received == self.sent

    @property
    def error(self) -> str | None:
        """Why a message did not come back."""
        return self.replies[-1].error if self.replies else None

    @property
    def rtt_min_ms(self) -> float | None:
        return min(self._rtts, default=None)

    @property
    def rtt_avg_ms(self) -> float | None:
        return sum(self._rtts) / self.received if self._rtts else None

    @property
    def rtt_max_ms(self) -> float | None:
        return max(self._rtts, default=None)

    @property
    def rtt_p50_ms(self) -> float | None:
        return self._percentile(50)

    @property
    def rtt_p90_ms(self) -> float | None:
        return self._percentile(90)

    @property
    def rtt_p99_ms(self) -> float | None:
        return self._percentile(99)

    @property
    def _rtts(self) -> list[float]:
        return [reply.rtt_ms for reply in self.replies if reply.rtt_ms is not None]

    def _percentile(self, percent: int) -> float | None:
        """The nearest rank: the smallest time that so many percent of all do not exceed."""
        rtts = sorted(self._rtts)
        return rtts[-(-percent * len(rtts) // 100) - 1] if rtts else None

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class EchoClient:
    """One connection to an echo server; a context manager, sync and async. See ``echo``.

    Each address of the host is tried in turn. ``timeout`` bounds each connecting and each message's return,
    in seconds (None: for ever).
    """

    def __init__(
        self, host: Host, port: int, *, family: int = socket.AF_UNSPEC, timeout: float | None = 5.0
    ) -> None:
        bounded("port", port, 1, 65535)
        check_family(family)
        check_timeout("timeout", timeout)
        self._endpoint = Endpoint(host_text("host", host), port)
        self._family = family
        self._timeout = timeout
        self._sock = socket.socket()
        self._sock.close()
        self.address: str = ""
        """The address that took the connection, as ``[::1]:7``."""

    def connect(self) -> Self:
        """Raises NameNotResolved, WaitTimeout where no address answers, OSError where none takes it."""
        run(self._connect(resolve(*self._endpoint, family=self._family)))
        return self

    async def connect_async(self) -> Self:
        """``connect`` as a coroutine."""
        import asyncio

        await run_async(self._connect(await asyncio.to_thread(resolve, *self._endpoint, family=self._family)))
        return self

    def exchange(self, message: bytes, seq: int = 0) -> Reply:
        """Send a message and take what comes back, compared byte for byte."""
        return run(self._exchange(message, seq))

    async def exchange_async(self, message: bytes, seq: int = 0) -> Reply:
        """``exchange`` as a coroutine."""
        return await run_async(self._exchange(message, seq))

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.connect_async()

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _connect(self, addresses: list[Resolved]) -> Steps[None]:
        failure = 0
        for resolved in addresses:
            code = yield from self._try(resolved)
            if not code:
                self.address = str(Endpoint(resolved.host, self._endpoint.port))
                return
            # That one refused is more than that another did not answer.
            failure = code if failure in (0, errno.ETIMEDOUT) else failure
        tried = ", ".join(resolved.host for resolved in addresses)
        if failure == errno.ETIMEDOUT:
            within = "" if self._timeout is None else f" in {self._timeout:g} s"
            raise WaitTimeout(f"{self._endpoint}: no connection{within} ({tried})")
        raise OSError(failure, f"{os.strerror(failure)} ({tried})", str(self._endpoint))

    def _try(self, resolved: Resolved) -> Steps[int]:
        """Connect to one address; 0, or the errno."""
        self._sock.close()
        try:
            self._sock = socket.socket(resolved.family, socket.SOCK_STREAM)
        except OSError as error:  # no such family here
            return error.errno or errno.EAFNOSUPPORT
        code = errno.EINTR
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._sock.connect_ex(resolved.address)
            if code == errno.EINPROGRESS:
                ready = yield Wait(self._sock.fileno(), WRITABLE, deadline_in(self._timeout))
                code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
            return code
        finally:
            if code:
                self._sock.close()

    def _exchange(self, message: bytes, seq: int) -> Steps[Reply]:
        if not isinstance(message, bytes | bytearray | memoryview):
            raise InvalidArgument(f"message {quoted(message)}: expected bytes")
        bounded("seq", seq, 0, MAX_COUNT)
        deadline = deadline_in(self._timeout)
        started = time.perf_counter_ns()
        try:
            error = yield from self._send_and_compare(memoryview(message), deadline)
        except OSError as failure:
            error = f"the connection failed: {os.strerror(failure.errno or 0)}"
        rtt_ms = None if error else (time.perf_counter_ns() - started) / 1e6
        return Reply(seq, len(message), rtt_ms, error)

    def _send_and_compare(self, message: memoryview, deadline: float | None) -> Steps[str | None]:
        """Both at once, since a message may be longer than what the buffers on the way hold."""
        sent = returned = 0
        while returned < len(message):
            try:
                if sent < len(message):
                    sent += self._sock.send(message[sent:])
            except BlockingIOError:
                pass
            try:
                data = self._sock.recv(_CHUNK_BYTES)
            except BlockingIOError:
                events = READABLE | (WRITABLE if sent < len(message) else 0)
                if not (yield Wait(self._sock.fileno(), events, deadline)):
                    return (
                        f"only {returned} of {counted(len(message), 'byte')} came back"
                        if returned
                        else "no answer"
                    )
                continue
            if not data:
                return f"the server closed after {returned} of {counted(len(message), 'byte')}"
            expected = message[returned : returned + len(data)]
            if data != expected:
                return f"wrong answer at byte {returned + _first_difference(data, expected)}"
            returned += len(data)
        return None


def _first_difference(data: bytes, expected: memoryview) -> int:
    pairs = enumerate(zip(data, expected, strict=False))
    return next((place for place, (one, other) in pairs if one != other), len(expected))


def messages(count: int, size: int = 64, message: bytes | None = None) -> Iterator[bytes]:
    """What ``echo`` sends: the message, or ``size`` bytes that differ from one message to the next.

    Raises InvalidArgument.
    """
    bounded("count", count, 1, MAX_COUNT)
    if message is None:
        bounded("size", size, 1, MAX_SIZE)
    else:
        check_type("message", message, bytes, "bytes")
        if not 1 <= len(message) <= MAX_SIZE:
            raise InvalidArgument(f"a message of {counted(len(message), 'byte')}: expected 1 to {MAX_SIZE}")
        return (message for _ in range(count))
    # 251 is prime: no chunk of a power of two bytes looks like the one before it.
    pattern = bytes(range(251)) * (size // 251 + 2)
    return (pattern[seq % 251 : seq % 251 + size] for seq in range(count))


def echo(
    host: Host,
    port: int,
    *,
    count: int = 4,
    size: int = 64,
    message: bytes | None = None,
    interval: float = 0.0,
    timeout: float | None = 5.0,
    family: int = socket.AF_UNSPEC,
    on_reply: Callable[[Reply], object] | None = None,
) -> EchoResult:
    """Send messages to an echo server, one after the other, and measure how long each takes to come back.

    ``count`` messages of ``size`` bytes, or ``message`` so many times, are sent ``interval`` seconds apart
    over one connection, to the first address of the host that takes it. ``timeout`` bounds the connecting
    and each return. What comes back is compared byte for byte; after a message that did not come back right,
    no more are sent. ``on_reply`` is called for each as soon as it is known.

    Raises InvalidArgument, NameNotResolved, WaitTimeout where nothing answers the connecting, and OSError
    where it fails. A server that does not send back what it got is an answer: ``EchoResult.error``.
    """
    sending = messages(count, size, message)
    check_seconds("interval", interval)
    check_callback("on_reply", on_reply)
    with EchoClient(host, port, family=family, timeout=timeout) as client:
        return run(_converse(client, sending, interval, on_reply))


async def echo_async(
    host: Host,
    port: int,
    *,
    count: int = 4,
    size: int = 64,
    message: bytes | None = None,
    interval: float = 0.0,
    timeout: float | None = 5.0,
    family: int = socket.AF_UNSPEC,
    on_reply: Callable[[Reply], object] | None = None,
) -> EchoResult:
    """``echo`` as a coroutine."""
    sending = messages(count, size, message)
    check_seconds("interval", interval)
    check_callback("on_reply", on_reply)
    async with EchoClient(host, port, family=family, timeout=timeout) as client:
        return await run_async(_converse(client, sending, interval, on_reply))


def _converse(
    client: EchoClient,
    sending: Iterator[bytes],
    interval: float,
    on_reply: Callable[[Reply], object] | None,
) -> Steps[EchoResult]:
    replies: list[Reply] = []
    started = time.monotonic()
    for seq, message in enumerate(sending):
        if seq and interval:
            yield Wait(-1, 0, started + seq * interval)
        reply = yield from client._exchange(message, seq)
        replies.append(reply)
        if on_reply is not None:
            on_reply(reply)
        if reply.error:
            break
    return EchoResult(client._endpoint.host, client.address, tuple(replies))
