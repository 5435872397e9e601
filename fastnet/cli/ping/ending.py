"""When a conversation and its intervals end: with a deadline after a number of replies, as in ping(8)."""

from collections.abc import Iterable

from fastnet._limits import Timeout
from fastnet._ping import Destination, PingResult, Reply
from fastnet.cli.arguments import duration
from fastnet.cli.quick_parser import Arguments
from fastnet.errors import InvalidArgument

_USUAL = 4


def deadline(text: str) -> float:
    """A time of more than 0."""
    if seconds := duration(text):
        return seconds
    raise InvalidArgument(f"{text!r}: expected more than 0")


def timeout(text: str) -> Timeout:
    """A time of more than 0, or ``auto``."""
    return "auto" if text == "auto" else deadline(text)


class PossibleTOS(float):
    """Seconds, given as a mere number that is a TOS byte after the ``-Q`` of ping(8)."""

    @property
    def meanings(self) -> str:
        """Both of them, ours first."""
        return f"-Q {self:g} is a report each {self:g} s, as fping's; ping's -Q {self:g} is --tos {self:g}"


def every(text: str) -> float:
    """A time of more than 0; a PossibleTOS if it may be meant as one, whose ECN bits are 0 (RFC 3168)."""
    seconds = deadline(text)
    is_tos = text.isdigit() and seconds <= 255 and not int(text) & 3
    return PossibleTOS(seconds) if is_tos else seconds


class Ending:
    """``count`` is the number of requests to each host, None without an end."""

    def __init__(self, destinations: Iterable[Destination], args: Arguments) -> None:
        timed = args.deadline is not None
        self._replies: int | None = args.count if timed else None
        """How many replies of each host end it."""
        endless = timed or args.loop
        self.count: int | None = None if endless else args.count or _USUAL
        keys = {(each.host, each.address) for each in destinations if each.address}
        self._missing = dict.fromkeys(keys, self._replies or 0)

    def take(self, reply: Reply) -> None:
        """Count it, if it is one that a host sent."""
        key = (reply.host, reply.address)
        if self._replies and key in self._missing and reply.rtt_ms is not None and not reply.duplicate:
            self._missing[key] -= 1
            if not self._missing[key]:
                del self._missing[key]

    @property
    def come(self) -> bool:
        """Whether each host has replied often enough."""
        return bool(self._replies and not self._missing)

    def answered(self, results: Iterable[PingResult]) -> int:
        """The number of hosts that replied, with a deadline as often as was asked for."""
        return sum(each.received >= (self._replies or 1) for each in results)
