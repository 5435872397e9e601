"""The forwarder under stress, as a process of its own: ours, or HAProxy to calibrate the oracle by."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults import Faults

from .options import Row
from .reactor import READ, Reactor

SUPPORT = Path(__file__).parents[1] / "support"
PATIENCE = 60.0
"""Seconds for a command. What takes longer hangs."""


class Failed(Exception):
    """The process has ended, hangs, or raised."""


class Refused(Failed):
    """A command has raised."""


class Target:
    """A process with a forwarder."""

    ours = True

    def __init__(self, reactor: Reactor, words: list[str], environment: dict[str, str]) -> None:
        self._reactor = reactor
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env={**os.environ, **environment},
        )
        self._buffer = b""
        assert self._process.stdout
        self._out = self._process.stdout.fileno()
        os.set_blocking(self._out, False)
        reactor.watch(self._out, READ, lambda _: self._collect())
        self._eof = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def _collect(self) -> None:
        data = os.read(self._out, 1 << 20)
        if data:
            self._buffer += data
        else:
            self._eof = True
            self._reactor.forget(self._out)

    def _line(self, seconds: float = PATIENCE) -> str:
        self._reactor.run_until(lambda: b"\n" in self._buffer or self._eof, seconds)
        line, newline, self._buffer = self._buffer.partition(b"\n")
        if newline:
            return line.decode()
        raise Failed(self.obituary() if self._eof else f"does not answer for {seconds:g} s\n{self.said()}")

    def obituary(self) -> str:
        """How the process has ended."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return f"closed its output\n{self.said()}"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process has ended: {how}\n{self.said()}"

    def said(self) -> str:
        """The end of what it wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read()[-4000:]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, command: str, **values: Any) -> Any:
        """Its answer to a command; the reactor goes on meanwhile. Raises Failed."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps([command, values]).encode() + b"\n")
        except BrokenPipeError:
            raise Failed(self.obituary()) from None
        answer = json.loads(self._line())
        if "error" in answer:
            raise Refused(f"{command}: {answer['error']}")
        return answer["value"]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def leave_descriptors(self, count: int) -> tuple[int, int]:
        """Leave it so many descriptors; the limits of before."""
        used = max(map(int, os.listdir(f"/proc/{self.pid}/fd"))) + 1
        _, hard = before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (used + count, hard))
        return before

    def allow_descriptors(self, limits: tuple[int, int]) -> None:
        """Undo that."""
        if self.alive:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, limits)

    def processor_seconds(self) -> tuple[float, float]:
        """How long its threads have run and waited for a processor so far (proc_pid_schedstat(5))."""
        spans = []
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
                spans.append(path.read_text().split())
        return sum(int(ran) for ran, _, _ in spans) / 1e9, sum(int(waited) for _, waited, _ in spans) / 1e9

    def close(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._reactor.forget(self._out)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()


class Ours(Target):
    """fastnet's, of the package in ``library``; ``faults``: makes calls fail; ``words``: another program."""

    def __init__(
        self,
        reactor: Reactor,
        library: Path,
        implementation: str,
        preload: str = "",
        faults: Faults | None = None,
        words: list[str] | None = None,
    ) -> None:
        environment = {"FASTNET_IMPL": implementation, "PYTHONFAULTHANDLER": "1"}
        environment["PYTHONPATH"] = f"{library}:{SUPPORT}"
        words = words or [sys.executable, str(Path(__file__).with_name("serving.py"))]
        if faults:
            faults.forget()
            words += [str(faults.library), str(faults.board)]
        if preload:
            environment |= {
                "LD_PRELOAD": preload,
                "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:handle_abort=0:allocator_may_return_null=1",
                "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            }
        super().__init__(reactor, words, environment)
        self.implementation = self._line()


HAPROXY = """
global
    maxconn 2000
    nbthread 1
defaults
    mode tcp
    retries 0
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    {splice}
listen relay
    bind {listen}
    server upstream {upstream}
"""
HAPROXY_HAS = {"engine": ("auto", "splice"), "upstreams": ("one", "unix")}
"""The options that HAProxy is tried with, all others as they are by default."""


class HAProxy(Target):
    """HAProxy with one listener and one upstream; each round has a process of its own."""

    ours = False

    def __init__(self, reactor: Reactor) -> None:
        self._own = reactor
        self._file = tempfile.NamedTemporaryFile("w", suffix=".cfg")  # noqa: SIM115
        self.port = 0

    def listen(self, row: Row, upstream: str) -> None:
        """Begin to forward to this upstream."""
        if self.port:
            super().close()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        text = HAPROXY.format(
            splice="option splice-request\n    option splice-response" if row["engine"] == "splice" else "",
            listen=f"127.0.0.1:{self.port}",
            upstream=upstream.removeprefix("unix:"),
        )
        self._file.truncate(0)
        self._file.seek(0)
        self._file.write(text)
        self._file.flush()
        super().__init__(self._own, ["haproxy", "-db", "-q", "-f", self._file.name], {})
        listening = f"0100007F:{self.port:04X} 00000000:0000 0A"
        if not self._own.run_until(lambda: listening in Path("/proc/net/tcp").read_text(), PATIENCE):
            raise Failed(f"does not listen: {self.said()}")

    def close(self) -> None:
        if self.port:
            super().close()
        self._file.close()
