"""Extensions of ICMP errors (RFC 4884): objects after the quoted packet, such as MPLS labels (RFC 4950)."""

from _collections_abc import Iterable

from fastnet._backend import packet as _core
from fastnet._typing import TYPE_CHECKING
from fastnet.errors import InvalidArgument
from fastnet.packet.fields import Auto, Constant, Data, HeaderLength, Options, Tail, UInt, each_of
from fastnet.packet.layer import Layer
from fastnet.packet.options import Option
from fastnet.packet.tunnels import MPLS

_LABEL = 4


class ICMPObject(Option, family=True):
    """One object: its length (the header included), its class number and its type within that class."""

    __slots__ = ()

    @classmethod
    def size_at(cls, data: bytes, at: int) -> int:
        """The length field of the object at this offset; 0 if it is invalid."""
        size = int.from_bytes(data[at : at + 2], "big")
        return size if size >= 4 and at + 4 <= len(data) else 0

    @classmethod
    def pad(cls, data: bytes, offset: int) -> bytes:
        """The objects unchanged: they need no padding."""
        return data

    @classmethod
    def number_of(cls, data: bytes) -> int:
        """The number of the object's class: its class number and its type."""
        return int.from_bytes(data[2:4], "big")


class Labels(Tail[tuple[MPLS, ...]]):
    """The rest of an object as labels of an MPLS stack."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __set__(self, record: _core.Record, value: Iterable[MPLS]) -> None: ...

    def decode(self, data: bytes) -> tuple[MPLS, ...]:
        """The labels."""
        return tuple(MPLS.from_header(data[at : at + _LABEL], 0, True) for at in range(0, len(data), _LABEL))

    def encode(self, value: Iterable[MPLS]) -> bytes:
        """Encode each label as four bytes. Raises InvalidArgument if one is not an MPLS."""
        labels = each_of(self.name, value, "MPLS labels")
        for label in labels:
            if not isinstance(label, MPLS):
                raise InvalidArgument(f"{self.name} takes MPLS labels, not {type(label).__name__}")
        return b"".join(_with_bottom(label, label is labels[-1]) for label in labels)


def _with_bottom(label: MPLS, last: bool) -> bytes:
    return label.replace(bottom=int(last)).header if label.automatic else label.header


class MPLSLabels(ICMPObject, number=0x0101):
    """The labels of the quoted packet (RFC 4950); ``bottom`` of the last one is 1 unless you set it."""

    __slots__ = ()

    length: HeaderLength = HeaderLength(0, 16, default=None)
    class_number: Constant = Constant(16, 8, default=1)
    type: Constant = Constant(24, 8, default=1)
    labels: Labels = Labels(32, default=())

    def is_whole(self) -> bool:
        """Whether the value consists of whole labels."""
        return len(self.header) % _LABEL == 0


class UnknownICMPObject(ICMPObject, role="unknown"):
    """An object of another class or type, or of a known one with a wrong length."""

    __slots__ = ()

    length: HeaderLength = HeaderLength(0, 16, default=None)
    class_number: UInt = UInt(16, 8, default=...)
    type: UInt = UInt(24, 8, default=0)
    data: Data = Data(32, default=b"")


class MalformedICMPObjects(ICMPObject, role="malformed"):
    """The rest of the objects, from the first invalid one on."""

    __slots__ = ()

    data: Data = Data(0, default=b"")


class ICMPExtensions(Layer, kind=_core.ICMP_EXTENSIONS):
    """The extensions of an ICMP error, after the quoted packet, whose size is the message's ``length``.

    Parsing finds them after ``length``; if ``length`` is 0, after 128 bytes if their checksum is right.
    Building neither pads the quoted packet nor computes ``length``.
    """

    __slots__ = ()

    version: UInt = UInt(0, 4, default=2)
    reserved: UInt = UInt(4, 12, default=0)
    checksum: Auto = Auto(16, 16, default=None, automatic=_core.CHECKSUM, show="#06x")
    objects: Options[ICMPObject] = Options(32, ICMPObject, default=())
