"""The internet protocol, version 6 (RFC 8200), its extension headers and their options."""

from _collections_abc import Iterable, Sequence

from fastnet._backend import packet as _core
from fastnet._contract.values import counted
from fastnet._typing import TYPE_CHECKING, ClassVar
from fastnet.errors import PacketError
from fastnet.packet.fields import Addresses, Auto, Constant, Data, HeaderLength, IPv6Field, Options, UInt
from fastnet.packet.layer import Layer
from fastnet.packet.options import Option


class IPv6(Layer, kind=_core.IPV6):
    """An IPv6 header. ``payload_length`` is the length of what follows; 0 in a jumbogram (RFC 2675)."""

    __slots__ = ()

    version: UInt = UInt(0, 4, default=6)
    traffic_class: UInt = UInt(4, 8, default=0)
    flow_label: UInt = UInt(12, 20, default=0)
    payload_length: Auto = Auto(32, 16, default=None, automatic=_core.LENGTH)
    next_header: Auto = Auto(48, 8, default=None, automatic=_core.PROTOCOL)
    hop_limit: UInt = UInt(56, 8, default=64)
    src: IPv6Field = IPv6Field(64, default="::")
    dst: IPv6Field = IPv6Field(192, default="::")


class IPv6Option(Option, family=True):
    """An option of a hop-by-hop or destination header: its type and, except in Pad1, its value's length."""

    __slots__ = ()

    @classmethod
    def size_at(cls, data: bytes, at: int) -> int:
        """The length field of the option at this offset; 0 if it is invalid."""
        if data[at] == 0:
            return 1
        return data[at + 1] + 2 if at + 2 <= len(data) else 0

    @classmethod
    def pad(cls, data: bytes, offset: int) -> bytes:
        """Add one ``Pad1`` or ``PadN`` if the header does not end at a multiple of eight bytes."""
        return data + _padding(-(offset + len(data)) % 8)

    @classmethod
    def join(cls, options: Sequence[Option], offset: int) -> bytes:
        """Encoded options, padded so that each has its required alignment (RFC 8200, section 4.2)."""
        data = b""
        for option in options:
            multiple, rest = getattr(option, "alignment", (1, 0))
            data += _padding((rest - offset - len(data)) % multiple) + option.header
        return data


def _padding(size: int) -> bytes:
    return bytes(size) if size < 2 else bytes((1, size - 2)) + bytes(size - 2)


class Pad1(IPv6Option, number=0):
    """One byte of padding."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=0)


class PadN(IPv6Option, number=1):
    """Two bytes of padding and ``data``."""

    __slots__ = ()

    type: Constant = Constant(0, 8, default=1)
    length: HeaderLength = HeaderLength(8, 8, default=None, less=2)
    data: Data = Data(16, default=b"")


class IPv6RouterAlert(IPv6Option, number=5):
    """Asks routers to examine this packet (RFC 2711)."""

    __slots__ = ()
    alignment: ClassVar[tuple[int, int]] = (2, 0)

    type: Constant = Constant(0, 8, default=5)
    length: HeaderLength = HeaderLength(8, 8, default=None, less=2)
    value: UInt = UInt(16, 16, default=0)


class JumboPayload(IPv6Option, number=0xC2):
    """The payload's length above 65535 (RFC 2675); it counts the same bytes as ``IPv6.payload_length``."""

    __slots__ = ()
    alignment: ClassVar[tuple[int, int]] = (4, 2)

    type: Constant = Constant(0, 8, default=0xC2)
    length: HeaderLength = HeaderLength(8, 8, default=None, less=2)
    payload_length: UInt = UInt(16, 32, default=...)


class HomeAddress(IPv6Option, number=0xC9):
    """A mobile node's home address (RFC 6275, section 6.3: aligned at 8n + 6)."""

    __slots__ = ()
    alignment: ClassVar[tuple[int, int]] = (8, 6)

    type: Constant = Constant(0, 8, default=0xC9)
    length: HeaderLength = HeaderLength(8, 8, default=None, less=2)
    address: IPv6Field = IPv6Field(16, default=...)


class UnknownIPv6Option(IPv6Option, role="unknown"):
    """An option of another type, or of a known type with a wrong length."""

    __slots__ = ()

    type: UInt = UInt(0, 8, default=..., show="#04x")
    length: HeaderLength = HeaderLength(8, 8, default=None, less=2)
    data: Data = Data(16, default=b"")


class MalformedIPv6Options(IPv6Option, role="malformed"):
    """The rest of the options, from the first invalid one on."""

    __slots__ = ()

    data: Data = Data(0, default=b"")


class HopByHop(Layer, kind=_core.HOP_BY_HOP):
    """Options for every node on the way (RFC 8200, 4.3); ``length`` is in units of 8 bytes, minus one."""

    __slots__ = ()

    next_header: Auto = Auto(0, 8, default=None, automatic=_core.PROTOCOL)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8, less=1)
    options: Options[IPv6Option] = Options(16, IPv6Option, default=())


class DestinationOptions(Layer, kind=_core.DESTINATION):
    """Options for the destination (RFC 8200, section 4.6)."""

    __slots__ = ()

    next_header: Auto = Auto(0, 8, default=None, automatic=_core.PROTOCOL)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8, less=1)
    options: Options[IPv6Option] = Options(16, IPv6Option, default=())


class Segments(Addresses):
    """A routing header's addresses; bytes if they are not all addresses."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: Iterable[str | bytes] | bytes) -> None: ...

    def decode(self, data: bytes) -> tuple[str, ...] | bytes:  # type: ignore[override]
        """The addresses as text, or all the bytes."""
        return data if len(data) % 16 else super().decode(data)

    def encode(self, value: Iterable[str | bytes] | bytes) -> bytes:
        """The addresses' bytes. Raises PacketError for an invalid address, or bytes not a multiple of 8."""
        if not isinstance(value, bytes):
            return super().encode(value)
        if len(value) % 8:
            raise PacketError(f"{self.name} has {counted(len(value), 'byte')}: expected a multiple of 8")
        return value


class Routing(Layer, kind=_core.ROUTING):
    """Nodes that the packet must pass (RFC 8200, 4.4): type 0, 2 (RFC 6275) or 4 (RFC 8754), or another.

    The type defines the four bytes of ``specific``. Checksums after this header use the final destination.
    With several routing headers, it is in the innermost one that has segments left.
    """

    __slots__ = ()

    next_header: Auto = Auto(0, 8, default=None, automatic=_core.PROTOCOL)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8, less=1)
    type: UInt = UInt(16, 8, default=0)
    segments_left: UInt = UInt(24, 8, default=0)
    specific: UInt = UInt(32, 32, default=0, show="#010x")
    addresses: Segments = Segments(64, IPv6Field, default=())


class Fragment(Layer, kind=_core.FRAGMENT):
    """A fragment (RFC 8200, 4.5): ``fragment_offset`` is in units of 8 bytes; ``more`` is 0 in the last."""

    __slots__ = ()

    next_header: Auto = Auto(0, 8, default=None, automatic=_core.PROTOCOL)
    reserved: UInt = UInt(8, 8, default=0)
    fragment_offset: UInt = UInt(16, 13, default=0)
    reserved2: UInt = UInt(29, 2, default=0)
    more: UInt = UInt(31, 1, default=0)
    ident: UInt = UInt(32, 32, default=0)


class AH(Layer, kind=_core.AH):
    """An authentication header (RFC 4302); ``icv`` is its integrity check value."""

    __slots__ = ()

    next_header: Auto = Auto(0, 8, default=None, automatic=_core.PROTOCOL)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=4, less=2)
    reserved: UInt = UInt(16, 16, default=0)
    spi: UInt = UInt(32, 32, default=0)
    seq: UInt = UInt(64, 32, default=0)
    icv: Data = Data(96, default=b"", unit=4)


class ESP(Layer, kind=_core.ESP):
    """An encapsulating security payload's header (RFC 4303); the encrypted bytes are payload."""

    __slots__ = ()

    spi: UInt = UInt(0, 32, default=0)
    seq: UInt = UInt(32, 32, default=0)


class Mobility(Layer, kind=_core.MOBILITY):
    """A mobility header (RFC 6275, section 6.1) with its message as ``data``."""

    __slots__ = ()

    next_header: Auto = Auto(0, 8, default=None, automatic=_core.PROTOCOL)
    length: HeaderLength = HeaderLength(8, 8, default=None, unit=8, less=1)
    type: UInt = UInt(16, 8, default=0)
    reserved: UInt = UInt(24, 8, default=0)
    checksum: Auto = Auto(32, 16, default=None, automatic=_core.CHECKSUM, show="#06x")
    data: Data = Data(48, default=bytes(2), unit=8)
