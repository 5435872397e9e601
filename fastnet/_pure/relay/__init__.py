"""Connections relayed by rules: one epoll loop a thread, over non-blocking sockets.

A ``Rule`` says where connections go and under which conditions, a ``Loop`` accepts and relays them. The
client's side is *downstream*, the other *upstream*. Half-close is kept, resets are passed on behind what was
sent before, and no more is held for a slow reader than one read (256 KiB) a direction.
"""

from fastnet._pure.relay.loop import Loop
from fastnet._pure.relay.options import ENGINES
from fastnet._pure.relay.options import Address as Address
from fastnet._pure.relay.options import Prefix as Prefix
from fastnet._pure.relay.rule import Counters, Record, Rule, Upstream

__all__ = ["ENGINES", "Counters", "Loop", "Record", "Rule", "Upstream"]
