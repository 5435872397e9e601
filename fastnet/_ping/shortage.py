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
    """How long a sender has had no room in the send queue."""

    def __init__(self) -> None:
        self.since_ns = 0
        """The sender sets it to 0 after each packet that it sends."""
        self._is_logged = False
        self.until_ns = 0
        """When to try again."""

    def waits(self, error: OSError) -> bool:
        """Whether to retry at ``until_ns`` after this error; False after 30 s."""
        now_ns = time.monotonic_ns()
        if error.errno in _FULL:
            self.since_ns = self.since_ns or now_ns
            if now_ns - self.since_ns > _LONGEST_NS:
                return False
        elif error.errno != errno.EAGAIN:  # all sequence numbers are in use, for a limited time
            return False
        if not self._is_logged:
            self._is_logged = True
            log("probe", WARNING, f"there is no room to send: requests wait: {error.strerror}")
        self.until_ns = now_ns + _HOLD_NS
        return True

    @property
    def until(self) -> float:
        """``until_ns`` in seconds of ``time.monotonic()``."""
        return self.until_ns / _NANOSECOND
