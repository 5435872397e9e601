"""Endpoints of connections: ``HOST:PORT`` texts, and the socket addresses that they resolve to.

Also ``unix:/path`` and ``unix:@abstract``, and, to listen on, ``systemd:NAME``.
"""

import _socket as socket
import errno
import os
import sys

from fastnet._limits import Host, bounded, check_family, check_flag, check_text, check_type, host_text, quoted
from fastnet._results import as_dict, shown
from fastnet._system.names import host_by_system
from fastnet._system.unix_address import unix_address
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from fastnet.errors import AddressInUse, InvalidArgument, NameNotResolved, NotPermitted

if TYPE_CHECKING:
    from socket import socket as Socket

__all__ = [
    "Endpoint",
    "InheritedEndpoint",
    "Place",
    "Resolved",
    "SocketAddress",
    "UnixEndpoint",
    "listen",
    "parse_endpoint",
    "parse_place",
    "parse_port",
    "resolve",
]

SocketAddress = tuple[Any, ...]
"""An argument of ``socket.bind`` and ``connect``: (host, port) or (host, port, flow, scope)."""


_SOCKET_TYPES = (0, socket.SOCK_STREAM, socket.SOCK_DGRAM)
_LOOPBACK = {socket.AF_INET6: b"::1", socket.AF_INET: b"127.0.0.1"}
_SERVICES = {
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "domain": 53,
    "http": 80,
    "ntp": 123,
    "imap": 143,
    "ldap": 389,
    "https": 443,
    "imaps": 993,
    "mysql": 3306,
    "postgresql": 5432,
    "amqp": 5672,
    "redis": 6379,
    "http-alt": 8080,
}
"""Ports by name, used without ``/etc/services`` (Debian's netbase)."""
_HOSTS_FILE = "/etc/hosts"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_NOT_OF_HOSTS = frozenset(" /?#@*[]%\\")
"""Characters that are not in hosts; glibc resolves ``*`` to the loopback."""
MAPPED = bytes(10) + b"\xff\xff"
"""The prefix of IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2)."""
_LONGEST_LABEL = 63
_LONGEST_NAME = 254
"""Including the dot at its end (RFC 1035, section 2.3.4)."""


class Endpoint(NamedTuple):
    """A host and a port, not yet resolved. ``host`` is a name, an IPv4 or a bare IPv6 address, or ``*``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixEndpoint(NamedTuple):
    """A Unix domain socket: its path, or ``@`` and a name in the abstract namespace (unix(7))."""

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
    """One socket address that a host name resolves to."""

    family: int
    """As ``socket.AF_INET``."""
    address: SocketAddress

    @property
    def host(self) -> str:
        """The numeric address, with its scope if it has one (``fe80::1%eth0``)."""
        if self.family == socket.AF_INET:
            host: str = self.address[0]
            return host  # which has no other form
        return host_by_system(self.address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def parse_port(text: str) -> int:
    """A port's number or its service name (``http``). Raises InvalidArgument."""
    check_text("text", text)
    if text.isascii() and text.isdigit():
        if len(text) > 5 or int(text) > 65535:
            raise InvalidArgument(f"port {text}: expected 0 to 65535")
        return int(text)
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError):  # ValueError: for a text that can't be a name, such as a NUL
        if text in _SERVICES:
            return _SERVICES[text]
        raise InvalidArgument(f"port {text!r}: expected a number or a service name") from None


def parse_endpoint(text: str, default_host: str | None = None) -> Endpoint:
    """Parse ``host:port``, ``1.2.3.4:port`` or ``[v6]:port``; only ``port`` if there is a default host.

    Raises InvalidArgument; the message has the expected form.
    """
    check_text("text", text)
    if default_host is not None:
        check_text("default_host", default_host)
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
    return Endpoint(ascii_host(host), parse_port(port))


def ascii_host(host: str) -> str:
    """A host in ASCII, as it is resolved and sent: an international name is encoded (RFC 5891).

    Raises InvalidArgument for a name that IDNA 2003 and 2008 encode differently, and for an IPv4 address in
    a form that programs read differently. A text that is not a host is returned unchanged.
    """
    if not host.isascii() and ":" not in host:
        host = _encoded(host)
    check_ipv4_form(host)
    return host


def _encoded(host: str) -> str:
    """The ASCII form of a host name; the name itself if it has none."""
    from fastnet import _idna  # imported here: its tables are large and few names need them

    new, old = _idna.encode_2008(host), _idna.encode_2003(host)
    if new == old:
        return old or host
    years = ((new, 2008), (old, 2003))
    forms = [f"{form} (IDNA {year})" for form, year in years if form and is_host(form)]
    if not forms:
        return host
    raise InvalidArgument(f"{host}: not the same name by IDNA 2003 and 2008: write {' or '.join(forms)}")


def check_ipv4_form(text: str) -> None:
    """Refuse an IPv4 address that programs read differently (``010.0.0.1``). Raises InvalidArgument."""
    parts = text.split(".")
    has_octets = len(parts) == 4 and all(part.isdigit() and (part == "0" or part[0] != "0") for part in parts)
    # What inet_aton(3) accepts, or may accept, besides four decimal octets.
    if len(parts) <= 4 and _are_numbers(parts) and not has_octets:
        raise InvalidArgument(
            f"{text}: an IPv4 address with leading zeros, in hexadecimal or with octets left out is read "
            "differently by different programs: expected four decimal octets, as 192.0.2.1"
        )


def _are_numbers(parts: list[str]) -> bool:
    """Whether these are numbers of inet_aton(3): decimal, octal or hexadecimal."""
    for part in parts:
        if part[:2] in ("0x", "0X"):
            if not {*part[2:]} <= _HEXADECIMAL:
                return False
        elif not (part.isascii() and part.isdigit()):
            return False
    return True


def is_host(host: str) -> bool:
    """Whether this is a valid numeric address, or can be a name in ASCII."""
    if ":" in host:
        address, percent, scope = host.partition("%")
        return _is_address(socket.AF_INET6, address) and bool(scope) == bool(percent)
    if not host.isascii() or not host.isprintable() or _NOT_OF_HOSTS & {*host}:
        return False
    labels = host.removesuffix(".").split(".")
    if _are_numbers(labels):  # Some resolvers read these as an address, also with a dot at the end.
        return _is_address(socket.AF_INET, host)
    return len(host) <= _LONGEST_NAME and all(0 < len(label) <= _LONGEST_LABEL for label in labels)


def _is_address(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def check_not_mapped(host: str, found: "Resolved") -> None:
    """Refuse an IPv4-mapped IPv6 address: no IPv6 packet is sent to one. Raises InvalidArgument."""
    if found.family == socket.AF_INET6:
        packed = socket.inet_pton(socket.AF_INET6, found.address[0].partition("%")[0])
        if packed.startswith(MAPPED):
            raise InvalidArgument(f"{host}: an IPv4-mapped address: write {socket.inet_ntoa(packed[12:])}")


def parse_place(text: str, default_host: str | None = None) -> Place:
    """Parse ``unix:/path``, ``unix:@abstract``, ``systemd:NAME``, or a text for ``parse_endpoint``.

    Raises InvalidArgument; the message has the expected form.
    """
    check_text("text", text)
    if default_host is not None:
        check_text("default_host", default_host)
    kind, colon, rest = text.partition(":")
    if colon and kind == "systemd":
        return InheritedEndpoint(rest)
    if colon and kind == "unix":
        return parse_unix(rest)
    return parse_endpoint(text, default_host)


def parse_unix(path: str) -> UnixEndpoint:
    """Parse a path, or ``@`` and an abstract name. Raises InvalidArgument for an invalid one."""
    if path in ("", "@"):
        raise InvalidArgument(f"'unix:{path}': expected unix:/path or unix:@name")
    unix_address(path)
    return UnixEndpoint(path)


def place_of(family: int, address: Any) -> Endpoint | UnixEndpoint:
    """The endpoint for a socket address that ``getsockname`` or ``getpeername`` returned."""
    if family == socket.AF_UNIX:
        path = os.fsdecode(address)
        return UnixEndpoint(f"@{path[1:]}" if path.startswith("\0") else path)
    return Endpoint(Resolved(family, address).host, address[1])


def _check_kind(kind: object) -> None:
    if kind not in _SOCKET_TYPES:
        raise InvalidArgument(f"type {quoted(kind)}: expected socket.SOCK_STREAM, SOCK_DGRAM or 0")


def resolve(
    host: Host,
    port: int = 0,
    *,
    family: int = socket.AF_UNSPEC,
    type: int = socket.SOCK_STREAM,
    passive: bool = False,
) -> list[Resolved]:
    """Every address of a host, in the resolver's order.

    ``localhost`` and names below it, such as ``app.localhost``, are the loopback addresses unless
    ``/etc/hosts`` has others. Names below ``invalid`` do not exist. No resolver is queried for either
    (RFC 6761, sections 6.3 and 6.4). With ``passive``, which is for listening, ``*`` is every local address,
    and ``localhost`` is both loopback addresses, even if the file has only one.

    Raises NameNotResolved with the host in the message, and the InvalidArgument of ``ascii_host``.
    """
    from socket import AddressFamily  # only here: it takes long to load

    found = addresses_of(host, port, family=family, type=type, passive=passive)
    return [Resolved(AddressFamily(family), address) for family, address in found]


def addresses_of(
    host: Host,
    port: int = 0,
    *,
    family: int = socket.AF_UNSPEC,
    type: int = socket.SOCK_STREAM,
    passive: bool = False,
) -> list[Resolved]:
    """As ``resolve``, whose families may be mere numbers."""
    host = host_text("host", host)
    bounded("port", port, 0, 65535)
    check_family(family)
    _check_kind(type)
    check_flag("passive", passive)
    if family != socket.AF_INET6 and _is_address(socket.AF_INET, host):
        return [Resolved(socket.AF_INET, (host, port))]  # the resolver takes twice as long
    everywhere = passive and host == "*"
    names = [None] if everywhere else _names_to_ask_for(host, family, passive)
    flags = socket.AI_PASSIVE if passive else 0
    from socket import getaddrinfo  # only here: it takes long to load

    try:
        answers = [answer for name in names for answer in getaddrinfo(name, port, family, type, 0, flags)]
    except socket.gaierror as error:
        raise _not_resolved(f"{host}: {error.strerror}", error.errno) from None
    found = list(dict.fromkeys(Resolved(answer[0], answer[4]) for answer in answers))
    if len(names) > 1 and not passive:
        found.sort(key=has_no_route)  # as getaddrinfo sorts the addresses of one name (RFC 6724, rule 1)
    return found


def _not_resolved(message: str, code: int | None = socket.EAI_NONAME) -> NameNotResolved:
    failure = NameNotResolved(message)
    failure.errno = code
    return failure


def _names_to_ask_for(host: str, family: int, passive: bool) -> list[bytes]:
    """The names to resolve, as bytes: for text Python would load its IDNA codec."""
    name = ascii_host(host)
    if not is_host(name):
        raise _not_resolved(f"{host or repr(host)}: not a host name or an address")
    plain = name.lower().removesuffix(".")
    top = plain.rpartition(".")[2]
    if top not in ("localhost", "invalid"):
        return [os.fsencode(_with_number(name))]
    if (passive and plain == "localhost") or not _in_hosts_file(plain, family):
        if top == "invalid":
            raise _not_resolved(f"{host}: Name or service not known")
        return [address for version, address in _LOOPBACK.items() if family in (socket.AF_UNSPEC, version)]
    return [os.fsencode(plain)]


def _with_number(host: str) -> str:
    """An address with the name of its interface replaced by the index.

    The C library accepts names only for link-local addresses; programs such as curl accept them for all.
    """
    address, percent, interface = host.partition("%")
    try:
        return f"{address}%{_index_of(interface)}" if percent else host
    except OSError:  # it is an index already, or there is no such interface
        return host


def _index_of(interface: str) -> int:
    """The index of an interface, by its own or an alternative name. Raises OSError."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:  # also for a name of more than 15 bytes
        if interface.isdigit():
            raise
    from fastnet._system.interfaces import own_name  # only here: few names are so long

    return socket.if_nametoindex(own_name(interface))


def _in_hosts_file(name: str, family: int) -> bool:
    """Whether ``/etc/hosts`` has an address of this family: then the C library queries no resolver."""
    try:
        with open(_HOSTS_FILE, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("#")[0].lower().split() for line in file]
    except OSError:
        return False
    addresses = [words[0] for words in lines if name in words[1:]]
    wanted = family == socket.AF_INET6
    return any(family == socket.AF_UNSPEC or (":" in address) == wanted for address in addresses)


def has_no_route(resolved: Resolved) -> bool:
    """Whether this machine has no route to the address, or no source address for it."""
    try:
        from socket import socket as Socket  # only here: it takes long to load

        with Socket(resolved.family, socket.SOCK_DGRAM) as sock:
            sock.connect((resolved.host, 9))  # sends nothing
    except OSError as error:
        return error.errno not in _UNANSWERED
    return False


def is_numeric(host: str) -> bool:
    """Whether a host is an address, which needs no resolver."""
    return ":" in host or _is_address(socket.AF_INET, host)


_FREE_PORT_TRIES = 16
_UNANSWERED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM)
"""Without a socket there is no answer."""
_FAMILY_MISSING = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_BACKLOG = 1024


def listen(
    endpoint: Endpoint,
    *,
    family: int = socket.AF_UNSPEC,
    type: int = socket.SOCK_STREAM,
    reuse_port: bool = False,
) -> "list[Socket]":
    """Listening TCP sockets for every address of an endpoint, all on one port; port 0 takes a free one.

    ``localhost`` and ``*`` listen on both families, or on the only one that this machine has. With the type
    ``SOCK_DGRAM`` they are UDP sockets. With ``reuse_port``, other programs of the same user that also set
    SO_REUSEPORT (socket(7)) may listen on the same port. Raises NameNotResolved, AddressInUse, NotPermitted
    for a privileged port, OSError, or SystemUnsupported for ``reuse_port`` on Windows.
    """
    check_type("endpoint", endpoint, Endpoint, "an Endpoint")
    check_flag("reuse_port", reuse_port)
    if reuse_port and sys.platform == "win32":
        from fastnet._elsewhere import needs_linux  # only here: never on Linux

        raise needs_linux("reuse_port")
    addresses = addresses_of(endpoint.host, endpoint.port, family=family, type=type, passive=True)
    tries = 1 if endpoint.port else _FREE_PORT_TRIES
    while True:
        tries -= 1
        try:
            return _listen(addresses, type, reuse_port)
        except AddressInUse:
            # A port that is free in one family may be in use in the other.
            if not tries:
                raise


def listen_beside(listeners: "list[Socket]") -> "list[Socket]":
    """More sockets on the same addresses; the kernel distributes connections among them (SO_REUSEPORT).

    A later bind to one of these addresses still fails, unless it uses SO_REUSEPORT.
    """
    from contextlib import ExitStack  # only here: it takes long to load

    with ExitStack() as undo:
        beside = []
        for sock in listeners:
            # Not set before the first bind, which must fail if another program uses the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            resolved = Resolved(sock.family, sock.getsockname())
            beside.append(_listener(resolved, resolved.address[1], sock.type, reuse_port=True))
            undo.callback(beside[-1].close)
        undo.pop_all()
    return beside


def _listen(addresses: list[Resolved], type: int, reuse_port: bool) -> "list[Socket]":
    from contextlib import ExitStack  # only here: it takes long to load

    missing: OSError | None = None
    with ExitStack() as undo:
        sockets: list[Socket] = []
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


def _listener(resolved: Resolved, port: int, type: int, reuse_port: bool) -> "Socket":
    from socket import socket as Socket  # only here: it takes long to load

    sock = Socket(resolved.family, type)
    try:
        # For datagrams, and on Windows, it would let other sockets use the port.
        if type == socket.SOCK_STREAM and sys.platform != "win32":
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
