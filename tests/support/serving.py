"""A process that runs one Forwarder for the conformance suite.

``python serving.py UPSTREAM OPTIONS``, the options as JSON. It prints the port, then obeys each line that it
is given, the name of a method of Served and its arguments, and answers it with one; at the end of its input
it stops the forwarder.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time

from forking import fork

from fastnet._forward import Forwarder


def state() -> str:
    return f"{len(os.listdir('/proc/self/fd'))} descriptors, {threading.active_count()} threads"


def sockets() -> int:
    with os.scandir("/proc/self/fd") as links:
        return sum(os.readlink(link.path).startswith("socket:") for link in links)


class Served:
    """What can be asked of the process: each method is a command."""

    def __init__(self, forwarder: Forwarder, before: str) -> None:
        self._forwarder = forwarder
        self._before = before
        self._children: list[int] = []

    def before(self) -> str:
        """The state before the forwarder was started."""
        return self._before

    def stop(self) -> str:
        """The state after it was stopped."""
        self._forwarder.stop()
        return state()

    def drain(self) -> str:
        """Whether all connections had ended by themselves."""
        self._forwarder.drain(60)
        return str(self._forwarder.wait())

    def turn(self, upstream: str, max_connections: str) -> str:
        """Let new connections go to another upstream, first by the rule as it is, then by another rule."""
        self._forwarder.set_upstream(upstream)
        (rule,) = self._forwarder.rules
        self._forwarder.reload([rule._replace(max_connections=int(max_connections))])
        return upstream

    def collect(self) -> str:
        """Free what only the garbage collector can free."""
        return str(gc.collect())

    def storm(self) -> str:
        """Interrupt the system calls of every thread, for as long as the process lives."""
        signal.signal(signal.SIGUSR1, lambda *_: None)
        threading.Thread(target=_storm, daemon=True).start()
        return "storming"

    def fork(self) -> str:
        """Leave a child behind, until this process ends; how many sockets it has."""
        answer, tell = os.pipe()
        end, hold = os.pipe()
        if fork() == 0:
            os.close(answer)
            os.close(hold)
            os.write(tell, str(sockets()).encode())
            os.close(tell)
            os.read(end, 1)
            os._exit(0)
        os.close(tell)
        os.close(end)
        self._children.append(hold)
        with open(answer) as file:
            return file.read()


def _storm() -> None:
    while True:
        for thread in threading.enumerate():
            if thread.ident and thread.ident != threading.get_ident():
                signal.pthread_kill(thread.ident, signal.SIGUSR1)
        time.sleep(0.001)


def warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(upstream: str, options: str) -> None:
    before = state()
    with Forwarder("127.0.0.1:0", upstream, warn=warn, **json.loads(options)) as forwarder:
        served = Served(forwarder, before)
        print(forwarder.port, flush=True)
        for line in sys.stdin:
            command, *arguments = line.split()
            print(getattr(served, command)(*arguments), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
