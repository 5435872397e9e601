"""The reasons for a missing reply, in words."""

import _socket as socket
import errno
import os

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
"""Sent by a router at which a packet's TTL or hop limit expires."""
_PORT_UNREACHABLE = {socket.AF_INET: (3, 3), socket.AF_INET6: (1, 4)}
"""Sent by the destination of a UDP probe."""

_MARKS = {
    socket.AF_INET: {
        **dict.fromkeys(((3, 0), (3, 6), (3, 8), (3, 11)), "!N"),
        **dict.fromkeys(((3, 1), (3, 7), (3, 12)), "!H"),
        **dict.fromkeys(((3, 9), (3, 10), (3, 13)), "!X"),
        (3, 2): "!P",
        (3, 4): "!F",
        (3, 5): "!S",
        (3, 14): "!V",
        (3, 15): "!C",
    },
    socket.AF_INET6: {(1, 0): "!N", (1, 1): "!X", (1, 2): "!H", (1, 3): "!H", (2, 0): "!F"},
}
"""What traceroute(8) prints for ICMP types and codes."""
_UNREACHABLE = {socket.AF_INET: 3, socket.AF_INET6: 1}


def has_arrived(to: Resolved, answer: "_core.Answer") -> bool:
    """Whether the answer shows that the probe came to its destination: that answers, be it by an error.

    Not where it is that the probe's TTL ended, or that it is too big: so does a router whose own address
    was translated to the destination's.
    """
    if answer.error is None:
        return True
    on_its_way = (PASSED[to.family], *TOO_BIG)
    return answer.responder in (to.host, to.host.partition("%")[0]) and answer.error not in on_its_way


def is_expected(to: Resolved, answer: "_core.Answer") -> bool:
    """Whether it is what a trace looks for: that the TTL ended, a reply, or the destination's closed port."""
    if answer.error is None or answer.error == PASSED[to.family]:
        return True
    return is_closed_port(to, answer)


def is_closed_port(to: Resolved, answer: "_core.Answer") -> bool:
    """Whether it is the destination's own report that a port is closed: the host answers."""
    return answer.error == _PORT_UNREACHABLE[to.family] and has_arrived(to, answer)


def mark_of(family: int, answer: "_core.Answer") -> str:
    """An ICMP error as traceroute(8) marks it: ``!H``, ``!N``, ``!X``, ``!F-1400``, ``!<3>``."""
    kind, code = answer.error or (0, 0)
    found = _MARKS[family].get((kind, code))
    if found is None:
        return f"!<{code}>" if kind == _UNREACHABLE[family] else f"!<{kind}-{code}>"
    return f"{found}-{answer.info}" if (kind, code) in TOO_BIG else found


def describe(family: int, answer: "_core.Answer") -> str:
    """An ICMP error in words, without who sent it: ``host unreachable``."""
    kind, code = answer.error or (0, 0)
    words = _ERRORS[family].get((kind, code), f"ICMP error type {kind} code {code}")
    return f"{words} (MTU {answer.info})" if answer.info and (kind, code) in TOO_BIG else words


def explain(family: int, answer: "_core.Answer") -> str:
    """An ICMP error in words: ``host unreachable from 10.0.0.1``."""
    return f"{describe(family, answer)} from {answer.responder}"


def explain_refusal(code: int) -> str:
    """The reason for which the system did not send, from its errno."""
    if code == _core.NOT_A_HOST:
        return "not the address of one host"
    words = os.strerror(code)
    if code == errno.EACCES:
        words += " (a broadcast address, or a prohibit route)"
    if code == errno.EINVAL:
        words += " (a blackhole route, or a link-local address without its interface)"
    if code in (errno.ENOBUFS, errno.ENOMEM):
        words += " (the send queue or the neighbour table is full)"
    return words
