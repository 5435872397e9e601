"""The access log: a line for each connection that has ended, written by a thread beside the relays.

The relays leave their records in a bounded ring and never wait. What the ring lost because this thread was
held up (by a full pipe, a slow disk) is counted, and told by a line of its own.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pwd import struct_passwd
from typing import Literal

from fastnet.forward.forwarder import Forwarder
from fastnet.forward.telling import Record

__all__ = ["FORMATS", "AccessLog", "Format", "as_json", "as_text"]

Format = Literal["text", "json"]
FORMATS = ("text", "json")
STDOUT = "-"
"""The path that means standard output."""

_PAUSE = 0.1
"""Seconds from one look at the ring to the next: it holds what a loop's connections end in many such."""
_MODE = 0o600


def as_text(record: Record) -> str:
    """``TIME RULE CLIENT UPSTREAM SECONDS UP DOWN END``: when it was opened, in UTC, and bytes each way."""
    words = (record.rule.name, record.client, record.upstream or "-")
    return (
        f"{_utc(record.opened)} {' '.join(map(_word, words))} "
        f"{record.seconds:.3f} {record.sent_up} {record.sent_down} {record.ended or 'open'}"
    )


def as_json(record: Record) -> str:
    """The same as one object of JSON Lines."""
    return _json(
        {
            "event": "connection",
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
    )


def _lost_as_text(count: int) -> str:
    return f"# {count} records lost"


def _lost_as_json(count: int) -> str:
    return _json({"event": "lost", "records": count})


_FORMS: dict[Format, tuple[Callable[[Record], str], Callable[[int], str]]] = {
    "text": (as_text, _lost_as_text),
    "json": (as_json, _lost_as_json),
}


def _json(record: dict[str, object]) -> str:
    import json  # only here: the text needs none of it

    return json.dumps(record)


def _utc(seconds: float) -> str:
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03}Z"


def _word(text: str) -> str:
    """The text without what would end a column or a line."""
    return re.sub(r"[\x00-\x20\x7f-\xa0\\]", lambda found: f"\\x{ord(found[0]):02x}", text)


class AccessLog:
    """Writes what ``forwarder.records()`` gives to a file, or to standard output where ``path`` is ``-``.

    The file is opened at once: appended to, or made with mode 0600. ``start`` begins to write, ``close``
    writes the rest. While it can't be written to (the disk is full), its records are lost, and ``warn`` is
    called once, from the writing thread, with a line that says why. Raises OSError where it can't be opened.
    """

    def __init__(self, path: str, form: Format, warn: Callable[[str], None]) -> None:
        self._path = path
        self._line, self._loss = _FORMS[form]
        self._warn = warn
        self._failing = False
        self._torn = False
        self._unwritten = 0
        self._told = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # Of the descriptor, which another thread may open anew.
        self._descriptor = _open(path)

    def give_to(self, user: struct_passwd) -> None:
        """Let this user own the file."""
        if self._path != STDOUT:
            os.fchown(self._descriptor, user.pw_uid, user.pw_gid)

    def start(self, forwarder: Forwarder) -> None:
        """Begin to write this forwarder's records."""
        self._forwarder = forwarder
        self._thread = threading.Thread(target=self._run, name="fastnet-access-log", daemon=True)
        self._thread.start()

    def reopen(self) -> None:
        """Open the path anew, whose file was moved away. Raises OSError; the old file is then kept."""
        descriptor = _open(self._path)
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = descriptor

    def close(self) -> None:
        """Write what is left, once the forwarder has ended."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        os.close(self._descriptor)

    @property
    def lost(self) -> int:
        """Records that were not written: the ring was full, or the file could not be written to."""
        return self._forwarder.lost_records + self._unwritten

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE):
            self._write_new()
        self._write_new()

    def _write_new(self) -> None:
        lost = self.lost
        records = self._forwarder.records()
        lines = [self._line(record) for record in records]
        if lost > self._told:
            lines.append(self._loss(lost - self._told))
        if not lines:
            return
        try:
            self._write("".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            self._unwritten += len(records)
            if not self._failing:
                self._warn(f"{self._path}: {error.strerror}: records are lost until it can be written")
            self._failing = True
        else:
            self._failing = False
            self._told = lost

    def _write(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        rest = memoryview(data)
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
                self._torn = bool(rest)


def _open(path: str) -> int:
    if path == STDOUT:
        return os.dup(sys.stdout.fileno())
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
