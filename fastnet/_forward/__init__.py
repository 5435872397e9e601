"""Forward connections and datagrams from local places to remote ones, or relay between two open sockets.

A ``Forwarder`` listens and connects, by one ``Rule`` or many; ``relay`` moves bytes between two sockets that
are connected already. Both keep half-close (one direction ends, the other goes on), pass resets on, and hold
at most one read of a stream (256 KiB per direction) for a reader that is slow or has stopped.

With ``rewrite_host`` the stream is taken to be HTTP/1: in request heads, and nowhere else, a Host that
names the local listener becomes the upstream's.
"""

from fastnet._forward.forwarder import Forwarder
from fastnet._forward.records import Record, Stats, UpstreamState
from fastnet._forward.relaying import Relayed, relay, relay_async
from fastnet._forward.rule import POLICIES, PROTOCOLS, Rule
from fastnet._forward.served import ENGINES

__all__ = [
    "ENGINES",
    "POLICIES",
    "PROTOCOLS",
    "Forwarder",
    "Record",
    "Relayed",
    "Rule",
    "Stats",
    "UpstreamState",
    "relay",
    "relay_async",
]
