"""How a conversation begins, in either implementation: its socket as it was asked for, and what it sends."""

import os
import socket
from typing import Any

from fastnet._pure.probe.common import FAMILIES
from fastnet._pure.probe.sockets import (
    bind_to_interface,
    number_departures,
    open_socket,
    pass_ident,
    pass_type,
    prepare,
    set_dont_fragment,
    set_mark,
)
from fastnet.errors import InvalidArgument

COOKIE = 16
"""Bytes at the beginning of a payload."""
ALL_WAIT = "every sequence number waits for its answer"

_NEVER_CUT = 552 - 60 - 8
"""A payload that fits in the smallest path MTU that Linux takes for true (min_pmtu, ip-sysctl.rst)."""


def open_probing(
    family: int,
    engine: str,
    *,
    source: str,
    interface: str,
    mark: int,
    ttl: int | None,
    tos: int,
    dont_fragment: bool | None,
    size: int,
    transmit_timestamps: bool,
) -> tuple[socket.socket, str, int]:
    """A socket that is ready, which engine it is, and the ident of what it sends. Raises what Prober does."""
    sock, engine = open_socket(family, engine, source)
    its = FAMILIES[sock.family]
    try:
        prepare(sock)
        if interface:
            bind_to_interface(sock, interface)
        if mark:
            set_mark(sock, mark)
        if ttl is not None:
            sock.setsockopt(its.level, its.ttl_option, ttl)
        if tos:
            sock.setsockopt(its.level, its.tos_option, tos)
        if dont_fragment is None and family == socket.AF_INET and size <= _NEVER_CUT:
            # The kernel, which does not cut it either, would choose an IP id: 5 % of a sweep's CPU.
            dont_fragment = True
        if dont_fragment is not None:
            set_dont_fragment(sock, dont_fragment)
        # The kernel chooses the ident of a socket that is not raw, and shows it as its port.
        own = 0 if engine == "raw" else sock.getsockname()[1]
        ident = own or int.from_bytes(os.urandom(2), "big")
        if engine == "raw":
            pass_type(sock, its.echo_reply)
            pass_ident(sock, ident)
        if transmit_timestamps:
            number_departures(sock)
    except BaseException:
        sock.close()
        raise
    return sock, engine, ident


def filler_of(pattern: bytes, size: int) -> bytes:
    """What is behind the cookie in a payload of this size."""
    filler = pattern or bytes(range(256))
    return (filler * (size // len(filler) + 1))[: max(0, size - COOKIE)]


def not_numeric(destination: tuple[Any, ...]) -> InvalidArgument:
    """The refusal of a host that can't be sent to."""
    return InvalidArgument(f"destination {destination[0]!r}: expected a numeric address")
