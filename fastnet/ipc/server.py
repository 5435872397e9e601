"""Servers on Unix-domain sockets, in threads or in tasks."""

import errno
import os
import socket
import threading
import time
from _collections_abc import Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress

from fastnet._contract.values import counted
from fastnet._limits import bounded, check_callable, check_seconds, check_timeout, check_type
from fastnet._log import WARNING, log
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, Steps, Wait, deadline_in, run, run_async
from fastnet._system import unix as _core
from fastnet._threads import Work, reason_of
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias
from fastnet.errors import InvalidArgument, WaitTimeout
from fastnet.ipc.channel import MAX_MESSAGE, Channel, check_max_message

if TYPE_CHECKING:
    import asyncio

_MOST_CONNECTIONS = 1_000_000
_LAST_SECONDS = 1.0
"""Raised in handlers whose connections were closed."""
_EXHAUSTED_SECONDS = 0.05
"""Seconds between two accepts while the process is out of descriptors."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Handler: TypeAlias = "Callable[[Channel], None] | Callable[[Channel], Coroutine[Any, Any, None]]"


class UnixStats(NamedTuple):
    """The counters of a server."""

    accepted: int
    active: int
    refused: int
    """Connections to an abstract address from users whom the mode does not admit."""
    failed: int
    """Connections ended by an error of the peer: closed too early, too slow, or a bad message."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class UnixServer:
    """Serves channels on a Unix-domain path, or with a leading ``@`` on an abstract name.

    ``handler(channel)`` is called for each connection, and the channel closed when it returns. In a ``with``
    (or between ``start`` and ``stop``) it runs in a thread for each; in an ``async with`` it is a coroutine
    function and runs in a task. An error of the peer (BadMessage, ConnectionError, WaitTimeout) ends its
    connection and is counted; any other exception is reported as an uncaught one of a thread or task.

    A path's file is created with ``mode``, whatever the umask. An abstract name has no file: there the server
    checks the user and primary group of each peer against the mode. At most ``max_connections`` are
    served at once and the others wait; ``timeout`` and ``max_message`` are those of the channels.

    Raises AddressInUse if another server listens at the path, or the file there is no socket; a socket on
    which no process listens is replaced. The path is removed at the end if it is still this server's.
    """

    def __init__(
        self,
        address: _core.Address,
        handler: Handler,
        *,
        mode: int = 0o600,
        max_connections: int = 64,
        max_message: int = MAX_MESSAGE,
        timeout: float | None = None,
    ) -> None:
        _core.unix_address(address)
        check_callable("handler", handler)
        check_type("mode", mode, int, "0 to 0o777")
        if not 0 <= mode <= 0o777:
            raise InvalidArgument(f"mode {mode:#o}: expected 0 to 0o777")
        bounded("max_connections", max_connections, 1, _MOST_CONNECTIONS)
        check_max_message(max_message)
        check_timeout("timeout", timeout)
        self.address = address
        self._handler = handler
        self._mode = mode
        self._max_connections = max_connections
        self._max_message = max_message
        self._timeout = timeout
        self._claim: _core.Claim | None = None
        self._acceptor: Work[None] | None = None
        self._serving: dict[Any, Channel] = {}
        self._counting = threading.Lock()
        self._accepted = self._refused = self._failed = 0
        self._is_short = False

    @property
    def stats(self) -> UnixStats:
        """Its counters so far."""
        return UnixStats(self._accepted, len(self._serving), self._refused, self._failed)

    # In threads

    def start(self) -> Self:
        """Listen, and serve in threads. Raises AddressInUse, or the system's error for the path."""
        claim = self._open()
        slots = self._slots = threading.Semaphore(self._max_connections)
        try:
            self._acceptor = Work(lambda: self._accept(claim, slots), "fastnet-ipc")
        except BaseException:
            self._leave()
            claim.release()
            claim.listener.close()
            raise
        return self

    def wait(self) -> None:
        """Wait until it has stopped. Raises the error that ended it, if ``stop`` did not."""
        if self._acceptor is not None:
            self._acceptor.result()

    def stop(self, grace: float = 5.0) -> None:
        """Remove the path, and wait until all handlers have answered the messages sent so far.

        Handlers receive no more messages, and after ``grace`` seconds they can't send either. If one does not
        return even then, its thread goes on and WaitTimeout is raised. A handler may call ``stop``.
        """
        check_seconds("grace", grace)
        claim = self._leave()
        if claim is None:
            return
        with ExitStack() as ends:  # the last one first
            ends.callback(self._drain, grace)
            ends.callback(claim.listener.close)
            ends.callback(self.wait)
            ends.callback(self._slots.release)
            claim.release()

    def _drain(self, grace: float) -> None:
        serving = dict(self._serving)
        _shut(serving.values(), socket.SHUT_RD)
        serving.pop(threading.current_thread(), None)
        _join(serving, grace)
        _shut(serving.values(), socket.SHUT_RDWR)
        _join(serving, _LAST_SECONDS)
        if stuck := sum(thread.is_alive() for thread in serving):
            raise WaitTimeout(
                f"{self.address}: {counted(stuck, 'handler')} still running after the end of the connection"
            )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, claim: _core.Claim, slots: threading.Semaphore) -> None:
        while slots.acquire() and (channel := run(self._next(claim))):
            while not self._started(channel, slots):
                time.sleep(_EXHAUSTED_SECONDS)
                if self._claim is not claim:
                    channel.close()
                    return

    def _started(self, channel: Channel, slots: threading.Semaphore) -> bool:
        """Serve in a new thread, if one can be started."""
        thread = threading.Thread(target=self._serve, args=(channel, slots), daemon=True)
        self._serving[thread] = channel
        try:
            thread.start()
        except RuntimeError as error:
            del self._serving[thread]
            self._note_shortage(error)
            return False
        return True

    def _serve(self, channel: Channel, slots: threading.Semaphore) -> None:
        try:
            with channel:
                self._handler(channel)
        except (ConnectionError, WaitTimeout):
            self._count_failure()
        finally:
            del self._serving[threading.current_thread()]
            slots.release()

    # In tasks

    async def start_async(self) -> Self:
        """``start`` as a coroutine, serving in tasks of the running event loop."""
        import asyncio

        claim = await asyncio.to_thread(self._open)
        self._accepting = asyncio.create_task(self._accept_async(claim))
        return self

    async def stop_async(self, grace: float = 5.0) -> None:
        """``stop`` as a coroutine; handlers that take longer than ``grace`` seconds are cancelled."""
        import asyncio

        check_seconds("grace", grace)
        claim = self._leave()
        if claim is None:
            return
        try:
            await asyncio.to_thread(claim.release)
        finally:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            claim.listener.close()
            await self._drain_async(grace)

    async def _drain_async(self, grace: float) -> None:
        import asyncio

        serving = dict(self._serving)
        _shut(serving.values(), socket.SHUT_RD)
        serving.pop(asyncio.current_task(), None)
        if serving:
            _, late = await asyncio.wait(serving, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def __aenter__(self) -> Self:
        return await self.start_async()

    async def __aexit__(self, *_: object) -> None:
        await self.stop_async()

    async def _accept_async(self, claim: _core.Claim) -> None:
        import asyncio

        slots = asyncio.Semaphore(self._max_connections)
        while await slots.acquire() and (channel := await run_async(self._next(claim))):
            task = asyncio.create_task(self._serve_async(channel, slots))
            self._serving[task] = channel

    async def _serve_async(self, channel: Channel, slots: "asyncio.Semaphore") -> None:
        import asyncio

        try:
            with channel:
                await self._handler(channel)  # type: ignore[misc]
        except (ConnectionError, WaitTimeout):
            self._count_failure()
        finally:
            del self._serving[asyncio.current_task()]
            slots.release()

    # In both

    def _open(self) -> _core.Claim:
        if self._claim is not None:
            raise InvalidArgument(f"{self.address}: this server has been started already")
        self._claim = _core.Claim(self.address, self._mode)
        return self._claim

    def _leave(self) -> _core.Claim | None:
        claim, self._claim = self._claim, None
        return claim

    def _next(self, claim: _core.Claim) -> Steps[Channel | None]:
        """The next connection of a peer whom the mode admits; None once the server stops."""
        listener = claim.listener
        while self._claim is claim:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                yield Wait(listener.fileno(), READABLE)
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                # Out of descriptors: the connection stays queued until one is free.
                self._note_shortage(error)
                yield Wait(-1, 0, deadline_in(_EXHAUSTED_SECONDS))
                continue
            channel = Channel(sock, max_message=self._max_message, timeout=self._timeout)
            self._is_short = False
            if claim.admits(channel.peer.uid, channel.peer.gid):
                self._accepted += 1
                return channel
            self._refused += 1
            channel.close()
        return None

    def _note_shortage(self, error: Exception) -> None:
        """Log it once until a connection is accepted."""
        if not self._is_short:
            self._is_short = True
            log("ipc", WARNING, f"{os.fsdecode(self.address)}: accepting pauses: {reason_of(error)}")

    def _count_failure(self) -> None:
        with self._counting:
            self._failed += 1


def _shut(channels: Iterable[Channel], how: int) -> None:
    for channel in channels:
        with suppress(OSError):  # its handler or its peer has already closed it
            channel._sock.shutdown(how)


def _join(threads: Iterable[threading.Thread], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
