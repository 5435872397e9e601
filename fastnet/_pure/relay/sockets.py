"""Sockets: a rule's options for them, their peers, and the errors of running out of them."""

from __future__ import annotations

import errno
import math
import socket
import struct
from contextlib import suppress

from fastnet._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet._contract.relay import Options

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC)
"""Errors of a process, or machine, without descriptors, or without memory for sockets or epoll."""

_AT_ONCE = struct.pack("ii", 1, 0)
_PROBES = 4
"""Keepalive probes before an idle end is dropped, all within another idle time."""


def prepare_listener(sock: socket.socket) -> None:
    """Clear the options of another rule, which accepted sockets inherit."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        _set(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        _set(sock, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)


def prepare(sock: socket.socket, options: Options) -> None:
    """Set the options of both sides of every connection; none for a Unix socket."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    _set(sock, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.congestion:
        _set(sock, socket.IPPROTO_TCP, socket.TCP_CONGESTION, options.congestion.encode())
    # A program that set SO_KEEPALIVE keeps its own times.
    if options.keepalive and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        _set(sock, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, math.ceil(options.keepalive))
        _set(sock, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, math.ceil(options.keepalive / _PROBES))
        _set(sock, socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        _set(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if options.user_timeout:
        _set(sock, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(options.user_timeout * 1000))


def abort(sock: socket.socket) -> None:
    """Reset it and discard unsent bytes."""
    _set(sock, socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    sock.close()


def peername(sock: socket.socket) -> Any:
    """The peer's address of a socket; None if it is not connected (any more)."""
    try:
        return sock.getpeername()
    except OSError:
        return None


def _set(sock: socket.socket, level: int, option: int, value: int | bytes) -> None:
    """Set the option; an error of the kernel is ignored."""
    with suppress(OSError):
        sock.setsockopt(level, option, value)
