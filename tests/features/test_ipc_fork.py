"""Whatever a fork raises, a warning made an error or Ctrl-C, it leaves no child."""

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest
from unix_peers import echo

from fastnet import ipc

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def a_thread() -> Iterator[None]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="os.fork() does not warn of threads")
def test_threads_are_warned_of_before_the_fork(a_thread: None) -> None:
    reader, writer = os.pipe()
    expected = pytest.raises(DeprecationWarning, match="is multi-threaded: a forked child has one of")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with expected, ipc.fork(lambda _: os.write(writer, b"the child ran")):
            pass
    os.close(writer)
    with open(reader, "rb") as told:
        assert told.read() == b""


def test_a_warning_of_pythons_own_leaves_no_child(a_thread: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "This process .* a forked child has", DeprecationWarning)
        with suppress(DeprecationWarning), ipc.fork(echo, timeout=20) as child:
            child.channel.send(b"hello")
            assert child.channel.recv() == b"hello"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_one_filter_is_enough(a_thread: None) -> None:
    with ipc.fork(echo, timeout=20) as child:
        child.channel.send(b"hello")
        assert child.channel.recv() == b"hello"


INTERRUPTED = """
import ctypes, functools, os, signal, sys
from fastnet import ipc
from fastnet.errors import ChildFailed
# C alone, so that the handler runs only when os.fork() has returned, before its result is known.
interrupt = functools.partial(getattr(ctypes.CDLL(None), "raise"), signal.SIGINT)
os.register_at_fork(**{sys.argv[1]: interrupt})
try:
    with ipc.fork(lambda channel: channel.recv()) as child:
        pass
except KeyboardInterrupt:
    print("interrupted")
except ChildFailed as failure:
    print(str(failure).replace(str(child.pid), "PID"))
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no child")
"""


@pytest.mark.parametrize(
    ("where", "told"),
    [("after_in_parent", "interrupted"), ("after_in_child", "the child PID ended with 1")],
)
def test_ctrl_c_during_the_fork(where: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, where], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (f"{told}\nno child\n", "")
