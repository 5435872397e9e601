"""Children: forked processes with a channel to each, ended and reaped by the parent."""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
import _socket as socket
import os
import sys
from _collections_abc import Callable
from _weakrefset import WeakSet

from fastnet._limits import check_callable, check_seconds
from fastnet._steps import READABLE, Steps, Wait, deadline_in, run, run_async
from fastnet._typing import NoReturn, Self
from fastnet.errors import ChildFailed, WaitTimeout
from fastnet.ipc.channel import MAX_MESSAGE, Channel, pair


class Child:
    """A forked child, ``pid``, and the ``channel`` to it: what ``fork`` returns.

    As a context manager it closes the channel at the end, gives the child ``grace`` seconds to end by itself,
    kills it if it has not, and always reaps it. Then it raises ChildFailed if the child raised (the
    traceback is in a note), was killed, or exited with a status other than 0, unless the block raised itself.
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

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._leave(error, run(self._end()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
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
        _shut_down(self.channel)
        self.channel.close()
        late = ""
        try:
            yield from self._wait(self._grace)
        except WaitTimeout:
            late = f"still ran {self._grace:g} s after its channel was closed, and was killed"
        finally:
            # No zombie is left after a timeout or an interrupted wait (Ctrl-C, a cancelled task) either.
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


def _shut_down(channel: Channel) -> None:
    try:
        channel._sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It was shut down or closed before.


_parents_ends: WeakSet[Channel] = WeakSet()
"""The parent's ends of the channels to children: another child must not hold them open."""


def fork(
    function: Callable[[Channel], int | None],
    *,
    grace: float = 5.0,
    max_message: int = MAX_MESSAGE,
    timeout: float | None = None,
) -> Child:
    """Run ``function(channel)`` in a forked child, with a channel between the two; use it in a ``with``.

    The function's return value is the exit status (None is 0), as with ``sys.exit``, which works too. Nothing
    of the parent runs in the child: no ``finally``, no ``atexit``. ``max_message`` and ``timeout`` are those
    of the channels.

    Fork before starting threads: a child has only the one that forked. If there are others, a
    DeprecationWarning is raised from Python 3.12 on, as by ``os.fork``, but before there is a child. If a
    warning that is made an error, or Ctrl-C, raises an exception, no child is left.
    """
    check_callable("function", function)
    check_seconds("grace", grace)
    _warn_of_threads()
    ours, theirs = pair(max_message=max_message, timeout=timeout)
    report = -1
    try:
        with theirs:
            report = os.memfd_create("fastnet-child")
            _parents_ends.add(ours)
            _flush()  # buffered data would be written by the child a second time
            return _fork(
                lambda: _live(function, theirs, report),
                lambda pid: Child(pid, ours, report, grace),
            )
    except BaseException:
        ours.close()
        if report >= 0:
            os.close(report)
        raise


def _warn_of_threads() -> None:
    """Warn if os.fork() would, but before there is a child. One filter matches both messages."""
    if sys.version_info < (3, 12):
        return
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        import threading  # only here: it takes long to load

        threads = threading.active_count()
    if threads > 1:
        import warnings  # only here: it takes long to load

        warnings.warn(
            f"This process (pid={os.getpid()}) is multi-threaded: a forked child has one of its {threads} "
            "threads, and may wait forever for a lock that another one held",
            DeprecationWarning,
            stacklevel=3,
        )


def _fork(live: Callable[[], NoReturn], adopt: Callable[[int], Child]) -> Child:
    """Fork, run ``live`` in the child, and return what ``adopt`` makes of its pid.

    os.fork() can raise although there is a child: it warns of threads only after the fork, and a handler of
    Ctrl-C may run before it returns. So the child sends its pid, and the parent can end it.
    """
    parent = os.getpid()
    reader, writer = socket.socketpair()
    try:
        pid = os.fork()
        if pid == 0:
            writer.send(b"%d" % os.getpid())
            reader.close()
            writer.close()
            live()
        return adopt(pid)
    except BaseException:
        if os.getpid() != parent:
            os._exit(1)
        writer.close()
        if text := reader.recv(16):  # empty if there is no child
            os.kill(int(text), signal.SIGKILL)
            os.waitpid(int(text), 0)
        raise
    finally:
        reader.close()
        writer.close()


def _live(function: Callable[[Channel], int | None], channel: Channel, report: int) -> NoReturn:
    """Run in the child, from the fork to the exit."""
    status = 1
    try:
        # Else the parent's event loop would receive this child's signals.
        signal.set_wakeup_fd(-1)
        for end in _parents_ends:
            end.close()
        status = _status(function, channel)
        _flush()
    except BaseException as error:  # any exception is reported to the parent
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
