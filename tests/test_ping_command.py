"""The command ``fastnet ping`` as a process: what it prints on stdout and stderr, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
from conftest import Namespace

from fastnet.ping import Reply, Summary

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = pytest.mark.xdist_group("icmp")
SILENT = "10.77.0.9"
"""A neighbour that has a hardware address, and nobody there."""


class TestInterrupted:
    """Requests that are still awaited when Ctrl-C comes: sent, and not lost."""

    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_what_is_still_awaited(self, linked: tuple[Namespace, Namespace], form: tuple[str, ...]) -> None:
        left, _ = linked
        left.ip("neighbour", "add", SILENT, "lladdr", "02:00:00:00:00:09", "dev", "veth0")
        words = ("ping", *form, "-l", "-i1h", "-W1h", SILENT, "10.77.0.2")
        command = [*left.prefix, "env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "10.77.0.2" in process.stdout.readline()  # who was asked second
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "")
        silent, answering = output.splitlines()
        if form:
            counts = ("sent", "not_sent", "received", "waiting", "loss_percent", "outage_s", "error")
            told = [[json.loads(line)[key] for key in counts] for line in (silent, answering)]
            assert told == [[1, 0, 0, 1, 0, 0, "no answer"], [1, 0, 1, 0, 0, 0, None]]
        else:
            assert silent == f"{SILENT}: 1 sent, 0 received, 0% loss, 1 still awaited"
            assert re.match(r"10\.77\.0\.2: 1 sent, 1 received, 0% loss, rtt ", answering)

    def test_loss_and_outage_are_of_the_others(self) -> None:
        summary = Summary("h", "192.0.2.1", "raw", 0.5)
        for seq, rtt_ms in enumerate((1.0, None, 2.0, 3.0)):
            summary.add(Reply("h", "192.0.2.1", seq, rtt_ms, None, None))
        assert (summary.sent, summary.loss_percent, summary.outage_s) == (4, 25, 0.5)
        for seq in range(4, 10):
            summary.add(Reply("h", "192.0.2.1", seq, None, None, "no answer"), waiting=True)
        assert (summary.sent, summary.waiting, summary.loss_percent, summary.outage_s) == (10, 6, 25, 0.5)
