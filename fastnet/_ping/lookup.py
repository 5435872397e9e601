"""Hosts and source addresses of callers, and the socket addresses that they resolve to."""

import _socket as socket
import errno

from fastnet._backend import probe as _core
from fastnet._limits import Host, bounded, check_family, check_text, host_text
from fastnet._system.icmp_sockets import bind_to_interface
from fastnet._typing import NamedTuple
from fastnet.endpoints import Resolved, SocketAddress, addresses_of, check_not_mapped
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved

MAX_MARK = (1 << 32) - 1
MAX_SIZE = 65507
"""The payload that fills the largest IPv4 packet."""
_DISCARD_PORT = 9


class Destination(NamedTuple):
    """A resolved host, and the kind of socket for it."""

    host: str
    address: str
    engine: str
    resolved: Resolved | None
    """None if it did not resolve, or can't be pinged."""
    error: str | None = None
    """Why not."""


class Source(NamedTuple):
    """Where packets are sent from."""

    address: str
    """Numeric, with its scope if it has one; empty: the kernel's choice."""
    family: int
    """The family that destinations must have."""
    scope: int = 0
    """The interface of a link-local one; 0 where it has none."""

    def scope_by(self, interface: str) -> int:
        """The interface of a link-local destination that names none: the source's, or the only one to use.

        0 where there is neither. Raises NoSuchInterface.
        """
        if self.scope or not interface:
            return self.scope
        from fastnet._backend import netif  # which others have no use for

        netif.get_flags(interface)  # there is one of this name
        return socket.if_nametoindex(interface)


def check_sending(interface: str, mark: int, tos: int) -> str:
    """Check the options of a packet. Returns the interface's own name. Raises InvalidArgument."""
    check_text("interface", interface)
    bounded("mark", mark, 0, MAX_MARK)
    bounded("tos", tos, 0, 255)
    return interface and _own_name(interface)


def source_of(source: "Host | None", family: int) -> Source:
    """The source address. Raises NameNotResolved, InvalidArgument for an IPv4-mapped address."""
    check_family(family)
    if source is None:
        return Source("", family)
    source = host_text("source", source)
    try:
        found = addresses_of(source, family=family)[0]
    except NameNotResolved as error:
        error.args = (f"source {error} (`fastnet interfaces` lists the interfaces)",)
        raise
    check_not_mapped(source, found)
    return Source(found.host, found.family, found.address[3] if len(found.address) > 3 else 0)


def one_host(host: Host, source: Source, interface: str = "") -> Resolved:
    """A host's first address. Raises NameNotResolved, InvalidArgument for what is not that of one host."""
    host = host_text("host", host)
    return checked(host, addresses_of(host, family=source.family)[0], source, interface)


def checked(host: str, found: Resolved, source: Source, interface: str) -> Resolved:
    """The address, with its scope. Raises InvalidArgument for what is not that of one host."""
    check_not_mapped(host, found)
    address = socket.inet_pton(found.family, found.address[0].partition("%")[0])
    if not _core.is_host(found.family, int.from_bytes(address, "big")):
        raise InvalidArgument(f"{host}: not the address of one host")
    if not _core.is_link_local(found.address[0]):
        return found
    interface = interface and _own_name(interface)
    scope = found.address[3] or source.scope_by(interface)
    if not scope:
        raise InvalidArgument(f"{host}: a link-local address needs its interface, as {found.host}%eth0")
    scoped = Resolved(found.family, (*found.address[:3], scope))
    if source.scope not in (0, scope):
        raise InvalidArgument(f"{host}: its interface contradicts that of the source, {source.address}")
    if interface and _is_elsewhere(scoped, interface):
        raise InvalidArgument(f"{host}: its interface contradicts the one to use, {interface}")
    return scoped


def _own_name(interface: str) -> str:
    from fastnet._system.interfaces import own_name  # only here: most commands need no rtnetlink

    return own_name(interface)


def _is_elsewhere(found: Resolved, interface: str) -> bool:
    """Whether a socket of this interface can't send to a scope: neither its own nor one of its VRF."""
    if found.address[3] == Source("", 0).scope_by(interface):
        return False
    sock = socket.socket(found.family, socket.SOCK_DGRAM)
    try:
        bind_to_interface(sock, interface)
        return _is_refused(sock, (found.address[0], _DISCARD_PORT, *found.address[2:]))
    finally:
        sock.close()


def _is_refused(sock: socket.socket, address: SocketAddress) -> bool:
    """Whether such an address is none to send to; connect(2) of a datagram socket sends nothing."""
    try:
        sock.connect(address)
    except OSError as error:
        return error.errno == errno.EINVAL
    return False


def reason_of(error: FastnetError, host: str) -> str:
    """The error of a host, without its name."""
    return str(error.args[-1]).removeprefix(f"{host or repr(host)}: ")
