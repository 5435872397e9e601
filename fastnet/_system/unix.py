"""Unix-domain sockets: claiming an address that no live server has. See unix(7)."""

import errno
import os
import socket
import stat
import time
from _collections_abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from weakref import WeakSet

from fastnet._system.unix_address import Address as Address
from fastnet._system.unix_address import unix_address as unix_address
from fastnet.errors import AddressInUse

_LOCK_SECONDS = 1.0
_LISTEN_SECONDS = 0.1
"""A server that starts listens within this time after its socket file is there."""


class Claim:
    """A listening socket at a Unix address that no live server has; the path goes when it is released.

    Starters and stoppers of servers in one directory take turns by a lock on the directory itself, so
    nothing but the socket is ever left behind. Any process that may read the directory can hold that
    lock: after a second a server starts or stops without it. A socket file without a listener (its server was
    killed) is replaced; that of a live server, or a file of any other kind, is never changed.
    """

    def __init__(self, address: Address, mode: int) -> None:
        self._text = os.fsdecode(address)
        self._address = unix_address(address)
        self._mode = mode
        self._directory = -1
        self._inode: tuple[int, int] | None = None
        _claims.add(self)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.setblocking(False)
        try:
            if self.abstract:
                self._bind()
                self.listener.listen()
            else:
                self._listen_on_path()
        except BaseException:
            self.release()
            self.listener.close()
            raise

    @property
    def abstract(self) -> bool:
        return self._address.startswith(b"\0")

    @property
    def _name(self) -> bytes:
        return os.path.basename(self._address)

    def admits(self, uid: int, gid: int) -> bool:
        """Whether the mode permits this user to connect. For a path, the kernel has checked that already."""
        if not self.abstract or uid in (0, os.geteuid()):
            return True
        return bool(self._mode & (stat.S_IWGRP if gid == os.getegid() else stat.S_IWOTH))

    def release(self) -> None:
        """Remove the path if it is ours, refuse new connections, and wake threads that wait in accept."""
        try:
            if self._inode is not None:
                self._remove_own()
        finally:
            if self._directory >= 0:
                os.close(self._directory)
                self._directory = -1
            with suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)

    def _remove_own(self) -> None:
        # Our inode's number is given to no other file as long as our socket is open.
        with self._locked(), suppress(FileNotFoundError):
            if _identity(os.lstat(self._name, dir_fd=self._directory)) == self._inode:
                os.unlink(self._name, dir_fd=self._directory)
        self._inode = None

    def _listen_on_path(self) -> None:
        self._directory = os.open(os.path.dirname(self._text) or ".", os.O_RDONLY | os.O_DIRECTORY)
        # Linux creates the file with the mode of the socket, less the umask: never wider than requested.
        os.fchmod(self.listener.fileno(), self._mode)
        with self._locked() as locked:
            try:
                self._bind()
            except AddressInUse:
                self._remove_stale(locked)
                self._bind()
            self._take()
            self.listener.listen()

    def _bind(self) -> None:
        try:
            self.listener.bind(self._address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise self._in_use("a server listens there") from None
            raise OSError(error.errno, error.strerror, self._text) from None

    def _in_use(self, who: str) -> AddressInUse:
        return AddressInUse(errno.EADDRINUSE, f"{self._text}: {who}")

    def _remove_stale(self, locked: bool) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(self._name, dir_fd=self._directory).st_mode):
                raise self._in_use("there is a file that is not a socket, and it is not removed")
            if _is_live(self._address) or (not locked and _starts(self._address)):
                raise self._in_use("a server listens there")
            os.unlink(self._name, dir_fd=self._directory)

    def _take(self) -> None:
        """Record which file is ours, and set the bits of its mode that the umask cleared."""
        try:
            found = os.lstat(self._name, dir_fd=self._directory)
        except OSError as error:  # Out of memory: later, its owner would be unknown.
            os.unlink(self._name, dir_fd=self._directory)
            raise OSError(error.errno, error.strerror, self._text) from None
        self._inode = _identity(found)
        if stat.S_IMODE(found.st_mode) == self._mode:
            return
        file = os.open(self._name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._directory)
        try:
            if _identity(os.fstat(file)) == self._inode:
                os.chmod(f"/proc/self/fd/{file}", self._mode)
        finally:
            os.close(file)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Take the directory's lock within a second; whether that succeeded."""
        locked = self._lock()
        try:
            yield locked
        finally:
            if locked:
                flock(self._directory, LOCK_UN)

    def _lock(self) -> bool:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                flock(self._directory, LOCK_EX | LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.002)


_claims: WeakSet[Claim] = WeakSet()


def release_all() -> None:
    """Release every claim of this process, which is about to exit."""
    for claim in list(_claims):
        claim.release()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _starts(address: bytes) -> bool:
    """Whether a server that has made this socket file, and does not listen yet, does so now."""
    time.sleep(_LISTEN_SECONDS)
    return _is_live(address)


def _is_live(address: bytes) -> bool:
    """Whether any process has this socket open. Only a refusal shows that none has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(address) not in (errno.ECONNREFUSED, errno.ENOENT)
