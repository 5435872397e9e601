"""``fastnet forward`` before it serves: what a dry run checks, and who owns the log that root opens."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from forwarding import Command

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NOBODY = "nobody"


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_an_unknown_user_is_refused(fastnet: Run, dry: tuple[str, ...]) -> None:
    ran = fastnet("forward", "0", "127.0.0.1:1", "--user", "no-such-user", *dry)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "fastnet forward: no user 'no-such-user'\n"


@pytest.mark.parametrize("option", ["--metrics=0", "--top", f"--user={NOBODY}", "--log=log"])
def test_a_dry_run_opens_nothing(fastnet: Run, tmp_path: Path, option: str) -> None:
    ran = fastnet("forward", "0", "127.0.0.1:1", "--dry-run", option, cwd=str(tmp_path))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "forwarding localhost:0 to 127.0.0.1:1\n"
    assert not [*tmp_path.iterdir()]


def _file(path: Path) -> None:
    path.touch()


def _link(path: Path) -> None:
    path.with_name("target").touch()
    path.symlink_to("target")


def _second_name(path: Path) -> None:
    path.with_name("target").touch()
    path.hardlink_to(path.with_name("target"))


def _device(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "given"),
    [(_file, True), (_link, False), (_second_name, False), (_device, False), (_pipe, False)],
)
def test_the_user_gets_a_log_that_is_a_file_of_its_own(
    root: None, forward: Callable[..., Command], tmp_path: Path, make: Callable[[Path], None], given: bool
) -> None:
    log = tmp_path / "log"
    make(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    command = forward("127.0.0.1:0", "127.0.0.1:1", "--user", NOBODY, "--log", str(log))
    assert command.port
    assert command.finish()[0] == 0
    os.close(reader)
    assert log.stat().st_uid == (pwd.getpwnam(NOBODY).pw_uid if given else 0)
