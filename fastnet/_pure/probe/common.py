"""What all probes share: the two families, what comes back, and a target's states."""

import errno
import socket
from typing import NamedTuple

ENGINES = ("raw", "datagram")
"""The ICMP sockets that there are, in the order in which ``auto`` tries them. A Prober also knows ``udp``."""

PENDING, SILENT, UNREACHABLE, ALIVE, DECIDED = range(5)
"""A target's state: not (yet) sent to, sent to, an error came back, answered, decided by an earlier sweep."""

NOT_A_HOST = errno.EDESTADDRREQ
"""The errno of a target that is never sent to: unspecified or multicast, where nobody could answer for it."""

NANOSECOND = 1_000_000_000

# What Python's socket module does not name, from linux/in.h and in6.h.
_IP_MTU_DISCOVER, _IP_RECVERR, _IP_RECVTTL = 10, 11, 12
_IPV6_MTU_DISCOVER, _IPV6_RECVERR = 23, 25


class Family(NamedTuple):
    """What differs between IPv4 and IPv6. ``offender`` is where an error's cmsg holds who reported it."""

    protocol: int
    level: int
    echo_request: int
    echo_reply: int
    redirect: int
    ttl_option: int
    receive_ttl: int
    ttl_message: int
    tos_option: int
    mtu_discover: int
    receive_error: int
    header_size: int
    address_size: int
    offender: slice
    multicast: tuple[int, int]


FAMILIES = {
    socket.AF_INET: Family(
        protocol=socket.IPPROTO_ICMP,
        level=socket.IPPROTO_IP,
        echo_request=8,
        echo_reply=0,
        redirect=5,
        ttl_option=socket.IP_TTL,
        receive_ttl=_IP_RECVTTL,
        ttl_message=socket.IP_TTL,
        tos_option=socket.IP_TOS,
        mtu_discover=_IP_MTU_DISCOVER,
        receive_error=_IP_RECVERR,
        header_size=60,
        address_size=4,
        offender=slice(20, 24),
        multicast=(0xE0000000, 0xEFFFFFFF),
    ),
    socket.AF_INET6: Family(
        protocol=socket.IPPROTO_ICMPV6,
        level=socket.IPPROTO_IPV6,
        echo_request=128,
        echo_reply=129,
        redirect=137,
        ttl_option=socket.IPV6_UNICAST_HOPS,
        receive_ttl=socket.IPV6_RECVHOPLIMIT,
        ttl_message=socket.IPV6_HOPLIMIT,
        tos_option=socket.IPV6_TCLASS,
        mtu_discover=_IPV6_MTU_DISCOVER,
        receive_error=_IPV6_RECVERR,
        header_size=0,
        address_size=16,
        offender=slice(24, 40),
        multicast=(0xFF << 120, (1 << 128) - 1),
    ),
}


def is_host(family: int, number: int) -> bool:
    """Whether an address, given as a number, can be one host's: neither unspecified nor multicast."""
    first, last = FAMILIES[socket.AddressFamily(family)].multicast
    return number != 0 and not first <= number <= last


class Answer(NamedTuple):
    """What came back for one probe: a reply, or an error where ``error`` is not None."""

    tag: int
    """The number under which the probe was sent."""
    responder: str
    """The numeric address that it came from: for an error, the router or host that reported it."""
    rtt_ns: int
    ttl: int | None
    """The TTL or hop limit with which a reply arrived."""
    error: tuple[int, int] | None
    """ICMP type and code."""
    info: int
    """What the error adds: the next hop's MTU where a packet was too big."""
