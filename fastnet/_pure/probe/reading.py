"""Reads a prober's socket and its error queue."""

import _socket as socket
import errno
import os
import struct
from _collections_abc import Iterator

from fastnet._pure.probe.timing import NANOSECOND
from fastnet._system.icmp_errors import (
    EXTENDED_ERROR,
    ORIGIN_LOCAL,
    ORIGIN_TIMESTAMPING,
    reporter_of,
)
from fastnet._system.icmp_sockets import FAMILIES, TIMESTAMP, TIMESTAMPING
from fastnet._typing import Any, NamedTuple

Message = tuple[bytes, dict[tuple[int, int], bytes], tuple[Any, ...]]
"""One received message: the data, the ancillary data by level and type, the address."""

ICMP = struct.Struct("!BBHHH")
TIMESPEC = struct.Struct("@ll")

_CONTROL_SIZE = 512


def read(sock: socket.socket, size: int, limit: int, flags: int = 0) -> Iterator[Message]:
    """At most ``limit`` messages of ``size`` bytes that have arrived. Raises OSError."""
    notices = 0
    for _ in range(limit):
        try:
            data, ancillary, got, address = sock.recvmsg(size, _CONTROL_SIZE, flags)
        except BlockingIOError:
            return
        except OSError as error:
            notices += 1
            if flags or error.errno not in NOTICES or notices == MOST_NOTICES:
                raise cannot_receive(error.errno or 0) from None
            forget_error(sock)  # the error queue has all of it
            continue
        notices = 0
        if got & socket.MSG_TRUNC and not flags:
            continue  # longer than our request: not a reply to it
        yield data, {(level, kind): value for level, kind, value in ancillary}, address


NOTICES = frozenset(
    {
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.ECONNREFUSED,
        errno.EMSGSIZE,
        errno.EOPNOTSUPP,
        errno.EACCES,
        errno.EPROTO,
        errno.EREMOTEIO,
    }
)
"""Errors of any call on the socket that may report an earlier probe's ICMP error."""
MOST_NOTICES = 16
"""An ICMP error is reported once; one that is reported so often without a new ICMP error is a refusal."""


class Failure(NamedTuple):
    """An ICMP error: the quoted packet, from its ICMP header on, and the address that it was sent to.

    A redirect counts too, although its sender forwarded the packet.
    """

    quoted: bytes
    address: tuple[Any, ...]
    error: tuple[int, int]
    info: int
    reporter: str
    scope: int
    """The interface of a link-local sender of the error, else 0."""
    stamp: int


class Departure(NamedTuple):
    """A packet's transmit timestamp."""

    number: int
    stamp: int


def read_errors(sock: socket.socket, size: int, limit: int) -> Iterator[Failure | Departure]:
    """The entries of the socket's error queue, at most ``limit``."""
    family = FAMILIES[sock.family]
    for quoted, messages, address in read(sock, size, limit, socket.MSG_ERRQUEUE):
        error = messages.get((family.level, family.receive_error))
        if error is None:
            continue
        _, origin, kind, code, info, data = EXTENDED_ERROR.unpack_from(error)
        if origin == ORIGIN_TIMESTAMPING:
            yield Departure(data, stamp_of(messages.get(TIMESTAMPING)))
        elif origin != ORIGIN_LOCAL:
            reporter, scope = reporter_of(sock.family, error)
            stamp = stamp_of(messages.get(TIMESTAMP))
            yield Failure(quoted, address, (kind, code), info, reporter, scope, stamp)


def stamp_of(message: bytes | None) -> int:
    """The kernel's timestamp in nanoseconds of the wall clock; 0 without one."""
    if not message:
        return 0
    seconds, nanoseconds = TIMESPEC.unpack_from(message)
    return int(seconds * NANOSECOND + nanoseconds)


def cannot_receive(code: int) -> OSError:
    """Raised if the system refuses to receive."""
    return OSError(code, f"receiving: {os.strerror(code)}")


def forget_error(sock: socket.socket) -> None:
    """Clear the error that the next call on the socket would report; it stays in the error queue."""
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
