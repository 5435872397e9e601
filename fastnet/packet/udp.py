"""The user datagram protocol (RFC 768)."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import Auto, UInt
from fastnet.packet.layer import Layer


class UDP(Layer, kind=_core.UDP):
    """A UDP header; ``length`` includes it. ``checksum=0`` sends without a checksum (over IPv4 only)."""

    __slots__ = ()

    sport: UInt = UInt(0, 16, default=0)
    dport: UInt = UInt(16, 16, default=0)
    length: Auto = Auto(32, 16, default=None, automatic=_core.LENGTH)
    checksum: Auto = Auto(48, 16, default=None, automatic=_core.CHECKSUM, show="#06x")
