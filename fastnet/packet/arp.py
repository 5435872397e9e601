"""The address resolution protocol over Ethernet for IPv4 (RFC 826)."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import IPv4Field, MACField, UInt
from fastnet.packet.layer import Layer

REQUEST = 1
REPLY = 2


class ARP(Layer, kind=_core.ARP):
    """An ARP request (``op`` 1) or reply (2) from ``psrc`` at ``hwsrc``: a request asks for ``pdst``.

    Parsing reads ARP for addresses other than Ethernet and IPv4 as payload, and bytes after ARP as padding.
    """

    __slots__ = ()

    hwtype: UInt = UInt(0, 16, default=1)
    ptype: UInt = UInt(16, 16, default=0x0800, show="#06x")
    hwlen: UInt = UInt(32, 8, default=6)
    plen: UInt = UInt(40, 8, default=4)
    op: UInt = UInt(48, 16, default=REQUEST)
    hwsrc: MACField = MACField(64, default="00:00:00:00:00:00")
    psrc: IPv4Field = IPv4Field(112, default="0.0.0.0")
    hwdst: MACField = MACField(144, default="00:00:00:00:00:00")
    pdst: IPv4Field = IPv4Field(192, default="0.0.0.0")
