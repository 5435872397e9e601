"""The stand-ins for typing's names do at run time what those do."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Generator

import pytest

import fastnet
from fastnet import _typing
from fastnet._typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypedDict,
    TypeVar,
    get_args,
    overload,
)

T = TypeVar("T")


class Place(NamedTuple):
    """Where it is."""

    host: str
    port: int = 80

    @property
    def text(self) -> str:
        return f"{self.host}:{self.port}"


class Box(Generic[T]):
    def get(self) -> T: ...


class Options(TypedDict, total=False):
    port: int


class Sized(Protocol):
    size: int


def test_a_named_tuple_is_one() -> None:
    place = Place("a")
    assert place == ("a", 80)
    assert (place.text, place._replace(port=1).port) == ("a:80", 1)
    assert repr(place) == "Place(host='a', port=80)"
    assert (Place._fields, Place._field_defaults) == (("host", "port"), {"port": 80})
    assert (Place.__doc__, Place.__module__, Place.__qualname__) == ("Where it is.", __name__, "Place")
    assert [*Place.__annotations__] == ["host", "port"]
    assert [*inspect.signature(Place).parameters] == ["host", "port"]
    match place:
        case Place(host, port):
            assert (host, port) == place


def test_it_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Place("a", 1))) == Place("a", 1)


def test_annotations_are_made_and_compared() -> None:
    assert Literal["a", "b"] == Literal["a", "b"] != Literal["a"]
    assert get_args(Literal["a", "b"]) == ("a", "b")
    assert {*get_args(float | Literal["auto"])} == {float, Literal["auto"]}
    assert repr(Any) == "typing.Any"
    assert repr(Literal["a"]) == "typing.Literal['a']"
    assert Generator[int, bool, T][str] == Generator[int, bool, str]
    assert Callable[[T], T] == Callable[[T], T]


def test_bases_are_given_arguments() -> None:
    assert isinstance(Box[int](), Box)
    assert Options(port=1) == {"port": 1}
    assert [*Options.__annotations__] == ["port"]
    assert [*Sized.__annotations__] == ["size"]


def test_marks_change_nothing() -> None:
    @overload
    def twice(value: int) -> int: ...
    def twice(value: int) -> int:
        return 2 * value

    assert twice(2) == 4
    assert _typing.cast(int, "a") == "a"


@pytest.mark.parametrize("name", fastnet.__all__)
def test_every_public_signature_can_be_shown(name: str) -> None:
    value = getattr(fastnet, name)
    if callable(value) and not (isinstance(value, type) and issubclass(value, BaseException)):
        assert "_typing" not in str(inspect.signature(value))
