"""ICMP errors in a socket's error queue (IP_RECVERR in ip(7), IPV6_RECVERR in ipv6(7))."""

import _socket as socket
import _struct as struct
import sys

from fastnet._system.icmp_sockets import FAMILIES
from fastnet._typing import NamedTuple

EXTENDED_ERROR = struct.Struct("=IBBBxII")
"""struct sock_extended_err of linux/errqueue.h."""
ORIGIN_LOCAL, ORIGIN_TIMESTAMPING = 1, 4
_CONTROL_SIZE = 512


class ICMPError(NamedTuple):
    """An ICMP error, and who sent it."""

    error: tuple[int, int]
    """Type and code."""
    info: int
    """The next link's MTU if a packet was too big."""
    reporter: str
    scope: int
    """The interface of a link-local reporter, else 0."""


def request_errors(sock: socket.socket) -> None:
    """Have the kernel queue the ICMP errors to what this socket sends. Raises OSError."""
    family = FAMILIES[sock.family]
    sock.setsockopt(family.level, family.receive_error, 1)


def queued_error(sock: socket.socket) -> ICMPError | None:
    """The next ICMP error in the queue; None if there is none."""
    family = FAMILIES[sock.family]
    while True:
        try:
            _, messages, _, _ = sock.recvmsg(0, _CONTROL_SIZE, socket.MSG_ERRQUEUE)
        except OSError:
            return None
        for level, kind, value in messages:
            if (level, kind) == (family.level, family.receive_error):
                _, origin, icmp_type, code, info, _ = EXTENDED_ERROR.unpack_from(value)
                if origin not in (ORIGIN_LOCAL, ORIGIN_TIMESTAMPING):
                    return ICMPError((icmp_type, code), info, *reporter_of(sock.family, value))


def reporter_of(family: int, message: bytes) -> tuple[str, int]:
    """Who sent the error of this control message, and the interface if that is link-local."""
    its = FAMILIES[family]
    reporter = socket.inet_ntop(family, message[its.offender])
    return reporter, int.from_bytes(message[its.offender_scope], sys.byteorder)
