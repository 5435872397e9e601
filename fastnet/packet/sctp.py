"""The stream control transmission protocol (RFC 9260): its common header; chunks are payload."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import Auto, UInt
from fastnet.packet.layer import Layer


class SCTP(Layer, kind=_core.SCTP):
    """An SCTP header: ``tag`` is the verification tag, ``checksum`` a CRC32c of the whole packet."""

    __slots__ = ()

    sport: UInt = UInt(0, 16, default=0)
    dport: UInt = UInt(16, 16, default=0)
    tag: UInt = UInt(32, 32, default=0, show="#010x")
    checksum: Auto = Auto(64, 32, default=None, automatic=_core.CHECKSUM, show="#010x")
