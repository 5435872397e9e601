"""The examples of docs/deploy are valid for the programs that read them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from environment import COMMAND_TIMEOUT, ROOT

DEPLOY = ROOT / "docs/deploy"
RULES = """
[rule.web]
listen = "127.0.0.1:0"
upstreams = "127.0.0.1:9"
"""
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


@contextmanager
def started(unit: str, replaced: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """A unit's command, with other paths and times; SIGTERM then ends it as systemd expects."""
    (line,) = re.findall(
        r"^ExecStart=/usr/local/bin/fastnet (.*)$", (DEPLOY / unit).read_text(), re.MULTILINE
    )
    words = shlex.split(line)
    assert {*replaced} <= {*words}
    command = [sys.executable, "-m", "fastnet", *(str(replaced.get(word, word)) for word in words)]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        try:
            yield running
            running.terminate()
            assert running.wait(COMMAND_TIMEOUT) in (
                0,
                -signal.SIGTERM,
            )  # systemd.service(5), SuccessExitStatus=
        finally:
            running.kill()


def test_the_unit_of_the_forwarder(tmp_path: Path) -> None:
    rules, log = tmp_path / "rules.toml", tmp_path / "access.log"
    rules.write_text(RULES)
    replaced: dict[str, object] = {"/etc/fastnet/rules.toml": rules, "/var/log/fastnet/access.log": log}
    with started("fastnet-forward.service", replaced) as running:
        assert running.stdout
        assert running.stdout.readline().startswith("forwarding 127.0.0.1:")
        assert log.exists()


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1\n")
    return path


def test_the_unit_of_the_monitor(root: None, hosts: Path) -> None:
    with started("fastnet-monitor.service", {"/etc/fastnet/hosts": hosts, "1m": "200ms"}) as running:
        assert running.stdout
        assert json.loads(running.stdout.readline())["host"] == "127.0.0.1"


def test_the_unit_for_prometheus(root: None, hosts: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "ping.prom"
    replaced = {
        "/etc/fastnet/hosts": hosts,
        "/var/lib/prometheus/node-exporter/ping.prom": metrics,
        "1m": "200ms",
    }
    with started("fastnet-prometheus.service", replaced) as running:
        while not metrics.exists():
            assert running.poll() is None
            time.sleep(0.01)
    assert 'host="127.0.0.1"' in metrics.read_text()


def test_the_containerfile_has_only_instructions() -> None:
    lines = [
        line for line in (DEPLOY / "Containerfile").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    assert lines[0].startswith("FROM ")
    assert {line.split()[0] for line in lines} <= INSTRUCTIONS
    assert re.fullmatch(r'ENTRYPOINT \["fastnet"\]', lines[-1])
