"""What layers and options share: typed constructors, and text that builds them again."""

from typing import Any, dataclass_transform

from fastnet._backend import packet as _core
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
    if field.automatic:
        return bool(record.automatic & field.automatic)
    return bool(value == field.default)


def shown(field: Field, value: Any) -> str:
    """A field's value as code."""
    if isinstance(field, Flags) and field.number(field.text(value)) == value:
        return repr(field.text(value))
    return format(value, field.show) if field.show else repr(value)


@dataclass_transform(
    kw_only_default=True,
    field_specifiers=(
        Addresses, Auto, Constant, Data, Flags, HeaderLength, IPv4Field, IPv6Field, MACField, Numbers,
        Options, UInt,
    ),
)  # fmt: skip
class Typed(_core.Record):
    """A record whose constructor's arguments a type checker knows."""

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _core.define_record(cls)

    def __repr__(self) -> str:
        given = (
            f"{name}={shown(field, value)}"
            for name, field in self.fields().items()
            if not _is_default(self, field, value := getattr(self, name))
        )
        return f"{type(self).__name__}({', '.join(given)})"
