"""Wrong input to sweeps from many vantages, and what a vantage's rate and name may not do."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import fastnet
from fastnet._distributed import _finished, connection, spool
from fastnet._distributed.columns import Columns
from fastnet._distributed.shard import Job, sweep_shard
from fastnet._distributed.spool import Spool
from fastnet.cli.dask_versions import one_remark_on_versions
from fastnet.cli.output import print_table
from fastnet.errors import InvalidArgument, NameNotResolved
from fastnet.targets import Targets

pytestmark = pytest.mark.once


def test_shards_of_one_target_keep_the_rate(root: None) -> None:
    targets, options = Targets("127.0.0.1-3"), {"timeout": 0.3, "retries": 0, "rate": 5.0}
    begun = time.monotonic()
    for shard in (1, 2, 3):
        assert isinstance(sweep_shard(Job(targets, (shard, 3), options)), Columns)
    assert time.monotonic() - begun >= 2 / 5.0


def test_no_directory_is_not_the_current_one(reference: Callable[[str], ModuleType]) -> None:
    reference("pyarrow.parquet")
    with pytest.raises(InvalidArgument, match="output '': expected a directory"):
        Spool("", Targets("10.0.0.1"), "share", {}, 1)


def test_a_file_is_no_directory(reference: Callable[[str], ModuleType], tmp_path: Path) -> None:
    reference("pyarrow.parquet")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InvalidArgument, match="a file; expected a directory"):
            Spool(path, Targets("10.0.0.1"), "share", {}, 1)


def test_a_directory_that_can_not_be_written_is_noticed_when_it_is_opened(
    reference: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    reference("pyarrow.parquet")
    targets, column = Targets("10.0.0.1-2"), Columns("v", "raw", 1, 1.0, (), b"\1", b"")
    store = Spool(tmp_path, targets, "share", {}, 2).store(None)
    store.put(0, column)
    with no_room(), pytest.raises(OSError, match="File too large") as raised:
        Spool(tmp_path, targets, "share", {}, 2).store(None)
    assert raised.value.filename == str(tmp_path)
    with no_room(), pytest.raises(OSError, match="File too large"):
        store.put(1, column)
    store.put(1, column)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "_sweep.json",
        "shard-0000000001.parquet",
        "shard-0000000002.parquet",
    ]
    with no_room():  # nothing is left to write
        assert Spool(tmp_path, targets, "share", {}, 2).store(None).done() == {0, 1}


@contextmanager
def no_room() -> Iterator[None]:
    """No file takes a byte, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_two_clients_write_the_same_shard(reference: Callable[[str], ModuleType], tmp_path: Path) -> None:
    parquet = reference("pyarrow.parquet")
    column, paths = Columns("v", "raw", 1, 1.0, (), b"\1", b""), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet, "write_table", lambda _, path, **__: (paths.append(path), path.touch()))
        for _ in range(2):
            Spool(tmp_path, Targets("10.0.0.1"), "share", {}, 1).store(None).put(0, column)
    assert len({*paths}) == 2
    assert all(path.name.startswith("_") for path in paths)  # readers of Parquet ignore it


def test_of_two_clients_that_begin_at_once_one_has_its_number_of_shards(
    reference: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference("pyarrow.parquet")
    begin, targets = spool._create, Targets("10.0.0.1-9")

    def begin_after_another(file: Path, content: bytes) -> None:
        monkeypatch.setattr(spool, "_create", begin)
        assert Spool(tmp_path, targets, "share", {}, 3).shards == 3
        begin(file, content)

    monkeypatch.setattr(spool, "_create", begin_after_another)
    assert Spool(tmp_path, targets, "share", {}, 2).shards == 3
    assert [path.name for path in tmp_path.iterdir()] == ["_sweep.json"]


def test_a_file_system_without_hard_links_takes_a_directory(
    reference: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference("pyarrow.parquet")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(spool.os, "link", refuse)
    Spool(tmp_path, Targets("10.0.0.1"), "share", {}, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["_sweep.json"]


def test_a_damaged_file_of_a_directory_is_named(
    reference: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    reference("pyarrow.parquet")
    targets = Targets("10.0.0.1-2")
    store = Spool(tmp_path, targets, "share", {}, 2).store(None)
    for shard in range(2):
        store.put(shard, Columns("v", "raw", 1, 1.0, (), b"\1", b""))
    whole = tmp_path / "shard-0000000001.parquet"
    for content in (b"", whole.read_bytes()[:100]):
        whole.write_bytes(content)
        with pytest.raises(InvalidArgument, match=r"shard-0000000001\.parquet: not the results of a shard"):
            store.get(0)
    (tmp_path / "shard-0000000003.parquet").touch()
    assert Spool(tmp_path, targets, "share", {}, 2).store(None).done() == {0, 1}


def test_certificates_for_a_scheduler_without_tls_are_refused(
    reference: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    reference("distributed")
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(InvalidArgument, match="certificates are for tls:"):
        fastnet.sweep_distributed("127.0.0.1", client="tcp://127.0.0.1:1", tls=(missing, missing, missing))
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        fastnet.sweep_distributed("127.0.0.1", client="tls://127.0.0.1:1", tls=(missing, missing, missing))
    with pytest.raises(InvalidArgument, match="TLS needs the files"):
        fastnet.sweep_distributed("127.0.0.1", client="tls://127.0.0.1:1")


def test_names_of_vantages_can_not_drive_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("HOST", "a\x1b[31m"), [("::1", "unknown")])
    assert "\x1b[31m" not in capsys.readouterr().out


def test_versions_that_differ_are_one_remark(
    reference: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    versions = reference("distributed.versions")
    ours, theirs = ({"packages": {"msgpack": number, "python": number, "zict": "1"}} for number in "12")
    table = versions.error_message(theirs, {"tcp://a": ours}, ours)["warning"]
    assert table.count("\n") > 5
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with one_remark_on_versions():
            warnings.warn(versions.VersionMismatchWarning(table), stacklevel=1)
            warnings.warn("another", stacklevel=1)
    remark = "client, scheduler and workers differ in their versions of msgpack, python\n"
    assert capsys.readouterr().err == remark
    assert [str(each.message) for each in others] == ["another"]


@pytest.mark.parametrize("files", [("a", "b"), (None, None, None), 5])
def test_what_is_not_three_files_is_refused(reference: Callable[[str], ModuleType], files: object) -> None:
    reference("distributed")
    with pytest.raises(InvalidArgument, match="tls"):
        fastnet.sweep_distributed("127.0.0.1", client="tls://127.0.0.1:1", tls=files)  # type: ignore[arg-type]


def test_who_accepts_and_is_silent_is_no_scheduler(
    reference: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference("distributed")
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(OSError, match="connected, but it does not answer as Dask does"):
            fastnet.sweep_distributed("127.0.0.1", client=address)


def test_a_scheduler_whose_name_does_not_resolve(reference: Callable[[str], ModuleType]) -> None:
    reference("distributed")
    with pytest.raises(NameNotResolved, match=r"^a\.invalid: Name or service not known") as raised:
        fastnet.sweep_distributed("127.0.0.1", client="tcp://a.invalid:8786")
    assert raised.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://h:99999", "port 99999: expected 0 to 65535"),
        ("h:0", "port 0: expected 1 to 65535"),
        ("tls://h:x", "port 'x': expected a number or a service name"),
        ("tcp://h", "'h': expected HOST:PORT"),
        ("tcp://::1:8786", "write an IPv6 address in brackets"),
    ],
)
def test_a_scheduler_s_port_is_checked(
    reference: Callable[[str], ModuleType], address: str, message: str
) -> None:
    reference("distributed")
    with pytest.raises(InvalidArgument) as raised:
        fastnet.sweep_distributed("127.0.0.1", client=address)
    assert str(raised.value).startswith(f"scheduler '{address}': ")
    assert message in str(raised.value)


class Steps:
    """A sweep whose opening, or whose first step, lasts until the test ends it."""

    def __init__(self, started: threading.Event, ends: threading.Event, opens_slowly: bool) -> None:
        self.history: list[str] = []
        self._started, self._ends, self._opens_slowly = started, ends, opens_slowly

    def open(self) -> Steps:
        if self._opens_slowly:
            self._last("opened")
        return self

    def run(self) -> bool:
        self._last("ran")
        return False

    def close(self) -> None:
        self.history.append("closed")

    def _last(self, what: str) -> None:
        self._started.set()
        self._ends.wait()
        self.history.append(what)


@pytest.mark.parametrize("opens_slowly", [True, False])
def test_a_cancelled_coroutine_closes_its_sweep_after_its_step(opens_slowly: bool) -> None:
    started, ends = threading.Event(), threading.Event()
    steps = Steps(started, ends, opens_slowly)

    async def cancelled() -> None:
        task = asyncio.create_task(_finished(steps.open))
        await asyncio.to_thread(started.wait)
        task.cancel()
        await asyncio.sleep(0)
        assert steps.history == []
        ends.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    while steps.history[-1:] != ["closed"]:
        time.sleep(0.01)
    assert steps.history == ["opened" if opens_slowly else "ran", "closed"]
