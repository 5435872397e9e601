"""The internet control message protocol for IPv6 (RFC 4443); neighbour discovery is in ``ndp``."""

from fastnet._backend import packet as _core
from fastnet._typing import ClassVar
from fastnet.packet.fields import Auto, Constant, UInt
from fastnet.packet.layer import Layer


class ICMPv6(Layer):
    """Any ICMPv6 message: ``ICMPv6 in packet`` and ``packet[ICMPv6]`` find a message of every type."""

    __slots__ = ()
    kind: ClassVar[int] = _core.ICMPV6

    type: ClassVar[UInt] = UInt(0, 8, default=0)
    code: UInt = UInt(8, 8, default=0)
    checksum: Auto = Auto(16, 16, default=None, automatic=_core.CHECKSUM, show="#06x")


class ICMPv6Other(ICMPv6, kind=_core.ICMPV6):
    """A message of a type without a class of its own; ``rest`` is the last four bytes of the header."""

    __slots__ = ()

    type: UInt = UInt(0, 8, default=...)  # type: ignore[misc]  # a field here, and a constant elsewhere
    rest: UInt = UInt(32, 32, default=0, show="#010x")


class ICMPv6Unreachable(ICMPv6, message=1):
    """The destination of the quoted packet can't be reached; ``code`` is the reason."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=1)
    length: UInt = UInt(32, 8, default=0)
    unused: UInt = UInt(40, 24, default=0)


class ICMPv6PacketTooBig(ICMPv6, message=2):
    """The quoted packet is bigger than the ``mtu`` of the next link."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=2)
    mtu: UInt = UInt(32, 32, default=1280)


class ICMPv6TimeExceeded(ICMPv6, message=3):
    """The quoted packet's hop limit reached 0 on the way (``code`` 0), or its reassembly timed out (1)."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=3)
    length: UInt = UInt(32, 8, default=0)
    unused: UInt = UInt(40, 24, default=0)


class ICMPv6ParameterProblem(ICMPv6, message=4):
    """The byte at offset ``pointer`` of the quoted packet is wrong; ``code`` is the kind of error."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=4)
    pointer: UInt = UInt(32, 32, default=0)


class ICMPv6Echo(ICMPv6, message=128):
    """An echo request."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=128)
    ident: UInt = UInt(32, 16, default=0)
    seq: UInt = UInt(48, 16, default=0)


class ICMPv6EchoReply(ICMPv6, message=129):
    """The answer to an echo request, with the request's ``ident``, ``seq`` and payload."""

    __slots__ = ()

    type: ClassVar[Constant] = Constant(0, 8, default=129)
    ident: UInt = UInt(32, 16, default=0)
    seq: UInt = UInt(48, 16, default=0)
