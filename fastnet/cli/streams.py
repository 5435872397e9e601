"""Standard output and error of a server: a reader that stops neither delays nor ends it.

Lines go into a queue that a thread writes out. If the queue is full (its reader has stopped),
or writing fails (the reader is gone, the disk is full), lines are dropped and counted, and standard error
reports it once.
"""

import io
import os
import select
import sys
import threading
from _collections_abc import Callable, Iterator
from contextlib import contextmanager

from fastnet._contract.values import counted
from fastnet._threads import start_thread
from fastnet._typing import TextIO, cast, deque
from fastnet.cli.output import remark

_LIMIT = 16 << 20
"""Maximum bytes in the queue."""
_A_WRITE = 1 << 16
_LAST_SECONDS = 1.0
"""Seconds to wait for a slow reader at the end."""


@contextmanager
def queued_streams(command: str) -> Iterator[None]:
    """Replace both streams by queues. Raises OSError if no thread can be started."""
    before = sys.stdout, sys.stderr

    def warn(text: str) -> None:
        remark(f"{command}: {text}")

    with _queued(before[1], "standard error", None) as error:
        sys.stderr = error
        try:
            with _queued(before[0], "standard output", warn) as output:
                sys.stdout = output
                try:
                    yield
                finally:
                    sys.stdout = before[0]
        finally:
            sys.stderr = before[1]


@contextmanager
def _queued(stream: TextIO, name: str, warn: Callable[[str], None] | None) -> Iterator[TextIO]:
    try:
        stream.fileno()
    except OSError:  # It has no descriptor, as in a test that captures it.
        yield stream
        return
    stream.flush()
    queue = QueuedStream(stream, name, warn)
    try:
        yield cast(TextIO, queue)
    finally:
        queue.finish(_LAST_SECONDS)


class QueuedStream(io.TextIOBase):
    """A text stream that queues lines for another stream's descriptor; it neither waits nor fails.

    Any thread may write; lines of several threads are not mixed. ``warn`` is called with the reason when
    lines begin to be dropped, and with their number at the end.
    """

    def __init__(self, stream: TextIO, name: str, warn: Callable[[str], None] | None) -> None:
        self._stream = stream
        self._name = name
        self._warn = warn
        self._begun = threading.local()  # a thread's unfinished line
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._writing = b""
        self._dropped = 0
        self._failing = self._torn = self._finished = False
        self._changed = threading.Condition()
        self._thread = start_thread(self._run, "fastnet-output")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        whole, end, rest = (getattr(self._begun, "text", "") + text).rpartition("\n")
        self._begun.text = rest
        if end:
            self._put(whole + end)
        return len(text)

    def flush(self) -> None:
        """Queue unfinished lines too."""
        begun, self._begun.text = getattr(self._begun, "text", ""), ""
        if begun:
            self._put(begun)

    def finish(self, seconds: float) -> None:
        """Write the queue for at most so many seconds, and report the total number of dropped lines."""
        self.flush()
        with self._changed:
            self._finished = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            left = (self._writing, *self._waiting)
            self._dropped += sum(_lines(data) for data in left if data)
            self._waiting.clear()
        if self._dropped and self._warn:
            self._warn(f"{self._name}: {counted(self._dropped, 'line')} dropped")

    def _put(self, text: str) -> None:
        data = text.encode(self._stream.encoding, "backslashreplace")
        with self._changed:
            room = self._size + len(data) <= _LIMIT
            if room:
                self._waiting.append(data)
                self._size += len(data)
                self._changed.notify()
        if not room:
            self._drop(_lines(data), "nobody reads it")

    def _drop(self, lines: int, why: str) -> None:
        with self._changed:
            self._dropped += lines
            is_new, self._failing = not self._failing, True
        if is_new and self._warn:
            self._warn(f"{self._name}: {why}: lines are dropped")

    # The thread

    def _run(self) -> None:
        while data := self._next():
            try:
                self._write(memoryview(b"\n" + data if self._torn else data))
            except OSError as error:
                self._drop(_lines(data), error.strerror or str(error))
            else:
                self._failing = self._failing and bool(self._waiting)
            self._writing = b""

    def _next(self) -> bytes:
        """The next bytes to write; none at the end."""
        with self._changed:
            while not (self._waiting or self._finished):
                self._changed.wait()
            data = b""
            while self._waiting and len(data) < _A_WRITE:
                data += self._waiting.popleft()
            self._size -= len(data)
            self._writing = data
            return data

    def _write(self, rest: memoryview) -> None:
        descriptor = self._stream.fileno()
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
                self._torn = bool(rest)
            except BlockingIOError:  # Another process that shares the descriptor has made it non-blocking.
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                poll.poll()


def _lines(data: bytes) -> int:
    return data.count(b"\n") or 1
