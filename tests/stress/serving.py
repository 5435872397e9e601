"""A process that runs forwarders: each line of its input is a command as JSON, answered by a line.

Its arguments, where there are any, are those of ``faults.install``.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import traceback
from typing import Any

from faults import install

import fastnet
from fastnet._forward import Forwarder, Rule


def allocated() -> int:
    """Bytes that C has allocated and not freed."""
    process = ctypes.CDLL(None)
    try:
        count = process.__sanitizer_get_current_allocated_bytes
    except AttributeError:
        return _in_use(process)
    count.restype = ctypes.c_size_t
    return int(count())


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


def _in_use(process: ctypes.CDLL) -> int:
    process.mallinfo2.restype = _Mallinfo
    info = process.mallinfo2()
    return int(info.uordblks + info.hblkhd)


class Serving:
    """What can be asked of the process: each method is a command."""

    def __init__(self) -> None:
        self._forwarder: Forwarder | None = None
        self._rules: list[Rule] = []
        self._warnings: list[str] = []

    @property
    def _running(self) -> Forwarder:
        assert self._forwarder
        return self._forwarder

    def start(self, rule: dict[str, Any], **settings: Any) -> Any:
        """Start a forwarder of one rule; where it listens."""
        self._warnings.clear()
        forwarder = Forwarder.from_rules([Rule(**rule)], warn=self._warnings.append, **settings)
        self._forwarder = forwarder.start()
        return [str(address) for address in forwarder.addresses]

    def set_upstream(self, upstreams: list[str]) -> None:
        self._running.set_upstream(upstreams)

    def reload(self, changes: dict[str, Any]) -> None:
        """Go on by the same rule, but for some options."""
        (rule,) = self._running.rules
        self._running.reload([rule._replace(**changes)])

    def stats(self) -> Any:
        return self._running.stats()._asdict()

    def records(self) -> Any:
        return [
            {"client": one.client, "up": one.sent_up, "down": one.sent_down, "ended": one.ended}
            for one in self._running.records()
        ]

    def lost_records(self) -> int:
        return self._running.lost_records

    def connections(self) -> int:
        return len(self._running.connections())

    def warnings(self) -> list[str]:
        return self._warnings

    def drain(self, seconds: float) -> None:
        self._running.drain(seconds)

    def wait(self) -> bool:
        """Until it has ended; whether no connection was cut."""
        return self._running.wait()

    def stop(self) -> None:
        self._running.stop()

    def rest(self) -> dict[str, int]:
        """What is still held when the forwarder has gone."""
        self._forwarder = None
        gc.collect()
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "bytes": allocated(),
        }


def main() -> None:
    serving = Serving()
    if sys.argv[1:]:
        install(*sys.argv[1:], native=fastnet.implementation() == "native")
    print(json.dumps(fastnet.implementation()), flush=True)
    for line in sys.stdin:
        command, values = json.loads(line)
        try:
            answer = {"value": getattr(serving, command)(**values)}
        except Exception as error:  # The driver judges.
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
