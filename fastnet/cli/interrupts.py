"""Other meanings of Ctrl-C for a while: deferred, or the end of the process.

What is deferred ends even if the reader of the output has stopped: the rest of the output is then discarded.
"""

import _signal as signal  # type: ignore[import-not-found]  # signal makes enumerations, which takes long
from _collections_abc import Callable

from fastnet._typing import Any, Self, TypeVar
from fastnet.cli.output import discard_unread

T = TypeVar("T")


class _OtherInterrupt:
    """Ctrl-C has another handler for a while."""

    _handler: Any

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if callable(self._before):  # not where a shell's background job ignores it
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
        discard_unread()


class HeldInterrupt(NoticedInterrupt):
    """Ctrl-C is raised at once, but deferred during a call of ``whole``."""

    _holds = False

    def _handler(self, *_: object) -> None:
        super()._handler()
        if not self._holds:
            raise KeyboardInterrupt

    def whole(self, work: Callable[[T], object], given: T) -> None:
        """Run this to its end. Raises KeyboardInterrupt after it if Ctrl-C came meanwhile."""
        self._holds = True
        work(given)
        self._holds = False
        if self.came:
            raise KeyboardInterrupt
