"""What annotations need of typing, without loading it: that takes as long as half a command.

Type checkers see typing's own names. So does Python 3.14, whose typing loads quickly.
"""

import sys

TYPE_CHECKING = False  # true for type checkers, as a name of typing's

if TYPE_CHECKING or sys.version_info >= (3, 14):
    from typing import Any as Any
    from typing import ClassVar as ClassVar
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import Self as Self
    from typing import TextIO as TextIO
    from typing import TypeAlias as TypeAlias
    from typing import TypedDict as TypedDict
    from typing import TypeVar as TypeVar
    from typing import Unpack as Unpack
    from typing import cast as cast
    from typing import dataclass_transform as dataclass_transform
    from typing import get_args as get_args
    from typing import overload as overload
else:
    from collections import namedtuple
    from types import GenericAlias

    class _Form(type):
        """A name of typing's in an annotation: it is shown, compared, and given arguments like that one."""

        def __repr__(cls):
            return f"typing.{cls.__name__}"

        def __getitem__(cls, items):
            return GenericAlias(cls, items)

    names = ("Any", "ClassVar", "Literal", "NoReturn", "Self", "TextIO", "TypeAlias", "Unpack")
    Any, ClassVar, Literal, NoReturn, Self, TextIO, TypeAlias, Unpack = (
        _Form(name, (), {"__module__": "typing"}) for name in names
    )

    class TypeVar:
        """A variable in an annotation."""

        def __init__(self, name, bound=None):
            self.__name__ = name
            self.__bound__ = bound

        def __repr__(self):
            return f"~{self.__name__}"

        def __or__(self, other):
            return self

        def __typing_subst__(self, value):
            """What types.GenericAlias puts in the place of this variable."""
            return value

    class Generic:
        """The base of a class with type variables."""

        __class_getitem__ = classmethod(GenericAlias)

    class Protocol(Generic):
        """The base of a class that only type checkers look at."""

    class TypedDict(dict):
        """The base of the type of some keywords."""

        def __init_subclass__(cls, total=True):
            cls.__total__ = total

    class _Fields(type):
        """Makes a class body a named tuple."""

        def __new__(meta, name, bases, body):
            if not bases:
                return super().__new__(meta, name, bases, body)
            types = body.pop("__annotations__", {})
            defaults = [body.pop(field) for field in types if field in body]
            made = namedtuple(name, types, defaults=defaults, module=body["__module__"])
            made.__annotations__ = made.__new__.__annotations__ = types
            for key, value in body.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Fields):
        """The base of a named tuple whose fields have types and defaults."""

    def cast(kind, value):
        """The value, of a type that only type checkers look at."""
        return value

    def overload(function):
        """A signature for type checkers."""
        return function

    def dataclass_transform(**_):
        """Mark, for type checkers, a class whose subclasses have typed constructors."""
        return lambda cls: cls

    def get_args(alias):
        """The arguments of an alias, as those of a Literal."""
        return alias.__args__
