"""The packet socket for ARP and neighbour discovery on a link: packet(7)."""

import _socket as socket
import errno

from fastnet._contract.netif import check_name, failure
from fastnet._system.icmp_sockets import Notes, pass_only, prepare_reading
from fastnet._system.interfaces import ETHERNET, NO_ARP, look_up, own_addresses
from fastnet._system.permission import raw_cure, refusal
from fastnet.errors import InvalidArgument, NoAddress

ETHERTYPES: dict[int, int] = {socket.AF_INET: 0x0806, socket.AF_INET6: 0x86DD}
"""EtherTypes of ARP (RFC 826), and of IPv6 for neighbour discovery (RFC 4861)."""
ARP_REPLY = bytes.fromhex("0806 0001 0800 06 04 0002")
"""EtherType; hardware and protocol type, their address lengths, the operation."""
ICMPV6, ADVERTISEMENT = 58, 136
NEVER_FORWARDED = 255
"""The hop limit with which neighbour discovery proves that no router passed it on (RFC 4861 11.2)."""
IPV6_AT, ICMP_AT = 14, 54
"""Offsets of these in a frame."""


def expected_of_reply(family: int, mac: bytes, source: str) -> list[tuple[int, bytes]]:
    """Bytes at offsets that an ARP reply or a neighbour advertisement to us has."""
    packed = socket.inet_pton(family, source)
    if family == socket.AF_INET:
        return [(12, ARP_REPLY), (32, mac + packed)]
    return [
        (IPV6_AT + 6, bytes((ICMPV6, NEVER_FORWARDED))),
        (IPV6_AT + 24, packed),
        (ICMP_AT, bytes((ADVERTISEMENT, 0))),
    ]


class Link:
    """An open packet socket for the neighbours of one family on one interface.

    ``source`` is the numeric source address of requests, ``mac`` the interface's MAC address, six bytes. A
    filter passes only replies to us. Opening needs the capability CAP_NET_RAW; later use does not. Raises
    NotPermitted, with the remedy, NoSuchInterface, NoAddress if source is not an address of this machine,
    InvalidArgument if source is not an address or the interface has neither ARP nor NDP, OSError.
    """

    def __init__(self, interface: str, family: int, source: str) -> None:
        self.interface, self.family = interface, family
        self.source = _own_address(family, source)
        check_name(interface)
        self.socket = _open(family)
        try:
            # Bound to no protocol at first: no frame may be queued before the filter is attached.
            self._bind(0)
            self.mac = self._ethernet_mac()
            pass_only(self.socket, expected_of_reply(family, self.mac, self.source))
            notes = Notes()
            prepare_reading(self.socket, notes)
            self.notes = tuple(notes)
            """The options that the system refused, and their effect."""
            self._bind(ETHERTYPES[family])
        except BaseException:
            self.socket.close()
            raise

    def _bind(self, ethertype: int) -> None:
        try:
            self.socket.bind((self.interface, ethertype))
        except OSError as error:
            raise failure(self.interface, error.errno or 0, "") from None

    def _ethernet_mac(self) -> bytes:
        *_, kind, mac = self.socket.getsockname()
        if kind != ETHERNET or look_up(self.interface).flags & NO_ARP:
            raise InvalidArgument(f"interface {self.interface}: expected an Ethernet one, with ARP")
        return bytes(mac)

    def fileno(self) -> int:
        """The socket's descriptor: frames are sent and received whole, from the Ethernet header on."""
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()


def _open(family: int) -> socket.socket:
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise refusal("packet", family, raw_cure()) from None


def _own_address(family: int, source: str) -> str:
    """An address of this machine, as the kernel writes it: a wrong one would stay in others' ARP tables."""
    try:
        packed = socket.inet_pton(family, source)
    except (OSError, ValueError):
        version = 4 if family == socket.AF_INET else 6
        raise InvalidArgument(f"source {source!r}: expected a numeric IPv{version} address") from None
    if packed not in {address for _, address, _ in own_addresses(family)}:
        raise NoAddress(errno.EADDRNOTAVAIL, f"source {source}: not an address of this machine")
    return socket.inet_ntop(family, packed)
