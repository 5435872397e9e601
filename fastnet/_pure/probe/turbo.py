"""The fast way of sweeps, which is the native implementation's alone."""

from __future__ import annotations

from fastnet._typing import TYPE_CHECKING
from fastnet.errors import EngineMissing

if TYPE_CHECKING:
    from fastnet._pure.probe.prober import Prober
    from fastnet._system.routes import Route


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
    the gateway does not answer with its own.
    """
    raise EngineMissing("engine turbo: only the native implementation has it; raw needs no more than Python")
