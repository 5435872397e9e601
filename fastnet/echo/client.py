"""The client of echo, and what it measured."""

import errno
import os
import socket
import time
from _collections_abc import Callable, Iterator

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
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, WRITABLE, Steps, Wait, deadline_in, run, run_async
from fastnet._typing import Any, NamedTuple, Self
from fastnet.endpoints import Endpoint, Resolved, resolve
from fastnet.errors import InvalidArgument, WaitTimeout

MAX_COUNT = 1_000_000
MAX_SIZE = 1 << 24

_CHUNK_BYTES = 1 << 16


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
