"""Hosts and authorities: whether they name the listener or the upstream."""

import socket
from _collections_abc import Iterable

from fastnet._contract.http_head import BadMessage
from fastnet._typing import NamedTuple

_HOST_MAX = 255
_HTTP_PORT = 80
_PORTS = {b"http": _HTTP_PORT, b"https": 443}
_MAPPED = bytes(10) + b"\xff\xff"
_NO_HOST = "an invalid host"
# RFC 3986's reg-name without percent-encoding, which some readers decode, and commas, which form a list.
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+;="


def canonical(host: bytes) -> bytes:
    """A host in canonical form: lower case without the last dot, or the shortest form of an address.

    An IPv4-mapped IPv6 address becomes the IPv4 address. Empty if it is too long for a host.
    """
    if len(host) > _HOST_MAX:
        return b""
    if b":" in host:
        return (_shortest(host) or host).lower()
    return host.removesuffix(b".").lower()


def _shortest(host: bytes) -> bytes | None:
    """The text of an IPv6 address as the system writes it; None if it is not an address."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, host.partition(b"%")[0].decode("latin-1"))
    except (OSError, ValueError):
        return None
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :]).encode()
    return socket.inet_ntop(socket.AF_INET6, packed).encode()


def is_name(host: bytes) -> bool:
    """Whether a host is a name, which may have subdomains, and not an address."""
    try:
        socket.inet_pton(socket.AF_INET, host.decode("latin-1"))
    except (OSError, ValueError):
        return bool(host) and b":" not in host
    return False


def authority_end(rest: bytes) -> int:
    """The end of the authority in the text after ``scheme://``."""
    return min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))


def cookie_domain(authority: bytes) -> bytes:
    """Set-Cookie's Domain for a client that requested this authority; empty if there is none.

    An address is not a domain, nor is a name without a dot, such as localhost (RFC 6265, 5.3, step 5).
    """
    name = authority.partition(b":")[0]
    host = canonical(name)
    return name if b"." in host and is_name(host) else b""


class Authority(NamedTuple):
    """An unambiguous ``host[:port]``: the host in canonical form, and the port's text."""

    host: bytes
    port: bytes

    @classmethod
    def read(cls, text: bytes) -> "Authority":
        """Parse an authority. Raises BadMessage if readers could disagree on where its host ends."""
        try:
            return cls._read(text)
        except BadMessage:
            if b"@" in text:
                raise BadMessage("user information in a host") from None
            raise

    @classmethod
    def _read(cls, text: bytes) -> "Authority":
        if text.startswith(b"["):
            host, bracket, rest = text[1:].partition(b"]")
            if not bracket or rest[:1] not in (b"", b":") or not _is_literal(host):
                raise BadMessage(_NO_HOST)
            port = rest[1:]
        else:
            host, _, port = text.partition(b":")
            if not host:
                raise BadMessage("an empty host")
            if not _is_registered_name(host):
                raise BadMessage(_NO_HOST)
        if port and not _is_port(port):
            raise BadMessage("an invalid port")
        return cls(canonical(host), port)

    def is_same_place(self, host: "Authority") -> bool:
        """Whether CONNECT's target and its Host name the same place; a Host may leave out a default port."""
        same_port = host.port == self.port if host.port else self.port in (b"80", b"443")
        return host.host == self.host and same_port


def _is_registered_name(name: bytes) -> bool:
    """Whether these are labels with one dot between them, and optionally one after the last."""
    dots = name.startswith(b".") or b".." in name
    return not (dots or len(name) > _HOST_MAX or name.translate(None, _NAME_BYTES))


def _is_literal(host: bytes) -> bool:
    """Whether the text in brackets is an address, optionally with a zone (``%eth0``, encoded ``%25eth0``)."""
    _, percent, zone = host.partition(b"%")
    return _shortest(host) is not None and (not percent or bool(zone and _is_registered_name(zone)))


def _is_port(port: bytes) -> bool:
    return port.isdigit() and len(port) <= 5 and not port.startswith(b"0") and int(port) <= 65535


def _read(text: bytes) -> Authority | None:
    try:
        return Authority.read(text)
    except BadMessage:
        return None


def _port_number(port: bytes, scheme: bytes = b"http") -> int:
    return int(port) if port else _PORTS[scheme]


class HostRewrite:
    """The Host to replace, and its replacement.

    A Host becomes ``upstream`` if it is one of ``names`` (``localhost``, ``127.0.0.1``, ``::1``; any case) or
    the address to which the client connected, with ``port`` or without a port; with ``always`` every Host
    does. With ``origin``, Origin and Referer are rewritten too if they name the listener or that Host. With
    ``responses``, the upstream's name is replaced by the one that the client requested, in Location,
    Content-Location, Refresh, Link, Access-Control-Allow-Origin and in Set-Cookie's Domain.
    """

    __slots__ = ("_hosts", "_own", "_port", "always", "names", "origin", "port", "responses", "upstream")

    def __init__(
        self,
        names: Iterable[str],
        port: int,
        upstream: str,
        always: bool = False,
        responses: bool = False,
        origin: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.port = port
        self.upstream = upstream
        self.always = bool(always)
        self.responses = bool(responses)
        self.origin = bool(origin)
        self._hosts = frozenset(canonical(name.encode()) for name in self.names)
        self._port = str(port).encode()
        self._own = _read(upstream.encode("ascii"))

    @property
    def _upstream_and_port(self) -> str:
        """The upstream, always with its port, as CONNECT requires."""
        return self.upstream + (f":{_HTTP_PORT}" if self._own and not self._own.port else "")

    def _replaces(self, authority: Authority, destination: bytes) -> bool:
        """Whether an authority names the local listener; ``destination`` is in canonical form."""
        if self.always:
            return True
        if authority.port not in (b"", self._port):
            return False
        return authority.host in self._hosts or authority.host == destination

    def _is_client_side(
        self, scheme: bytes, text: bytes, original_host: Authority, destination: bytes
    ) -> bool:
        """Whether the authority of such a URI is the listener, or the one that the client requested."""
        named = _read(text)
        if named is None:
            return False
        port = _port_number(named.port, scheme)
        if (named.host, port) == (original_host.host, _port_number(original_host.port, scheme)):
            return True
        return port == self.port and (named.host in self._hosts or named.host == destination)

    def _is_upstream(self, authority: bytes) -> bool:
        own, named = self._own, _read(authority)
        if not (own and named):
            return False
        return (named.host, _port_number(named.port)) == (own.host, _port_number(own.port))

    def _is_upstream_domain(self, domain: bytes) -> bool:
        """Whether a client would send a cookie with this Domain to the upstream (RFC 6265, section 5.1.3)."""
        host, own = canonical(domain.removeprefix(b".")), self._own.host if self._own else b""
        return bool(host) and (host == own or (own.endswith(b"." + host) and is_name(own)))
