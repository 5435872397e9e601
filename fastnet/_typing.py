"""What annotations need of typing, and a little more, without its load: that takes as long as half a command.

Type checkers see typing's own names. So does Python 3.14, whose typing loads quickly.
"""

import sys

TYPE_CHECKING = False  # true for type checkers, as a name of typing's

if TYPE_CHECKING:
    from collections import deque as deque
else:
    from _collections import deque as deque  # without the rest of collections

if TYPE_CHECKING or sys.version_info >= (3, 14):
    from functools import lru_cache as lru_cache
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
    from _collections import _tuplegetter
    from _functools import _lru_cache_wrapper

    GenericAlias = type(list[int])

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

    _tuple = tuple.__new__
    _CONSTRUCTORS = (
        lambda _cls: _tuple(_cls),
        lambda _cls, a: _tuple(_cls, (a,)),
        lambda _cls, a, b: _tuple(_cls, (a, b)),
        lambda _cls, a, b, c: _tuple(_cls, (a, b, c)),
        lambda _cls, a, b, c, d: _tuple(_cls, (a, b, c, d)),
        lambda _cls, a, b, c, d, e: _tuple(_cls, (a, b, c, d, e)),
        lambda _cls, a, b, c, d, e, f: _tuple(_cls, (a, b, c, d, e, f)),
        lambda _cls, a, b, c, d, e, f, g: _tuple(_cls, (a, b, c, d, e, f, g)),
        lambda _cls, a, b, c, d, e, f, g, h: _tuple(_cls, (a, b, c, d, e, f, g, h)),
        lambda _cls, a, b, c, d, e, f, g, h, i: _tuple(_cls, (a, b, c, d, e, f, g, h, i)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j: _tuple(_cls, (a, b, c, d, e, f, g, h, i, j)),
        lambda _cls, a, b, c, d, e, f, g, h, i, j, k: _tuple(_cls, (a, b, c, d, e, f, g, h, i, j, k)),
    )

    def _constructor(fields):
        """A function that makes a tuple of these fields: renaming arguments is quicker than compiling."""
        arguments = ", ".join(fields)
        if len(fields) >= len(_CONSTRUCTORS):
            return eval(f"lambda _cls, {arguments}: _tuple(_cls, ({arguments}))")
        code = _CONSTRUCTORS[len(fields)].__code__
        return type(_constructor)(code.replace(co_varnames=("_cls", *fields)), globals())

    def _field(number):
        return _tuplegetter(number, f"Alias for field number {number}")

    class _Tuple(tuple):
        """What named tuples have in common."""

        __slots__ = ()

        def __repr__(self):
            values = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({', '.join(values)})"

        def __getnewargs__(self):
            return (*self,)

        @classmethod
        def _make(cls, values):
            made = _tuple(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"expected {', '.join(cls._fields)}; got {len(made)}")
            return made

        def _replace(self, /, **values):
            made = self._make(map(values.pop, self._fields, self))
            if values:
                raise ValueError(f"Got unexpected field names: {[*values]!r}")
            return made

        __replace__ = _replace

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

    class _Fields(type):
        """Makes a class body a named tuple, as collections.namedtuple does in several times as long."""

        def __new__(meta, name, bases, body):
            if not bases:
                return super().__new__(meta, name, bases, body)
            types = body.pop("__annotations__", {})
            fields = (*types,)
            defaults = {field: body.pop(field) for field in fields if field in body}
            new = _constructor(fields)
            new.__name__, new.__qualname__ = "__new__", f"{name}.__new__"
            new.__defaults__, new.__annotations__ = (*defaults.values(),), types
            return type(
                name,
                (_Tuple,),
                {
                    "__slots__": (),
                    "__doc__": f"{name}({', '.join(fields)})",
                    "__new__": new,
                    "__annotations__": types,
                    "__match_args__": fields,
                    "_fields": fields,
                    "_field_defaults": defaults,
                    **{field: _field(at) for at, field in enumerate(fields)},
                    **body,
                },
            )

    class NamedTuple(metaclass=_Fields):
        """The base of a named tuple whose fields have types and defaults."""

    def cast(kind, value):
        """The value, of a type that only type checkers look at."""
        return value

    def lru_cache(maxsize):
        """That of functools, without its ``cache_info``."""
        return lambda function: _lru_cache_wrapper(function, maxsize, False, tuple)

    def overload(function):
        """A signature for type checkers."""
        return function

    def dataclass_transform(**_):
        """Mark, for type checkers, a class whose subclasses have typed constructors."""
        return lambda cls: cls

    def get_args(alias):
        """The arguments of an alias, as those of a Literal."""
        return alias.__args__
