"""The turbo engine of sweeps: only the native implementation has it."""

from __future__ import annotations

from fastnet._typing import TYPE_CHECKING
from fastnet.errors import EngineMissing

if TYPE_CHECKING:
    from fastnet._pure.probe.prober import Prober
    from fastnet._system.routes import Route


def open_turbo(prober: Prober, route: Route) -> Prober:
    """A raw prober that sends and receives faster, through one gateway: ``route`` is one of ``gatewayed()``.

    A Sweeper takes it in place of the prober. It sends requests as whole frames to the gateway (packet(7)),
    which bypasses the firewall's output rules. An eBPF program at the interface's ingress takes the replies
    before the kernel's stack does; they are checked as usual. All other packets continue to the stack;
    replies in an unusual form, and errors, arrive at the prober's socket. ``close()`` detaches the program
    and closes the prober; the end of the process detaches it too, whatever the cause.

    Needs Linux 6.6, CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF. Raises EngineMissing if the kernel is older or
    the implementation is not native, NotPermitted, InvalidArgument for a prober that is not raw or a route
    without a gateway, NoSuchInterface, NoAddress for an interface without a MAC address, and OSError if
    the gateway does not answer with its MAC address.
    """
    raise EngineMissing("engine turbo: only the native implementation has it; raw needs no more than Python")
