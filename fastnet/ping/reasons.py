"""Why there was no reply, in words."""

import errno
import os
import socket

from fastnet._backend import probe as _core
from fastnet.endpoints import Resolved

_ERRORS = {
    socket.AF_INET: {
        (3, 0): "network unreachable",
        (3, 1): "host unreachable",
        (3, 2): "protocol unreachable",
        (3, 3): "port unreachable",
        (3, 4): "fragmentation needed",
        (3, 5): "source route failed",
        (3, 6): "network unknown",
        (3, 7): "host unknown",
        (3, 9): "network prohibited",
        (3, 10): "host prohibited",
        (3, 13): "administratively prohibited",
        (11, 0): "time to live exceeded",
        (11, 1): "reassembly time exceeded",
    },
    socket.AF_INET6: {
        (1, 0): "no route",
        (1, 1): "administratively prohibited",
        (1, 2): "beyond the scope of the source address",
        (1, 3): "host unreachable",
        (1, 4): "port unreachable",
        (1, 5): "source address failed policy",
        (1, 6): "route rejected",
        (2, 0): "packet too big",
        (3, 0): "hop limit exceeded",
        (3, 1): "reassembly time exceeded",
    },
}
"""ICMP types and codes of errors (RFC 792, RFC 1122, RFC 1812; RFC 4443)."""

TOO_BIG = ((3, 4), (2, 0))
"""The errors whose ``info`` is the next link's MTU: fragmentation needed, packet too big."""
PASSED = {socket.AF_INET: (11, 0), socket.AF_INET6: (3, 0)}
"""What a router says where a packet's TTL or hop limit ends."""
_ARRIVED = ((3, 3), (1, 4))
"""Port unreachable: what the destination of a UDP probe says."""


def has_arrived(to: Resolved, answer: "_core.Answer") -> bool:
    """Whether the answer says that the probe came to its destination."""
    if answer.error is None:
        return True
    return answer.error in _ARRIVED and answer.responder == to.host.partition("%")[0]


def describe(family: int, answer: "_core.Answer") -> str:
    """An ICMP error in words, without who sent it: ``host unreachable``."""
    kind, code = answer.error or (0, 0)
    words = _ERRORS[socket.AddressFamily(family)].get((kind, code), f"ICMP error type {kind} code {code}")
    return f"{words} (MTU {answer.info})" if answer.info and (kind, code) in TOO_BIG else words


def explain(family: int, answer: "_core.Answer") -> str:
    """An ICMP error in words: ``host unreachable from 10.0.0.1``."""
    return f"{describe(family, answer)} from {answer.responder}"


def explain_refusal(code: int) -> str:
    """Why the system did not send, from its errno."""
    if code == _core.NOT_A_HOST:
        return "not the address of one host"
    words = os.strerror(code)
    if code == errno.EACCES:
        words += " (a broadcast address, or a local route prohibits it)"
    if code == errno.ENOBUFS:
        words += " (the send queue or the neighbour table is full)"
    return words
