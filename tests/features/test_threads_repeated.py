"""Repeated work in threads: what a failing step does, and where no thread can be had."""

import errno
import threading
from collections.abc import Callable, Iterator

import pytest
from forwarding import PATIENCE, assert_soon

from fastnet._threads import Repeated, Work, start_thread


@pytest.fixture
def steps() -> Iterator[list[Repeated]]:
    """Those that are in the list are ended."""
    started: list[Repeated] = []
    yield started
    for one in started:
        one.end()
        assert one.join(PATIENCE)


def test_whatever_a_step_raises_the_next_one_comes(steps: list[Repeated]) -> None:
    raised = iter(
        [OSError(errno.EMFILE, "no descriptors"), MemoryError(), RuntimeError("x"), None, KeyError("y")]
    )
    told: list[str] = []
    ended = threading.Event()

    def step() -> None:
        error = next(raised, None)
        if error:
            raise error
        if told[1:]:
            ended.set()

    steps.append(Repeated(step, "test", "names", told.append, 0.001))
    assert ended.wait(PATIENCE)
    assert told == ["names: no descriptors", "names: 'y'"]


def test_a_warning_that_fails_ends_nothing(steps: list[Repeated]) -> None:
    count = 0
    told: list[str] = []

    def step() -> None:
        nonlocal count
        count += 1
        raise MemoryError

    def warn(text: str) -> None:
        told.append(text)
        raise BrokenPipeError

    steps.append(Repeated(step, "test", "names", warn, 0.001))
    assert_soon(lambda: count > 3)
    assert told == ["names: MemoryError"]


def test_one_without_an_interval_is_woken(steps: list[Repeated]) -> None:
    done = threading.Semaphore(0)
    steps.append(Repeated(done.release, "test", "reload", print))
    for _ in range(3):
        steps[0].wake()
        assert done.acquire(timeout=PATIENCE)
    steps[0].end()
    assert steps[0].join(PATIENCE)
    assert not done.acquire(blocking=False)


@pytest.mark.parametrize("start", [lambda: start_thread(print, "test"), lambda: Work(print, "test")])
def test_where_no_thread_can_be_started(start: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BlockingIOError, match=r"can't start new thread \(test\)") as refused:
        start()
    assert refused.value.errno == errno.EAGAIN
