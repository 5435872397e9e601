"""A file of metrics for the textfile collector of node_exporter (prometheus.io), by prometheus-client."""

import os
from _collections_abc import Callable, Iterable
from array import array
from bisect import bisect_left
from itertools import accumulate

from fastnet._reference import reference
from fastnet._replaced import ReplacedFile
from fastnet._typing import Any

__all__ = ["BOUNDS", "Histogram", "Textfile"]

BOUNDS = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
    *(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds of a histogram's buckets, in seconds."""


class Textfile(ReplacedFile):
    """The file at ``path``.

    ``core`` has the classes of metric families. ``warn`` is called with a line of text when writes begin to
    fail, and when they succeed again. Raises EngineMissing without prometheus-client, InvalidArgument for a
    path of anything but a regular file.
    """

    def __init__(self, path: str, warn: Callable[[str], None]) -> None:
        self._client = reference("prometheus_client")
        self.core: Any = reference("prometheus_client.core")
        super().__init__(path)
        self._warn = warn
        self._failure = ""

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return os.path.splitext(os.path.basename(self.path))[0]

    @property
    def failed(self) -> bool:
        """Whether the last write failed."""
        return bool(self._failure)

    def write(self, families: Iterable[Any]) -> None:
        """Replace the content by these metric families. A failure is a warning: the file stays as it was."""
        content = self._client.generate_latest(_Collected(families))
        try:
            self.replace(content)
        except OSError as error:
            failure = error.strerror or str(error)
            if failure != self._failure:
                self._warn(f"{self.path}: {failure}: it is left as it was")
            self._failure = failure
        else:
            if self._failure:
                self._warn(f"{self.path}: it is written again")
            self._failure = ""


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
