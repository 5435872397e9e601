"""Results that are kept as long as they are true; ``fastnet._contract.monitor`` has the contract."""

from __future__ import annotations

import errno
import os
import socket
import threading

from fastnet._contract.monitor import GROUPS
from fastnet._typing import Any


class _Kept:
    """A thread's results, and its socket with the events since they were emptied."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.thread_namespace = os.open("/proc/thread-self/ns/net", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.socket_namespace = self._read_namespace()
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).detach()
        except OSError:
            os.close(self.thread_namespace)
            raise
        self.identity = self._identity()
        self._subscribe()

    def _subscribe(self) -> None:
        borrowed = socket.socket(fileno=self.socket)
        try:
            # The content of an event does not matter, so the smallest buffer does.
            borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
            borrowed.bind((0, GROUPS))
        finally:
            borrowed.detach()

    def _read_namespace(self) -> str:
        return os.readlink("", dir_fd=self.thread_namespace)

    def _identity(self) -> tuple[int, int]:
        status = os.fstat(self.socket)
        return status.st_dev, status.st_ino

    def is_current(self) -> bool:
        """Whether the socket is open, and its thread still in its namespace."""
        try:
            return self._read_namespace() == self.socket_namespace and self._identity() == self.identity
        except OSError:
            return False

    def receive(self) -> bool:
        """Whether an event was waiting, which is discarded."""
        borrowed = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE, fileno=self.socket)
        try:
            borrowed.recv(1, socket.MSG_DONTWAIT)
        except OSError as error:
            return error.errno == errno.ENOBUFS
        finally:
            borrowed.detach()
        return True

    def __del__(self) -> None:
        # A descriptor that other code closed (a daemon closes all of them) must not be closed again.
        try:
            ours = self._identity() == self.identity
        except (OSError, AttributeError):
            return
        if ours:
            os.close(self.socket)
            os.close(self.thread_namespace)


_thread = threading.local()


def _forget() -> None:
    """In a forked child: the parent's thread owns its descriptors."""
    _thread.__dict__.pop("kept", None)


os.register_at_fork(after_in_child=_forget)


def kept() -> dict[str, Any]:
    mine: _Kept | None = _thread.__dict__.get("kept")
    if mine is None or not mine.is_current():
        _thread.__dict__.pop("kept", None)
        try:
            mine = _thread.kept = _Kept()
        except OSError:
            return {}
    elif mine.receive():
        # Only an empty queue ends an overflow: until then the kernel drops every event.
        while mine.receive():
            pass
        mine.results = {}
    return mine.results
