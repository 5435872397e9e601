"""Whole messages between processes: a forked child, and servers and clients on Unix-domain sockets.

A message is 0 to ``max_message`` bytes and arrives as it was sent, however the reads split or merge: on the
wire it follows its length in 4 bytes, big-endian. Beside it can travel open file descriptors (``fds=``), and
``Channel.peer`` is who is at the other end (unix(7): SCM_RIGHTS, SO_PEERCRED).

Every call that can wait has a coroutine, ``NAME_async``; the context managers are sync and async. ::

    with fork(lambda channel: channel.send(channel.recv().upper())) as child:
        child.channel.send(b"hello")
        child.channel.recv()                        # b"HELLO"

    with UnixServer("/run/user/1000/echo", echo_messages), connect("/run/user/1000/echo") as channel:
        channel.send(b"hello")
        channel.recv()                              # b"hello"
"""

import errno
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self, TypeAlias
from weakref import WeakSet

from fastnet._limits import check_seconds, check_timeout
from fastnet._log import WARNING, log
from fastnet._results import as_dict, shown
from fastnet._steps import READABLE, WRITABLE, Steps, Wait, deadline_in, run, run_async
from fastnet._system import unix as _core
from fastnet._threads import Work, reason_of
from fastnet.errors import BadMessage, ChildFailed, InvalidArgument, WaitTimeout

if TYPE_CHECKING:
    import asyncio

MAX_MESSAGE = 1 << 20
"""Maximum message length in bytes, unless another ``max_message`` is given."""
MAX_FDS = 253
"""Maximum descriptors in one message (SCM_MAX_FD)."""

_LENGTH_BYTES = 4
_READ_BYTES = 1 << 18
_LAST_SECONDS = 1.0
"""Raised in handlers whose connections were closed."""
_FULL_SECONDS = 0.01
"""Seconds between two connects to a server whose queue is full."""
_EXHAUSTED_SECONDS = 0.05
"""Seconds between two accepts while the process is out of descriptors."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOBODY = frozenset({errno.ENOENT, errno.ECONNREFUSED})

Buffer: TypeAlias = bytes | bytearray | memoryview


class Credentials(NamedTuple):
    """The process that connected, listened or created the pair, from the kernel."""

    pid: int
    uid: int
    gid: int

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class Channel:
    """Whole messages over a connected stream socket of the Unix domain, which it owns from then on.

    ``timeout`` limits each send and receive, in seconds; None is no limit. One thread or task may send
    while another receives. Raises InvalidArgument for any other kind of socket.
    """

    def __init__(
        self, sock: socket.socket, *, max_message: int = MAX_MESSAGE, timeout: float | None = None
    ) -> None:
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise InvalidArgument(f"{sock.family.name} {sock.type.name}: expected a stream socket of AF_UNIX")
        _check_max_message(max_message)
        check_timeout("timeout", timeout)
        sock.setblocking(False)
        self._sock = sock
        self._frame = bytearray()
        self._fds: list[int] = []
        self.max_message = max_message
        self.timeout = timeout

    def send(self, message: Buffer, fds: Sequence[int] = ()) -> None:
        """Send one message, with copies of open file descriptors.

        Raises InvalidArgument for a message over ``max_message``, BrokenPipeError where the peer is gone,
        and WaitTimeout; after a partial send the channel is closed, since the rest would be misread.
        """
        run(self._send(message, fds))

    async def send_async(self, message: Buffer, fds: Sequence[int] = ()) -> None:
        """``send`` as a coroutine."""
        await run_async(self._send(message, fds))

    def recv(self) -> bytes | None:
        """The next message, or None if the peer sends no more.

        Descriptors that come with it are closed. Raises BadMessage if the peer announces more than
        ``max_message`` bytes or ends within a message, and WaitTimeout, after which it can be called again.
        """
        return run(self._recv())

    async def recv_async(self) -> bytes | None:
        """``recv`` as a coroutine."""
        return await run_async(self._recv())

    def recv_fds(self, limit: int = MAX_FDS) -> tuple[bytes, list[int]] | None:
        """The next message and the descriptors that came with it, which are the caller's to close.

        They are not inherited by programs that this process runs. Raises as ``recv`` does, and BadMessage for
        more than ``limit`` descriptors (none of them stays open).
        """
        return run(self._recv_fds(limit))

    async def recv_fds_async(self, limit: int = MAX_FDS) -> tuple[bytes, list[int]] | None:
        """``recv_fds`` as a coroutine."""
        return await run_async(self._recv_fds(limit))

    def finish(self) -> None:
        """Send no more: the peer's ``recv`` gives None after what was sent; receiving goes on."""
        self._sock.shutdown(socket.SHUT_WR)

    @property
    def peer(self) -> Credentials:
        """The process at the other end. For both ends of a pair it is the process that created it."""
        return Credentials(*_core.credentials(self._sock))

    def fileno(self) -> int:
        """The socket's descriptor, for ``select`` and its like; -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket, and the descriptors of a message that was not received whole."""
        self._sock.close()
        _close_all(self._fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Each message until the peer sends no more."""
        while (message := self.recv()) is not None:
            yield message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.recv_async()) is not None:
            yield message

    def _send(self, message: Buffer, fds: Sequence[int]) -> Steps[None]:
        body = memoryview(message).cast("B")
        if len(body) > self.max_message:
            raise InvalidArgument(f"a message of {len(body)} bytes: at most {self.max_message} are allowed")
        if len(fds) > MAX_FDS:
            raise InvalidArgument(f"{len(fds)} descriptors: at most {MAX_FDS} travel with one message")
        data = memoryview(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        deadline = deadline_in(self.timeout)
        sent = 0
        try:
            while sent < len(data):
                try:
                    if fds and not sent:
                        sent = socket.send_fds(self._sock, [data], list(fds))
                    else:
                        sent += self._sock.send(data[sent:])
                except BlockingIOError:
                    if not (yield Wait(self.fileno(), WRITABLE, deadline)):
                        raise WaitTimeout(
                            f"the peer took {sent} of {len(data)} bytes in {self.timeout:g} s"
                        ) from None
        finally:
            if 0 < sent < len(data):
                self.close()

    def _recv(self) -> Steps[bytes | None]:
        received = yield from self._recv_fds(0)
        return None if received is None else received[0]

    def _recv_fds(self, limit: int) -> Steps[tuple[bytes, list[int]] | None]:
        deadline = deadline_in(self.timeout)
        while missing := self._missing():
            try:
                data = self._read(min(missing, _READ_BYTES), limit)
            except BlockingIOError:
                if not (yield Wait(self.fileno(), READABLE, deadline)):
                    raise WaitTimeout(f"no whole message came in {self.timeout:g} s") from None
                continue
            if not data:
                if self._frame:
                    raise BadMessage("the peer ended within a message")
                return None
            self._frame += data
        message, self._frame = bytes(self._frame[_LENGTH_BYTES:]), bytearray()
        fds, self._fds = self._fds, []
        return message, fds

    def _missing(self) -> int:
        """How many bytes to read now: never past the message, since descriptors belong to their bytes."""
        if len(self._frame) < _LENGTH_BYTES:
            return _LENGTH_BYTES - len(self._frame)
        length = int.from_bytes(self._frame[:_LENGTH_BYTES], "big")
        if length > self.max_message:
            raise BadMessage(
                f"the peer announces a message of {length} bytes: at most {self.max_message} are taken"
            )
        return _LENGTH_BYTES + length - len(self._frame)

    def _read(self, size: int, limit: int) -> bytes:
        if not limit:
            return self._sock.recv(size)
        data, fds, more = _core.receive(self._sock, size, limit)
        self._fds += fds
        if more or len(self._fds) > limit:
            _close_all(self._fds)
            raise BadMessage(f"the peer sent more than the {limit} descriptors that were asked for")
        return data


def pair(*, max_message: int = MAX_MESSAGE, timeout: float | None = None) -> tuple[Channel, Channel]:
    """Two connected channels (socketpair(2))."""
    _check_max_message(max_message)
    check_timeout("timeout", timeout)
    one, other = socket.socketpair()
    return (
        Channel(one, max_message=max_message, timeout=timeout),
        Channel(other, max_message=max_message, timeout=timeout),
    )


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _check_max_message(size: int) -> None:
    if not 0 < size < 1 << 8 * _LENGTH_BYTES:
        raise InvalidArgument(f"max_message {size}: expected 1 to {(1 << 8 * _LENGTH_BYTES) - 1} bytes")


class Child:
    """A forked child, ``pid``, and the ``channel`` to it: what ``fork`` returns.

    As a context manager it closes the channel at the end, gives the child ``grace`` seconds to end by itself,
    kills it if it has not, and reaps it in any case. Then it raises ChildFailed where the child raised (the
    traceback is in a note), was killed, or ended with another status than 0, unless the block raised itself.
    """

    def __init__(self, pid: int, channel: Channel, report: int, grace: float) -> None:
        self.pid = pid
        self.channel = channel
        self.status: int | None = None
        """The exit status, or the negative number of the signal; None while it runs."""
        self._grace = grace
        self._report = report
        self._pidfd = os.pidfd_open(pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the child has ended, reap it, and return its ``status``. Raises WaitTimeout."""
        return run(self._wait(timeout))

    async def wait_async(self, timeout: float | None = None) -> int:
        """``wait`` as a coroutine."""
        return await run_async(self._wait(timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        self._leave(error, run(self._end()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        self._leave(error, await run_async(self._end()))

    def _wait(self, timeout: float | None) -> Steps[int]:
        if self.status is None:
            if not (yield Wait(self._pidfd, READABLE, deadline_in(timeout))):
                raise WaitTimeout(f"the child {self.pid} still runs after {timeout:g} s")
            self._reap()
        assert self.status is not None
        return self.status

    def _reap(self) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _end(self) -> Steps[str]:
        """Close the channel and reap the child; returns the error, or None."""
        # By shutdown, the child sees the end even if another process inherited our side of the channel.
        with suppress(OSError):
            self.channel._sock.shutdown(socket.SHUT_RDWR)
        self.channel.close()
        late = ""
        try:
            yield from self._wait(self._grace)
        except WaitTimeout:
            late = f"still ran {self._grace:g} s after its channel was closed, and was killed"
        finally:
            # After a timeout or an interrupted wait (Ctrl-C, a cancelled task) no zombie is left either.
            if self.status is None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                self._reap()
            os.close(self._pidfd)
            with open(self._report, "rb") as report:
                report.seek(0)
                self._raised, _, self._traceback = report.read().decode().partition("\0")
        return late

    def _leave(self, error: BaseException | None, late: str) -> None:
        if error is not None or self.status == 0:
            return
        failure = ChildFailed(f"the child {self.pid} {late or self._ending()}")
        if self._traceback:
            failure.add_note(f"In the child {self.pid}:\n{self._traceback}")
        raise failure

    def _ending(self) -> str:
        assert self.status is not None
        if self._raised:
            return f"raised {self._raised}"
        if self.status < 0:
            return f"was ended by signal {-self.status} ({signal.strsignal(-self.status)})"
        return f"ended with {self.status}"


_parents_ends: WeakSet[Channel] = WeakSet()
"""Our ends of the channels to children: a further child must not hold them open."""


def fork(
    function: Callable[[Channel], int | None],
    *,
    grace: float = 5.0,
    max_message: int = MAX_MESSAGE,
    timeout: float | None = None,
) -> Child:
    """Run ``function(channel)`` in a forked child, with a channel between the two; use it in a ``with``.

    What the function returns is the exit status (None is 0), as with ``sys.exit``, which works too. Nothing
    of the parent runs in the child: no ``finally``, no ``atexit``. ``max_message`` and ``timeout`` are the
    channels'.

    Fork before starting threads: a child has only the one that forked. Where there are others, a
    DeprecationWarning is given from Python 3.12 on, as by ``os.fork``, but before there is a child. Whatever
    is raised, by a warning that is made an error or by Ctrl-C, no child is left.
    """
    check_seconds("grace", grace)
    _warn_of_threads()
    with ExitStack() as undo:
        report = os.memfd_create("fastnet-child")
        undo.callback(os.close, report)
        ours, theirs = pair(max_message=max_message, timeout=timeout)
        undo.callback(ours.close)
        _parents_ends.add(ours)
        _flush()  # buffered data would be written by the child a second time
        with theirs:
            child = _fork(
                lambda: _live(function, theirs, report),
                lambda pid: Child(pid, ours, report, grace),
            )
        undo.pop_all()
    return child


def _warn_of_threads() -> None:
    """Warn where os.fork() will, but before there is a child; both begin alike, so that one filter does."""
    if sys.version_info < (3, 12):
        return
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        threads = threading.active_count()
    if threads > 1:
        warnings.warn(
            f"This process (pid={os.getpid()}) is multi-threaded: a forked child has one of its {threads} "
            "threads, and may wait forever for a lock that another one held",
            DeprecationWarning,
            stacklevel=3,
        )


def _fork(live: Callable[[], NoReturn], adopt: Callable[[int], Child]) -> Child:
    """Fork, run ``live`` in the child, and return what ``adopt`` makes of its pid.

    os.fork() can raise although there is a child: it warns of threads only then, and before its result is
    known Ctrl-C's handler runs. The child's own word for its pid is what makes it possible to end it.
    """
    parent = os.getpid()
    reader, writer = socket.socketpair()
    with reader, writer:
        try:
            pid = os.fork()
            if pid == 0:
                with reader, writer:
                    writer.send(b"%d" % os.getpid())
                live()
            return adopt(pid)
        except BaseException:
            if os.getpid() != parent:
                os._exit(1)
            writer.close()
            if text := reader.recv(16):  # nothing where there is no child
                os.kill(int(text), signal.SIGKILL)
                os.waitpid(int(text), 0)
            raise


def _live(function: Callable[[Channel], int | None], channel: Channel, report: int) -> NoReturn:
    """The child's life, from the fork to the exit."""
    status = 1
    try:
        # Else the parent's event loop would receive this child's signals.
        signal.set_wakeup_fd(-1)
        for end in _parents_ends:
            end.close()
        status = _status(function, channel)
        _flush()
    except BaseException as error:  # whatever it is, the parent learns it
        import traceback

        text = "".join(traceback.format_exception(error))
        os.write(report, f"{_in_one_line(error)}\0{text}".encode(errors="replace"))
    finally:
        os._exit(status)


def _status(function: Callable[[Channel], int | None], channel: Channel) -> int:
    try:
        code = function(channel)
    except SystemExit as leaving:
        if not isinstance(leaving.code, int | None):
            raise
        code = leaving.code
    return (code or 0) & 0xFF


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


Handler: TypeAlias = "Callable[[Channel], None] | Callable[[Channel], Coroutine[Any, Any, None]]"


class UnixStats(NamedTuple):
    """What a server has done so far."""

    accepted: int
    active: int
    refused: int
    """Connections to an abstract address from users whom the mode keeps out."""
    failed: int
    """Connections that ended by an error of the peer's: gone too early, too slow, or a bad message."""

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class UnixServer:
    """Serves channels on a Unix-domain path, or with ``@`` before it on an abstract name.

    ``handler(channel)`` is called for each connection, and the channel closed when it returns. In a ``with``
    (or between ``start`` and ``stop``) it runs in a thread for each; in an ``async with`` it is a coroutine
    function and runs in a task. What the peer does wrong (BadMessage, ConnectionError, WaitTimeout) ends its
    connection and is counted; any other exception is reported as threads and tasks report theirs.

    A path's file has ``mode`` from its first moment, whatever the umask. An abstract name has no file: there
    the mode is kept by looking at who connects, by user and primary group. At most ``max_connections`` are
    served at once and the others wait; ``timeout`` and ``max_message`` are the channels'.

    The path of a live server is refused with AddressInUse, and so is a file that is no socket; a socket that
    nobody listens on any more is replaced. The path is removed at the end if it is still this server's.
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
        if not 0 <= mode <= 0o777:
            raise InvalidArgument(f"mode {mode:#o}: expected 0 to 0o777")
        if max_connections < 1:
            raise InvalidArgument(f"max_connections {max_connections}: expected 1 or more")
        _check_max_message(max_message)
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
        """What it has done so far."""
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
        """Wait until it has stopped. Raises what ended it, if it was not ``stop``."""
        if self._acceptor is not None:
            self._acceptor.result()

    def stop(self, grace: float = 5.0) -> None:
        """Remove the path, let each handler answer what was sent to it, and wait for all of them.

        Handlers find no more messages, and after ``grace`` seconds they can't send either. One that does not
        return even then stays behind in its thread, and WaitTimeout is raised. A handler may call it.
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
                f"{self.address}: {stuck} handlers still run although their connections are closed"
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
        """Serve in a thread, if one can be had."""
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
        """The next connection of somebody whom the mode lets in; None once the server stops."""
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
                # Out of descriptors: the connection stays queued until there is one.
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
        """Logged once until somebody is accepted."""
        if not self._is_short:
            self._is_short = True
            log("ipc", WARNING, f"{os.fsdecode(self.address)}: accepting pauses: {reason_of(error)}")

    def _count_failure(self) -> None:
        with self._counting:
            self._failed += 1


def _shut(channels: Iterable[Channel], how: int) -> None:
    for channel in channels:
        with suppress(OSError):  # its handler, or its peer, was sooner
            channel._sock.shutdown(how)


def _join(threads: Iterable[threading.Thread], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def connect(
    address: _core.Address, *, max_message: int = MAX_MESSAGE, timeout: float | None = None
) -> Channel:
    """A channel to the server at a path, or with ``@`` before it at an abstract name.

    ``timeout`` bounds the connecting, and then each send and receive. Raises FileNotFoundError or
    ConnectionRefusedError where no server listens, PermissionError, and WaitTimeout where it takes nobody on.
    """
    return run(_connect(address, max_message, timeout))


async def connect_async(
    address: _core.Address, *, max_message: int = MAX_MESSAGE, timeout: float | None = None
) -> Channel:
    """``connect`` as a coroutine."""
    return await run_async(_connect(address, max_message, timeout))


def _connect(address: _core.Address, max_message: int, timeout: float | None) -> Steps[Channel]:
    where = _core.unix_address(address)
    _check_max_message(max_message)
    deadline = deadline_in(timeout)
    channel = Channel(
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), max_message=max_message, timeout=timeout
    )
    connected = False
    try:
        while code := channel._sock.connect_ex(where):
            if code != errno.EAGAIN:
                reason = (
                    f"no server listens there ({os.strerror(code)})" if code in _NOBODY else os.strerror(code)
                )
                raise OSError(code, reason, os.fsdecode(address))
            # The queue of the server is full. Linux lets nobody poll for room in it.
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{os.fsdecode(address)}: the server took on nobody in {timeout:g} s")
            yield Wait(-1, 0, deadline_in(_FULL_SECONDS))
        connected = True
        return channel
    finally:
        if not connected:
            channel.close()
