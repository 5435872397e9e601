"""Wrong input to sweeps from many vantages, and what a vantage's rate and name may not do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import fastnet
from fastnet._distributed.columns import Columns
from fastnet._distributed.shard import Job, sweep_shard
from fastnet._distributed.spool import Spool
from fastnet.cli.output import print_table
from fastnet.errors import InvalidArgument
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


@pytest.mark.parametrize("files", [("a", "b"), (None, None, None), 5])
def test_what_is_not_three_files_is_refused(reference: Callable[[str], ModuleType], files: object) -> None:
    reference("distributed")
    with pytest.raises(InvalidArgument, match="tls"):
        fastnet.sweep_distributed("127.0.0.1", client="tls://127.0.0.1:1", tls=files)  # type: ignore[arg-type]
