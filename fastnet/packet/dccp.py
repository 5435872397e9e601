"""The datagram congestion control protocol (RFC 4340): its generic header; options are not parsed."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import Auto, Data, HeaderLength, UInt
from fastnet.packet.layer import Layer

DATA = 2
_LONG, _SHORT = 7, 3


class DCCP(Layer, kind=_core.DCCP):
    """A DCCP header; ``data_offset`` counts words of four bytes, ``type`` is 2 for DCCP-Data.

    With ``coverage`` 0 the checksum covers the whole packet. With 1 to 15 it covers the header and
    ``coverage - 1`` words of what follows. ``rest`` has the sequence number: 48 bits if ``extended`` is 1,
    24 bits if it is 0 (only in types 2 to 4). The fields of the type and the options come after it.
    ``sequence`` is the number.
    """

    __slots__ = ()

    sport: UInt = UInt(0, 16, default=0)
    dport: UInt = UInt(16, 16, default=0)
    data_offset: HeaderLength = HeaderLength(32, 8, default=None, unit=4)
    ccval: UInt = UInt(40, 4, default=0)
    coverage: UInt = UInt(44, 4, default=0)
    checksum: Auto = Auto(48, 16, default=None, automatic=_core.CHECKSUM, show="#06x")
    reserved: UInt = UInt(64, 3, default=0)
    type: UInt = UInt(67, 4, default=DATA)
    extended: UInt = UInt(71, 1, default=0)
    rest: Data = Data(72, default=bytes(3), unit=4)

    @property
    def sequence(self) -> int | None:
        """The sequence number; None if the header is cut short before its end."""
        first, end = (1, _LONG) if self.extended else (0, _SHORT)
        return int.from_bytes(self.rest[first:end], "big") if len(self.rest) >= end else None
