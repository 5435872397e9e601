"""The limit of open descriptors, for tests: of this process, for a while."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def descriptors(limit: int) -> Iterator[None]:
    """This process has descriptors below this number only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def lowest_free() -> int:
    """The descriptor that is opened next: with this limit there is none."""
    with open(os.devnull) as file:
        return file.fileno()


def lower() -> None:
    """Take what has become free below the limit since it was set, too."""
    with suppress(OSError):  # none is free
        limit = lowest_free()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
