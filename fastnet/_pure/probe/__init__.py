"""The probe engine: sends echo requests and matches their answers, over one socket per family.

An answer is accepted only if its type, ident, sequence number, checksum and source are right and the
keyed cookie in its payload is the one that was sent. Errors are read from the socket's error queue
(IP_RECVERR, ip(7)), where the kernel has already matched the quoted packet with the socket.
"""

from importlib import import_module

from fastnet._contract.probe import (
    ALIVE,
    DECIDED,
    ENGINES,
    NOT_A_HOST,
    PENDING,
    SILENT,
    UNREACHABLE,
    Answer,
    End,
    Times,
    Totals,
    is_host,
    is_link_local,
)
from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet._pure.probe.conversation import Conversation
    from fastnet._pure.probe.link import LinkSweeper
    from fastnet._pure.probe.prober import Prober
    from fastnet._pure.probe.round_trips import RoundTrips
    from fastnet._pure.probe.sweeper import Sweeper
    from fastnet._pure.probe.turbo import open_turbo
    from fastnet._system.privileges import drop_capabilities

__all__ = [
    "ALIVE",
    "DECIDED",
    "ENGINES",
    "NOT_A_HOST",
    "PENDING",
    "SILENT",
    "UNREACHABLE",
    "Answer",
    "Conversation",
    "End",
    "LinkSweeper",
    "Prober",
    "RoundTrips",
    "Sweeper",
    "Times",
    "Totals",
    "drop_capabilities",
    "is_host",
    "is_link_local",
    "open_turbo",
]

_HOME = {
    "Conversation": "fastnet._pure.probe.conversation",
    "LinkSweeper": "fastnet._pure.probe.link",
    "Prober": "fastnet._pure.probe.prober",
    "RoundTrips": "fastnet._pure.probe.round_trips",
    "Sweeper": "fastnet._pure.probe.sweeper",
    "drop_capabilities": "fastnet._system.privileges",
    "open_turbo": "fastnet._pure.probe.turbo",
}
"""Loaded on first use: a ping does not need these, and starts sooner."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value
