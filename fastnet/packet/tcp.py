"""The transmission control protocol (RFC 9293) and its options."""

from fastnet._backend import packet as _core
from fastnet.packet.fields import Auto, Constant, Data, Flags, HeaderLength, Numbers, Options, UInt
from fastnet.packet.layer import Layer
from fastnet.packet.options import Option

_EXPERIMENTS = 0x10000
"""Added to the number of an experiment, so that it differs from every kind."""


class TCPOption(Option, family=True):
    """An option of a TCP header: its kind, and, except for kinds 0 and 1, its length and value."""

    __slots__ = ()

    @classmethod
    def number_of(cls, data: bytes) -> int:
        """Its kind, or for an experiment (RFC 6994) its number plus an offset beyond all kinds."""
        experimental = data[0] in (253, 254) and len(data) >= 4
        return _EXPERIMENTS + int.from_bytes(data[2:4], "big") if experimental else data[0]


class TCPEnd(TCPOption, number=0):
    """The end of the options (RFC 9293). Needed only if padding does not mark it.

    Bytes after it are not options, even if they look so: they are in ``ignored``.
    """

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=0)
    ignored: Data = Data(8, default=b"")


class TCPNop(TCPOption, number=1):
    """No operation: aligns the option after it (RFC 9293)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=1)


class MSS(TCPOption, number=2):
    """The maximum segment size that the sender accepts, in bytes (RFC 9293)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=2)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    size: UInt = UInt(16, 16, default=...)


class WindowScale(TCPOption, number=3):
    """The window field's scale: a shift of 0 to 14 bits (RFC 7323)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=3)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    shift: UInt = UInt(16, 8, default=...)


class SACKPermitted(TCPOption, number=4):
    """The sender accepts selective acknowledgements (RFC 2018)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=4)
    length: HeaderLength = HeaderLength(8, 8, default=None)


class SACK(TCPOption, number=5):
    """Selective acknowledgement (RFC 2018): ``edges`` has the left and right edge of each block in turn."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=5)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    edges: Numbers = Numbers(16, default=())

    def is_whole(self) -> bool:
        """Whether the value consists of pairs of edges."""
        return len(self.header) % 8 == 2


class Timestamps(TCPOption, number=8):
    """The sender's timestamp ``value``, and the ``echo`` of the peer's latest one (RFC 7323)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=8)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    value: UInt = UInt(16, 32, default=...)
    echo: UInt = UInt(48, 32, default=0)


class MD5Signature(TCPOption, number=19):
    """The segment's MD5 signature, 16 bytes (RFC 2385)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=19)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    digest: Data = Data(16, default=bytes(16))

    def is_whole(self) -> bool:
        """Whether the digest has its 16 bytes."""
        return len(self.header) == 18


class UserTimeout(TCPOption, number=28):
    """How long data may stay unacknowledged (RFC 5482): minutes if ``granularity`` is 1, else seconds."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=28)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    granularity: UInt = UInt(16, 1, default=0)
    timeout: UInt = UInt(17, 15, default=...)


class AuthenticationOption(TCPOption, number=29):
    """TCP-AO (RFC 5925): key identifiers and the message authentication code."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=29)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    key_id: UInt = UInt(16, 8, default=...)
    next_key_id: UInt = UInt(24, 8, default=...)
    mac: Data = Data(32, default=b"")


class FastOpen(TCPOption, number=34):
    """The fast-open cookie, or a request for one if it is empty (RFC 7413)."""

    __slots__ = ()

    kind: Constant = Constant(0, 8, default=34)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    cookie: Data = Data(16, default=b"")


class ExperimentalFastOpen(TCPOption, number=_EXPERIMENTS + 0xF989):
    """``FastOpen`` before RFC 7413: an experimental kind, 254 or 253, with the number of the experiment."""

    __slots__ = ()

    kind: UInt = UInt(0, 8, default=254)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    experiment: Constant = Constant(16, 16, default=0xF989)
    cookie: Data = Data(32, default=b"")


class UnknownTCPOption(TCPOption, role="unknown"):
    """An option of another kind, or of a known kind with a wrong length."""

    __slots__ = ()

    kind: UInt = UInt(0, 8, default=...)
    length: HeaderLength = HeaderLength(8, 8, default=None)
    data: Data = Data(16, default=b"")


class MalformedTCPOptions(TCPOption, role="malformed"):
    """The rest of the options, from the first invalid one on."""

    __slots__ = ()

    data: Data = Data(0, default=b"")


class TCP(Layer, kind=_core.TCP):
    """A TCP header. ``flags`` are from FSRPAUEC (``"SA"``); ``data_offset`` is in words of four bytes."""

    __slots__ = ()

    sport: UInt = UInt(0, 16, default=0)
    dport: UInt = UInt(16, 16, default=0)
    seq: UInt = UInt(32, 32, default=0)
    ack: UInt = UInt(64, 32, default=0)
    data_offset: HeaderLength = HeaderLength(96, 4, default=None, unit=4)
    reserved: UInt = UInt(100, 4, default=0)
    flags: Flags = Flags(104, 8, names="FSRPAUEC", default=0)
    window: UInt = UInt(112, 16, default=8192)
    checksum: Auto = Auto(128, 16, default=None, automatic=_core.CHECKSUM, show="#06x")
    urgent_pointer: UInt = UInt(144, 16, default=0)
    options: Options[TCPOption] = Options(160, TCPOption, default=())
