"""Address prefixes, and whether an address is in one of them.

An IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2) is an IPv4 address here, whether in a
prefix or in a socket address: 10.0.0.0/8 holds ::ffff:10.1.2.3, and ::/0 holds no IPv4 address.
"""

from __future__ import annotations

import socket

from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _collections_abc import Iterable

    from fastnet._contract.relay import Address, Prefix

MAPPED = bytes(10) + b"\xff\xff"
"""The first bytes of an IPv4-mapped IPv6 address."""


def ip_of(address: Address | None) -> bytes | None:
    """The bytes of an IP address, 4 or 16; None for a Unix socket's address or without one."""
    if address is None or address[0] not in (socket.AF_INET, socket.AF_INET6):
        return None
    family, (host, *_) = address
    ip = socket.inet_pton(family, host.partition("%")[0])
    return ip.removeprefix(MAPPED)


class Prefixes:
    """A list of prefixes; ``address in prefixes`` is whether one of them holds a socket address."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._networks: dict[tuple[int, int], set[int]] = {}
        """The networks' leading bits, by the bytes of an address and the number of its other bits."""
        for _, network, length in prefixes:
            following = len(network) * 8 - length
            if network.startswith(MAPPED) and following <= 32:
                network = network.removeprefix(MAPPED)
            leading = int.from_bytes(network, "big") >> following
            self._networks.setdefault((len(network), following), set()).add(leading)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: Address) -> bool:
        ip = ip_of(address)
        if ip is None:
            return False
        number = int.from_bytes(ip, "big")
        return any(
            size == len(ip) and number >> following in networks
            for (size, following), networks in self._networks.items()
        )
