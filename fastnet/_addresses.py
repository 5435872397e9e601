"""Addresses as texts: their network, scope and prefix length."""

import _socket as socket

from fastnet._contract.rtnetlink import InterfaceAddress

# Network, host bits, scope: 127.0.0.0/8, 169.254.0.0/16 (RFC 3927); ::1, fe80::/10, fec0::/10 (RFC 4291).
_SCOPES = {
    socket.AF_INET: ((127, 24, "host"), (169 << 8 | 254, 16, "link")),
    socket.AF_INET6: ((1, 0, "host"), (0xFE80 >> 6, 118, "link"), (0xFEC0 >> 6, 118, "site")),
}


def _parse(address: str) -> tuple[int, int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, int.from_bytes(socket.inet_pton(family, address), "big")


def network_of(address: str, prefix_length: int) -> str:
    """An IPv4 or IPv6 address with all bits after the prefix cleared."""
    family, number = _parse(address)
    size = 16 if family == socket.AF_INET6 else 4
    host_bits = 8 * size - prefix_length
    return socket.inet_ntop(family, (number >> host_bits << host_bits).to_bytes(size, "big"))


def scope_of(address: str) -> str:
    """``host``, ``link``, ``site`` or ``global``: the scope of an address."""
    family, number = _parse(address)
    scopes = (scope for network, host_bits, scope in _SCOPES[family] if number >> host_bits == network)
    return next(scopes, "global")


def describe_address(label: str, address: str, prefix_length: int) -> InterfaceAddress:
    """An address of an interface, or of its alias label, with its network and scope."""
    network = network_of(address, prefix_length)
    return InterfaceAddress(
        label.partition(":")[0], label, address, prefix_length, network, scope_of(address)
    )


def prefix_length_of(netmask: str) -> int:
    """The bits of an IPv4 netmask."""
    return int.from_bytes(socket.inet_aton(netmask), "big").bit_count()


def netmask_of(prefix_length: int) -> str:
    """The IPv4 netmask of a prefix length."""
    return socket.inet_ntoa((0xFFFFFFFF << 32 - prefix_length & 0xFFFFFFFF).to_bytes(4, "big"))
