"""``--textfile``: what Prometheus reads of a ping and of a sweep, whole at each moment and whatever fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from children import Child
from environment import Run
from forwarding import assert_soon
from namespaces import Namespace

from fastnet._ping import Destination, Reply
from fastnet._ping.metrics import PingMetrics
from fastnet._textfile import BOUNDS, Histogram, Textfile

# One at a time where tests run in several workers: each sees the ICMP messages of the others.
pytestmark = [pytest.mark.xdist_group("icmp"), pytest.mark.usefixtures("prometheus")]
NOBODY = 65534
PING = "fastnet_ping_"
SWEEP = "fastnet_sweep_"
FAMILIES = {
    f"{PING}{name}": kind
    for name, kind in {
        "requests": "counter",
        "lost": "counter",
        "not_sent": "counter",
        "duplicates": "counter",
        "rtt_seconds": "histogram",
    }.items()
}
Samples = dict[tuple[str, ...], float]
Parse = Callable[[str], tuple[dict[str, str], Samples]]


@pytest.fixture(scope="module")
def prometheus(reference: Callable[[str], ModuleType]) -> None:
    reference("prometheus_client")


@pytest.fixture
def parsed(reference: Callable[[str], ModuleType]) -> Parse:
    """The kinds of a text's families, each of which has a help text, and the values of samples."""
    parser = reference("prometheus_client.parser")

    def parse(text: str) -> tuple[dict[str, str], Samples]:
        families = [*parser.text_string_to_metric_families(text)]
        assert all(family.documentation for family in families)
        samples = [sample for family in families for sample in family.samples]
        values = {
            (each.name, *(each.labels[key] for key in sorted(each.labels))): each.value for each in samples
        }
        assert len(values) == len(samples)
        return {family.name: family.type for family in families}, values

    return parse


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = ["env", "--default-signal=INT", sys.executable, "-m", "fastnet", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Child(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def test_a_ping(fastnet: Run, parsed: Parse, tmp_path: Path, root: None) -> None:
    path, hosts = tmp_path / "ping.prom", tmp_path / "hosts"
    hosts.write_text("127.0.0.2 ::1  # both\nno..name\n")
    path.write_text("what was there before\n")
    words = ("ping", "-q", "-c3", "-i0", "--file", str(hosts), "--textfile", str(path), "127.0.0.1")
    ran = fastnet(*words, preexec_fn=lambda: os.umask(0o077))
    assert (ran.returncode, ran.stderr) == (2, "fastnet ping: no..name: not a host name or an address\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert {each.name for each in tmp_path.iterdir()} == {"ping.prom", "hosts"}
    kinds, values = parsed(path.read_text())
    assert kinds == FAMILIES
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        counted = [values[f"{PING}{name}_total", host, host] for name in ("requests", "lost", "not_sent")]
        assert counted == [3, 0, 0]
        buckets = [values[f"{PING}rtt_seconds_bucket", host, host, le] for le in (*map(str, BOUNDS), "+Inf")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == values[f"{PING}rtt_seconds_count", host, host] == 3
        assert 0 < values[f"{PING}rtt_seconds_sum", host, host] < 3
    assert values[f"{PING}not_sent_total", "", "no..name"] == 1


def test_a_request_that_is_lost_at_the_deadline(
    fastnet: Run, silent: Namespace, parsed: Parse, tmp_path: Path
) -> None:
    path = tmp_path / "ping.prom"
    ran = fastnet("ping", "-qw1", f"--textfile={path}", "127.0.0.1", prefix=silent.prefix)
    assert (ran.returncode, ran.stderr) == (1, "")
    _, values = parsed(path.read_text())
    counted = [values[f"{PING}{name}_total", "127.0.0.1", "127.0.0.1"] for name in ("requests", "lost")]
    assert counted == [1, 1]


def test_a_loop_goes_on_counting_and_ctrl_c_leaves_a_whole_file(
    parsed: Parse, tmp_path: Path, root: None
) -> None:
    path = tmp_path / "ping.prom"
    key = (f"{PING}requests_total", "127.0.0.1", "127.0.0.1")
    seen = [0.0]
    with running("ping", "-lq", "-i1ms", "--every=20ms", f"--textfile={path}", "127.0.0.1") as process:
        assert_soon(path.exists)
        while len(seen) < 10:
            kinds, values = parsed(path.read_text())  # at any moment
            assert kinds == FAMILIES
            assert values[key] >= seen[-1]
            assert process.poll() is None
            if values[key] > seen[-1]:
                seen.append(values[key])
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert output.startswith("127.0.0.1: ")  # the summary only
    assert output.count("\n") == 1
    kinds, values = parsed(path.read_text())
    assert kinds == FAMILIES
    lost = values[f"{PING}lost_total", "127.0.0.1", "127.0.0.1"]
    assert values[f"{PING}rtt_seconds_count", "127.0.0.1", "127.0.0.1"] + lost == values[key] >= seen[-1]
    assert [*tmp_path.iterdir()] == [path]


def test_a_directory_that_goes_away_is_told_and_the_loop_goes_on(
    parsed: Parse, tmp_path: Path, root: None
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "ping.prom"
    with running("ping", "-lq", "-i1ms", "--every=20ms", f"--textfile={path}", "127.0.0.1") as process:
        assert process.stderr
        assert_soon(path.exists)
        folder.rename(tmp_path / "away")
        told = [process.stderr.readline()]
        folder.mkdir()
        told.append(process.stderr.readline())
        assert_soon(path.exists)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert told == [
        f"fastnet ping: {path}: No such file or directory: it is left as it was\n",
        f"fastnet ping: {path}: it is written again\n",
    ]
    assert (process.returncode, errors) == (130, "")
    assert parsed(path.read_text())[0] == parsed((tmp_path / "away/ping.prom").read_text())[0] == FAMILIES


@pytest.mark.parametrize("words", [("ping", "-qc2", "-i0", "127.0.0.1"), ("sweep", "127.0.0.1")])
def test_a_full_disk(
    fastnet: Run, peer: Callable[[str], str], tmp_path: Path, root: None, words: tuple[str, ...]
) -> None:
    """The result is printed, and the exit code is that of a failure."""
    script = """
        mount -t tmpfs -o size=16k none "$0" && cd "$0" && echo before >x.prom
        head -c 100000 /dev/zero >rest 2>/dev/null
        "$@"; code=$?
        ls -A; cat x.prom; exit $code"""
    prefix = (peer("unshare"), "-m", "sh", "-c", script, str(tmp_path))
    ran = fastnet(*words, f"--textfile={tmp_path}/x.prom", prefix=prefix)
    failure = f"fastnet {words[0]}: {tmp_path}/x.prom: No space left on device: it is left as it was\n"
    assert failure in ran.stderr
    assert ran.returncode == 3
    assert ran.stdout.splitlines()[-3:] == ["rest", "x.prom", "before"]


def test_another_users_directory(fastnet: Run, tmp_path: Path, root: None) -> None:
    tmp_path.chmod(0o755)
    os.chown(tmp_path, NOBODY, NOBODY)
    for command in ("ping", "sweep"):
        ran = fastnet(command, "127.0.0.1", f"--textfile={tmp_path}/x.prom")
        assert (ran.returncode, ran.stdout) == (3, "")
        assert ran.stderr == (
            f"fastnet {command}: {tmp_path}: Permission denied: root without its capabilities,"
            " which are not kept, may write only where root is the owner\n"
        )


@pytest.mark.parametrize("command", ["ping", "sweep"])
@pytest.mark.parametrize(
    ("path", "line", "code"),
    [
        ("/nonexistent/x.prom", "/nonexistent/x.prom: No such file or directory", 3),
        ("/dev/null", "/dev/null: not a regular file", 2),
        ("/dev/stdout", "/dev/stdout: not a regular file", 2),
        ("", "'': not a regular file", 2),
    ],
)
def test_a_path_that_cannot_be_written(fastnet: Run, command: str, path: str, line: str, code: int) -> None:
    ran = fastnet(command, "127.0.0.1", f"--textfile={path}")
    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr == f"fastnet {command}: {line}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("ping -l", "--textfile: with --loop also --every TIME, the time between two writes"),
        ("ping --mtu", "--textfile: not with --mtu"),
        ("ping --distributed=127.0.0.1:1", "--textfile: not with --distributed"),
        ("sweep --distributed=127.0.0.1:1", "--textfile: not with --distributed"),
    ],
)
def test_refused(fastnet: Run, words: str, line: str) -> None:
    ran = fastnet(*words.split(), "127.0.0.1", "--textfile=/nonexistent/x")
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"fastnet {words.split()[0]}: {line}\n")


def test_sweeps(fastnet: Run, parsed: Parse, tmp_path: Path, root: None) -> None:
    path = tmp_path / "office.prom"
    targets = ("127.0.0.0/29", "224.0.0.1", "no..name")
    ran = fastnet("sweep", "--every=0", "--count=3", f"--textfile={path}", *targets)
    assert ran.returncode == 2
    kinds, values = parsed(path.read_text())
    assert kinds == {
        f"{SWEEP}targets": "gauge",
        f"{SWEEP}complete": "gauge",
        f"{SWEEP}duration_seconds": "gauge",
        f"{SWEEP}end_timestamp_seconds": "gauge",
        f"{SWEEP}rounds": "counter",
        f"{SWEEP}rtt_seconds": "histogram",
    }
    states = {key[1]: value for key, value in values.items() if key[0] == f"{SWEEP}targets"}
    assert states == {"alive": 8, "inactive": 0, "unreachable": 0, "not probed": 2, "decided before": 0}
    assert values[f"{SWEEP}complete", "office"] == 1
    assert values[f"{SWEEP}rounds_total", "office"] == 3
    assert values[f"{SWEEP}rtt_seconds_count", "office"] == 24


def test_an_interrupted_sweep_and_its_rest(fastnet: Run, parsed: Parse, tmp_path: Path, root: None) -> None:
    path = tmp_path / "x.prom"
    words = ("sweep", f"--textfile={path}", f"--resume={tmp_path / 'state'}", "127.0.0.1-2")
    with running(*words, "--engine=raw", "--rate=0.01", "--stream") as process:
        assert process.stdout
        assert "127.0.0.1 " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    _, values = parsed(path.read_text())
    assert (values[f"{SWEEP}complete", "x"], values[f"{SWEEP}rounds_total", "x"]) == (0, 0)
    states = {key[1]: value for key, value in values.items() if key[0] == f"{SWEEP}targets"}
    assert states == {"alive": 1, "inactive": 0, "unreachable": 0, "not probed": 1, "decided before": 0}
    assert fastnet(*words, "--engine=raw").returncode == 0
    _, values = parsed(path.read_text())
    assert values[f"{SWEEP}targets", "alive", "x"] == values[f"{SWEEP}targets", "decided before", "x"] == 1


class TestTextfile:
    """In this process."""

    @pytest.fixture
    def warned(self) -> list[str]:
        return []

    @pytest.fixture
    def file(self, tmp_path: Path, warned: list[str]) -> Textfile:
        return Textfile(str(tmp_path / "x.prom"), warned.append)

    def test_an_old_reader_keeps_an_old_file(self, file: Textfile) -> None:
        file.write([file.core.GaugeMetricFamily("a", "A", value=1)])
        with open(file.path) as old:
            begin = old.read(3)
            file.write([file.core.GaugeMetricFamily("b", "B", value=2)])
            assert begin + old.read() == "# HELP a A\n# TYPE a gauge\na 1.0\n"
        assert Path(file.path).read_text() == "# HELP b B\n# TYPE b gauge\nb 2.0\n"

    def test_what_a_killed_process_left_is_no_obstacle(self, file: Textfile, tmp_path: Path) -> None:
        left = tmp_path / f".x.prom.{os.getpid()}"
        left.write_text("half")
        file.check()
        left.symlink_to(tmp_path / "elsewhere")
        file.write([])
        assert [*tmp_path.iterdir()] == [tmp_path / "x.prom"]

    def test_a_link_stays_one(self, file: Textfile, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("x.prom")
        Textfile(str(tmp_path / "link"), print).write([])
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "x.prom").exists()

    def test_a_failure_is_told_once(self, file: Textfile, tmp_path: Path, warned: list[str]) -> None:
        os.mkdir(file.path)
        for _ in range(3):
            file.write([])
        assert warned == [f"{file.path}: Is a directory: it is left as it was"]
        assert [*tmp_path.iterdir()] == [Path(file.path)]
        shutil.rmtree(tmp_path)
        file.write([])
        assert warned[1:] == [f"{file.path}: No such file or directory: it is left as it was"]

    def test_memory_does_not_grow(self, file: Textfile) -> None:
        metrics = PingMetrics(file)
        metrics.begin([Destination("h", "192.0.2.1", "raw", None)])
        replies = [Reply("h", "192.0.2.1", 0, rtt_ms, 64, None) for rtt_ms in (0.01, 7.0, 1e5, None)]
        metrics.add(replies[0])
        tracemalloc.start()
        try:
            for _ in range(5000):
                for reply in replies:
                    metrics.add(reply)
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert grown < 1000

    def test_labels_of_any_host(self, file: Textfile, parsed: Parse) -> None:
        metrics = PingMetrics(file)
        hosts = ['"quoted"', "back\\slash", "line\nend", "\udcff"]
        metrics.begin([Destination(host, "", "", None, "no name") for host in hosts])
        metrics.write()
        _, values = parsed(Path(file.path).read_text())
        names = {key[2] for key in values if key[0] == f"{PING}lost_total"}
        assert names == {'"quoted"', "back\\slash", "line\\nend", "\\xff"}


def test_a_time_on_a_bound_is_within() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.001, 0.0010001, 11.0):
        histogram.add(seconds)
    buckets = dict(histogram.buckets())
    assert [buckets[le] for le in ("5e-05", "0.0005", "0.001", "0.002", "10.0", "+Inf")] == [1, 1, 2, 3, 3, 4]
    assert histogram.sum == pytest.approx(11.0020001)
