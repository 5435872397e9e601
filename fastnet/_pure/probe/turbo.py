"""The fast way of sweeps, which is the native implementation's alone; and what its frames need to know."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from fastnet._pure.netif import get_hardware_address, get_index
from fastnet._pure.probe.routes import neighbour
from fastnet.errors import EngineMissing, InvalidArgument, NotPermitted

if TYPE_CHECKING:
    from fastnet._pure.probe.prober import Prober
    from fastnet._pure.probe.routes import Route

_DISCARD_PORT = 9
_PATIENCE_SECONDS = 3.5
_LOOK_EACH_SECONDS = 0.005


def open_turbo(prober: Prober, route: Route) -> Prober:
    """The fast way of a raw prober to what one gateway reaches: ``route`` is one of ``gatewayed()``.

    A Sweeper takes it in the prober's place. Requests leave as whole frames to the gateway (packet(7)), past
    the firewall's rules for output; replies are taken by an eBPF program at the interface's ingress, before
    the kernel's own stack sees them, and judged as ever. Whatever else comes goes on to the stack; a reply in
    an unusual form, and every error, comes by the prober's socket. ``close()`` detaches the program, and
    closes the prober; the end of the process detaches it too, whatever ended it.

    Needs Linux 6.6, CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF. Raises EngineMissing where the kernel is older or
    the implementation is not native, NotPermitted, InvalidArgument for a prober that is not raw or a route
    without a gateway, NoSuchInterface, NoAddress for an interface without a MAC address, and OSError where
    the gateway does not tell its own.
    """
    raise EngineMissing("engine turbo: only the native implementation has it; raw needs no more than Python")


class Path(NamedTuple):
    """Where frames leave, from which addresses, and to whom."""

    interface: int
    hardware: bytes
    next_hop: bytes
    source: int


def find_path(prober: Prober, route: Route) -> Path:
    """Raises what ``open_turbo`` does, but for the kernel's own refusals."""
    if prober.engine != "raw":
        raise InvalidArgument(f"engine {prober.engine}: turbo is the fast way of a raw prober")
    if not route.gateway:
        raise InvalidArgument(
            f"interface {route.interface}: turbo sends to a gateway, and this route has none"
        )
    interface = get_index(route.interface)
    hardware = bytes.fromhex(get_hardware_address(route.interface).replace(":", ""))
    next_hop = _resolve(prober.family, interface, route)
    source = int.from_bytes(socket.inet_pton(prober.family, route.source), "big")
    return Path(interface, hardware, next_hop, source)


def refusal(code: int) -> OSError | EngineMissing:
    """The error with which the kernel's refusal is told."""
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted(
            code, "engine turbo: needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF (root has them); raw needs less"
        )
    if code in (errno.EINVAL, errno.ENOSYS):
        return EngineMissing("engine turbo: needs Linux 6.6, with eBPF and tcx; raw needs no such thing")
    return OSError(code, os.strerror(code))


def _resolve(family: int, interface: int, route: Route) -> bytes:
    """The gateway's MAC address; the kernel asks for it, thrice, once there is something to send there."""
    if found := neighbour(family, interface, route.gateway):
        return found
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        scope = (0, interface) if family == socket.AF_INET6 else ()
        asking.sendto(b"", (route.gateway, _DISCARD_PORT, *scope))
        while time.monotonic() < deadline:
            if found := neighbour(family, interface, route.gateway):
                return found
            time.sleep(_LOOK_EACH_SECONDS)
    raise OSError(
        errno.EHOSTUNREACH, f"gateway {route.gateway}: does not tell its MAC address on {route.interface}"
    )
