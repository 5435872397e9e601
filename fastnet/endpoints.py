"""Where a connection goes: ``HOST:PORT`` texts, and the socket addresses that they resolve to.

Also ``unix:/path`` and ``unix:@abstract``, and for what is listened on ``systemd:NAME``.
"""

import errno
import os
import socket
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeAlias

from fastnet._backend import unix as _unix
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved, NotPermitted

SocketAddress = tuple[Any, ...]
"""What ``socket.bind`` and ``connect`` take: (host, port) or (host, port, flow, scope)."""


_LOOPBACK = {socket.AF_INET6: "::1", socket.AF_INET: "127.0.0.1"}


class Endpoint(NamedTuple):
    """A host and a port, not yet resolved. ``host`` is a name, an IPv4 or a bare IPv6 address, or ``*``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixEndpoint(NamedTuple):
    """A socket of the Unix domain: its path, or ``@`` and a name of the abstract namespace (unix(7))."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class InheritedEndpoint(NamedTuple):
    """The sockets that systemd passed to this process under a name (sd_listen_fds(3)); "" is all of them."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Place: TypeAlias = Endpoint | UnixEndpoint | InheritedEndpoint


class Resolved(NamedTuple):
    """One socket address that a host name stands for."""

    family: socket.AddressFamily
    address: SocketAddress

    @property
    def host(self) -> str:
        """The numeric address, with its scope where it has one (``fe80::1%eth0``)."""
        return socket.getnameinfo(self.address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]


def parse_port(text: str) -> int:
    """A port's number or its service name (``http``). Raises InvalidArgument."""
    if text.isascii() and text.isdigit():
        if len(text) > 5 or int(text) > 65535:
            raise InvalidArgument(f"port {text}: expected 0 to 65535")
        return int(text)
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError):  # ValueError: what can't be a name at all, as a NUL
        raise InvalidArgument(f"port {text!r}: expected a number or a service name") from None


def parse_endpoint(text: str, default_host: str | None = None) -> Endpoint:
    """``host:port``, ``1.2.3.4:port`` or ``[v6]:port``; only ``port`` where there is a default host.

    Raises InvalidArgument, which says what the form is.
    """
    host, colon, port = text.rpartition(":")
    if not colon and default_host is not None:
        return Endpoint(default_host, parse_port(port))
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidArgument(f"{text!r}: write an IPv6 address in brackets, as [::1]:80")
    if not host and default_host is not None:
        host = default_host
    if not host or not port:
        raise InvalidArgument(f"{text!r}: expected HOST:PORT, as example.com:80 or [::1]:80")
    return Endpoint(host, parse_port(port))


def parse_place(text: str, default_host: str | None = None) -> Place:
    """``unix:/path``, ``unix:@abstract``, ``systemd:NAME``, or what ``parse_endpoint`` takes.

    Raises InvalidArgument, which says what the form is.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind == "systemd":
        return InheritedEndpoint(rest)
    if colon and kind == "unix":
        return parse_unix(rest)
    return parse_endpoint(text, default_host)


def parse_unix(path: str) -> UnixEndpoint:
    """A path, or ``@`` and an abstract name. Raises InvalidArgument for what can't be one."""
    if path in ("", "@"):
        raise InvalidArgument(f"'unix:{path}': expected unix:/path or unix:@name")
    _unix.unix_address(path)
    return UnixEndpoint(path)


def place_of(family: int, address: Any) -> Endpoint | UnixEndpoint:
    """Where a socket address is: what ``getsockname`` and ``getpeername`` give, to be written as text."""
    if family == socket.AF_UNIX:
        path = os.fsdecode(address)
        return UnixEndpoint(f"@{path[1:]}" if path.startswith("\0") else path)
    return Endpoint(Resolved(socket.AddressFamily(family), address).host, address[1])


def resolve(
    host: str,
    port: int = 0,
    *,
    family: int = socket.AF_UNSPEC,
    type: int = socket.SOCK_STREAM,
    passive: bool = False,
) -> list[Resolved]:
    """Every address of a host, in the resolver's order.

    With ``passive``, to listen on them: ``*`` is every local address, and ``localhost`` both loopbacks
    (RFC 6761, section 6.3), even where ``/etc/hosts`` names only one.

    Raises NameNotResolved, naming the host.
    """
    names: list[str | None] = [host]
    if passive and host == "*":
        names = [None]
    elif passive and host == "localhost":
        names = [name for version, name in _LOOPBACK.items() if family in (socket.AF_UNSPEC, version)]
    elif "\0" in host:  # the C library would see no more than what is before it
        raise NameNotResolved(f"{host}: not a host name")
    elif host == "*":  # glibc would take it for the loopback
        raise NameNotResolved("*: not a host name: expected one to connect to")
    flags = socket.AI_PASSIVE if passive else 0
    try:
        answers = [
            answer
            for name in names
            for answer in socket.getaddrinfo(_plain(name), port, family, type, 0, flags)
        ]
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise NameNotResolved(f"{host or repr(host)}: {reason}") from None
    return list(dict.fromkeys(Resolved(answer[0], answer[4]) for answer in answers))


def _plain(name: str | None) -> str | bytes | None:
    """ASCII names and numbers as bytes: for text Python loads its IDNA codec, which only others need."""
    if name and name.isascii() and all(0 < len(label) < 64 for label in name.removesuffix(".").split(".")):
        return name.encode()
    return name


_FREE_PORT_TRIES = 16
_FAMILY_MISSING = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_BACKLOG = 1024


def listen(
    endpoint: Endpoint,
    *,
    family: int = socket.AF_UNSPEC,
    type: int = socket.SOCK_STREAM,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """Listening TCP sockets for every address of an endpoint, all on one port; port 0 takes a free one.

    ``localhost`` and ``*`` listen on both families, or on the one that this machine has. With the type
    ``SOCK_DGRAM`` they are UDP sockets. ``reuse_port`` lets other programs of the same user that ask for
    that too listen there beside this one (SO_REUSEPORT, socket(7)). Raises NameNotResolved, AddressInUse,
    NotPermitted for a privileged port, or OSError.
    """
    addresses = resolve(endpoint.host, endpoint.port, family=family, type=type, passive=True)
    tries = 1 if endpoint.port else _FREE_PORT_TRIES
    while True:
        tries -= 1
        try:
            return _listen(addresses, type, reuse_port)
        except AddressInUse:
            # A port that was free in one family may be taken in the other.
            if not tries:
                raise


def listen_beside(listeners: list[socket.socket]) -> list[socket.socket]:
    """Further sockets at the addresses of these, among which the kernel spreads who connects (SO_REUSEPORT).

    Whoever else asks for one of these addresses later is refused as before, unless by SO_REUSEPORT.
    """
    with ExitStack() as undo:
        beside = []
        for sock in listeners:
            # Only now: at first it had to be alone there, or another program's port would be shared.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            resolved = Resolved(sock.family, sock.getsockname())
            beside.append(_listener(resolved, resolved.address[1], sock.type, reuse_port=True))
            undo.callback(beside[-1].close)
        undo.pop_all()
    return beside


def _listen(addresses: list[Resolved], type: int, reuse_port: bool) -> list[socket.socket]:
    missing: OSError | None = None
    with ExitStack() as undo:
        sockets: list[socket.socket] = []
        for resolved in addresses:
            port = sockets[0].getsockname()[1] if sockets else resolved.address[1]
            try:
                sockets.append(_listener(resolved, port, type, reuse_port))
                undo.callback(sockets[-1].close)
            except OSError as error:
                if error.errno not in _FAMILY_MISSING:
                    raise
                missing = error
        if missing and not sockets:
            raise missing
        undo.pop_all()
    return sockets


def _listener(resolved: Resolved, port: int, type: int, reuse_port: bool) -> socket.socket:
    sock = socket.socket(resolved.family, type)
    try:
        if type == socket.SOCK_STREAM:  # For datagrams it would let others take the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if resolved.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((resolved.address[0], port, *resolved.address[2:]))
        if type == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        where = Endpoint(resolved.host, port)
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(error.errno, f"{where} is in use") from None
        if error.errno == errno.EACCES:
            raise NotPermitted(
                error.errno,
                f"{where}: not permitted to listen on a port below net.ipv4.ip_unprivileged_port_start: "
                "take a higher one, or grant cap_net_bind_service",
            ) from None
        raise OSError(error.errno, f"{where}: {error.strerror}") from None
    return sock
