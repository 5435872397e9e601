"""How a subcommand that serves is ended: Ctrl-C, SIGTERM, or by itself."""

import signal
from queue import SimpleQueue

from fastnet.cli import exits


class Ending:
    """Made before the serving starts; ``wait`` then gives the exit code, and the caller stops cleanly.

    SIGTERM is how a server is meant to be stopped: exit code 0. Ctrl-C is 130.
    """

    def __init__(self) -> None:
        # Its put may be called from a signal handler in mid-get.
        self._codes: SimpleQueue[int] = SimpleQueue()
        signal.signal(signal.SIGTERM, lambda *_: self._codes.put(exits.YES))
        signal.signal(signal.SIGINT, lambda *_: self._codes.put(exits.INTERRUPTED))

    def end(self, code: int) -> None:
        """Let ``wait`` return this, for a server that has its own reason to stop."""
        self._codes.put(code)

    def wait(self) -> int:
        """The exit code, once there is a reason to stop."""
        return self._codes.get()
