"""fastnet: a network toolkit whose inner loops are C.

Nothing is loaded until it is named: ``fastnet.checksum`` imports the checksum code, ``fastnet.ping``
the pinger, and ``import fastnet`` neither.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
"""As type checkers know the name: typing's own would have all of typing loaded."""

if TYPE_CHECKING:
    from typing import Any

    from fastnet import aio as aio
    from fastnet import echo as echo
    from fastnet import errors as errors
    from fastnet import forward as forward
    from fastnet import interfaces as interfaces
    from fastnet import ipc as ipc
    from fastnet import ipv6 as ipv6
    from fastnet import packet as packet
    from fastnet import targets as targets
    from fastnet._backend import implementation as implementation
    from fastnet.checksums import checksum as checksum
    from fastnet.forward import Forwarder as Forwarder
    from fastnet.forward import relay as relay
    from fastnet.interfaces import get_ip_address as get_ip_address
    from fastnet.interfaces import list_interfaces as list_interfaces
    from fastnet.ping import Pinger as Pinger
    from fastnet.ping import multiping as multiping
    from fastnet.ping import ping as ping
    from fastnet.portscan import portscan as portscan
    from fastnet.sweep import sweep as sweep
    from fastnet.trace import trace as trace
    from fastnet.wait import wait as wait

_MODULES = frozenset(
    {
        "aio",
        "checksums",
        "echo",
        "endpoints",
        "errors",
        "forward",
        "interfaces",
        "ipc",
        "ipv6",
        "packet",
        "ping",
        "portscan",
        "sweep",
        "targets",
        "trace",
        "wait",
    }
)
"""Public modules; ping, portscan, sweep, trace and wait are also called by their own name."""

_HOME = {
    "Forwarder": "forward",
    "Pinger": "ping",
    "checksum": "checksums",
    "get_ip_address": "interfaces",
    "implementation": "_backend",
    "list_interfaces": "interfaces",
    "multiping": "ping",
    "relay": "forward",
}
"""Where each other public name lives: ``fastnet.NAME`` is ``fastnet.HOME.NAME``."""


def __getattr__(name: str) -> Any:
    from importlib import import_module  # only here: who names nothing needs none of it

    if name in _MODULES:
        return import_module(f"fastnet.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'fastnet' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"fastnet.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_HOME})
