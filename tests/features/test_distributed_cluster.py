"""A cluster on machines as they are: without privilege, route, fastnet, scheduler or much memory; and TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from children import Child
from cluster import PORT, SCHEDULER, SETTINGS, Cluster, Host, cluster
from environment import COMMAND_TIMEOUT, Run
from namespaces import namespaces

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("dask")]

UNPRIVILEGED = ("setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin")
MEMORY_BYTES = 160 << 20
"""What the client of a sweep of a /16 into a directory may take; most of it are Python, Dask and Arrow."""
CGROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@pytest.fixture(scope="module")
def lab(
    root: None,
    peer: Callable[[str], str],
    reference: Callable[[str], ModuleType],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """Four vantages, of which only the last one is as it should be."""
    reference("distributed")
    folder = tmp_path_factory.mktemp("lab")
    package = folder / "bare/fastnet"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'fastnet'\")")
    with namespaces(peer("ip")) as make, cluster(make, folder, peer("nft")) as made:
        peer("setpriv")
        made.worker("bare", environment={"PYTHONPATH": str(package.parent)})
        made.worker("unprivileged", prefix=UNPRIVILEGED)
        made.worker("routeless", route=False)
        made.worker("whole")
        made.wait_for(4)
        yield made


def sweep(lab: Cluster, fastnet: Run, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    given = ("--distributed", SCHEDULER, "--timeout", "200ms", *words)
    options.setdefault("prefix", lab.centre.prefix)
    return fastnet("sweep", *given, env=SETTINGS, **options)


def test_who_can_not_probe_is_named_and_others_do_its_part(lab: Cluster, fastnet: Run) -> None:
    ran = sweep(lab, fastnet, "10.200.0.0/22", "--json")
    assert ran.returncode == 0, ran.stderr
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {each["state"] for each in records if each["kind"] == "verdict"} == {"alive"}
    vantages = {each["name"]: each for each in records if each["kind"] == "vantage"}
    assert vantages["bare"]["problem"] == "its Python has no fastnet"
    assert "CAP_NET_RAW" in vantages["unprivileged"]["problem"]
    assert (
        vantages["unprivileged"]["alive"] == vantages["bare"]["alive"] == vantages["routeless"]["alive"] == 0
    )
    assert vantages["whole"]["alive"] == 1024
    for name in ("bare", "unprivileged"):
        assert f"vantage {name} is left out: " in ran.stderr
    had_a_shard = vantages["routeless"]["shards"] > 0
    assert ("vantage routeless: no route to some targets" in ran.stderr) == had_a_shard


def test_what_nobody_has_a_route_to_is_not_probed(lab: Cluster, fastnet: Run) -> None:
    ran = sweep(lab, fastnet, "10.200.0.1", "192.0.2.1")
    assert "192.0.2.1       not probed   Network is unreachable" in ran.stdout
    assert "10.200.0.1      alive" in ran.stdout


def test_in_a_comparison_who_can_not_probe_knows_nothing(lab: Cluster, fastnet: Run) -> None:
    names = "unprivileged,routeless,whole"
    ran = sweep(lab, fastnet, "10.200.0.1", "--mode", "compare", "--csv", "--vantages", names)
    assert ran.returncode == 0, ran.stderr
    address, differs, *cells = ran.stdout.splitlines()[1].split(",")
    assert (address, differs, cells[::2]) == ("10.200.0.1", "False", ["unknown", "not probed", "alive"])
    assert "(compare, 2 vantages)\n" in ran.stderr, "without the one that is left out"


def test_nobody_who_can_probe_is_an_error(lab: Cluster, fastnet: Run) -> None:
    ran = sweep(lab, fastnet, "10.200.0.1", "--vantages", "bare")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "no vantage can be used: bare: its Python has no fastnet" in ran.stderr
    ran = sweep(lab, fastnet, "10.200.0.1", "--vantages", "unprivileged")
    assert ran.returncode == 3
    assert "no vantage can be used: unprivileged: " in ran.stderr


def test_ctrl_c_stops_what_the_workers_send(lab: Cluster, fastnet: Run) -> None:
    words = ("10.200.0.0/16", "--distributed", SCHEDULER, "--vantage-rate", "200", "--vantages", "whole")
    before = received(lab)
    deadline = time.monotonic() + COMMAND_TIMEOUT
    with Child(
        [*lab.centre.prefix, sys.executable, "-m", "fastnet", "sweep", *words],
        env={**os.environ, **SETTINGS},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            while received(lab) == before:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(COMMAND_TIMEOUT) == 130
        finally:
            process.kill()
    deadline = time.monotonic() + COMMAND_TIMEOUT
    while (now := received(lab)) != before:
        assert time.monotonic() < deadline
        before = now
        time.sleep(0.5)


def received(lab: Cluster) -> int:
    """The number of echo requests that the hosts have received."""
    lines = lab.hosts.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp: "))
    return int(values[names.index("InEchos")])


def capped(size: int, name: str) -> tuple[str, ...]:
    """The words that run a command with a limit of memory: a cgroup's, else RLIMIT_AS."""
    for root in CGROUPS:
        group = root / name
        limit = "memory.limit_in_bytes" if root.name == "memory" else "memory.max"
        try:
            group.mkdir(exist_ok=True)
            (group / limit).write_text(str(size))
        except OSError:
            continue
        return "sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)
    return "prlimit", f"--as={6 * size}"


def test_the_client_takes_little_memory(
    lab: Cluster, fastnet: Run, tmp_path: Path, reference: Callable[[str], ModuleType]
) -> None:
    reference("pyarrow")
    name = f"fastnet-{os.getpid()}"
    words = capped(MEMORY_BYTES, name)
    out = tmp_path / "out"
    prefix = (*words, *lab.centre.prefix)  # inside, /sys has no cgroups
    ran = sweep(lab, fastnet, "10.200.0.0/16", "--vantages", "whole", "-o", str(out), prefix=prefix)
    for root in CGROUPS:
        if (root / name).exists():
            (root / name).rmdir()
    assert ran.returncode == 0, ran.stderr
    assert "65536 targets: 65280 alive, 256 inactive" in ran.stderr


def test_the_scheduler_comes_back(lab: Cluster, fastnet: Run) -> None:
    """It and its workers are new: the client submits again what has no result."""
    whole = ("--vantages", "whole", "--vantage-rate", "400", "--timeout", "200ms")
    words = ("10.200.0.0/22", "--distributed", SCHEDULER, *whole)
    with Child(
        [*lab.centre.prefix, sys.executable, "-m", "fastnet", "sweep", "--alive", *words],
        env={**os.environ, **SETTINGS},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        before, deadline = received(lab), time.monotonic() + COMMAND_TIMEOUT
        while received(lab) < before + 100:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        lab.scheduler.kill()
        lab.workers["whole"].process.wait(COMMAND_TIMEOUT)  # a worker ends with its scheduler
        lab.scheduler.start()
        lab.workers["whole"].start()
        assert process.communicate(timeout=COMMAND_TIMEOUT)[0].count("\n") == 1024
    assert process.returncode == 0


def test_tls(lab: Cluster, fastnet: Run, peer: Callable[[str], str], tmp_path: Path) -> None:
    """With certificates of one authority; whoever has none is refused."""
    subject, days = ("-subj", "/CN=10.90.0.1"), ("-days", "2")
    new = (peer("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    made = (*new, *subject, *days, "-keyout", key, "-out", certificate)
    subprocess.run(made, check=True, capture_output=True)
    files = ("--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key)
    port = str(PORT + 10)
    address = f"tls://10.90.0.1:{port}"
    scheduler = ("-m", "dask", "scheduler", "--protocol", "tls", "--host", "10.90.0.1", "--port", port)
    quiet = ("--no-dashboard",)
    worker = ("-m", "dask", "worker", address, "--name", "sealed", "--nthreads", "1", "--no-nanny")
    hosts = [
        Host(lab.centre, (*scheduler, *files, *quiet), tmp_path / "scheduler.log"),
        Host(lab.workers["whole"].namespace, (*worker, *files, *quiet), tmp_path / "worker.log"),
    ]
    deadline = time.monotonic() + COMMAND_TIMEOUT
    try:
        while "Scheduler at" not in (tmp_path / "scheduler.log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ours = ("--tls-ca", certificate, "--tls-cert", certificate, "--tls-key", key)
        ran = sweep(lab, fastnet, "10.200.0.1", "--alive", "--distributed", address, *ours)
        assert (ran.returncode, ran.stdout) == (0, "10.200.0.1\n"), ran.stderr
        ran = sweep(lab, fastnet, "10.200.0.1", "--distributed", address)
        assert ran.returncode in (2, 3)
        assert ran.stderr.count("\n") == 1, ran.stderr
    finally:
        for host in hosts:
            host.kill()


CLIENTS = """
import asyncio, sys
import fastnet
from distributed import Client

scheduler = sys.argv[1]
options = {"timeout": 0.2, "vantages": ["whole"]}

async def on_a_loop():
    async with Client(scheduler, asynchronous=True) as client:
        swept = await fastnet.aio.sweep_distributed("10.200.0.0/28", client=client, **options)
        pinged = await fastnet.aio.ping_distributed(["10.200.0.1"], client=client, count=1, **options)
        return swept.counts.alive, pinged.seen_by("10.200.0.1"), await client.submit(abs, -1)

assert asyncio.run(on_a_loop()) == (16, ("whole",), 1)
with Client(scheduler) as client:
    compared = fastnet.sweep_distributed("10.200.0.0/28", client=client, mode="compare", **options)
    assert [each.seen_by for each in compared] == [("whole",)] * 16
    assert client.submit(abs, -2).result() == 2, "it is the caller's, and stays open"
    worker = next(iter(client.scheduler_info()["workers"]))
try:
    fastnet.sweep_distributed("10.200.0.0/28", client=worker)
except fastnet.errors.InvalidArgument as error:
    assert "it is a worker of Dask" in str(error), error
else:
    raise AssertionError("a worker was taken for the scheduler")
"""


def test_a_client_of_the_callers(lab: Cluster) -> None:
    lab.centre.run(sys.executable, "-c", CLIENTS, SCHEDULER, env={**os.environ, **SETTINGS})
