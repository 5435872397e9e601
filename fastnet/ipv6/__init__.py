"""IPv6 on this machine: which support works, every address with its prefix, and what an address is.

``support()`` tries things out: ``socket.has_ipv6`` is only how Python was built. ``addresses()`` and
``prefix()`` keep the prefix length that belongs to each address. ``explain()`` returns what is known of an
address: its type and scope, what is embedded in it, and whether it is one of this machine's.
"""

from fastnet._special import SpecialBlock
from fastnet.ipv6.explained import EmbeddedIPv4, Explanation, explain
from fastnet.ipv6.prefixes import ENGINES, PREFIX_ENGINES, Prefix, addresses, prefix
from fastnet.ipv6.supported import DESTINATIONS, Ipv6Support, WayOut, support

__all__ = [
    "DESTINATIONS",
    "ENGINES",
    "PREFIX_ENGINES",
    "EmbeddedIPv4",
    "Explanation",
    "Ipv6Support",
    "Prefix",
    "SpecialBlock",
    "WayOut",
    "addresses",
    "explain",
    "prefix",
    "support",
]
