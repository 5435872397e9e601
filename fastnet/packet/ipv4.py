"""The internet protocol, version 4 (RFC 791) and its options."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import (
    Addresses,
    Auto,
    Constant,
    Data,
    Flags,
    HeaderLength,
    IPv4Field,
    Numbers,
    Options,
    UInt,
)
from fastnet.packet.layer import Layer
from fastnet.packet.options import Option


class IPv4Option(Option, family=True):
    """An option of an IPv4 header: its type, and, except for types 0 and 1, its length and value."""

    __slots__ = ()


class IPv4End(IPv4Option, number=0):
    """The end of the options (RFC 791). Needed only if padding does not mark it.

    Bytes after it are not options, even if they look so: they are in ``ignored``.
    """

    __slots__ = ()

    type: Constant = Constant(0, 8, default=0)
    ignored: Data = Data(8, default=b"")


class IPv4Nop(IPv4Option, number=1):
    """No operation: aligns the option after it (RFC 791)."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=1)


class _Route(IPv4Option):
    __slots__ = ()

    length: HeaderLength = HeaderLength(8, 8, default=None)
    pointer: UInt = UInt(16, 8, default=4)
    addresses: Addresses = Addresses(24, IPv4Field, default=())

    def is_whole(self) -> bool:
        """Whether the value consists of whole addresses."""
        return len(self.header) % 4 == 3


class RecordRoute(_Route, number=7):
    """Space for the addresses of routers on the way (RFC 791); ``pointer`` is the place of the next one."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=7)


class LooseSourceRoute(_Route, number=131):
    """Routers that the packet must pass, with others between them (RFC 791); the last is the destination."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=131)


class StrictSourceRoute(_Route, number=137):
    """Routers that the packet must pass, without others (RFC 791); the last is the destination."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=137)


class IPv4Timestamp(IPv4Option, number=68):
    """Space for routers' times (RFC 791): ``entries`` are times, with addresses if ``flag`` is not 0."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=68)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    pointer: UInt = UInt(16, 8, default=5)
    overflow: UInt = UInt(24, 4, default=0)
    flag: UInt = UInt(28, 4, default=0)
    entries: Numbers = Numbers(32, default=())

    def is_whole(self) -> bool:
        """Whether the value consists of whole entries."""
        return len(self.header) % 4 == 0


class RouterAlert(IPv4Option, number=148):
    """Asks routers to examine this packet (RFC 2113)."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=148)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    value: UInt = UInt(16, 16, default=0)


class UnknownIPv4Option(IPv4Option, role="unknown"):
    """An option of another type, or of a known type with a wrong length."""

    __slots__ = ()

    type: UInt = UInt(0, 8, default=...)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    data: Data = Data(16, default=b"")


class MalformedIPv4Options(IPv4Option, role="malformed"):
    """The rest of the options, from the first invalid one on."""

    __slots__ = ()

    data: Data = Data(0, default=b"")


class IPv4(Layer, kind=_core.IPV4):
    """An IPv4 header. ``flags`` are from MF, DF, evil; ``fragment_offset`` is in units of 8 bytes."""

    __slots__ = ()

    version: UInt = UInt(0, 4, default=4)
    ihl: HeaderLength = HeaderLength(4, 4, default=None, unit=4)
    dscp: UInt = UInt(8, 6, default=0)
    ecn: UInt = UInt(14, 2, default=0)
    total_length: Auto = Auto(16, 16, default=None, automatic=_core.LENGTH)
    ident: UInt = UInt(32, 16, default=0)
    flags: Flags = Flags(48, 3, names=("MF", "DF", "evil"), default=0)
    fragment_offset: UInt = UInt(51, 13, default=0)
    ttl: UInt = UInt(64, 8, default=64)
    protocol: Auto = Auto(72, 8, default=None, automatic=_core.PROTOCOL)
    checksum: Auto = Auto(80, 16, default=None, automatic=_core.CHECKSUM, show="#06x")
    src: IPv4Field = IPv4Field(96, default="0.0.0.0")
    dst: IPv4Field = IPv4Field(128, default="0.0.0.0")
    options: Options[IPv4Option] = Options(160, IPv4Option, default=())
