"""A file that is only ever replaced as a whole, so that a reader never sees a part of it."""

import errno
import os
from _collections_abc import Iterator
from contextlib import contextmanager, suppress
from stat import S_ISREG

from fastnet._limits import path_text
from fastnet.errors import InvalidArgument, NotPermitted

__all__ = ["ReplacedFile"]

_MODE = 0o644
"""Whoever reads it may be another user."""


class ReplacedFile:
    """The file at ``path``, behind symbolic links. Raises InvalidArgument for anything but a regular file."""

    def __init__(self, path: str) -> None:
        given = path_text("path", path) or os.curdir  # whose real path is the same
        if os.path.exists(given) and not S_ISREG(os.stat(given).st_mode):  # a pipe has no real path
            raise InvalidArgument(f"{path or repr(path)}: not a regular file")
        self.path: str = os.path.realpath(given)

    def check(self) -> None:
        """Find out whether the file can be written, and leave it as it is. Raises OSError."""
        try:
            with self._named():
                os.unlink(self._new_file(b""))
        except PermissionError as error:
            if os.geteuid():
                raise
            folder = os.path.dirname(self.path)
            raise NotPermitted(
                errno.EACCES,
                f"{folder}: {error.strerror}: root without its capabilities, which are not kept,"
                " may write only where root is the owner",
            ) from None

    def replace(self, content: bytes) -> None:
        """Replace the content. Raises OSError, and leaves the file as it was."""
        with self._named():
            new = self._new_file(content)
            try:
                os.rename(new, self.path)
            except BaseException:
                _remove(new)
                raise

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An error has the path of the file, not of the one that replaces it."""
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = self.path, None
            raise

    def _new_file(self, content: bytes) -> str:
        """The path of a new file in the same directory, hidden and with another ending."""
        folder, name = os.path.split(self.path)
        path = os.path.join(folder, f".{name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            os.unlink(path)  # left by a process of this number that was killed
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, _MODE)  # whatever the umask
                file.write(content)
        except BaseException:
            _remove(path)
            raise
        return path


def _remove(path: str) -> None:
    """Remove a new file after an error, which is the one to report."""
    with suppress(OSError):
        os.unlink(path)
