"""The worker of ``engine="link"`` for targets that are on no link of this machine: it probes none."""

from fastnet._backend import probe as _core
from fastnet._sweep.plan import Segment


class OffLink:
    """A segment's worker that probes none of its targets."""

    def __init__(self, segment: Segment, left_out: bytes | None) -> None:
        size = len(segment.indices)
        self.states = bytearray([_core.DECIDED]) * size
        for place in segment.order(None, left_out):
            self.states[place] = _core.PENDING
        self.rtts_ms = memoryview(bytearray(4 * size)).cast("f")
        self.sent = 0
        self.finished = True

    def reason(self, index: int) -> str:
        return "not on a link of this machine"

    def run(self, seconds: float) -> bool:
        return self.finished

    def close(self) -> None:
        """Nothing to close."""
