"""Other meanings of Ctrl-C for a while: deferred, or the end of the process."""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
from _collections_abc import Callable

from fastnet._typing import Any, Self, TypeVar

T = TypeVar("T")


class _OtherInterrupt:
    """Ctrl-C has another handler for a while."""

    _handler: Any

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler:  # not where a shell's background job ignores it
            signal.signal(signal.SIGINT, self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


class FatalInterrupt(_OtherInterrupt):
    """Ctrl-C kills the process silently, as before the command began: nothing has been sent yet.

    For long imports: an exception there can be lost in a callback, or leave a lock of the imports held.
    """

    _handler = signal.SIG_DFL


class NoticedInterrupt(_OtherInterrupt):
    """Ctrl-C is only recorded: the work checks between two steps whether it ``came``."""

    came: bool = False

    def _handler(self, *_: object) -> None:
        self.came = True


class HeldInterrupt(NoticedInterrupt):
    """Ctrl-C is raised at once, but deferred during a call of ``whole``."""

    _holds = False

    def _handler(self, *_: object) -> None:
        if not self._holds:
            raise KeyboardInterrupt
        self.came = True

    def whole(self, work: Callable[[T], object], given: T) -> None:
        """Run this to its end. Raises KeyboardInterrupt after it if Ctrl-C came meanwhile."""
        self._holds = True
        work(given)
        self._holds = False
        if self.came:
            raise KeyboardInterrupt
