"""When a conversation and its intervals end: with a deadline after a number of replies, as in ping(8)."""

from fastnet._limits import Timeout
from fastnet._ping.session import Plan
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


def plan_of(args: Arguments, hosts: int) -> Plan:
    """The plan for so many hosts; with a deadline, ``-c`` is the number of replies that end it."""
    timed = args.deadline is not None
    replies = args.count if timed else None
    return Plan(
        None if timed or args.loop else args.count or _USUAL,
        0 if args.flood else args.interval,
        args.timeout,
        retries=args.retries,
        backoff=args.backoff,
        enough=args.enough or (hosts if replies and hosts else None),
        deadline=args.deadline,
        replies=replies,
    )
