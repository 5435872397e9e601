"""The coroutine twins under plain names: ``await aio.ping("::1")`` is ``fastnet.ping.ping_async("::1")``.

A twin's module is loaded when the twin is first named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet.echo import echo_async as echo
    from fastnet.forward import relay_async as relay
    from fastnet.ipc import connect_async as connect
    from fastnet.ping import multiping_async as multiping
    from fastnet.ping import path_mtu_async as path_mtu
    from fastnet.ping import ping_async as ping
    from fastnet.portscan import portscan_async as portscan
    from fastnet.sweep import sweep_async as sweep
    from fastnet.trace import trace_async as trace
    from fastnet.wait import wait_async as wait

_HOME = {
    "connect": "ipc",
    "echo": "echo",
    "multiping": "ping",
    "path_mtu": "ping",
    "ping": "ping",
    "portscan": "portscan",
    "relay": "forward",
    "sweep": "sweep",
    "trace": "trace",
    "wait": "wait",
}
"""The module of each: ``aio.NAME`` is ``fastnet.MODULE.NAME_async``."""

__all__ = ["connect", "echo", "multiping", "path_mtu", "ping", "portscan", "relay", "sweep", "trace", "wait"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastnet.aio' has no attribute {name!r}")
    twin = globals()[name] = getattr(import_module(f"fastnet.{_HOME[name]}"), f"{name}_async")
    return twin


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
