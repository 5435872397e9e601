"""A Dask cluster of real processes in namespaces: a scheduler, workers with a route each, and hosts to probe.

The scheduler and the client are in ``centre``. Each worker has a link to it, 10.90.N.0/24, and one to
``hosts``, 10.91.N.0/24, where all of 10.200.0.0/16 answers but for what the test drops.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from environment import COMMAND_TIMEOUT
from namespaces import MakeNamespace, Namespace

PORT = 8786
SCHEDULER = f"tcp://10.90.0.1:{PORT}"
ALL_SILENT = "10.200.255.0/24"
"""Of which no address answers, whoever asks."""
SETTINGS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
    "PYTHONSAFEPATH": "1",
}
"""What a cut-off worker costs is noticed in seconds; nothing is sampled that a test does not need."""


class Host:
    """One process of the cluster, in a namespace."""

    def __init__(
        self, namespace: Namespace, words: tuple[str, ...], log: Path, prefix: tuple[str, ...] = ()
    ) -> None:
        self.namespace, self._words, self._log, self._prefix = namespace, words, log, prefix
        self.environment: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.namespace.prefix, *self._prefix, sys.executable, *self._words],
                env={**os.environ, **SETTINGS, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._log.parent,
                start_new_session=True,
            )

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop it until ``go_on``, if it runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)


class Cluster:
    """The namespaces and processes; ``workers`` by name."""

    def __init__(self, make: MakeNamespace, folder: Path, nft: str) -> None:
        self._make, self._folder, self._nft = make, folder, nft
        self.centre, self.hosts = make(), make()
        self.centre.ip("address", "add", "10.90.0.1/32", "dev", "lo")
        self.hosts.ip("route", "add", "local", "10.200.0.0/16", "dev", "lo")
        self.hosts.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=1000000")
        self.hosts.run(
            nft, "add table ip t; add chain ip t in { type filter hook prerouting priority -300; }"
        )
        self.drop(f"ip daddr {ALL_SILENT}")
        words = (
            "-m",
            "dask",
            "scheduler",
            "--host",
            "10.90.0.1",
            "--port",
            str(PORT),
            "--no-dashboard",
            "--no-show",
        )
        self.scheduler = Host(self.centre, words, folder / "scheduler.log")
        self.workers: dict[str, Host] = {}

    def drop(self, rule: str) -> None:
        """Have the hosts drop what a rule of nft matches; ``iifname w1`` is what comes from worker w1."""
        self.hosts.run(self._nft, f"add rule ip t in {rule} drop")

    def lose(self, worker: str, percent: int) -> None:
        """Lose some of a worker's requests."""
        self.drop(f"iifname {worker} icmp type echo-request numgen random mod 100 < {percent}")

    def worker(
        self,
        name: str,
        *words: str,
        prefix: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        route: bool = True,
    ) -> Host:
        """Start one more worker, with both links."""
        number, own = len(self.workers) + 1, self._make()
        for other, third in ((self.centre, 90), (self.hosts, 91)):
            own.ip("link", "add", f"to{third}", "type", "veth", "peer", "name", name, "netns", other.name)
            for side, last, device in ((own, 2, f"to{third}"), (other, 1, name)):
                side.ip("address", "add", f"10.{third}.{number}.{last}/24", "dev", device)
                side.ip("link", "set", "dev", device, "up")
            own.carry(f"to{third}")
        own.ip("route", "add", "10.90.0.1/32", "via", f"10.90.{number}.1")
        if route:
            own.ip("route", "add", "10.200.0.0/16", "via", f"10.91.{number}.1")
        given = (
            "-m",
            "dask",
            "worker",
            SCHEDULER,
            "--name",
            name,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
        )
        log = self._folder / f"{name}.log"
        host = self.workers[name] = Host.__new__(Host)
        host.environment = environment or {}
        host.namespace, host._words, host._log, host._prefix = own, (*given, *words), log, prefix
        host.start()
        return host

    def wait_for(self, count: int) -> None:
        """Wait until the scheduler and so many workers are there."""
        limit = COMMAND_TIMEOUT // 2
        wait = f"Client({SCHEDULER!r}, timeout={limit}).wait_for_workers({count}, timeout={limit})"
        code = f"from distributed import Client; {wait}"
        self.centre.run(sys.executable, "-c", code, env={**os.environ, **SETTINGS})

    def cut(self, name: str, is_up: bool = False) -> None:
        """Take down, or up again, a worker's link to the scheduler."""
        self.centre.ip("link", "set", "dev", name, "up" if is_up else "down")
        if is_up:
            self.centre.carry(name)

    def close(self) -> None:
        for each in (*self.workers.values(), self.scheduler):
            each.kill()


@contextlib.contextmanager
def cluster(make: MakeNamespace, folder: Path, nft: str) -> Iterator[Cluster]:
    made = Cluster(make, folder, nft)
    try:
        yield made
    finally:
        made.close()
