"""fastnet: a network toolkit whose inner loops are C.

A module is loaded on first use: ``fastnet.checksum`` imports the checksum code, ``fastnet.ping``
the pinger, and ``import fastnet`` neither. ``__init__.pyi`` is what type checkers and editors read.
"""

import sys as _sys  # private, as completion of names would offer it

__version__ = "0.2.0"

_MODULES = frozenset(
    {
        "aio",
        "checksums",
        "compat",
        "echo",
        "endpoints",
        "errors",
        "interfaces",
        "ipc",
        "ipv6",
        "packet",
        "targets",
    }
)
"""Public modules."""

_NAMES = {
    "_backend": ("implementation",),
    "_distributed": (
        *("Comparison", "DistributedResult", "DistributedSweep", "Sighting", "SweepPlan", "Vantage"),
        *("DistributedPing", "PingComparison", "VantagePing", "ping_distributed", "sweep_distributed"),
    ),
    "_forward": ("Forwarder", "Record", "Relayed", "Rule", "Stats", "UpstreamState", "relay"),
    "_forward.rules_file": ("load_rules",),
    "_ping": ("PingResult", "Pinger", "Reply", "Summary", "multiping", "ping"),
    "_ping.mtu": ("MTUSearch", "PathMTU", "path_mtu"),
    "_portscan": ("PortScan", "PortState", "portscan"),
    "_sweep": ("Sweep", "sweep", "sweep_every", "sweep_stream"),
    "_sweep.result": ("Counts", "SweepResult", "Verdict", "Verdicts"),
    "_sweep.resume": ("StateFile",),
    "_trace": ("Hop", "Response", "TraceResult", "Tracer", "trace"),
    "_watch": (
        *("AddressEvent", "GatewayEvent", "LinkEvent", "LostEvent", "RouteEvent", "WatchState", "watch"),
    ),
    "_wait": ("Outcome", "Ready", "wait", "wait_all", "wait_stream"),
    "checksums": ("checksum",),
    "errors": ("FastnetError",),
    "interfaces": ("get_ip_address", "list_interfaces"),
}
"""The public names of each module: ``fastnet.NAME`` is ``fastnet.MODULE.NAME``."""

_PORTABLE = frozenset({"_backend", "checksums", "endpoints", "errors", "packet", "targets"})
"""The modules that need no Linux."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted([*_MODULES, *_HOME])


def __getattr__(name: str) -> object:
    if name not in _MODULES and name not in _HOME:
        raise AttributeError(f"module 'fastnet' has no attribute {name!r}")
    if name in _MODULES:
        return _load(name)
    if _sys.platform != "linux" and _HOME[name] not in _PORTABLE:
        raise _elsewhere.needs_linux(f"fastnet.{name}")
    value = globals()[name] = getattr(_load(_HOME[name]), name)
    return value


def _load(module: str) -> object:
    __import__(f"fastnet.{module}")  # importlib would load warnings
    return _sys.modules[f"fastnet.{module}"]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if _sys.platform != "linux":
    from fastnet import _elsewhere

    _elsewhere.refuse(f"fastnet.{name}" for name in _MODULES - _PORTABLE)
