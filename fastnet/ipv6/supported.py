"""Which IPv6 support works on this machine."""

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastnet._backend import netif as _core
from fastnet._results import as_dict, shown
from fastnet.errors import NoSuchInterface
from fastnet.interfaces import scope_of

_CONF = "/proc/sys/net/ipv6/conf"
_ROUTES = "/proc/thread-self/net/ipv6_route"

# linux/if_addr.h
_IFA_F_DADFAILED = 0x08
_IFA_F_TENTATIVE = 0x40

# linux/route.h, ipv6_route.h
_RTF_UP = 0x1
_RTF_REJECT = 0x200
_RTF_LOCAL = 0x80000000

# linux/if.h
_IFF_LOOPBACK = 0x8
_IFF_RUNNING = 0x40


class Ipv6Support(NamedTuple):
    """What IPv6 support there is; see ``support``."""

    built_in: bool
    kernel: bool
    disabled: tuple[str, ...]
    loopback: bool
    addresses: tuple[str, ...]
    default_route: bool

    @property
    def works(self) -> bool:
        """Whether a connection over IPv6 can leave this machine."""
        return not self.reason

    @property
    def reason(self) -> str:
        """The first missing thing; empty if IPv6 works."""
        lacking = (
            (self.built_in, "Python was built without IPv6"),
            (self.kernel, "the kernel has no IPv6"),
            (self.loopback, "the loopback address ::1 can't be used"),
            (bool(self.addresses), "no interface has an address beyond its own link"),
            (self.default_route, "there is no default route"),
        )
        return next((reason for there, reason in lacking if not there), "")

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def support() -> Ipv6Support:
    """What IPv6 support there really is, in the calling thread's network namespace.

    ``built_in``: Python knows IPv6. ``kernel``: an IPv6 socket can be opened. ``disabled``: the interfaces
    whose sysctl disable_ipv6 is set. ``loopback``: ``::1`` can be bound to. ``addresses``: those usable
    beyond loopback and link, without any whose duplicate detection is under way or failed (RFC 4862,
    section 5.4). ``default_route``: there is one, for every source, that neither rejects nor ends on this
    machine, by an interface that is running. Nothing is sent.
    """
    kernel, loopback = _try_sockets()
    addresses = tuple(
        address
        for _, address, _, flags in _core.list_ipv6()
        if not flags & (_IFA_F_DADFAILED | _IFA_F_TENTATIVE) and scope_of(address) not in ("host", "link")
    )
    return Ipv6Support(
        socket.has_ipv6, kernel, tuple(_disabled_interfaces()), loopback, addresses, _has_default_route()
    )


def _try_sockets() -> tuple[bool, bool]:
    """Whether an IPv6 socket can be opened, and bound to loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("::1", 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                return True, False
            return True, True
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return False, False


def _disabled_interfaces() -> Iterator[str]:
    # The sysctl file system shows each thread the namespace that it is in.
    for _, name in socket.if_nameindex():
        try:
            with open(os.path.join(_CONF, name, "disable_ipv6")) as file:
                if file.read().strip() != "0":
                    yield name
        except FileNotFoundError:
            continue  # The interface went meanwhile, or the kernel has no IPv6 for it.


def _has_default_route() -> bool:
    try:
        with open(_ROUTES, "rb") as file:
            routes = [
                line.split() for line in file
            ]  # as bytes: a name may hold what splits a text, or is none
    except FileNotFoundError:
        return False
    return any(
        to == from_ == b"00"
        and int(flags, 16) & (_RTF_UP | _RTF_REJECT | _RTF_LOCAL) == _RTF_UP
        and _leads_out(os.fsdecode(name))
        for _, to, _, from_, *_, flags, name in routes
    )


def _leads_out(ifname: str) -> bool:
    """Whether packets sent by an interface leave this machine."""
    try:
        return _core.get_flags(ifname) & (_IFF_LOOPBACK | _IFF_RUNNING) == _IFF_RUNNING
    except NoSuchInterface:
        return False  # it went meanwhile
