"""The internet control message protocol (RFC 792)."""

from fastnet._backend import packet as _core
from fastnet._typing import ClassVar
from fastnet.packet.fields import Auto, Constant, IPv4Field, UInt
from fastnet.packet.layer import Layer


class ICMP(Layer):
    """Any ICMP message: ``ICMP in packet`` and ``packet[ICMP]`` find a message of every type."""

    __slots__ = ()
    kind: ClassVar[int] = _core.ICMP

    type: ClassVar[UInt] = UInt(0, 8, default=0)
    code: UInt = UInt(8, 8, default=0)
    checksum: Auto = Auto(16, 16, default=None, automatic=_core.CHECKSUM, show="#06x")


class ICMPOther(ICMP, kind=_core.ICMP):
    """A message of a type without a class of its own; ``rest`` is the last four bytes of the header."""

    __slots__ = ()

    type: UInt = UInt(0, 8, default=...)  # type: ignore[misc]  # a field here, and a constant elsewhere
    rest: UInt = UInt(32, 32, default=0, show="#010x")


class ICMPEchoReply(ICMP, message=0):
    """The answer to an echo request, with the request's ``ident``, ``seq`` and payload."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=0)
    ident: UInt = UInt(32, 16, default=0)
    seq: UInt = UInt(48, 16, default=0)


class ICMPUnreachable(ICMP, message=3):
    """The destination of the quoted packet can't be reached; ``code`` is the reason.

    ``mtu`` is the next hop's if ``code`` is 4 (RFC 1191). ``length`` is the size of the quoted packet in
    words of four bytes if extensions follow it (RFC 4884).
    """

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=3)
    unused: UInt = UInt(32, 8, default=0)
    length: UInt = UInt(40, 8, default=0)
    mtu: UInt = UInt(48, 16, default=0)


class ICMPSourceQuench(ICMP, message=4):
    """Send slower: deprecated by RFC 6633."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=4)
    unused: UInt = UInt(32, 32, default=0)


class ICMPRedirect(ICMP, message=5):
    """``gateway`` is a better next hop to the quoted packet's destination."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=5)
    gateway: IPv4Field = IPv4Field(32, default="0.0.0.0")


class ICMPEcho(ICMP, message=8):
    """An echo request."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=8)
    ident: UInt = UInt(32, 16, default=0)
    seq: UInt = UInt(48, 16, default=0)


class ICMPTimeExceeded(ICMP, message=11):
    """The quoted packet's TTL reached 0 on the way (``code`` 0), or its reassembly timed out (1)."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=11)
    unused: UInt = UInt(32, 8, default=0)
    length: UInt = UInt(40, 8, default=0)
    reserved: UInt = UInt(48, 16, default=0)


class ICMPParameterProblem(ICMP, message=12):
    """The byte at offset ``pointer`` of the quoted packet is wrong."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=12)
    pointer: UInt = UInt(32, 8, default=0)
    length: UInt = UInt(40, 8, default=0)
    unused: UInt = UInt(48, 16, default=0)


class _Timestamp(ICMP):
    __slots__ = ()

    ident: UInt = UInt(32, 16, default=0)
    seq: UInt = UInt(48, 16, default=0)
    originate: UInt = UInt(64, 32, default=0)
    receive: UInt = UInt(96, 32, default=0)
    transmit: UInt = UInt(128, 32, default=0)


class ICMPTimestamp(_Timestamp, message=13):
    """Asks for the time; times are milliseconds since midnight UTC."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=13)


class ICMPTimestampReply(_Timestamp, message=14):
    """The answer to a timestamp request."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=14)
