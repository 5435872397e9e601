"""The kernel's events on interfaces, addresses and routes (rtnetlink(7)), as they come."""

import _socket as socket
import _struct as struct
import errno
import os
from _collections_abc import Iterable
from typing import NamedTuple

from fastnet._system.netlink import open_netlink
from fastnet._system.netns import Namespace, open_sockets

# linux/rtnetlink.h
LINKS, NAMESPACES = 1, 28
ADDRESSES = (5, 9)
ROUTES = (7, 11)
NEXT_HOPS = 32

_GENERIC = 16
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_ROOM = 1 << 16
_BUFFER = 4 << 20
"""Bytes wanted for events that wait; without CAP_NET_ADMIN, net.core.rmem_max limits them."""
_MOST = 1000
"""Events that are read at once."""
_HEADER = struct.Struct("=IHH")
_REPLACE = 0x100


class Received(NamedTuple):
    """Events that were waiting, in the order in which the kernel sent them."""

    messages: list[bytes]
    is_incomplete: bool
    """The buffer has overflowed: after these, some are missing."""


def open_in(netns: Namespace | None) -> tuple[socket.socket, list[int]]:
    """A socket for events, and the descriptors of two for a Kernel; for the thread's own namespace none.

    Raises what ``open_sockets`` does.
    """
    if netns is None:
        return open_netlink(), []
    protocols = (socket.NETLINK_ROUTE, socket.NETLINK_ROUTE, _GENERIC)
    events, *others = open_sockets(netns, socket.AF_NETLINK, socket.SOCK_RAW, protocols)
    return socket.socket(fileno=events), others


def subscribed(events: socket.socket, groups: Iterable[int], receive_buffer: int | None) -> socket.socket:
    """A new netlink socket, which is closed on failure, that now receives these events. Raises OSError.

    ``receive_buffer`` is the size of its buffer in bytes.
    """
    try:
        _set_buffer(events, _BUFFER if receive_buffer is None else receive_buffer)
        events.bind((0, 0))
        for group in groups:
            events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        events.setblocking(False)
    except OSError:
        events.close()
        raise
    return events


def _set_buffer(events: socket.socket, size: int) -> None:
    try:
        events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def receive(events: socket.socket) -> Received:
    """What is waiting, without waiting for more. Raises OSError."""
    messages: list[bytes] = []
    is_incomplete = False
    while is_incomplete or len(messages) < _MOST:  # only an empty queue ends an overflow
        try:
            data, (port, _) = events.recvfrom(_ROOM)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                break
            if error.errno != errno.ENOBUFS:
                raise OSError(error.errno, os.strerror(error.errno or 0)) from None
            is_incomplete = True
            continue
        if port == 0:
            messages.append(data)
    return Received(messages, is_incomplete)


def is_replacement(message: bytes) -> bool:
    """Whether what a message announces is in the place of another (NLM_F_REPLACE)."""
    flags: int = _HEADER.unpack_from(message)[2]
    return bool(flags & _REPLACE)
