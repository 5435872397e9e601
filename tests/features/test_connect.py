"""Connecting to the first of several addresses that takes it (RFC 8305)."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnet._connect import DELAY_SECONDS, NoneReached, connect, connect_one, interleave, race
from fastnet._steps import READABLE, Steps, Together, Wait, run, run_async
from fastnet.endpoints import Resolved

LONG = 60.0


def at(sock: socket.socket) -> Resolved:
    return Resolved(sock.family, sock.getsockname())


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def closed() -> Iterator[Resolved]:
    """An address that refuses: its port is bound, and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield at(sock)


@pytest.fixture
def silent() -> Iterator[Resolved]:
    """An address that does not answer: SYNs to a listener whose queue is full are dropped."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield at(listener)


def soon() -> float:
    return time.monotonic() + 0.3


# The order


def test_families_take_turns_beginning_with_the_resolvers_first() -> None:
    six = [Resolved(socket.AF_INET6, (f"2001:db8::{n}", 80, 0, 0)) for n in range(3)]
    four = [Resolved(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in range(2)]
    assert interleave([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave([*four, *six]) == [four[0], six[0], four[1], six[1], six[2]]


@given(st.lists(st.tuples(st.sampled_from([socket.AF_INET, socket.AF_INET6]), st.integers())))
def test_every_address_is_tried_once_and_each_family_in_its_order(drawn: list[tuple[int, int]]) -> None:
    addresses = [Resolved(family, (number,)) for family, number in drawn]  # type: ignore[arg-type]
    order = interleave(addresses)
    for family in (socket.AF_INET, socket.AF_INET6):
        assert [one for one in order if one.family == family] == [
            one for one in addresses if one.family == family
        ]
    left = collections.Counter(one.family for one in order)
    for one, following in itertools.pairwise(order):
        left[one.family] -= 1
        assert following.family != one.family or left.total() == left[one.family]


# When the next one begins


def begun(attempts: list[Steps[str]]) -> tuple[Steps[str], list[int]]:
    """A race of these attempts, and which of them have begun."""
    numbers: list[int] = []
    addresses = [Resolved(socket.AF_INET, ("192.0.2.1", number)) for number in range(len(attempts))]

    def attempt(address: Resolved) -> Steps[str]:
        numbers.append(address.address[1])
        return attempts[address.address[1]]

    return race(addresses, attempt), numbers


def fails() -> Steps[str]:
    raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    yield


def hangs() -> Steps[str]:
    yield Wait(-1, 0, time.monotonic() + LONG)
    raise OSError(errno.ETIMEDOUT, "late")


def succeeds() -> Steps[str]:
    return "won"
    yield


def test_the_next_begins_after_the_delay() -> None:
    steps, numbers = begun([hangs(), hangs(), hangs()])
    before = time.monotonic()
    wait = next(steps)
    assert numbers == [0]
    while len(numbers) < 3:
        deadline = wait.deadline
        assert deadline is not None
        assert before + DELAY_SECONDS <= deadline <= time.monotonic() + DELAY_SECONDS
        time.sleep(max(0.0, deadline - time.monotonic()))
        seen, before = len(numbers), time.monotonic()
        wait = steps.send(False)
        assert len(numbers) == seen + 1
    steps.close()


def test_the_next_begins_at_once_where_one_fails() -> None:
    steps, numbers = begun([fails(), fails(), hangs(), hangs()])
    next(steps)
    assert numbers == [0, 1, 2]
    steps.close()


def test_none_begins_once_one_has_succeeded() -> None:
    steps, numbers = begun([fails(), succeeds(), hangs()])
    assert run(steps) == "won"
    assert numbers == [0, 1]


def test_nothing_to_try_is_no_success() -> None:
    with pytest.raises(NoneReached) as raised:
        run(connect([]))
    assert raised.value.failures == ()


# Real connections


def test_silence_does_not_hide_what_answers(silent: Resolved, server: socket.socket) -> None:
    before = descriptors()
    with contextlib.closing(run(connect([silent, silent, at(server)], time.monotonic() + LONG))) as sock:
        assert sock.getpeername() == server.getsockname()
        assert len(descriptors() - before) == 1, "the attempts that lost are closed"


def test_what_came_before_a_reset_is_still_there(server: socket.socket) -> None:
    """However soon the reset is: before connecting itself was seen to end."""
    steps = connect_one(at(server), time.monotonic() + LONG)
    waits = next(steps)
    accepted, _ = server.accept()
    accepted.sendall(b"busy\n")
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()
    assert select.select([waits.fd], [], [], LONG)[0]
    with pytest.raises(StopIteration) as ended:
        steps.send(True)
    with contextlib.closing(ended.value.value) as sock:
        assert sock.recv(100) == b"busy\n"


def test_every_address_has_its_error(silent: Resolved, closed: Resolved) -> None:
    before = descriptors()
    with pytest.raises(NoneReached, match="connection refused, connection timed out") as raised:
        run(connect([silent, closed], time.monotonic() + 2 * DELAY_SECONDS))
    errors = {failure.address: type(failure.error) for failure in raised.value.failures}
    assert errors == {closed: ConnectionRefusedError, silent: TimeoutError}
    assert descriptors() == before


def test_what_the_deadline_cuts_off_is_not_begun(silent: Resolved, server: socket.socket) -> None:
    with pytest.raises(NoneReached) as raised:
        run(connect([silent, at(server)], time.monotonic() + DELAY_SECONDS / 5))
    assert [type(failure.error) for failure in raised.value.failures] == [TimeoutError, TimeoutError]
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept()


def test_closing_the_steps_closes_every_connection(silent: Resolved) -> None:
    before = descriptors()
    steps = connect([silent, silent])
    steps.send(next(steps) is None)
    assert len(descriptors() - before) > 1
    steps.close()
    assert descriptors() == before


def test_of_two_that_succeed_at_once_the_second_is_closed_where_it_is() -> None:
    signal, other = socket.socketpair()
    told: list[str] = []

    def waits(name: str, fd: int) -> Steps[str]:
        try:
            yield Wait(fd, READABLE)
            told.append(f"{name} goes on")
        finally:
            told.append(f"{name} ends")
        return name

    with signal, other:
        again = os.dup(other.fileno())
        steps, numbers = begun([waits("first", other.fileno()), waits("second", again)])
        wait = next(steps)
        while len(numbers) < 2:
            time.sleep(max(0.0, (wait.deadline or 0) - time.monotonic()))
            wait = steps.send(False)
        signal.send(b"x")
        with pytest.raises(StopIteration, match="first"):
            steps.send(True)
        os.close(again)
    assert told == ["first goes on", "first ends", "second ends"]


def test_it_can_be_awaited_and_cancelled(silent: Resolved, server: socket.socket) -> None:
    before = descriptors()

    async def main() -> None:
        with contextlib.closing(await run_async(connect([silent, at(server)]))) as sock:
            assert sock.getpeername() == server.getsockname()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run_async(connect([silent, silent])), 0.05)

    asyncio.run(main())
    assert descriptors() == before


def test_a_full_queue_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first = stack.enter_context(socket.socket(socket.AF_UNIX))
        first.connect(str(tmp_path / "s"))
        place = Resolved(socket.AF_UNIX, str(tmp_path / "s"))  # type: ignore[arg-type]
        with pytest.raises(NoneReached, match="timed out"):
            run(connect([place], soon()))
        steps = connect([place], time.monotonic() + LONG)
        next(steps)
        stack.enter_context(listener.accept()[0])
        stack.callback(run(steps).close)


# Several at once


def test_what_leaves_one_leaves_all_and_closes_them() -> None:
    ours, theirs = socket.socketpair()
    closed: list[str] = []

    def reads() -> Steps[None]:
        try:
            yield Wait(ours.fileno(), READABLE)
        finally:
            closed.append("reads")

    def breaks() -> Steps[None]:
        yield Wait(-1, 0, 0.0)
        raise ZeroDivisionError

    with ours, theirs, Together[None]() as together:
        together.start(reads())
        together.start(breaks())
        assert list(together.advance()) == []
        assert together.wait(5.0).deadline == 0.0
        with pytest.raises(ZeroDivisionError):
            list(together.advance())
    assert closed == ["reads"]
