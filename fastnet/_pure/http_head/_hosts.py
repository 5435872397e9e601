"""Hosts and authorities: which name the listener, which the upstream."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOST_MAX = 255
_HTTP_PORT = 80
_MAPPED = bytes(10) + b"\xff\xff"


def canonical(host: bytes) -> bytes:
    """A host in one spelling: lower case without the last dot, or the shortest form of an address.

    An IPv4 address mapped into IPv6 is the IPv4 address. Empty where it is too long to be a host.
    """
    if len(host) > _HOST_MAX:
        return b""
    if b":" in host:
        return (_shortest(host) or host).lower()
    return host.removesuffix(b".").lower()


def _shortest(host: bytes) -> bytes | None:
    """The text of an IPv6 address as the system writes it, None where it is none."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, host.partition(b"%")[0].decode("latin-1"))
    except (OSError, ValueError):
        return None
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_MAPPED) :]).encode()
    return socket.inet_ntop(socket.AF_INET6, packed).encode()


def is_name(host: bytes) -> bool:
    """Whether a host is a name, which may have names below it, and no address."""
    try:
        socket.inet_pton(socket.AF_INET, host.decode("latin-1"))
    except (OSError, ValueError):
        return bool(host) and b":" not in host
    return False


def authority_span(rest: bytes) -> tuple[int, int]:
    """Where in what follows ``scheme://`` the authority stands, without user information."""
    end = min((at for at in map(rest.find, (b"/", b"?", b"#")) if at >= 0), default=len(rest))
    return rest.rfind(b"@", 0, end) + 1, end


def cookie_domain(authority: bytes) -> bytes:
    """What Set-Cookie's Domain is for a client that asked for this authority; empty where there can be none.

    An address is no domain, nor is a name without a dot, such as localhost (RFC 6265, section 5.3, step 5).
    """
    name = authority.partition(b":")[0]
    host = canonical(name)
    return name if b"." in host and is_name(host) else b""


def _split(authority: bytes) -> tuple[bytes, bytes] | None:
    """The host of ``host[:port]`` in one spelling, and the port's text; None where there is no host."""
    if not authority.startswith(b"["):
        name, _, port = authority.partition(b":")
        host = canonical(name)
        return (host, port) if host else None
    inside, bracket, rest = authority[1:].partition(b"]")
    if not bracket or rest[:1] not in (b"", b":") or b":" not in inside:
        return None
    host = canonical(inside)
    return (host, rest[1:]) if host else None


def _port_number(port: bytes) -> int:
    if not port:
        return _HTTP_PORT
    return int(port) if port.isdigit() and len(port) <= 18 else -1


class HostRewrite:
    """Which Host is replaced, and by what.

    A Host that is one of ``names`` (``localhost``, ``127.0.0.1``, ``::1``; any case), or the address at
    which the client reached us, with ``port`` or without a port, becomes ``upstream``; with ``always``
    every Host does. With ``responses`` the upstream's name goes back to what the client asked for, in
    Location and in Set-Cookie's Domain.
    """

    __slots__ = ("_hosts", "_own", "_port", "always", "names", "port", "responses", "upstream")

    def __init__(
        self, names: Iterable[str], port: int, upstream: str, always: bool = False, responses: bool = False
    ) -> None:
        self.names = tuple(names)
        self.port = port
        self.upstream = upstream
        self.always = bool(always)
        self.responses = bool(responses)
        self._hosts = frozenset(canonical(name.encode()) for name in self.names)
        self._port = str(port).encode()
        name, number = _split(upstream.encode("ascii")) or (b"", b"")
        self._own = (name, _port_number(number))

    def _replaces(self, authority: bytes, reached_at: bytes) -> bool:
        """Whether ``host[:port]`` names the local listener; ``reached_at`` in the one spelling."""
        if self.always:
            return True
        parts = _split(authority)
        if parts is None or parts[1] not in (b"", self._port):
            return False
        return parts[0] in self._hosts or parts[0] == reached_at

    def _is_upstream(self, authority: bytes) -> bool:
        parts = _split(authority)
        return parts is not None and (parts[0], _port_number(parts[1])) == self._own

    def _is_upstream_domain(self, domain: bytes) -> bool:
        """Whether a cookie of this Domain would go back to the upstream (RFC 6265, section 5.1.3)."""
        host, own = canonical(domain.removeprefix(b".")), self._own[0]
        return bool(host) and (host == own or (own.endswith(b"." + host) and is_name(own)))
