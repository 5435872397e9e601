"""Sockets: a rule's options of them, whom they are connected to, and the errors of running out of them."""

from __future__ import annotations

import errno
import math
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnet._contract.relay import Options

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC)
"""Errors of a process, or machine, without descriptors, or without memory for sockets or epoll."""

_AT_ONCE = struct.pack("ii", 1, 0)
_PROBES = 4
"""A silent end is probed so often, within the time of silence again, before it is given up."""


def prepare_listener(sock: socket.socket) -> None:
    """Forget what another rule had set, which accepted sockets inherit."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        _set(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
        _set(sock, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)


def prepare(sock: socket.socket, options: Options) -> None:
    """Set what both sides of every connection have; nothing, for a Unix socket."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    _set(sock, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.congestion:
        _set(sock, socket.IPPROTO_TCP, socket.TCP_CONGESTION, options.congestion.encode())
    # One that asks for keepalive itself keeps its own times.
    if options.keepalive and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        _set(sock, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, math.ceil(options.keepalive))
        _set(sock, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, math.ceil(options.keepalive / _PROBES))
        _set(sock, socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        _set(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if options.user_timeout:
        _set(sock, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(options.user_timeout * 1000))


def abort(sock: socket.socket) -> None:
    """Close it by a reset, whatever it still holds."""
    _set(sock, socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    sock.close()


def peername(sock: socket.socket) -> Any:
    """Whom a socket is connected to; None where it is not, or no more."""
    try:
        return sock.getpeername()
    except OSError:
        return None


def _set(sock: socket.socket, level: int, option: int, value: int | bytes) -> None:
    """Where the kernel refuses, that is no failure."""
    with suppress(OSError):
        sock.setsockopt(level, option, value)
