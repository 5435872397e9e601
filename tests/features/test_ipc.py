"""Messages between processes: framing, channels and forked children."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from environment import open_fds
from hypothesis import given, settings
from hypothesis import strategies as st
from unix_peers import echo, framed

from fastnet import ipc
from fastnet.errors import BadMessage, ChildFailed, InvalidArgument, WaitTimeout

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    # A worker of pytest-xdist has threads of its own.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


# Channels


@given(st.lists(st.binary(max_size=400), max_size=30))
def test_messages_arrive_as_they_were_sent(messages: list[bytes]) -> None:
    one, other = ipc.pair(timeout=20)
    with one, other:
        for message in messages:
            one.send(message)
        one.finish()
        assert list(other) == messages


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_thousands_of_messages_split_at_random(seed: int) -> None:
    chance = random.Random(seed)
    messages = [chance.randbytes(chance.randrange(30)) for _ in range(2000)]
    stream = b"".join(map(framed, messages))
    ours, theirs = socket.socketpair()

    def write() -> None:
        with theirs:
            at = 0
            while at < len(stream):
                size = chance.randrange(1, 60)
                theirs.sendall(stream[at : at + size])
                at += size

    writer = threading.Thread(target=write)
    writer.start()
    with ipc.Channel(ours, timeout=20) as channel:
        assert list(channel) == messages
    writer.join()


def test_a_message_longer_than_any_buffer_waits_for_a_slow_reader() -> None:
    message = os.urandom(1 << 20)
    one, other = ipc.pair(timeout=20)
    with one, other:
        sender = threading.Thread(target=one.send, args=(message,))
        sender.start()
        assert other.recv() == message
        sender.join()


def test_a_message_over_the_limit_is_refused_on_both_sides() -> None:
    ours, theirs = socket.socketpair()
    with theirs, ipc.Channel(ours, max_message=10) as channel:
        channel.send(b"x" * 10)
        with pytest.raises(InvalidArgument, match="11 bytes: at most 10 are allowed"):
            channel.send(b"x" * 11)
        theirs.sendall(framed(b"x" * 11))
        with pytest.raises(BadMessage, match="announces a message of 11 bytes: at most 10"):
            channel.recv()


@pytest.mark.parametrize("part", [b"\0", b"\0\0\0\5", b"\0\0\0\5four"])
def test_an_end_within_a_message_is_no_message(part: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ipc.Channel(ours) as channel:
        theirs.sendall(part)
        theirs.close()
        with pytest.raises(BadMessage, match="ended within a message"):
            channel.recv()


def test_receiving_goes_on_after_a_timeout() -> None:
    ours, theirs = socket.socketpair()
    with theirs, ipc.Channel(ours, timeout=0.01) as channel:
        theirs.sendall(framed(b"hello")[:6])
        with pytest.raises(WaitTimeout, match=r"no whole message came in 0\.01 s"):
            channel.recv()
        theirs.sendall(framed(b"hello")[6:])
        assert channel.recv() == b"hello"


def test_a_channel_that_took_half_a_message_is_closed() -> None:
    one, other = ipc.pair(timeout=0.01)
    with one, other:
        with pytest.raises(WaitTimeout, match="the peer took"):
            one.send(bytes(1 << 20))
        assert one.fileno() == -1


def test_descriptors_travel_with_their_message() -> None:
    read, write = os.pipe()
    one, other = ipc.pair(timeout=5)
    with one, other:
        one.send(b"before")
        one.send(b"the pipe", [write])
        one.send(b"after")
        os.close(write)
        assert other.recv_fds() == (b"before", [])
        message, fds = other.recv_fds(1) or (b"", [])
        assert message == b"the pipe"
        assert len(fds) == 1
        assert not os.get_inheritable(fds[0])
        assert other.recv() == b"after"
    os.write(fds[0], b"through the copy")
    assert os.read(read, 100) == b"through the copy"
    os.close(fds[0])
    os.close(read)


def test_descriptors_that_nobody_asked_for_do_not_stay_open() -> None:
    one, other = ipc.pair(timeout=5)
    with one, other, open(os.devnull) as file:
        before = open_fds()
        one.send(b"plain", [file.fileno()])
        assert other.recv() == b"plain"
        one.send(b"three", [file.fileno()] * 3)
        with pytest.raises(BadMessage, match="more descriptors than asked for, 2"):
            other.recv_fds(2)
        assert open_fds() == before
        with pytest.raises(InvalidArgument, match="254 descriptors: at most 253"):
            one.send(b"", [file.fileno()] * 254)


def test_the_peer_is_known() -> None:
    one, other = ipc.pair()
    with one, other:
        assert one.peer == (os.getpid(), os.geteuid(), os.getegid())


def test_what_is_no_unix_stream_is_refused() -> None:
    with socket.socket() as tcp, pytest.raises(InvalidArgument, match="expected a stream socket of AF_UNIX"):
        ipc.Channel(tcp)
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, pytest.raises(InvalidArgument, match="SOCK_DGRAM"):
        ipc.Channel(one)
    for wrong in (0, -1, 1 << 32):
        with pytest.raises(InvalidArgument, match="max_message"):
            ipc.pair(max_message=wrong)
    for late in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="expected seconds"):
            ipc.pair(timeout=late)


def test_async_twins_of_a_channel() -> None:
    async def talk() -> None:
        one, other = ipc.pair(timeout=5)
        async with one, other:
            big = os.urandom(1 << 20)
            sending = asyncio.create_task(one.send_async(big))
            assert await other.recv_async() == big
            await sending
            with open(os.devnull) as file:
                await one.send_async(b"file", [file.fileno()])
            message, fds = await other.recv_fds_async() or (b"", [])
            os.close(fds[0])
            assert message == b"file"
            other.timeout = 0.01
            with pytest.raises(WaitTimeout):
                await other.recv_async()
            one.finish()
            assert [message async for message in other] == []

    asyncio.run(talk())


# Children


def test_a_message_to_the_child_and_its_reply() -> None:
    with ipc.fork(echo, timeout=20) as child:
        child.channel.send(b"hello")
        assert child.channel.recv() == b"hello"
        assert child.pid != os.getpid()
        assert child.status is None
    assert child.status == 0


def test_the_childs_exception_is_raised_with_its_traceback() -> None:
    def fail(_: ipc.Channel) -> None:
        raise LookupError("no such thing")

    with (
        pytest.raises(ChildFailed, match=r"^the child \d+ raised LookupError: no such thing") as caught,
        ipc.fork(fail),
    ):
        pass
    assert "in fail" in caught.value.__notes__[0]


def test_the_childs_exit_status_is_raised() -> None:
    with pytest.raises(ChildFailed, match="ended with 7"), ipc.fork(lambda _: 7) as child:
        assert child.wait(20) == 7
    with pytest.raises(ChildFailed, match="ended with 9"), ipc.fork(lambda _: sys.exit(9)):
        pass
    with (
        pytest.raises(ChildFailed, match=r"was ended by signal 9 \(Killed\)"),
        ipc.fork(lambda _: os.kill(os.getpid(), 9)),
    ):
        pass


def test_a_stop_that_can_not_be_leaves_the_server_running(path: Path) -> None:
    with ipc.UnixServer(path, echo) as server:
        with pytest.raises(InvalidArgument, match="grace"):
            server.stop(grace=-1)
        ipc.connect(path).close()


def test_a_child_that_does_not_end_is_killed_and_reaped() -> None:
    with (
        pytest.raises(ChildFailed, match=r"still ran 0\.01 s after") as caught,
        ipc.fork(hang, grace=0.01) as child,
        pytest.raises(WaitTimeout, match="still runs after 0 s"),
    ):
        child.wait(0)
    assert child.status == -signal.SIGKILL
    assert str(child.pid) in str(caught.value)


def test_the_blocks_own_exception_comes_first() -> None:
    with pytest.raises(KeyboardInterrupt), ipc.fork(lambda _: 3) as child:
        raise KeyboardInterrupt
    assert child.status is not None


def hang(_: ipc.Channel) -> None:
    time.sleep(1000)


def test_no_zombie_is_left_when_the_farewell_is_interrupted() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), ipc.fork(hang, grace=1000) as child:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert child.status == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGALRM, before)


def test_no_zombie_is_left_when_the_task_is_cancelled() -> None:
    async def talk() -> ipc.Child:
        async with ipc.fork(hang, grace=1000) as child:
            pass
        return child

    async def cancel() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(talk(), 0.05)

    asyncio.run(cancel())


def test_siblings_do_not_hold_each_others_channels_open() -> None:
    with ipc.fork(echo) as first, ipc.fork(echo) as second:
        first.channel.close()
        assert first.wait(20) == 0
        second.channel.send(b"still there")
        assert second.channel.recv() == b"still there"


def test_what_the_parent_had_buffered_is_written_once() -> None:
    code = (
        "from fastnet import ipc\nprint('once')\n"
        "with ipc.fork(lambda channel: print('from the child')): pass\nprint('last')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split("\n") == ["once", "from the child", "last", ""]


def test_async_twin_of_a_child() -> None:
    async def talk() -> None:
        async with ipc.fork(echo) as child:
            await child.channel.send_async(b"hello")
            assert await child.channel.recv_async() == b"hello"
            child.channel.finish()
            assert await child.wait_async(20) == 0
        with pytest.raises(ChildFailed, match="ended with 4"):
            async with ipc.fork(lambda _: 4):
                pass

    asyncio.run(talk())
