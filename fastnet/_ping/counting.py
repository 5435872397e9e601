"""Conversations whose timetable and totals are the core's."""

import errno
import os
from _collections_abc import Iterator, Sequence

from fastnet._backend import probe as _core
from fastnet._contract.probe import ALL_WAIT
from fastnet._log import WARNING, log
from fastnet._ping.lookup import Destination
from fastnet._ping.pinger import Pinger, summarize
from fastnet._ping.results import PingResult, Reply, total
from fastnet._ping.session import Plan, Session, unresolved
from fastnet._reasons import explain, explain_refusal

_UNRESOLVED = _core.Totals(0, 1, 0, 0, 0, 0, None, None)
_SLICE = 0.1
"""Seconds until Ctrl-C is noticed at the latest."""


def can_count(destinations: Sequence[Destination], plan: Plan) -> bool:
    """Whether the core can do it: hosts over one ICMP socket, a fixed timeout, no retries, no early end."""
    ways = {(each.resolved.family, each.engine) for each in destinations if each.resolved}
    over_icmp = len(ways) == 1 and all(engine in _core.ENGINES for _, engine in ways)
    return over_icmp and plan.timeout != "auto" and not plan.retries and plan.enough is None


def converse(pinger: Pinger, destinations: Sequence[Destination], plan: Plan) -> list[PingResult]:
    """Ping to the end; one result for each destination. No other code uses the pinger meanwhile."""
    if not can_count(destinations, plan):
        session = Session(pinger, destinations, plan)
        return summarize(destinations, pinger.follow(session), plan.interval)
    counting = Count(pinger, destinations, plan, keeps_replies=True)
    while not counting.run(_SLICE):
        pass
    return list(counting.results())


class Count:
    """A conversation with hosts for which ``can_count`` is true. No other code uses the pinger meanwhile."""

    def __init__(
        self, pinger: Pinger, destinations: Sequence[Destination], plan: Plan, *, keeps_replies: bool = False
    ) -> None:
        hosts = [each.resolved for each in destinations if each.resolved]
        self._destinations, self._interval = destinations, plan.interval
        self._family = hosts[0].family
        self._keeps_replies = keeps_replies
        self._is_logged = False
        prober = pinger.prober(self._family)
        assert isinstance(prober, _core.Prober)
        self._conversation = _core.Conversation(
            prober,
            [each.address for each in hosts],
            count=plan.count,
            interval=float(plan.interval),
            timeout=float(plan.timeout),
            keeps_ends=keeps_replies,
        )

    def run(self, seconds: float) -> bool:
        """Converse, at most so many seconds. True: all requests have ended."""
        finished = self._conversation.run(seconds)
        shortage = self._conversation.shortage
        if shortage and not self._is_logged:
            self._is_logged = True
            why = ALL_WAIT if shortage == errno.EAGAIN else os.strerror(shortage)
            log("probe", WARNING, f"there is no room to send: requests wait: {why}")
        return finished

    def results(self) -> Iterator[PingResult]:
        """The totals of each host, and the replies if they are kept."""
        place = 0
        for each in self._destinations:
            if each.resolved:
                yield self._result(each, place)
                place += 1
            else:
                replies = (unresolved(each),) if self._keeps_replies else ()
                yield total(each[:3], _UNRESOLVED, self._interval, each.error, waiting=0, replies=replies)

    def _result(self, to: Destination, place: int) -> PingResult:
        totals = self._conversation.totals(place)
        ends = self._conversation.ends(place) if self._keeps_replies else ()
        replies = tuple([self._reply(to, *end) for end in ends])
        error = replies[-1].error if replies else self._reason(totals.refused, totals.error)
        waiting = totals.sent - totals.received - totals.lost
        return total(to[:3], totals, self._interval, error, waiting=waiting, replies=replies)

    def _reply(
        self, to: Destination, seq: int, refused: int, answer: "_core.Answer | None", duplicate: bool
    ) -> Reply:
        if answer is None or answer.error is not None:
            tries = 0 if refused else 1
            return Reply(to.host, to.address, seq, None, None, self._reason(refused, answer), tries=tries)
        other = None if answer.responder == to.address else answer.responder
        rtt_ms = answer.rtt_ns / 1e6
        return Reply(to.host, to.address, seq, rtt_ms, answer.ttl, None, duplicate, 1, other)

    def _reason(self, refused: int, error: "_core.Answer | None") -> str:
        if refused:
            return f"not sent: {explain_refusal(refused)}"
        return explain(self._family, error) if error else "no answer"
