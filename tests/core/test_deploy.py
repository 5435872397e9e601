"""The examples of docs/deploy are valid for the programs that read them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from environment import ROOT

DEPLOY = ROOT / "docs/deploy"
# https://docs.docker.com/reference/dockerfile
INSTRUCTIONS = {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"}
INSTRUCTIONS |= {"ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}


@pytest.mark.parametrize("unit", sorted(path.name for path in DEPLOY.glob("*.service")))
def test_systemd_finds_no_fault(peer: Callable[[str], str], tmp_path: Path, unit: str) -> None:
    """But for the place of the command, which is another on this machine."""
    copy = tmp_path / unit
    copy.write_text((DEPLOY / unit).read_text().replace("/usr/local/bin/fastnet", sys.executable))
    words = [peer("systemd-analyze"), "verify", copy]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_the_containerfile_has_only_instructions() -> None:
    lines = [line for line in (DEPLOY / "Containerfile").read_text().splitlines() if line[0] != "#"]
    assert lines[0].startswith("FROM ")
    assert {line.split()[0] for line in lines} <= INSTRUCTIONS
    assert re.fullmatch(r'ENTRYPOINT \["fastnet"\]', lines[-1])
