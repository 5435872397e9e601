"""Common code of layers and options: typed constructors, and a ``repr`` that builds them again."""

from fastnet._backend import packet as _core
from fastnet._typing import Any, dataclass_transform
from fastnet.packet.fields import (
    Addresses,
    Auto,
    Constant,
    Data,
    Field,
    Flags,
    HeaderLength,
    IPv4Field,
    IPv6Field,
    MACField,
    Numbers,
    Options,
    UInt,
)


def _is_default(record: _core.Record, field: Field, value: object) -> bool:
    if isinstance(field, HeaderLength):
        return value == field.measure(len(record.header))
    if field.automatic and not isinstance(field, Data):
        return bool(record.automatic & field.automatic)
    return bool(value == field.default)


def shown(field: Field, value: Any) -> str:
    """A field's value as a Python expression."""
    if isinstance(field, Flags) and field.number(field.text(value)) == value:
        return repr(field.text(value))
    return format(value, field.show) if field.show else repr(value)


def held(record: _core.Record) -> dict[str, Field]:
    """The fields that the header has: all of them unless the packet is cut short in this header."""
    size = len(record.header) * 8
    return {name: field for name, field in record.fields().items() if field.offset + field.width <= size}


class _Signature:
    """The constructor's arguments, which are the fields, for ``help`` and editors."""

    def __get__(self, record: object, owner: type[_core.Record]) -> Any:
        from inspect import Parameter, Signature

        return Signature(
            [
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=Parameter.empty if field.default is ... else field.default,
                )
                for name, field in owner.fields().items()
            ]
        )


@dataclass_transform(
    kw_only_default=True,
    field_specifiers=(
        Addresses, Auto, Constant, Data, Flags, HeaderLength, IPv4Field, IPv6Field, MACField, Numbers,
        Options, UInt,
    ),
)  # fmt: skip
class Typed(_core.Record):
    """A record whose constructor has typed arguments for a type checker."""

    __slots__ = ()
    __signature__: Any = _Signature()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _core.define_record(cls)

    def __repr__(self) -> str:
        fields = held(self)
        if len(fields) < len(self.fields()) or not _is_aligned(self) or not _keeps_tails(self):
            return f"{type(self).__name__}.from_header({self.header!r}, {self.automatic}, True)"
        given = (
            f"{name}={shown(field, value)}"
            for name, field in fields.items()
            if not _is_default(self, field, value := _given(self, name, field))
        )
        return f"{type(self).__name__}({', '.join(given)})"


def _is_aligned(record: _core.Record) -> bool:
    """Whether a record's length field can hold its length: not if it is cut short within its options."""
    lengths = [field for field in record.fields().values() if isinstance(field, HeaderLength)]
    return not lengths or len(record.header) % lengths[0].unit == 0


def _given(record: _core.Record, name: str, field: Field) -> Any:
    """A field's value, without the part of a tail that building computes."""
    value = getattr(record, name)
    computed = isinstance(field, Data) and record.automatic & field.automatic
    return bytes(2) + value[2:] if computed else value


def _keeps_tails(record: _core.Record) -> bool:
    """Whether encoding the values of a record's tails returns its bytes.

    Not for options that building encodes in another way, nor for a checksum set to 0: building computes it.
    """
    for field in record.fields().values():
        tail = record.header[field.offset // 8 :]
        if isinstance(field, Options) and field.encode(field.decode(tail)) != tail:
            return False
        left = isinstance(field, Data) and field.automatic & ~record.automatic
        if left and type(record).from_header(record.header, left).automatic and not tail[:2].strip(b"\0"):
            return False
    return True
