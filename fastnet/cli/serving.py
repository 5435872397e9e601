"""How a subcommand that serves is ended: Ctrl-C, SIGTERM, or by itself."""

import os
import signal
from collections import deque

from fastnet.cli import exits

_CODES: dict[int, int] = {signal.SIGTERM: exits.YES, signal.SIGINT: exits.INTERRUPTED}


class Ending:
    """Made before the serving starts; ``wait`` then gives the exit code, and the caller stops cleanly.

    SIGTERM is how a server is meant to be stopped: exit code 0. Ctrl-C is 130.
    """

    def __init__(self) -> None:
        # Each signal writes its number: one that comes just before the wait begins is not slept through.
        self._reasons, self._tell = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._tell, False)
        signal.set_wakeup_fd(self._tell)
        for number in _CODES:
            signal.signal(number, lambda *_: None)
        self._own: deque[int] = deque()

    def end(self, code: int) -> None:
        """Let ``wait`` return this, for a server that has its own reason to stop."""
        self._own.append(code)
        os.write(self._tell, b"\0")

    def wait(self) -> int:
        """The exit code, once there is a reason to stop."""
        number = os.read(self._reasons, 1)[0]
        return _CODES[number] if number else self._own.popleft()
