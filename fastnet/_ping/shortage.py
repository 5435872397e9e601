"""Waiting for room in a full send queue, with a limit."""

import errno
import time

from fastnet._log import WARNING, log

_NANOSECOND = 1_000_000_000
_FULL = (errno.ENOBUFS, errno.ENOMEM)
"""Send queue or neighbour table full (IPv6 reports ENOMEM)."""
_HOLD_NS = 10_000_000
_LONGEST_NS = 30 * _NANOSECOND


class Shortage:
    """What one sender finds: how long there has been no room for what it sends."""

    def __init__(self) -> None:
        self.since_ns = 0
        """The sender sets it to 0 with everything that it sends."""
        self._is_logged = False
        self.until_ns = 0
        """When it is worth another try."""

    def waits(self, error: OSError) -> bool:
        """Whether what was refused so is to be tried again at ``until_ns``: after 30 s it is not."""
        now_ns = time.monotonic_ns()
        if error.errno in _FULL:
            self.since_ns = self.since_ns or now_ns
            if now_ns - self.since_ns > _LONGEST_NS:
                return False
        elif error.errno != errno.EAGAIN:  # every sequence number waits: that ends by itself
            return False
        if not self._is_logged:
            self._is_logged = True
            log("probe", WARNING, f"there is no room to send: requests wait: {error.strerror}")
        self.until_ns = now_ns + _HOLD_NS
        return True

    @property
    def until(self) -> float:
        """``until_ns`` in seconds, as ``time.monotonic()`` has them."""
        return self.until_ns / _NANOSECOND
