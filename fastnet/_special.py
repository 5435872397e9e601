"""The special-purpose addresses of IPv4 and IPv6: what IANA has registered, and what else is no host's.

``REGISTERED`` has every row of the two registries "IANA IPv4 Special-Purpose Address Registry" and "IANA IPv6
Special-Purpose Address Registry" (RFC 6890, RFC 8190), as of ``REGISTRY_DATE``. ``OTHER_BLOCKS`` are the
blocks that have a meaning of their own in other registries: multicast, and IPv6 outside of global unicast.
"""

import _socket as socket

from fastnet._results import as_dict, shown_as
from fastnet._typing import Any, NamedTuple

__all__ = ["OTHER_BLOCKS", "REGISTERED", "REGISTRY_DATE", "SpecialBlock", "special_block"]

REGISTRY_DATE = "2025-10-09"
"""When IANA had last changed the two registries that ``REGISTERED`` is a copy of."""


class SpecialBlock(NamedTuple):
    """One block of special-purpose addresses; the five flags are the registry's (RFC 6890, section 2.2.1).

    A flag is None if the registry has no value (deprecated blocks), or "N/A" (6to4, Teredo).
    """

    prefix: str
    type: str
    """A word for what its addresses are: ``loopback``, ``documentation``, ``6to4``."""
    name: str
    """The registry's."""
    rfc: int
    """The RFC that defines it."""
    source: bool | None
    """Whether an address is valid as the source of a packet that passes a router."""
    destination: bool | None
    """Whether an address is valid as the destination of a packet that passes a router."""
    forwardable: bool | None
    """Whether a router may forward a packet to it between external interfaces."""
    globally_reachable: bool | None
    """Whether a packet to it is forwarded beyond an administrative domain."""
    reserved_by_protocol: bool | None
    """Whether every implementation of IP must treat it in a special way."""

    def as_dict(self) -> dict[str, Any]:
        """Each field, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        """Without the flags, which would fill lines."""
        return shown_as("SpecialBlock", dict(zip(self._fields[:4], self, strict=False)))


_ROWS = """\
0.0.0.0/8           this-network          791  TFFFT  "This network"
0.0.0.0/32          unspecified          1122  TFFFT  "This host on this network"
10.0.0.0/8          private              1918  TTTFF  Private-Use
100.64.0.0/10       shared               6598  TTTFF  Shared Address Space
127.0.0.0/8         loopback             1122  FFFFT  Loopback
169.254.0.0/16      link-local           3927  TTFFT  Link Local
172.16.0.0/12       private              1918  TTTFF  Private-Use
192.0.0.0/24        protocol-assignment  6890  FFFFF  IETF Protocol Assignments
192.0.0.0/29        service-continuity   7335  TTTFF  IPv4 Service Continuity Prefix
192.0.0.8/32        dummy                7600  TFFFF  IPv4 dummy address
192.0.0.9/32        anycast              7723  TTTTF  Port Control Protocol Anycast
192.0.0.10/32       anycast              8155  TTTTF  Traversal Using Relays around NAT Anycast
192.0.0.170/32      nat64-discovery      8880  FFFFT  NAT64/DNS64 Discovery
192.0.0.171/32      nat64-discovery      8880  FFFFT  NAT64/DNS64 Discovery
192.0.2.0/24        documentation        5737  FFFFF  Documentation (TEST-NET-1)
192.31.196.0/24     as112                7535  TTTTF  AS112-v4
192.52.193.0/24     amt                  7450  TTTTF  AMT
192.88.99.0/24      deprecated           7526  .....  Deprecated (6to4 Relay Anycast)
192.88.99.2/32      anycast              6751  TTTFF  6a44-relay anycast address
192.168.0.0/16      private              1918  TTTFF  Private-Use
192.175.48.0/24     as112                7534  TTTTF  Direct Delegation AS112 Service
198.18.0.0/15       benchmarking         2544  TTTFF  Benchmarking
198.51.100.0/24     documentation        5737  FFFFF  Documentation (TEST-NET-2)
203.0.113.0/24      documentation        5737  FFFFF  Documentation (TEST-NET-3)
240.0.0.0/4         reserved             1112  FFFFT  Reserved
255.255.255.255/32  broadcast            8190  FTFFT  Limited Broadcast
::1/128             loopback             4291  FFFFT  Loopback Address
::/128              unspecified          4291  TFFFT  Unspecified Address
::ffff:0:0/96       ipv4-mapped          4291  FFFFT  IPv4-mapped Address
64:ff9b::/96        nat64                6052  TTTTF  IPv4-IPv6 Translat.
64:ff9b:1::/48      nat64                8215  TTTFF  IPv4-IPv6 Translat.
100::/64            discard-only         6666  TTTFF  Discard-Only Address Block
100:0:0:1::/64      dummy                9780  TFFFF  Dummy IPv6 Prefix
2001::/23           protocol-assignment  2928  FFFFF  IETF Protocol Assignments
2001::/32           teredo               4380  TTT.F  TEREDO
2001:1::1/128       anycast              7723  TTTTF  Port Control Protocol Anycast
2001:1::2/128       anycast              8155  TTTTF  Traversal Using Relays around NAT Anycast
2001:1::3/128       anycast              9665  TTTTF  DNS-SD Service Registration Protocol Anycast
2001:2::/48         benchmarking         5180  TTTFF  Benchmarking
2001:3::/32         amt                  7450  TTTTF  AMT
2001:4:112::/48     as112                7535  TTTTF  AS112-v6
2001:10::/28        deprecated           4843  .....  Deprecated (previously ORCHID)
2001:20::/28        orchid               7343  TTTTF  ORCHIDv2
2001:30::/28        drone-remote-id      9374  TTTTF  Drone Remote ID Protocol Entity Tags (DETs) Prefix
2001:db8::/32       documentation        3849  FFFFF  Documentation
2002::/16           6to4                 3056  TTT.F  6to4
2620:4f:8000::/48   as112                7534  TTTTF  Direct Delegation AS112 Service
3fff::/20           documentation        9637  FFFFF  Documentation
5f00::/16           srv6                 9602  TTTFF  Segment Routing (SRv6) SIDs
fc00::/7            unique-local         4193  TTTFF  Unique-Local
fe80::/10           link-local           4291  TTFFT  Link-Local Unicast
"""
"""Block, our type, RFC, the five flags (True, False, or no value) and the registry's name."""

_OTHER_ROWS = """\
224.0.0.0/4         multicast            5771  .....  Multicast
::/96               ipv4-compatible      4291  .....  IPv4-Compatible Address (deprecated)
::ffff:0:0:0/96     ipv4-translated      2765  .....  IPv4-Translated Address (obsolete)
::/3                reserved             4291  .....  Reserved by IETF
4000::/2            reserved             4291  .....  Reserved by IETF
8000::/1            reserved             4291  .....  Reserved by IETF
fec0::/10           site-local           3879  .....  Site-Local Unicast (deprecated)
ff00::/8            multicast            4291  .....  Multicast
"""

_FLAGS = {"T": True, "F": False, ".": None}


def _blocks(rows: str) -> tuple[SpecialBlock, ...]:
    return tuple(
        SpecialBlock(prefix, kind, name, int(rfc), *(_FLAGS[each] for each in flags))
        for prefix, kind, rfc, flags, name in (row.split(maxsplit=4) for row in rows.splitlines())
    )


REGISTERED = _blocks(_ROWS)
OTHER_BLOCKS = _blocks(_OTHER_ROWS)


def _by_length(family: int) -> list[tuple[int, dict[int, SpecialBlock]]]:
    """The blocks of a family by the number of their host bits: the most specific first."""
    found: dict[int, dict[int, SpecialBlock]] = {}
    for block in (*REGISTERED, *OTHER_BLOCKS):
        address, _, length = block.prefix.partition("/")
        if (":" in address) == (family == socket.AF_INET6):
            packed = socket.inet_pton(family, address)
            host_bits = len(packed) * 8 - int(length)
            found.setdefault(host_bits, {})[int.from_bytes(packed, "big") >> host_bits] = block
    return sorted(found.items())


_kept: dict[int, list[tuple[int, dict[int, SpecialBlock]]]] = {}


def special_block(family: int, number: int) -> SpecialBlock | None:
    """The most specific block that an address, as an integer, is in; None if it is plain global unicast."""
    if family not in _kept:
        _kept[family] = _by_length(family)
    for host_bits, blocks in _kept[family]:
        if block := blocks.get(number >> host_bits):
            return block
    return None
