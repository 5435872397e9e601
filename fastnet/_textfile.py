"""A file of metrics for the textfile collector of node_exporter (prometheus.io), by prometheus-client."""

import errno
import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import accumulate
from stat import S_ISREG

from fastnet._limits import path_text
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.errors import InvalidArgument, NotPermitted

__all__ = ["BOUNDS", "Histogram", "Textfile"]

BOUNDS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
    *(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds of a histogram's buckets, in seconds."""
_MODE = 0o644
"""The collector reads the file as another user."""


class Textfile:
    """The file at ``path``, which is only ever replaced as a whole.

    ``core`` has the classes of metric families. ``warn`` is called with a line of text when writes begin to
    fail, and when they succeed again. Raises EngineMissing without prometheus-client, InvalidArgument for a
    path of anything but a regular file.
    """

    def __init__(self, path: str, warn: Callable[[str], None]) -> None:
        self._client = reference("prometheus_client")
        self.core: Any = reference("prometheus_client.core")
        self.path: str = os.path.realpath(path_text("path", path))
        if os.path.exists(self.path) and not S_ISREG(os.stat(self.path).st_mode):
            raise InvalidArgument(f"{path}: not a regular file")
        self._warn = warn
        self._failure = ""

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return os.path.splitext(os.path.basename(self.path))[0]

    def check(self) -> None:
        """Find out whether the file can be written, and leave it as it is. Raises OSError."""
        try:
            os.unlink(self._new_file(b""))
        except OSError as error:
            if error.errno != errno.EACCES or os.geteuid():
                error.filename = self.path
                raise
            folder = os.path.dirname(self.path)
            raise NotPermitted(
                errno.EACCES,
                f"{folder}: {error.strerror}: root without its capabilities, which are not kept,"
                " may write only where root is the owner",
            ) from None

    def write(self, families: Iterable[Any]) -> None:
        """Replace the content by these metric families. A failure is a warning: the file stays as it was."""
        content = self._client.generate_latest(_Collected(families))
        try:
            self._replace(content)
        except OSError as error:
            failure = error.strerror or str(error)
            if failure != self._failure:
                self._warn(f"{self.path}: {failure}: it is left as it was")
            self._failure = failure
        else:
            if self._failure:
                self._warn(f"{self.path}: it is written again")
            self._failure = ""

    def _replace(self, content: bytes) -> None:
        new = self._new_file(content)
        try:
            os.rename(new, self.path)
        except BaseException:
            os.unlink(new)
            raise

    def _new_file(self, content: bytes) -> str:
        """The path of a new file in the same directory, whose name the collector does not read."""
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
            os.unlink(path)
            raise
        return path


class _Collected:
    """Metric families, as prometheus-client takes them."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = families

    def collect(self) -> Iterable[Any]:
        return self._families


class Histogram:
    """Counts times by ``BOUNDS``, in constant space."""

    __slots__ = ("_counts", "sum")

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * (len(BOUNDS) + 1)))
        self.sum: float = 0.0
        """Seconds."""

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """Each upper bound, and the number of times up to it."""
        return [*zip((*map(str, BOUNDS), "+Inf"), accumulate(self._counts), strict=True)]
