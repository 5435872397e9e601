"""Relaying of connections by rules: one epoll loop per thread, with non-blocking sockets.

A ``Rule`` has the upstreams and the options of connections; a ``Loop`` accepts and relays them. The client's
side is *downstream*, the other *upstream*. Half-close is preserved. A reset is passed on after the bytes sent
before it. For a slow reader a direction holds at most one read (256 KiB).
"""

from fastnet._contract.relay import ENGINES, Options, Record
from fastnet._contract.relay import Address as Address
from fastnet._contract.relay import Prefix as Prefix
from fastnet._pure.relay.counters import Counters
from fastnet._pure.relay.relay import Loop
from fastnet._pure.relay.rule import Rule
from fastnet._pure.relay.upstream import Upstream

__all__ = ["ENGINES", "Counters", "Loop", "Options", "Record", "Rule", "Upstream"]
