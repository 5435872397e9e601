"""Common code for the options of all protocols: finding them in a header's tail, and padding them."""

from _collections_abc import Sequence

from fastnet._typing import TYPE_CHECKING, Any, ClassVar, Self
from fastnet.errors import TruncatedPacket
from fastnet.packet.fields import Tail
from fastnet.packet.record import Typed


class Option(Typed):
    """One option of a header. A family is a direct subclass; its own subclasses name their ``number``.

    Two options are equal if their classes and all their fields are.
    """

    __slots__ = ()
    _members: ClassVar[dict[int, type["Option"]]]
    _unknown: ClassVar[type["Option"]]
    _malformed: ClassVar[type["Option"]]

    if TYPE_CHECKING:
        number: ClassVar[int]

    def __init_subclass__(
        cls, family: bool = False, number: int | None = None, role: str = "", **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        if family:
            cls._members = {}
        if number is not None:
            cls._members[number] = cls
        if role == "unknown":
            cls.__mro__[1]._unknown = cls  # type: ignore[attr-defined]
        if role == "malformed":
            cls.__mro__[1]._malformed = cls  # type: ignore[attr-defined]

    @classmethod
    def size_at(cls, data: bytes, at: int) -> int:
        """The length field of the option at this offset; 0 if it is invalid.

        As in IPv4 and TCP: kind 0 ends the options, and includes all bytes after it (RFC 9293, section 3.1);
        kind 1 is one byte; every other kind has its length in its second byte.
        """
        if data[at] == 0:
            return len(data) - at
        if data[at] == 1:
            return 1
        return data[at + 1] if at + 2 <= len(data) and data[at + 1] >= 2 else 0

    @classmethod
    def pad(cls, data: bytes, offset: int) -> bytes:
        """Encoded options that start at ``offset`` in their header, padded to a length valid for the header.

        As in IPv4 and TCP: zeros, which end the options, up to a multiple of four bytes.
        """
        return data + bytes(-len(data) % 4)

    @classmethod
    def join(cls, options: Sequence["Option"], offset: int) -> bytes:
        """Encoded options that start at ``offset`` in their header, each at its required alignment."""
        return b"".join(option.header for option in options)

    @classmethod
    def parse_all(cls, data: bytes, offset: int) -> tuple[Self, ...]:
        """The options in these bytes, which start at ``offset`` in their header.

        From the first invalid option on, the bytes are kept unchanged. Padding that ``pad`` adds is left out.
        """
        found: list[Any] = []
        at = 0
        while at < len(data) and cls.pad(data[:at], offset) != data:
            size = cls.size_at(data, at)
            if not 0 < size <= len(data) - at:
                found.append(cls._malformed.from_header(data[at:]))
                break
            found.append(cls._parse_one(data[at : at + size]))
            at += size
        return tuple(found)

    @classmethod
    def _parse_one(cls, data: bytes) -> "Option":
        """An option as its own class, or as the unknown one if its length is wrong for that class."""
        member = cls._members.get(cls.number_of(data), cls._unknown)
        try:
            option = member.from_header(data)
        except TruncatedPacket:
            return cls._unknown.from_header(data)
        return option if option.is_whole() else cls._unknown.from_header(data)

    @classmethod
    def number_of(cls, data: bytes) -> int:
        """The number of the class of the option in these bytes."""
        return data[0]

    def is_whole(self) -> bool:
        """Whether the fields of this class cover all of its bytes."""
        fields = self.fields().values()
        if any(isinstance(field, Tail) for field in fields):
            return True
        return len(self.header) == max(field.offset + field.width for field in fields) // 8
