"""Converts packets to scapy's and back, through their bytes."""

from fastnet._backend import packet as _core
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.errors import InvalidArgument, PacketError
from fastnet.packet.layer import Packet, parse, whole

_SCAPY_NAMES = {
    _core.ETHERNET: "Ether",
    _core.DOT3: "Dot3",
    _core.LLC: "LLC",
    _core.SNAP: "SNAP",
    _core.DOT1Q: "Dot1Q",
    _core.DOT1AD: "Dot1AD",
    _core.SLL: "CookedLinux",
    _core.SLL2: "CookedLinuxV2",
    _core.NULL_LINK: "Loopback",
    _core.LOOP: "LoopbackOpenBSD",
    _core.PPPOE: "PPPoE",
    _core.PPP: "PPP",
    _core.GRE: "GRE",
    _core.ARP: "ARP",
    _core.IPV4: "IP",
    _core.IPV6: "IPv6",
    _core.ICMP: "ICMP",
    _core.UDP: "UDP",
    _core.TCP: "TCP",
    _core.SCTP: "SCTP",
    _core.PAYLOAD: "Raw",
}
"""The names in scapy of the layers that it can start with."""
_LINKS = {
    "Ether": "ethernet",
    "Dot3": "ethernet",
    "IP": "ipv4",
    "IPv6": "ipv6",
    "CookedLinux": "sll",
    "CookedLinuxV2": "sll2",
    "Loopback": "null",
    "LoopbackOpenBSD": "loop",
}


def to_scapy(packet: Packet | _core.Layer) -> Any:
    """The packet as one of scapy's: scapy dissects its bytes.

    Raises EngineMissing if scapy is not installed, PacketError if scapy can't start with the first layer.
    """
    packet = whole(packet)
    if not len(packet):
        raise PacketError("scapy can't start with an empty packet")
    first = packet[0]
    if first.kind not in _SCAPY_NAMES:
        raise PacketError(f"scapy can't start with {type(first).__name__}")
    return getattr(reference("scapy.all"), _SCAPY_NAMES[first.kind])(bytes(packet))


def from_scapy(packet: Any) -> Packet:
    """Parse the bytes of a packet of scapy's that starts with a link layer, IP or IPv6.

    Raises InvalidArgument for another first layer.
    """
    link = _LINKS.get(type(packet).__name__)
    if link is None:
        raise InvalidArgument(f"packet {type(packet).__name__}: expected one of scapy's {', '.join(_LINKS)}")
    return parse(bytes(packet), link)
