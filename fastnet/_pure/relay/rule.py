"""Rules: the upstreams and the options of connections."""

from __future__ import annotations

from collections import deque
from itertools import count

from fastnet._contract.relay import DEFAULTS, Options, checked
from fastnet._pure.relay.admission import Admission
from fastnet._pure.relay.bucket import Bucket
from fastnet._pure.relay.counters import Counters, LaneCounters
from fastnet._pure.relay.upstream import Choice
from fastnet._typing import TYPE_CHECKING
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from _collections_abc import Callable, Sequence

    from fastnet._pure.relay.lane import Lane
    from fastnet._pure.relay.upstream import Upstream


class Rule:
    """The upstreams and the options of connections. May serve several loops at once.

    Without upstreams every connection fails. Raises InvalidArgument for options that are invalid or
    that this implementation lacks, and NotPermitted if ``transparent`` lacks its privilege.
    """

    def __init__(self, upstreams: Sequence[Upstream], options: Options = DEFAULTS) -> None:
        self._options = checked(options)
        if options.engine == "splice":
            raise InvalidArgument("engine 'splice': only the native implementation has it")
        self._numbers = count(1)
        self._choice = Choice(options.policy)
        self._admission = Admission(options.max_connections, options.max_per_source, options.source_prefix)
        self._rates = [Bucket(options.rate)] if options.rate else []
        self._lanes: list[Lane] = []
        self._parts: list[LaneCounters] = []
        self._counters = Counters(self._parts)
        self._watcher: deque[Callable[[], object]] = deque(maxlen=1)  # Thread-safe.
        self.set_upstreams(upstreams)

    @property
    def counters(self) -> Counters:
        """The counters so far."""
        return self._counters

    def watch(self, callback: Callable[[], object]) -> None:
        """Call this once, in a loop's thread, when a connect to an address of an upstream has failed.

        Replaces an earlier callback. May be called in any thread. This machine's shortages don't count.
        """
        self._watcher.append(callback)

    def _report_failure(self) -> None:
        try:
            callback = self._watcher.pop()
        except IndexError:
            return
        callback()

    def set_upstreams(self, upstreams: Sequence[Upstream]) -> None:
        """Use these upstreams for new connections; open ones stay. May be called in any thread."""
        self._upstreams = tuple(upstreams)
