"""The access log: one line per ended connection, written by a thread of its own.

The relays put their records into a bounded ring and never wait for this thread. Records that
the ring lost during a slow write (a full pipe, a slow disk) are counted, and reported by a line of their own.
"""

import errno
import math
import os
import select
import stat
import sys
import time
from _collections_abc import Callable
from pwd import struct_passwd

from fastnet._clock import now, utc
from fastnet._contract.values import counted
from fastnet._escape import escaped_word
from fastnet._forward.forwarder import Forwarder
from fastnet._forward.records import Record
from fastnet._threads import Repeated, reason_of
from fastnet._typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fastnet import _records as records

__all__ = ["FORMATS", "AccessLog", "Format", "as_json", "as_text"]

Format = Literal["text", "json"]
FORMATS = ("text", "json")
STDOUT = "-"
"""The path that means standard output."""

_PAUSE = 0.1
"""Seconds between two reads of the ring, which has room for many times the connections that end meanwhile."""
_MODE = 0o600
_LAST_SECONDS = 1.0
"""Seconds that the end waits for a file that does not accept data."""
_HANGING_SECONDS = 3.0
"""Seconds after which a write counts as hanging."""


def as_text(record: Record) -> str:
    """``TIME RULE CLIENT UPSTREAM SECONDS UP DOWN END``: when it was opened, in UTC, and bytes each way."""
    words = (record.rule.name, record.client, record.upstream or "-")
    return (
        f"{_utc(record.opened)} {' '.join(map(escaped_word, words))} "
        f"{record.seconds:.3f} {record.sent_up} {record.sent_down} {record.ended or 'open'}"
    )


def as_json(record: Record) -> str:
    """The same as one object of JSON Lines."""
    line: records.Connection = {
        "kind": "connection",
        "time": now(),
        "opened": _utc(record.opened),
        "rule": record.rule.name,
        "number": record.number,
        "client": record.client,
        "upstream": record.upstream,
        "lasted_s": round(record.seconds, 6),
        "sent_up_bytes": record.sent_up,
        "sent_down_bytes": record.sent_down,
        "ended": record.ended,
    }
    return _json(line)


def _lost_as_text(count: int) -> str:
    return f"# {counted(count, 'record')} lost"


def _lost_as_json(count: int) -> str:
    line: records.Lost = {"kind": "lost", "time": now(), "records": count}
    return _json(line)


_FORMS: dict[Format, tuple[Callable[[Record], str], Callable[[int], str]]] = {
    "text": (as_text, _lost_as_text),
    "json": (as_json, _lost_as_json),
}


def _json(record: "records.Record") -> str:
    import json  # only here: text needs none of it

    return json.dumps(record)


def _utc(seconds: float) -> str:
    return utc(int(seconds * 1_000_000_000))


class AccessLog:
    """Writes what ``forwarder.records()`` gives to a file, or to standard output where ``path`` is ``-``.

    The file is opened at once: appended to, or made with mode 0600. ``start`` begins to write, in a thread;
    nothing else waits for that. ``close`` writes the rest. While it can't be written to (the disk is full),
    its records are lost, and ``warn`` is called once, from the writing thread, with the reason.
    Raises OSError where it can't be opened.
    """

    def __init__(self, path: str, form: Format, warn: Callable[[str], None]) -> None:
        self._path = path
        self._line, self._loss = _FORMS[form]
        self._warn = warn
        self._failing = False
        self._torn = False
        self._unwritten = 0
        self._reported = 0
        self._writing = 0  # records of the current write whose end is not written yet
        self._reopening = False
        self._give_up = math.inf
        self._repeated: Repeated | None = None
        self._descriptor = None if path == STDOUT else _open(path)

    def give_to(self, user: struct_passwd) -> None:
        """Let this user own the file, if it is a regular one that has no other name and is no link's target.

        A device is shared, and a link may have been created by another user.
        """
        if self._descriptor is None:
            return
        opened, named = os.fstat(self._descriptor), os.lstat(self._path)
        if stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1 and os.path.samestat(opened, named):
            os.fchown(self._descriptor, user.pw_uid, user.pw_gid)

    def start(self, forwarder: Forwarder) -> None:
        """Start writing this forwarder's records. Raises OSError if no thread can be started."""
        self._forwarder = forwarder
        self._repeated = Repeated(self._write_new, "fastnet-access-log", self._path, self._warn, _PAUSE)

    def reopen(self) -> None:
        """Open the path again after its file was renamed; if that fails, ``warn`` is called."""
        self._reopening = True

    def close(self) -> None:
        """Write what is left, once the forwarder has ended, for a second; three where a write hangs."""
        self._give_up = time.monotonic() + _LAST_SECONDS
        if self._repeated and not self._repeated.finish(_HANGING_SECONDS):
            # It hangs in a write: it is abandoned.
            self._unwritten += self._writing + len(self._forwarder.records())
        elif self._descriptor is not None:
            os.close(self._descriptor)

    @property
    def lost(self) -> int:
        """Records that were not written: the ring was full, or the file could not be written to."""
        return self._forwarder.lost_records + self._unwritten

    def _write_new(self) -> None:
        lost = self.lost
        records = self._forwarder.records()
        self._reopen_if_asked()
        if not records and lost == self._reported:
            return
        self._writing = len(records)
        try:
            lines = [self._line(record) for record in records]
            if lost > self._reported:
                lines.append(self._loss(lost - self._reported))
            self._write("".join(f"{line}\n" for line in lines))
        except Exception as error:
            self._unwritten += self._writing
            if not self._failing:
                self._warn(f"{self._path}: {reason_of(error)}: records are lost until it can be written")
            self._failing = True
        else:
            self._failing = False
            self._reported = lost
            self._writing = 0

    def _write(self, text: str) -> None:
        if self._descriptor is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        first = int(self._torn)  # after the end of the previous line
        data = b"\n" * first + text.encode()
        done = 0
        while done < len(data):
            try:
                size = os.write(self._descriptor, data[done:])
            except BlockingIOError:
                if time.monotonic() >= self._give_up:
                    raise OSError(errno.EAGAIN, "nobody reads it") from None
                _wait_for_room(self._descriptor)
            else:
                self._writing -= data.count(b"\n", max(done, first), done + size)
                done += size
                self._torn = done < len(data)
            if self._reopen_if_asked():
                done = max(first, data.rfind(b"\n", 0, done) + 1)

    def _reopen_if_asked(self) -> bool:
        """Whether it was opened anew."""
        if not self._reopening or self._descriptor is None:
            return False
        self._reopening = False
        try:
            descriptor = _open(self._path)
        except OSError as error:
            reason = f"{self._path}: {error.strerror}"
            self._warn(f"the log is not reopened, the old file stays in use: {reason}")
            return False
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._torn = False
        return True


def _open(path: str) -> int:
    """Without waiting: a pipe without a reader is an error, and so is a full one."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags, _MODE)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(errno.ENXIO, "this pipe has no reader", path) from None
        raise


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll(_PAUSE * 1000)
