"""Unix-domain servers that nobody robs."""

import asyncio
import errno
import os
import socket
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from forwarding import assert_soon
from unix_peers import echo, echo_async, ended, framed, listening, raw_client, serve

from fastnet import ipc
from fastnet.errors import AddressInUse, InvalidArgument, WaitTimeout

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    # A worker of pytest-xdist has threads of its own.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


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


@pytest.mark.parametrize("stale", [False, True])
def test_who_locks_the_directory_stops_no_server(path: Path, stale: bool) -> None:
    """Anybody who may read /tmp can: the server starts, replaces a dead socket, serves, and stops."""
    if stale:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    directory = os.open(path.parent, os.O_RDONLY)
    flock(directory, LOCK_EX)
    with ipc.UnixServer(path, echo):
        with pytest.raises(AddressInUse, match="a server listens there"):
            ipc.UnixServer(path, echo).start()
        with ipc.connect(path, timeout=20) as channel:
            channel.send(b"hello")
            assert channel.recv() == b"hello"
    assert not path.exists()
    os.close(directory)


def looking_twice() -> bool:
    """Whether a thread has found a socket dead, and waits whether it still is."""
    return any(frame.f_back and frame.f_code.co_name == "_starts" for frame in sys._current_frames().values())


def test_a_server_that_starts_without_the_lock_is_not_taken_for_a_dead_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket file is there, and it listens a moment later."""
    monkeypatch.setattr("fastnet._system.unix._LISTEN_SECONDS", 3.0)
    directory = os.open(path.parent, os.O_RDONLY)
    flock(directory, LOCK_EX)
    with socket.socket(socket.AF_UNIX) as other, ThreadPoolExecutor(1) as pool:
        other.bind(str(path))
        inode = path.lstat().st_ino
        started = pool.submit(lambda: ipc.UnixServer(path, echo).start())
        assert_soon(looking_twice)
        other.listen()
        with pytest.raises(AddressInUse):
            started.result()
        assert path.lstat().st_ino == inode
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
        assert_soon(lambda: server.stats == (2, 0, 0, 0))


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
        assert_soon(lambda: server.stats == (4, 0, 0, 3))


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
        assert_soon(lambda: server.stats.active == 2)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert_soon(lambda: not path.exists())
        reading.set()
        assert list(channel) == [b"0", b"1", b"2"]
        assert list(idle) == []
        stopping.join()
    server.stop()


def test_a_handler_that_does_not_return_is_said(path: Path) -> None:
    leave = threading.Event()
    server = ipc.UnixServer(path, lambda _: (leave.wait(30), None)[1]).start()
    with ipc.connect(path):
        assert_soon(lambda: server.stats.active == 1)
        with pytest.raises(WaitTimeout, match="1 handler still running"):
            server.stop(grace=0)
    leave.set()
    assert_soon(lambda: server.stats.active == 0)


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
    assert_soon(lambda: server.stats.active == 0 and not path.exists())


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
        assert_soon(lambda: server.stats.accepted == 1)
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
