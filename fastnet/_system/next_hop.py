"""The interface and the destination MAC address of frames to one gateway."""

import _struct as struct
import errno
import socket
import time

from fastnet._contract.netif import MAC_TYPES, failure
from fastnet._system.interfaces import look_up
from fastnet._system.netlink import Netlink, attribute, split
from fastnet._system.routes import Route
from fastnet._typing import NamedTuple
from fastnet.errors import InvalidArgument

# linux/neighbour.h
_GET_NEIGHBOUR = 30
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ADDRESS, _HARDWARE = 1, 2
_NOT_KNOWN = 0x01 | 0x20
"""NUD_INCOMPLETE and NUD_FAILED."""
_DISCARD_PORT = 9
_LONGEST_SECONDS = 3.5
_LOOK_EACH_SECONDS = 0.005


class Path(NamedTuple):
    """The interface, source addresses and destination of frames."""

    interface: int
    hardware: bytes
    next_hop: bytes
    source: int


def find_path(engine: str, family: int, route: Route) -> Path:
    """The path of a prober's frames through a route.

    Raises what ``open_turbo`` does, except for refusals of the kernel.
    """
    if engine != "raw":
        raise InvalidArgument(f"engine {engine}: turbo is the fast way of a raw prober")
    if not route.gateway:
        raise InvalidArgument(
            f"interface {route.interface}: turbo sends to a gateway, and this route has none"
        )
    interface = look_up(route.interface)
    if interface.kind not in MAC_TYPES:
        raise failure(route.interface, errno.EADDRNOTAVAIL, "MAC address")
    next_hop = _resolve(family, interface.number, route)
    source = int.from_bytes(socket.inet_pton(family, route.source), "big")
    return Path(interface.number, interface.hardware, next_hop, source)


def _resolve(family: int, interface: int, route: Route) -> bytes:
    """The gateway's MAC address; the kernel resolves it by up to three requests when a packet is sent."""
    if found := neighbour(family, interface, route.gateway):
        return found
    deadline = time.monotonic() + _LONGEST_SECONDS
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        scope = (0, interface) if family == socket.AF_INET6 else ()
        asking.sendto(b"", (route.gateway, _DISCARD_PORT, *scope))
        while time.monotonic() < deadline:
            if found := neighbour(family, interface, route.gateway):
                return found
            time.sleep(_LOOK_EACH_SECONDS)
    raise OSError(
        errno.EHOSTUNREACH, f"gateway {route.gateway}: no answer with its MAC address on {route.interface}"
    )


def neighbour(family: int, interface: int, address: str) -> bytes:
    """The MAC address that the kernel has for a neighbour; empty if it has none yet."""
    destination = attribute(_ADDRESS, socket.inet_pton(family, address))
    with Netlink() as kernel:
        question = _NEIGHBOUR.pack(family, interface, 0, 0, 0) + destination
        try:
            answer = kernel.ask_one(_GET_NEIGHBOUR, question)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return b""
            raise
    (_, _, state, _, _), found = split(answer, _NEIGHBOUR)
    return b"" if state & _NOT_KNOWN else bytes(found.get(_HARDWARE, b""))
