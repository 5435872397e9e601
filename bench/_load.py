"""Pages whose contenders are relays: processes on one core, a load of clients and a server on another.

All relays of a page run from its beginning to its end, stopped by SIGSTOP except in their turns. A round
puts each of them under the load once; the load (load/, compiled for the occasion) checks its answers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from glob import glob
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

from bench._case import RIGHT, Answer, Place, Reading, Rounds
from bench._harness import Measurement, Result
from bench._namespace import namespace
from bench._peers import Missing
from bench._relays import HOST, MOST_CONNECTIONS, Ports, Relay

DIRECT = "direct"
FIRST_PORT = 20000
START_SECONDS = 10.0
SETTLE_SECONDS = 0.5
CORES = sorted(os.sched_getaffinity(0))
SYSCTLS = (
    # A default of bbr makes all of them equally slow on loopback.
    "net.ipv4.tcp_congestion_control=reno",
    "net.ipv4.ip_local_port_range=30000 65000",
)


class LoadCase(NamedTuple):
    """The options of a load, and the numbers read from it.

    It returns, beside its own numbers, ``cpu_seconds`` of the relay, ``load_cpu_seconds`` of itself, and how
    much the relay's ``memory`` grew by, in bytes. Before it counts, all do it once, with the options of
    ``warm_up`` too.
    """

    kind: str
    options: Mapping[str, object]
    readings: Sequence[Reading]
    warm_up: Mapping[str, object] = {}
    once: bool = False
    """Takes one sample: the case is slow and does not vary."""


class LoadFailed(Exception):
    """An error of the load: an answer was wrong or missing."""


class Tools(NamedTuple):
    """What a session has: words that go before a command, the load's program, and a folder for files."""

    place: Place
    load: Path
    folder: Path


class Running:
    """A contender of a page while it runs: a relay's process, or without one the direct connection."""

    def __init__(self, tools: Tools, number: int, relay: Relay | None) -> None:
        self.name = relay.name if relay else DIRECT
        self.trouble = ""
        """Why it can't run."""
        self._tools = tools
        self._most_connections = relay.most_connections if relay else MOST_CONNECTIONS
        self._rewrites = relay is not None and relay.rewrites
        # Each has its own port to the server: otherwise one uses up the local ports of the next.
        upstream = FIRST_PORT + 2 * number
        self._ports = Ports(upstream + 1 if relay else upstream, upstream)
        self._log = tools.folder / f"{self._ports.upstream}" / "log"
        self._process = self._start(relay) if relay else None

    def _start(self, relay: Relay) -> subprocess.Popen[bytes] | None:
        self._log.parent.mkdir()
        try:
            command = relay.command(self._ports, self._log.parent)
        except Missing as error:
            self.trouble = f"not installed: {error}"
            return None
        with self._log.open("wb") as output:
            return subprocess.Popen(
                [*self._tools.place, "taskset", "-c", str(CORES[0]), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **relay.environment},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def wait_until_listening(self) -> None:
        """Seen in the kernel's table, because a connection would be the relay's first one."""
        if self._process is None:
            return
        wanted = f":{self._ports.listen:04X} 00000000:0000 0A "
        deadline = time.monotonic() + START_SECONDS
        while wanted not in read(f"/proc/{self._process.pid}/net/tcp"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                last_line = self._log.read_text(errors="replace").rstrip().rpartition("\n")[2]
                self.trouble = f"failed: it does not listen: {last_line}"
                return
            time.sleep(0.01)
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        # Its whole group: socat has a process for each connection. There is none of one that crashed.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Continue the process, until it has nothing left to do."""
        if self._process is None:
            yield
            return
        self._signal(signal.SIGCONT)
        try:
            yield
            self._settle()
        finally:
            self._signal(signal.SIGSTOP)

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        before = -1.0
        while before != (now := self.cpu_seconds()) and time.monotonic() < deadline:
            before = now
            time.sleep(0.01)

    def under(self, kind: str, options: Mapping[str, object]) -> Answer:
        """Put it under a load. Raises LoadFailed."""
        words = [f"{name}={value}" for name, value in self._fitted(options).items()]
        ports = [str(self._ports.upstream), str(self._ports.listen)]
        cpu_before, memory_before = self.cpu_seconds(), self.memory()
        with subprocess.Popen(
            [*self._tools.place, "taskset", "-c", str(CORES[-1]), self._tools.load, kind, *ports, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as load:
            assert load.stdout is not None
            assert load.stderr is not None
            told = load.stdout.readline()
            if not told:
                raise LoadFailed(load.stderr.read().decode().strip())
            if any(allowed_cores(pid) - {CORES[0]} for pid in self._family()):
                raise LoadFailed(f"it has left its core, {CORES[0]}")
            return {
                **json.loads(told),
                "cpu_seconds": self.cpu_seconds() - cpu_before,
                "load_cpu_seconds": threads_cpu(load.pid),
                "memory": self.memory() - memory_before,
            }

    def _fitted(self, options: Mapping[str, object]) -> dict[str, object]:
        """With no more connections than it can serve, and the Host with which requests must arrive."""
        host = f"{HOST}:{self._ports.upstream}" if self._rewrites else f"localhost:{self._ports.listen}"
        fitted = {**options, "host": host}
        if options.get("connections") == MOST_CONNECTIONS:
            fitted["connections"] = self._most_connections
        return fitted

    def cpu_seconds(self) -> float:
        """The CPU seconds of all its threads."""
        return sum(map(threads_cpu, self._family()))

    def memory(self) -> int:
        """Its proportional set size in bytes."""
        return sum(proportional_size(pid) for pid in self._family())

    def _family(self) -> list[int]:
        if self._process is None:
            return []
        family = [self._process.pid]
        for pid in family:
            family += map(int, read(f"/proc/{pid}/task/{pid}/children").split())
        return family


def read(path: str) -> str:
    """A file of /proc; empty for a process that has ended."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def threads_cpu(pid: int) -> float:
    """The CPU seconds of a process's threads that have not ended."""
    paths = glob(f"/proc/{pid}/task/*/schedstat")
    return sum(int(read(path).partition(" ")[0] or 0) for path in paths) / 1e9


def allowed_cores(pid: int) -> set[int]:
    """The cores on which a process's threads may run. HAProxy, for one, can change its own."""
    found: set[int] = set()
    for path in glob(f"/proc/{pid}/task/*"):
        with suppress(ProcessLookupError):
            found |= os.sched_getaffinity(int(Path(path).name))
    return found


def proportional_size(pid: int) -> int:
    lines = read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@contextmanager
def place() -> Iterator[Place]:
    """A namespace of its own; without root, or without the ip command, here."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("without root and iproute2 no namespace: congestion control as it is here", file=sys.stderr)
        yield ()
        return
    with namespace("load") as words:
        subprocess.run([*words, "sysctl", "-qw", *SYSCTLS], check=True)
        yield words


@contextmanager
def tools() -> Iterator[Tools]:
    compiler = shutil.which("cc")
    if not compiler:
        sys.exit("bench: this page's load is C and needs a compiler (apt-get install gcc libc6-dev)")
    with TemporaryDirectory(prefix="fastnet-bench-") as name, place() as words:
        load = Path(name) / "load"
        sources = sorted(Path(__file__).with_name("load").glob("*.c"))
        subprocess.run([compiler, "-O2", "-std=c11", "-pthread", "-o", load, *sources], check=True)
        yield Tools(words, load, Path(name))


def measure_loads(
    page: str, relays: Sequence[Relay], cases: Sequence[LoadCase], rounds: int
) -> Iterator[Result]:
    """Each reading of each case; the first relay is ours."""
    with tools() as found, ExitStack() as stack:
        running = []
        for number, relay in enumerate([*relays, None]):
            running.append(stack.enter_context(Running(found, number, relay)))
            running[-1].wait_until_listening()
        turns = Rounds(len(cases), 1 + rounds)
        for case in cases:
            numbers = islice(turns.of_next_case(least=2), 2 if case.once else None)
            yield from measure_load(page, case, running, numbers)


def measure_load(
    page: str, case: LoadCase, running: Sequence[Running], numbers: Iterable[int]
) -> Iterator[Result]:
    """Number 0 warms up."""
    answers: dict[str, list[Answer]] = {contender.name: [] for contender in running}
    verdicts = {contender.name: contender.trouble or RIGHT for contender in running}
    for number in numbers:
        for contender in running:
            if verdicts[contender.name] != RIGHT:
                continue
            try:
                with contender.in_turn():
                    answer = contender.under(case.kind, {**case.options, **({} if number else case.warm_up)})
            except LoadFailed as error:
                verdicts[contender.name] = f"failed: {error}"
                answers[contender.name].clear()
            else:
                answers[contender.name] += [answer] if number else []
    for reading in case.readings:
        measurements = [
            Measurement(name, case.kind, verdicts[name], [reading.value(answer) for answer in found])
            for name, found in answers.items()
            if name not in reading.without
        ]
        names = [measurement.name for measurement in measurements]
        goals = [goal for goal in reading.goals if goal.by in names]
        yield Result(page, reading.what, reading.quantity, goals, measurements)
