"""The probe engine: echo requests out, what answers them in, one socket a family, no reply mixed up.

An answer is believed only if its type, ident, sequence number, checksum and source are right and the
keyed cookie in its payload is the one that was sent. Errors are read from the socket's error queue
(IP_RECVERR, ip(7)), where the kernel has already matched the quoted packet with the socket.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnet._pure.probe.common import (
    ALIVE,
    DECIDED,
    ENGINES,
    NOT_A_HOST,
    PENDING,
    SILENT,
    UNREACHABLE,
    Answer,
    is_host,
)

if TYPE_CHECKING:
    from fastnet._pure.probe.link import Link, LinkSweeper
    from fastnet._pure.probe.privileges import drop_capabilities
    from fastnet._pure.probe.prober import Prober
    from fastnet._pure.probe.routes import Route, gatewayed, on_link, only_ipv6_source
    from fastnet._pure.probe.sweeper import Sweeper
    from fastnet._pure.probe.turbo import open_turbo

__all__ = [
    "ALIVE",
    "DECIDED",
    "ENGINES",
    "NOT_A_HOST",
    "PENDING",
    "SILENT",
    "UNREACHABLE",
    "Answer",
    "Link",
    "LinkSweeper",
    "Prober",
    "Route",
    "Sweeper",
    "drop_capabilities",
    "gatewayed",
    "is_host",
    "on_link",
    "only_ipv6_source",
    "open_turbo",
]

_HOME = {
    "Link": "link",
    "LinkSweeper": "link",
    "Prober": "prober",
    "Route": "routes",
    "Sweeper": "sweeper",
    "drop_capabilities": "privileges",
    "gatewayed": "routes",
    "on_link": "routes",
    "only_ipv6_source": "routes",
    "open_turbo": "turbo",
}
"""What a ping, or the native module, has no use for is loaded when it is named: they start sooner."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
