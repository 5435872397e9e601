"""Conversations of which only totals are wanted: the core has their timetable."""

import os
from collections.abc import Iterator, Sequence

from fastnet._backend import probe as _core
from fastnet._log import WARNING, log
from fastnet._ping.lookup import Destination
from fastnet._ping.pinger import Pinger
from fastnet._ping.results import PingResult, total
from fastnet._ping.session import Plan
from fastnet._reasons import explain, explain_refusal

_UNRESOLVED = _core.Totals(0, 1, 0, 0, 0, 0, None, None)


def can_count(destinations: Sequence[Destination], plan: Plan) -> bool:
    """Whether the core can do it: hosts over one ICMP socket, a fixed timeout, no retries, no early end."""
    ways = {(each.resolved.family, each.engine) for each in destinations if each.resolved}
    over_icmp = len(ways) == 1 and all(engine in _core.ENGINES for _, engine in ways)
    return over_icmp and plan.timeout != "auto" and not plan.retries and plan.enough is None


class Count:
    """A conversation with hosts for which ``can_count`` is true. No other code uses the pinger meanwhile."""

    def __init__(self, pinger: Pinger, destinations: Sequence[Destination], plan: Plan) -> None:
        hosts = [each.resolved for each in destinations if each.resolved]
        self._destinations, self._interval = destinations, plan.interval
        self._family = hosts[0].family
        self._is_logged = False
        prober = pinger.prober(self._family)
        assert isinstance(prober, _core.Prober)
        self._conversation = _core.Conversation(
            prober,
            [each.address for each in hosts],
            count=plan.count,
            interval=float(plan.interval),
            timeout=float(plan.timeout),
        )

    def run(self, seconds: float) -> bool:
        """Converse, at most so many seconds. True: all requests have ended."""
        finished = self._conversation.run(seconds)
        if self._conversation.shortage and not self._is_logged:
            self._is_logged = True
            why = os.strerror(self._conversation.shortage)
            log("probe", WARNING, f"there is no room to send: requests wait: {why}")
        return finished

    def results(self) -> Iterator[PingResult]:
        """The totals of each host, without replies."""
        place = 0
        for host, address, engine, resolved, error in self._destinations:
            about = host, address, engine
            if not resolved:
                yield total(about, _UNRESOLVED, self._interval, error, waiting=0)
                continue
            totals = self._conversation.totals(place)
            waiting = totals.sent - totals.received - totals.lost
            yield total(about, totals, self._interval, self._reason(totals), waiting=waiting)
            place += 1

    def _reason(self, totals: _core.Totals) -> str:
        if totals.refused:
            return f"not sent: {explain_refusal(totals.refused)}"
        return explain(self._family, totals.error) if totals.error else "no answer"
