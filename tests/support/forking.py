"""Forks for tests: no child runs on into pytest, or outlives its test."""

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def fork() -> int:
    """``os.fork`` without its warning of threads: where warnings are errors it is raised after the fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextmanager
def forked(function: Callable[[], object]) -> Iterator[None]:
    """A child that runs ``function`` beside the block; the test fails unless it returns."""
    child = fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    try:
        yield
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    assert status == 0
