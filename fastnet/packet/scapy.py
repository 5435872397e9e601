"""Packets to scapy and back, by way of their bytes."""

from typing import Any

from fastnet._backend import packet as _core
from fastnet._reference import reference
from fastnet.errors import PacketError
from fastnet.packet.layer import Packet, parse

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
"""What scapy calls the kinds of layers that it can start with."""
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
    """The packet as scapy has it, dissected anew from its bytes.

    Raises EngineMissing where scapy is not installed, PacketError where it can't start with the first layer.
    """
    first = packet[0] if isinstance(packet, Packet) else packet
    if first.kind not in _SCAPY_NAMES:
        raise PacketError(f"scapy can't start with {type(first).__name__}")
    return getattr(reference("scapy.all"), _SCAPY_NAMES[first.kind])(bytes(packet))


def from_scapy(packet: Any) -> Packet:
    """A packet of scapy's, which starts with a link layer, IP or IPv6, parsed from its bytes.

    Raises PacketError for another first layer.
    """
    link = _LINKS.get(type(packet).__name__)
    if link is None:
        raise PacketError(f"{type(packet).__name__}: expected one of scapy's {', '.join(_LINKS)}")
    return parse(bytes(packet), link)
