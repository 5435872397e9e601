"""Neighbour discovery for IPv6 (RFC 4861): router and neighbour messages, and their options."""

from fastnet._typing import ClassVar
from fastnet.packet.fields import Addresses, Constant, Data, HeaderLength, IPv6Field, MACField, Options, UInt
from fastnet.packet.icmpv6 import ICMPv6
from fastnet.packet.options import Option


class NDPOption(Option, family=True):
    """An option of a neighbour discovery message; ``length`` is in units of eight bytes."""

    __slots__ = ()

    @classmethod
    def size_at(cls, data: bytes, at: int) -> int:
        """The length field of the option at this offset; 0 if it is invalid."""
        return data[at + 1] * 8 if at + 2 <= len(data) else 0

    @classmethod
    def pad(cls, data: bytes, offset: int) -> bytes:
        """The options unchanged: the length of each is a multiple of eight bytes."""
        return data


class SourceLinkLayerAddress(NDPOption, number=1):
    """The sender's Ethernet address."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=1)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    address: MACField = MACField(16, default=...)


class TargetLinkLayerAddress(NDPOption, number=2):
    """The target's Ethernet address."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=2)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    address: MACField = MACField(16, default=...)


class PrefixInformation(NDPOption, number=3):
    """A prefix: ``on_link``, usable for addresses (``autonomous``), or both; lifetimes in seconds."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=3)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    prefix_length: UInt = UInt(16, 8, default=64)
    on_link: UInt = UInt(24, 1, default=1)
    autonomous: UInt = UInt(25, 1, default=1)
    reserved1: UInt = UInt(26, 6, default=0)
    valid_lifetime: UInt = UInt(32, 32, default=0xFFFFFFFF)
    preferred_lifetime: UInt = UInt(64, 32, default=0xFFFFFFFF)
    reserved2: UInt = UInt(96, 32, default=0)
    prefix: IPv6Field = IPv6Field(128, default=...)


class RedirectedHeader(NDPOption, number=4):
    """The redirected packet, as much of it as fits."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=4)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    reserved: UInt = UInt(16, 48, default=0)
    data: Data = Data(64, default=b"", unit=8)


class MTU(NDPOption, number=5):
    """The link's MTU in bytes."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=5)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    reserved: UInt = UInt(16, 16, default=0)
    mtu: UInt = UInt(32, 32, default=...)


class RecursiveDNSServers(NDPOption, number=25):
    """Name servers (RFC 8106), valid for ``lifetime`` seconds."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=25)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    reserved: UInt = UInt(16, 16, default=0)
    lifetime: UInt = UInt(32, 32, default=0xFFFFFFFF)
    addresses: Addresses = Addresses(64, IPv6Field, default=())

    def is_whole(self) -> bool:
        """Whether the value consists of whole addresses."""
        return len(self.header) % 16 == 8


class UnknownNDPOption(NDPOption, role="unknown"):
    """An option of another type, or of a known type with a wrong length."""

    __slots__ = ()

    type: UInt = UInt(0, 8, default=...)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8)
    data: Data = Data(16, default=bytes(6), unit=8)


class MalformedNDPOptions(NDPOption, role="malformed"):
    """The rest of the options, from the first invalid one on."""

    __slots__ = ()

    data: Data = Data(0, default=b"")


class RouterSolicitation(ICMPv6, message=133):
    """Asks routers to advertise themselves."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=133)
    reserved: UInt = UInt(32, 32, default=0)
    options: Options[NDPOption] = Options(64, NDPOption, default=())


class RouterAdvertisement(ICMPv6, message=134):
    """A router's parameters: ``router_lifetime`` in seconds, the two timers in milliseconds."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=134)
    hop_limit: UInt = UInt(32, 8, default=0)
    managed: UInt = UInt(40, 1, default=0)
    other: UInt = UInt(41, 1, default=0)
    home_agent: UInt = UInt(42, 1, default=0)
    preference: UInt = UInt(43, 2, default=0)
    reserved: UInt = UInt(45, 3, default=0)
    router_lifetime: UInt = UInt(48, 16, default=1800)
    reachable_time: UInt = UInt(64, 32, default=0)
    retrans_timer: UInt = UInt(96, 32, default=0)
    options: Options[NDPOption] = Options(128, NDPOption, default=())


class NeighborSolicitation(ICMPv6, message=135):
    """Asks for the link-layer address of ``target``."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=135)
    reserved: UInt = UInt(32, 32, default=0)
    target: IPv6Field = IPv6Field(64, default="::")
    options: Options[NDPOption] = Options(192, NDPOption, default=())


class NeighborAdvertisement(ICMPv6, message=136):
    """Announces ``target``. Flags: from a ``router``; ``solicited``; ``override`` an older entry."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=136)
    router: UInt = UInt(32, 1, default=0)
    solicited: UInt = UInt(33, 1, default=0)
    override: UInt = UInt(34, 1, default=0)
    reserved: UInt = UInt(35, 29, default=0)
    target: IPv6Field = IPv6Field(64, default="::")
    options: Options[NDPOption] = Options(192, NDPOption, default=())


class ICMPv6Redirect(ICMPv6, message=137):
    """``target`` is a better next hop to ``destination``."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=137)
    reserved: UInt = UInt(32, 32, default=0)
    target: IPv6Field = IPv6Field(64, default="::")
    destination: IPv6Field = IPv6Field(192, default="::")
    options: Options[NDPOption] = Options(320, NDPOption, default=())
