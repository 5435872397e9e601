"""The forwarders that the conformance suite runs, ours and others', each in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import IO, NamedTuple

SERVING = Path(__file__).with_name("serving.py")
MIB = 1 << 20

Find = Callable[[str], list[str]]
"""The words that run another project's program, by its name; by a path the path of a file."""


class Running:
    """A forwarder's processes, and what the kernel reports about them."""

    def __init__(self, words: list[str], errors: IO[str], port: int, reserve: int) -> None:
        """``port``: where it will listen; 0 if its first line of output has the port."""
        self._errors = errors
        self._reserve = reserve
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            self.port = port or int(self._answer())
            while not self._listening():
                self._check()
                time.sleep(0.005)
        except BaseException:
            self.stop()
            raise
        self._sockets = self.sockets()

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended: {self.said()}")

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it prints nothing: {self.said()}")
        return line.strip()

    def _listening(self) -> bool:
        # Those that listen are notified first; thousands that other tests have ended may follow.
        with open("/proc/thread-self/net/tcp") as rows:
            next(rows)
            listening = takewhile(lambda row: row[3] == "0A", map(str.split, rows))
            return any(row[1] == f"0100007F:{self.port:04X}" for row in listening)

    def tell(self, command: str) -> str:
        """Let our own process obey a command of ``serving.py``; its answer."""
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def said(self) -> list[str]:
        """The lines that it has written to its standard error."""
        self._errors.seek(0)
        return self._errors.read().splitlines()

    def _pids(self) -> list[int]:
        """The process and its descendants: its process group."""
        group = str(self._process.pid)
        return [int(pid) for pid in _list("") if pid.isdigit() and _stat(pid)[2:3] == [group]]

    def _descriptors(self) -> list[list[str]]:
        """What is open in each process."""
        return [[_link(f"{pid}/fd/{fd}") for fd in _list(f"{pid}/fd")] for pid in self._pids()]

    def threads(self) -> int:
        return sum(len(_list(f"{pid}/task")) for pid in self._pids())

    def sockets(self) -> int:
        return sum(link.startswith("socket:") for links in self._descriptors() for link in links)

    def quiet(self) -> bool:
        """Whether no connection is left: what it had before the first, and a socket in reserve a loop."""
        return self.sockets() <= self._sockets + self._reserve

    def memory(self) -> int:
        """Bytes of its own memory: anonymous and resident."""
        rows = [row.split() for pid in self._pids() for row in _read(f"{pid}/status").splitlines()]
        return sum(int(row[1]) * 1024 for row in rows if row[0] == "RssAnon:")

    def busy(self, seconds: float) -> float:
        """The share of a processor that it takes in a pause of so many seconds."""
        before = self._processor_time()
        time.sleep(seconds)
        return (self._processor_time() - before) / seconds

    def _processor_time(self) -> float:
        ticks = sum(int(ticks) for pid in self._pids() for ticks in _stat(pid)[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def limit_descriptors(self, more: int) -> None:
        """Let it have so many descriptors more than it has now."""
        pid = self._process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(_list(f"{pid}/fd")) + more, hard))

    def interrupt(self) -> None:
        """Stop it and let it continue, which ends its waits for events with EINTR."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it with all of its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _read(name: str) -> str:
    """A file of /proc; empty where the process has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path("/proc", name).read_text()
    return ""


def _list(name: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return os.listdir(f"/proc/{name}")
    return []


def _link(name: str) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return os.readlink(f"/proc/{name}")
    return ""


def _stat(pid: int | str) -> list[str]:
    """The fields of ``stat`` from the state on (the third, in proc(5)'s count)."""
    return _read(f"{pid}/stat").rpartition(")")[2].split()


class Forwarder(NamedTuple):
    """One of the forwarders that are tried.

    In its words and its configuration ``{port}``, ``{upstream}`` and so on stand for a run's values.
    """

    name: str
    words: tuple[str, ...]
    configuration: str = ""
    module: str = ""
    """A file that its package may lack."""
    options: dict[str, str] | None = None
    """What our own ``fastnet.Forwarder`` gets besides; None: this is another's program."""
    bulk: int = 64 * MIB
    """Bytes of the long transfer, each way."""
    crowd: int = 10_000
    """Connections that it is to hold at once."""

    @property
    def ours(self) -> bool:
        return self.options is not None

    @property
    def patience(self) -> float:
        """Seconds after which what has not come is lost; others' losses are printed, not asserted."""
        return 60.0 if self.ours else 5.0

    @contextlib.contextmanager
    def run(self, find: Find, upstream: int, **options: object) -> Iterator[Running]:
        """Forward to this port."""
        with (
            tempfile.TemporaryDirectory() as room,
            tempfile.TemporaryFile("w+") as errors,
            reserved_port() as port,
        ):
            files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            connect_timeout = options.get("connect_timeout", 10.0)
            values = {
                "port": port,
                "upstream": upstream,
                "connect_timeout": connect_timeout,
                "connect_milliseconds": int(connect_timeout * 1000),
                "files": files,
                "connections": files // 2 - 200,
                "options": json.dumps({**(self.options or {}), **options}),
                "module": find(self.module)[0] if self.module else "",
                "room": room,
            }
            Path(room, "configuration").write_text(self.configuration.format(**values))
            program, *arguments = (word.format(**values) for word in self.words)
            start = [program] if self.ours else find(program)
            listens, reserve = (0, options.get("threads", 1)) if self.ours else (port, 0)
            running = Running([*start, *arguments], errors, listens, reserve)
            try:
                yield running
            finally:
                running.stop()


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that only those who ask for SO_REUSEPORT can have."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def our(name: str, bulk: int = 64 * MIB, **options: str) -> Forwarder:
    words = (sys.executable, str(SERVING), "127.0.0.1:{upstream}", "{options}")
    return Forwarder(name, words, options=options, bulk=bulk)


HAPROXY = """
global
    maxconn {connections}
    nbthread 1
defaults
    mode tcp
    retries 0
    timeout connect {connect_milliseconds}
    timeout client 1h
    timeout server 1h
listen relay
    bind 127.0.0.1:{port} backlog 4096
    server upstream 127.0.0.1:{upstream}
"""
SPLICE = """
    option splice-request
    option splice-response
global
    maxpipes 64
"""
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
NGINX = """
load_module {module};
daemon off;
master_process off;
pid {room}/pid;
error_log stderr crit;
events {{ worker_connections {files}; }}
stream {{
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        proxy_pass 127.0.0.1:{upstream};
        proxy_connect_timeout {connect_milliseconds}ms;
        proxy_timeout 1h;
    }}
}}
"""
SOCAT_LISTEN = "TCP4-LISTEN:{port},bind=127.0.0.1,reuseport,backlog=4096,fork"
SOCAT_CONNECT = "TCP4:127.0.0.1:{upstream},connect-timeout={connect_timeout}"

PEERS = [
    Forwarder("haproxy", ("haproxy", "-db", "-q", "-f", "{room}/configuration"), HAPROXY),
    Forwarder("haproxy/splice", ("haproxy", "-db", "-q", "-f", "{room}/configuration"), HAPROXY + SPLICE),
    Forwarder(
        "nginx", ("nginx", "-p", "{room}", "-e", "stderr", "-c", "{room}/configuration"), NGINX, NGINX_STREAM
    ),
    Forwarder("socat", ("socat", SOCAT_LISTEN, SOCAT_CONNECT), crowd=200),
]
