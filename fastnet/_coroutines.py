"""Marks a coroutine as that of a function: its name, its place in ``fastnet.aio``, and its help."""

from _collections_abc import Callable

from fastnet._typing import TypeVar

T = TypeVar("T", bound=Callable[..., object])


def coroutine_of(function: Callable[..., object]) -> Callable[[T], T]:
    """Make what is decorated ``fastnet.aio.NAME``, NAME being the function's, and append that one's help.

    Both take the same arguments; a test compares them.
    """

    def named(twin: T) -> T:
        twin.__doc__ = f"{twin.__doc__}\n\n    {function.__doc__}"
        twin.__module__ = "fastnet.aio"
        twin.__name__ = twin.__qualname__ = function.__name__
        return twin

    return named
