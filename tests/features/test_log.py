"""What is logged to ``fastnet``, and that nothing is where nobody listens."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environment import Run
from forwarding import PATIENCE, Server, assert_soon, connect
from limits import descriptors, lowest_free
from namespaces import Namespace

import fastnet
from fastnet import echo, ipc
from fastnet._ping.shortage import Shortage

ASK = "fastnet.multiping(['name.invalid'])"

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was logged: the logger's name, the level and the text."""
    caplog.set_level(logging.DEBUG, "fastnet")
    return lambda: [f"{each.name} {each.levelname} {each.getMessage()}" for each in caplog.records]


@pytest.mark.parametrize(
    ("before", "logged"),
    [
        ("", ""),
        ("import logging", ""),
        ("import logging; logging.basicConfig()", "WARNING:fastnet.ping:name.invalid: "),
        ("import logging; logging.basicConfig(); logging.getLogger('fastnet').setLevel('ERROR')", ""),
    ],
)
def test_who_sets_up_no_logging_sees_nothing(python: Run, root: None, before: str, logged: str) -> None:
    ran = python("-c", f"import fastnet\n{before}\n{ASK}")
    assert ran.returncode == 0
    assert ran.stderr.partition("Name")[0] == logged


def test_logging_is_imported_by_nobody(python: Run, root: None) -> None:
    ran = python("-c", f"import fastnet, sys\n{ASK}\nprint('logging' in sys.modules)")
    assert (ran.stdout, ran.stderr) == ("False\n", "")


def test_a_name_that_does_not_resolve(root: None, lines: Lines) -> None:
    result = fastnet.multiping(["name.invalid"])[0]
    assert lines() == [f"fastnet.ping WARNING name.invalid: {result.error}"]


def test_a_record_has_the_place_where_it_arose(root: None, caplog: pytest.LogCaptureFixture) -> None:
    fastnet.multiping(["name.invalid"])
    assert [Path(each.pathname).name for each in caplog.records] == ["pinger.py"]


def test_a_line_stays_one(root: None, lines: Lines) -> None:
    fastnet.multiping(["two\nlines.invalid"])
    assert len(lines()) == 1
    assert lines()[0].startswith("fastnet.ping WARNING two\\nlines.invalid: ")


def test_names_among_targets(lines: Lines) -> None:
    names = [f"{letter}.invalid" for letter in "abcde"]
    result = fastnet.sweep(["127.0.0.1", *names], engine="tcp")
    reason = result.not_probed[0].reason
    first = "; ".join(f"{name}: {reason}" for name in names[:3])
    assert lines() == [f"fastnet.sweep WARNING not probed: {first} and 2 more names"]


def test_a_link_that_is_not_permitted(linked: tuple[Namespace, Namespace]) -> None:
    left, _ = linked
    left.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    program = (
        "import logging, sys, fastnet; logging.basicConfig(level='INFO', stream=sys.stdout)\n"
        "fastnet.sweep(['10.77.0.2'], timeout=0.1)"
    )
    unprivileged = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
    ran = left.run(*unprivileged, sys.executable, "-c", program)
    assert "INFO:fastnet.sweep:what is on a link is pinged: " in ran.stdout


def test_what_a_socket_does_without(root: None, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastnet._system import icmp_sockets

    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(icmp_sockets, "_enlarge", refuse)
    with fastnet.Pinger(engine="raw") as pinger:
        pinger.ping("127.0.0.1", 1)
        assert lines() == [f"fastnet.probe INFO {note}" for note in pinger.notes]
    fastnet.path_mtu("127.0.0.1", engine="raw")
    fastnet.trace("127.0.0.1")
    fastnet.sweep(["127.0.0.1"], engine="raw")
    enlarged = [line for line in lines() if "the send buffer can't be enlarged" in line]
    assert len(enlarged) == 4


def test_a_shortage_is_logged_once(lines: Lines) -> None:
    shortage = Shortage()
    for _ in range(3):
        assert shortage.waits(OSError(errno.ENOBUFS, "No buffer space available"))
    assert lines() == [
        "fastnet.probe WARNING there is no room to send: requests wait: No buffer space available"
    ]


def test_an_echo_server_that_can_accept_nobody(lines: Lines) -> None:
    with echo.EchoServer("127.0.0.1") as server, socket.socket() as one, socket.socket() as two:
        for client in (one, two):
            already = len(lines())
            with descriptors(lowest_free()):
                client.connect(("127.0.0.1", server.port))
                assert_soon(lambda seen=already: len(lines()) > seen)
                time.sleep(0.2)  # in which it tries again
            client.settimeout(PATIENCE)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        where = server.addresses[0]
    assert lines() == [f"fastnet.echo WARNING {where}: accepting pauses: Too many open files"] * 2


def test_a_unix_server_that_can_accept_nobody(tmp_path: Path, lines: Lines) -> None:
    path = str(tmp_path / "socket")
    with (
        ipc.UnixServer(path, lambda channel: channel.send(channel.recv())),
        socket.socket(socket.AF_UNIX) as client,
    ):
        with descriptors(lowest_free()):
            client.connect(path)
            assert_soon(lambda: bool(lines()))
            time.sleep(0.2)  # in which it tries again
        channel = ipc.Channel(client, timeout=PATIENCE)
        channel.send(b"x")
        assert channel.recv() == b"x"
    assert lines() == [f"fastnet.ipc WARNING {path}: accepting pauses: Too many open files"]


def test_an_upstream_that_goes_down_and_up(serve: Callable[..., Server], lines: Lines) -> None:
    server = serve(lambda client: None)
    place = f"127.0.0.1:{server.port}"
    with fastnet.Forwarder("127.0.0.1:0", place, name="web", health="connect", health_interval=0.1):
        server.close()
        assert_soon(lambda: len(lines()) == 1)
        serve(lambda client: None, "127.0.0.1", server.port)
        assert_soon(lambda: len(lines()) == 2)
    assert lines()[0].startswith(f"fastnet.forward WARNING web: {place} is not healthy: ")
    assert lines()[1] == f"fastnet.forward WARNING web: {place} is healthy again"


def test_a_warning_that_fails_has_its_traceback(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    def warn(text: str) -> None:
        raise ValueError("no")

    server = serve(lambda client: None)
    place = f"127.0.0.1:{server.port}"
    with fastnet.Forwarder("127.0.0.1:0", place, health="connect", health_interval=0.1, warn=warn):
        server.close()
        assert_soon(lambda: bool(caplog.records))
    assert caplog.records[0].levelname == "ERROR"
    assert "ValueError: no" in caplog.text


def test_a_relaying_thread_that_ends(lines: Lines, serve: Callable[..., Server]) -> None:
    def tap(*_: Any) -> None:
        raise ValueError("no")

    place = f"127.0.0.1:{serve(lambda client: None).port}"
    forwarder = fastnet.Forwarder("127.0.0.1:0", place, tap=tap).start()
    with connect(forwarder.port) as client:
        client.sendall(b"x")
        assert_soon(lambda: bool(lines()))
    with pytest.raises(ValueError, match="no"):
        forwarder.stop()
    assert lines() == ["fastnet.forward ERROR a relaying thread ended"]


def test_a_cancelled_start_that_failed(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        time.sleep(0.2)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(fastnet.Forwarder, "start", fail)

    async def cancel() -> None:
        entering = asyncio.create_task(fastnet.Forwarder("127.0.0.1:0", "127.0.0.1:9").__aenter__())
        await asyncio.sleep(0.05)
        entering.cancel()
        await asyncio.wait([entering])

    asyncio.run(cancel())
    assert_soon(lambda: bool([line for line in lines() if line.startswith("fastnet.")]))
    logged = [line for line in lines() if line.startswith("fastnet.")]
    assert logged == ["fastnet.forward WARNING a start that was cancelled failed"]
