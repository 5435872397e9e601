"""Messages between processes: framing, forked children, and Unix-domain servers that nobody robs."""

import asyncio
import errno
import gc
import json
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnet import ipc
from fastnet.errors import AddressInUse, BadMessage, ChildFailed, InvalidArgument, WaitTimeout


def echo(channel: ipc.Channel) -> None:
    for message in channel:
        channel.send(message)


async def echo_async(channel: ipc.Channel) -> None:
    async for message in channel:
        await channel.send_async(message)


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail("it did not come about in ten seconds")


def open_fds() -> set[str]:
    gc.collect()
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No descriptor, thread or child more after the test than before it."""
    before, threads = len(open_fds()), threading.active_count()
    yield
    assert len(open_fds()) == before
    assert threading.active_count() == threads
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def raw_client(path: object) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(os.fspath(path))  # type: ignore[call-overload]
    return client


def ended(client: socket.socket) -> bool:
    """Whether the server closed this connection; a reset where it had not read all that was sent."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def framed(message: bytes) -> bytes:
    return struct.pack(">I", len(message)) + message


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
        with pytest.raises(BadMessage, match="more than the 2 descriptors"):
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


# Servers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server"


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, path: Path) -> str:
    return str(path) if request.param == "path" else f"@fastnet-test-{os.getpid()}"


def test_many_clients_at_once(address: str) -> None:
    with ipc.UnixServer(address, echo) as server:
        channels = [ipc.connect(address, timeout=20) for _ in range(20)]
        for number, channel in enumerate(channels):
            channel.send(b"from %d" % number)
        for number, channel in enumerate(channels):
            assert channel.recv() == b"from %d" % number
        assert server.stats == (20, 20, 0, 0)
        for channel in channels:
            channel.close()
    assert server.stats == (20, 0, 0, 0)
    assert not os.path.exists(address)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_is_the_one_asked_for_under_any_umask(path: Path, umask: int, mode: int) -> None:
    old = os.umask(umask)
    try:
        with ipc.UnixServer(path, echo, mode=mode):
            assert stat.S_IMODE(path.lstat().st_mode) == mode
            assert os.umask(umask) == umask
    finally:
        os.umask(old)


def test_a_live_servers_path_is_refused(address: str) -> None:
    with ipc.UnixServer(address, echo) as server:
        with pytest.raises(AddressInUse, match=f"{address}: a server listens there") as caught:
            ipc.UnixServer(address, echo).start()
        assert caught.value.errno == errno.EADDRINUSE
        with ipc.connect(address, timeout=20) as channel:
            channel.send(b"still served")
            assert channel.recv() == b"still served"
        with pytest.raises(InvalidArgument, match="started already"):
            server.start()


def test_a_server_that_is_too_busy_to_answer_is_live(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as queued:
        busy.bind(str(path))
        busy.listen(0)
        queued.connect(str(path))
        with pytest.raises(AddressInUse):
            ipc.UnixServer(path, echo).start()
        with pytest.raises(WaitTimeout, match=r"took on nobody in 0\.02 s"):
            ipc.connect(path, timeout=0.02)


def test_a_datagram_socket_is_live_too(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(AddressInUse):
            ipc.UnixServer(path, echo).start()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "dangling"])
def test_what_is_no_socket_is_never_removed(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        target = path.with_name("target")
        path.symlink_to(target)
        if kind == "symlink":
            target.write_text("precious")
    before = path.lstat().st_ino
    with pytest.raises(AddressInUse, match=f"{path}: there is a file that is not a socket"):
        ipc.UnixServer(path, echo).start()
    assert path.lstat().st_ino == before


@contextmanager
def serve(path: object, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "fastnet", "ipc", "serve", str(path), *options]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            yield server
        finally:
            server.kill()


def listening(server: "subprocess.Popen[str]") -> str:
    assert server.stderr is not None
    return server.stderr.readline()


def test_a_killed_servers_socket_is_replaced(path: Path) -> None:
    with serve(path) as server:
        assert listening(server) == f"listening on {path}\n"
        server.kill()
    assert stat.S_ISSOCK(path.lstat().st_mode)
    with ipc.UnixServer(path, echo), ipc.connect(path, timeout=20) as channel:
        channel.send(b"anew")
        assert channel.recv() == b"anew"
    assert not path.exists()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_race_for_a_path_one_wins(path: Path, stale: bool) -> None:
    for _ in range(5):
        if stale:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))
        gate_read, gate_write = os.pipe()

        def race(channel: ipc.Channel, gate: int = gate_read) -> None:
            os.read(gate, 1)
            try:
                server = ipc.UnixServer(path, lambda asked: asked.send(b"%d" % os.getpid())).start()
            except AddressInUse:
                channel.send(b"lost")
                return
            channel.send(b"won")
            channel.recv()
            server.stop()

        racers = [ipc.fork(race, timeout=20) for _ in range(6)]
        os.write(gate_write, b"x" * 6)
        results = [racer.channel.recv() for racer in racers]
        assert sorted(filter(None, results)) == [b"lost"] * 5 + [b"won"]
        with ipc.connect(path, timeout=20) as channel:
            assert channel.recv() == b"%d" % racers[results.index(b"won")].pid
        for racer in racers:
            with racer:
                pass
        assert not path.exists()
        os.close(gate_read)
        os.close(gate_write)


def test_a_path_that_was_taken_over_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as thief:
        with ipc.UnixServer(path, echo):
            path.unlink()
            thief.bind(str(path))
            thief.listen()
        assert path.is_socket()
        raw_client(path).close()
    path.unlink()


def test_a_path_that_was_removed_is_no_trouble(path: Path) -> None:
    with ipc.UnixServer(path, echo):
        path.unlink()


def test_a_relative_path_is_removed_from_where_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ipc.UnixServer("server", echo):
        assert (tmp_path / "server").is_socket()
        os.chdir("/")
    assert not (tmp_path / "server").exists()


def test_a_locked_directory_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fcntl import LOCK_EX, flock

    monkeypatch.setattr("fastnet._pure.unix._LOCK_SECONDS", 0.01)
    directory = os.open(path.parent, os.O_RDONLY)
    flock(directory, LOCK_EX)
    with pytest.raises(WaitTimeout, match="keeps its directory locked"):
        ipc.UnixServer(path, echo).start()
    os.close(directory)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("x" * 108, "108 bytes, and the address of a Unix socket has at most 107"),
        ("@" + "x" * 108, "108 bytes"),
        ("", "expected a path"),
        ("@", "expected a path"),
        ("a\0b", "expected a path"),
    ],
)
def test_an_address_that_can_not_be_is_refused(wrong: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        ipc.UnixServer(wrong, echo)
    with pytest.raises(InvalidArgument, match=reason):
        ipc.connect(wrong)


@pytest.mark.parametrize("prefix", ["", "@"])
def test_the_longest_address_serves(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    longest = prefix + "x" * 107
    with ipc.UnixServer(longest, echo), ipc.connect(longest, timeout=20) as channel:
        channel.send(b"hello")
        assert channel.recv() == b"hello"


def test_settings_that_can_not_be_are_refused(path: Path) -> None:
    with pytest.raises(InvalidArgument, match="mode 0o1777"):
        ipc.UnixServer(path, echo, mode=0o1777)
    with pytest.raises(InvalidArgument, match="max_connections 0"):
        ipc.UnixServer(path, echo, max_connections=0)
    with pytest.raises(FileNotFoundError):
        ipc.UnixServer(path / "deeper", echo).start()


def test_an_empty_connection_does_not_stop_the_server(path: Path) -> None:
    with ipc.UnixServer(path, echo) as server:
        raw_client(path).close()
        with ipc.connect(path, timeout=20) as channel:
            channel.send(b"hello")
            assert channel.recv() == b"hello"
        eventually(lambda: server.stats == (2, 0, 0, 0))


def test_bad_clients_are_counted_and_the_others_served(path: Path) -> None:
    with ipc.UnixServer(path, echo, max_message=100, timeout=0.5) as server:
        with raw_client(path) as long, raw_client(path) as short, raw_client(path) as idle:
            long.sendall(framed(b"x" * 101))
            assert ended(long)
            short.sendall(b"\0\0")
            short.shutdown(socket.SHUT_WR)
            assert short.recv(1) == b""
            assert idle.recv(1) == b""
        with ipc.connect(path, timeout=20) as channel:
            channel.send(b"fine")
            assert channel.recv() == b"fine"
        eventually(lambda: server.stats == (4, 0, 0, 3))


def test_clients_over_the_limit_wait_for_their_turn(path: Path) -> None:
    with ipc.UnixServer(path, echo, max_connections=2) as server:
        first, second, third = (ipc.connect(path, timeout=20) for _ in range(3))
        for channel in (first, second):
            channel.send(b"hello")
            assert channel.recv() == b"hello"
        third.send(b"me too")
        third.timeout = 0.05
        with pytest.raises(WaitTimeout):
            third.recv()
        assert server.stats.active == 2
        first.close()
        third.timeout = 20
        assert third.recv() == b"me too"
        second.close()
        third.close()


def test_stop_answers_what_was_sent_and_ends_idle_clients(path: Path) -> None:
    reading = threading.Event()

    def slow(channel: ipc.Channel) -> None:
        for message in channel:
            reading.wait(20)
            channel.send(message)

    server = ipc.UnixServer(path, slow).start()
    with ipc.connect(path, timeout=20) as channel, ipc.connect(path, timeout=20) as idle:
        for number in range(3):
            channel.send(b"%d" % number)
        eventually(lambda: server.stats.active == 2)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        eventually(lambda: not path.exists())
        reading.set()
        assert list(channel) == [b"0", b"1", b"2"]
        assert list(idle) == []
        stopping.join()
    server.stop()


def test_a_handler_that_does_not_return_is_said(path: Path) -> None:
    leave = threading.Event()
    server = ipc.UnixServer(path, lambda _: (leave.wait(30), None)[1]).start()
    with ipc.connect(path):
        eventually(lambda: server.stats.active == 1)
        with pytest.raises(WaitTimeout, match="1 handlers still run"):
            server.stop(grace=0)
    leave.set()
    eventually(lambda: server.stats.active == 0)


def test_a_handler_may_stop_the_server(path: Path) -> None:
    def until_done(channel: ipc.Channel) -> None:
        for message in channel:
            if message == b"DONE":
                server.stop()

    server = ipc.UnixServer(path, until_done).start()
    with raw_client(path) as client:
        for byte in framed(b"DONE"):
            client.sendall(bytes([byte]))
        assert client.recv(1) == b""
    eventually(lambda: server.stats.active == 0 and not path.exists())


def test_an_abstract_address_keeps_its_mode_by_looking_at_who_connects(root: None) -> None:
    address = f"@fastnet-test-{os.getpid()}"

    def as_nobody(channel: ipc.Channel) -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        channel.recv()
        with ipc.connect(address, timeout=20) as asked:
            try:
                asked.send(b"hello")
                answer = asked.recv()
            except ConnectionError:  # closed before it was read
                answer = None
            channel.send(answer or b"refused")

    for mode, answer in ((0o600, b"refused"), (0o660, b"refused"), (0o666, b"hello")):
        # The child first: a process with threads had better not fork.
        with ipc.fork(as_nobody, timeout=20) as child, ipc.UnixServer(address, echo, mode=mode) as server:
            child.channel.send(b"the server is there")
            assert child.channel.recv() == answer
            assert server.stats.refused == (answer == b"refused")


def test_out_of_descriptors_only_delays(path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ipc.UnixServer(path, echo) as server:
        channel = ipc.connect(path, timeout=20)
        eventually(lambda: server.stats.accepted == 1)
        late = socket.socket(socket.AF_UNIX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 1, hard))
        try:
            late.connect(str(path))
            time.sleep(0.1)
            assert server.stats.accepted == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with channel, ipc.Channel(late, timeout=20) as second:
            second.send(b"at last")
            assert second.recv() == b"at last"


def test_async_twin_of_the_server(address: str) -> None:
    async def client(number: int) -> None:
        async with await ipc.connect_async(address, timeout=20) as channel:
            for turn in range(20):
                message = b"%d %d" % (number, turn)
                await channel.send_async(message)
                assert await channel.recv_async() == message

    async def talk() -> None:
        async with ipc.UnixServer(address, echo_async, max_connections=3) as server:
            await asyncio.gather(*map(client, range(10)))
            with pytest.raises(AddressInUse):
                await ipc.UnixServer(address, echo_async).start_async()
            idle = await ipc.connect_async(address, timeout=20)
            await idle.send_async(b"\0")
            await idle.recv_async()
        assert await idle.recv_async() is None
        idle.close()
        assert server.stats.active == 0
        with pytest.raises(OSError, match="no server listens there"):
            await ipc.connect_async(address)

    asyncio.run(talk())


def test_stop_async_cancels_a_handler_that_does_not_return(path: Path) -> None:
    async def sleep(_: ipc.Channel) -> None:
        await asyncio.sleep(1000)

    async def talk() -> None:
        server = await ipc.UnixServer(path, sleep).start_async()
        with ipc.connect(path):
            while server.stats.active == 0:
                await asyncio.sleep(0.001)
            await server.stop_async(grace=0.01)
        assert server.stats.active == 0

    asyncio.run(talk())


# The command


def test_pair_command(fastnet: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    done = fastnet("ipc", "pair", "--message", "hi")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["sent     hi", "reply    The child got: hi"]
    assert lines[2].startswith("child    pid ")
    assert lines[2].endswith(", exit status 0")
    assert (done.stderr, done.returncode) == ("", 0)
    record = json.loads(fastnet("ipc", "pair", "--json").stdout)
    assert record.pop("pid") > 0
    assert record == {
        "message": "Hello from the parent",
        "reply": "The child got: Hello from the parent",
        "status": 0,
    }


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_stops_cleanly_on_a_signal(path: Path, signum: int, code: int) -> None:
    with serve(path) as server:
        listening(server)
        with raw_client(path) as client:
            client.sendall(framed(b"one"))
            assert client.recv(100) == framed(b"one")
            server.send_signal(signum)
            assert client.recv(100) == b""
        output, remarks = server.communicate(timeout=30)
    assert output == f"pid {os.getpid()} uid {os.geteuid()}: one\n"
    assert remarks == "stopped: 1 connections, 0 failed, 0 refused\n"
    assert server.returncode == code
    assert not path.exists()


def test_serve_and_send(path: Path, fastnet: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    with serve(path, "--json", "--mode", "660") as server:
        listening(server)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
        done = fastnet("ipc", "send", str(path), "hello", "Grüße", "")
        assert (done.stdout, done.stderr, done.returncode) == ("hello\nGrüße\n\n", "", 0)
        second = fastnet("ipc", "serve", str(path))
        assert second.stderr == f"fastnet ipc: {path}: a server listens there\n"
        assert second.returncode == 3
        done = fastnet("ipc", "send", "--json", str(path), "DONE")
        assert json.loads(done.stdout) == {"message": "DONE", "reply": "DONE"}
        output, remarks = server.communicate(timeout=30)
    records = [json.loads(line) for line in output.splitlines()]
    assert [record["message"] for record in records] == ["hello", "Grüße", "", "DONE"]
    assert records[1].keys() == {"pid", "uid", "gid", "bytes", "message"}
    assert records[1]["bytes"] == 7
    assert remarks == "stopped: 3 connections, 0 failed, 0 refused\n"
    assert server.returncode == 0


def test_serve_ends_when_nobody_reads_its_output(path: Path) -> None:
    with serve(path) as server:
        listening(server)
        assert server.stdout is not None
        server.stdout.close()
        with raw_client(path) as client:
            client.sendall(framed(b"one"))
            assert client.recv(100) == framed(b"one")
        assert server.wait(30) == 141


def test_serve_keeps_its_limits(path: Path) -> None:
    with serve(path, "--max-message", "10", "--max-connections", "1", "--timeout", "50ms") as server:
        listening(server)
        with raw_client(path) as client:
            client.sendall(framed(b"x" * 11))
            assert ended(client)
        with raw_client(path) as client:
            assert client.recv(100) == b""
        server.terminate()
        assert server.communicate(timeout=30)[1] == "stopped: 2 connections, 2 failed, 0 refused\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["send", "/nowhere/at-all", "x"], 3, "fastnet ipc: /nowhere/at-all: no server listens there"),
        (["send", "x" * 108, "x"], 2, "108 bytes"),
        (["send", "--max-message", "1", "/nowhere/at-all"], 2, "MESSAGE"),
        (["serve", "--mode", "888", "x"], 2, "'888': expected an octal mode"),
        (["serve", "--max-connections", "0", "x"], 2, "expected a whole number from 1 to 1024"),
        (["serve", "--timeout", "-1", "x"], 2, "--timeout"),
        (["serve", "/nowhere/at-all"], 3, "fastnet ipc: /nowhere: No such file or directory"),
        (["serve", os.devnull], 3, "fastnet ipc: /dev/null: there is a file that is not a socket"),
        ([], 2, "ACTION"),
        (["other"], 2, "other"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    arguments: list[str], code: int, message: str, fastnet: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    done = fastnet("ipc", *arguments)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", code)


def test_send_says_when_no_reply_comes(
    path: Path, fastnet: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    with ipc.UnixServer(path, lambda channel: (channel.recv(), None)[1]):
        done = fastnet("ipc", "send", str(path), "hello")
    assert done.stderr == f"fastnet ipc: {path}: the server ended the connection without a reply\n"
    assert (done.stdout, done.returncode) == ("", 1)
    with ipc.UnixServer(path, lambda channel: (channel.recv(), channel.recv(), None)[2]):
        done = fastnet("ipc", "send", "-W", "50ms", str(path), "hello")
    assert done.stderr == "fastnet ipc: no whole message came in 0.05 s\n"
    assert (done.stdout, done.returncode) == ("", 124)


def test_any_program_that_frames_its_messages_can_talk_to_it(path: Path, peer: Callable[[str], str]) -> None:
    with ipc.UnixServer(path, echo):
        done = subprocess.run(
            [peer("socat"), "-t5", "-", f"UNIX-CONNECT:{path}"],
            input=framed(b"DONE") + framed(b""),
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert done.stdout == framed(b"DONE") + framed(b"")


def test_the_tour_stop_answers() -> None:
    from fastnet.tour.ipc import visit

    sights = list(visit())
    assert len(sights) == 4
    assert all(sight.ok for sight in sights)
