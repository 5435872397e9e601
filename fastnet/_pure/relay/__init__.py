"""Connections relayed by rules: one epoll loop a thread, over non-blocking sockets.

A ``Rule`` is where connections go and under which conditions, a ``Loop`` accepts and relays them. The
client's side is *downstream*, the other *upstream*. Half-close is kept, resets are passed on behind what was
sent before, and no more is held for a slow reader than one read (256 KiB) a direction.
"""

from fastnet._contract.relay import ENGINES, Options, Record
from fastnet._contract.relay import Address as Address
from fastnet._contract.relay import Prefix as Prefix
from fastnet._pure.relay.counters import Counters
from fastnet._pure.relay.relay import Loop
from fastnet._pure.relay.rule import Rule
from fastnet._pure.relay.upstream import Upstream

__all__ = ["ENGINES", "Counters", "Loop", "Options", "Record", "Rule", "Upstream"]
