"""The forwarder: rules that relay threads serve, and that can be changed while they run."""

import socket
import threading
from _collections_abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from itertools import chain
from queue import SimpleQueue
from weakref import WeakKeyDictionary

from fastnet._engines import ForwardEngine
from fastnet._forward.listeners import close_all
from fastnet._forward.records import NOTHING, Record, Stats, UpstreamState, stats_of
from fastnet._forward.rule import Listen, Options, Rule, Upstreams
from fastnet._forward.served import Served, Settings, Tap, refuse_circles
from fastnet._forward.warner import Warner, log_warning
from fastnet._limits import check_seconds, check_type, several
from fastnet._log import ERROR, WARNING, log
from fastnet._threads import Work
from fastnet._typing import TYPE_CHECKING, Any, NamedTuple, Self, Unpack
from fastnet.endpoints import Endpoint, Place, UnixEndpoint
from fastnet.errors import InvalidArgument

if TYPE_CHECKING:
    from fastnet._backend import relay

_LAST_WARNINGS = 1.0
"""Seconds that the end waits for the last calls of ``warn``."""


class _State(NamedTuple):
    """The rules in force, and what is left of earlier ones; replaced as a whole."""

    served: tuple[Served, ...] = ()
    left: tuple[Any, ...] = ()
    """Rules of the core that no longer accept, and whose connections are still open."""
    gone: Stats = NOTHING
    """The counters of rules whose connections have ended."""

    def then(self, served: tuple[Served, ...]) -> "_State":
        """The state with these rules in force."""
        cores = {one.core for one in served}
        left = [one.core for one in self.served if one.core not in cores]
        gone = self.gone
        for core in self.left:
            if core.counters.active:
                left.append(core)
            else:
                gone = gone.plus(stats_of(core.counters))
        return _State(served, tuple(left), gone)


class _Step(NamedTuple):
    """One step of a change: the new rules, and the new sockets of each loop."""

    served: Served
    listeners: list[list[socket.socket]]


class Forwarder:
    """A forwarder: each connection to ``listen`` becomes one to ``upstream``.

    ``listen`` is ``"HOST:PORT"``, a host and a port, a port alone for loopback, ``"unix:/path"``,
    ``"unix:@abstract"`` or ``"systemd:NAME"``; ``localhost`` and ``*`` are both families, and port 0 is a
    free one, which ``port`` then returns. ``upstream`` is ``"HOST:PORT"``, a host and a port, or
    ``"unix:..."``, or a list of them. The options are those
    of ``Rule``; ``from_rules`` takes many rules.

    ``threads`` is the number of relay threads; ``engine`` selects one of ``ENGINES``. ``spin`` is the time in
    seconds for which they poll after each event before they sleep: lower latency for a busy core. With
    ``record`` there is a Record of each connection that has ended. ``tap`` is called in the relay thread
    with the rule, the connection's number, whether the bytes go to the upstream, and the bytes; it selects
    the pure engine.
    ``warn`` is called with a line of text when accepting pauses because the process ran out of descriptors,
    when a name no longer resolves, and when an upstream's health changes (by default it is logged to
    ``fastnet.forward``). It is called in a thread of its own and may be slow.

    As a context manager (``with`` or ``async with``) it starts and stops. Raises InvalidArgument for
    invalid values; ``start`` raises NameNotResolved, AddressInUse, NotPermitted or OSError.
    """

    def __init__(
        self,
        listen: Listen,
        upstream: Upstreams,
        *,
        threads: int = 1,
        engine: ForwardEngine = "auto",
        spin: float = 0.0,
        record: bool = False,
        tap: Tap | None = None,
        warn: Callable[[str], None] | None = None,
        **options: Unpack[Options],
    ) -> None:
        settings = Settings(threads, engine, spin, record, tap, log_warning if warn is None else warn)
        self._set_up([Rule(listen, upstream, **options)], settings)

    @classmethod
    def from_rules(
        cls,
        rules: Iterable[Rule],
        *,
        threads: int = 1,
        engine: ForwardEngine = "auto",
        spin: float = 0.0,
        record: bool = False,
        tap: Tap | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> Self:
        """A forwarder of many rules. Raises InvalidArgument if two of them listen at the same address."""
        self = cls.__new__(cls)
        self._set_up(
            rules, Settings(threads, engine, spin, record, tap, log_warning if warn is None else warn)
        )
        return self

    def _set_up(self, rules: Iterable[Rule], settings: Settings) -> None:
        settings.check()
        self._warner = Warner(settings.warn)
        self._settings = settings._replace(warn=self._warner)
        self._wanted = _distinct(rules)
        self._reloading = threading.RLock()
        self._changing = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._state = _State()
        self._rule_of: WeakKeyDictionary[relay.Rule, Rule] = WeakKeyDictionary()
        self._loops: list[relay.Loop] = []
        self._works: list[Work[bool]] = []
        # A signal handler may call put() during a get().
        self._orders: SimpleQueue[float | None] = SimpleQueue()
        self._draining = False

    def __repr__(self) -> str:
        """Its state, its listening addresses and its upstreams."""
        served = self._state.served
        if not self._works:
            state = "not started"
        elif all(work.has_ended for work in self._works):
            state = "ended"
        else:
            state = f"{'draining' if self._draining else 'running'}, {self.stats().active} active"
        listens: list[Place] = [one.listeners.addresses[0] for one in served]
        listens = listens or [rule.listen for rule in self._wanted]
        more = f" and {len(listens) - 1} more" if len(listens) > 1 else ""
        return f"<Forwarder {listens[0]} to {self.rules[0].upstreams[0]}{more}: {state}>"

    # Starting and ending

    def start(self) -> Self:
        """Listen, and start the relay threads."""
        if self._works:
            raise RuntimeError("this forwarder was started before: make another one")
        with self._changing, ExitStack() as undo:
            undo.callback(self._forget)
            self._warner.start()
            undo.callback(self._warner.end)
            for _ in range(self._settings.threads):
                self._loops.append(self._settings.loop())
                undo.callback(self._loops[-1].close)
            self._change([*self._steps(self._wanted, undo)])
            for loop in self._loops:
                self._works.append(Work(partial(self._run, loop), "fastnet-forward"))
            self._keeper = Work(self._keep, "fastnet-forward-keeper")
            undo.pop_all()
        return self

    def _run(self, loop: "relay.Loop") -> bool:
        with self._changing:
            if loop not in self._loops:  # The start has failed, and closed it.
                return False
        try:
            return loop.run()
        except BaseException:
            log("forward", ERROR, "a relaying thread ended", exc_info=True)
            self._orders.put(0.0)  # Ends the other threads too.
            raise
        finally:
            self._orders.put(None)

    def _keep(self) -> None:
        """Drain on each request, which has the timeout, until every loop has reported its end (None)."""
        running = len(self._loops)
        failure: Exception | None = None
        while running:
            timeout = self._orders.get()
            if timeout is None:
                running -= 1
                continue
            try:
                self._drain(timeout)
            except Exception as error:  # The next request is still handled.
                failure = failure or error
        self._warner.end()
        if failure:
            raise failure

    def _drain(self, timeout: float) -> None:
        with self._changing:
            self._draining = True
        try:
            with ExitStack() as ends:
                for served in self._state.served:
                    ends.callback(served.end)
        finally:
            for loop in self._loops:
                loop.drain(timeout)

    def drain(self, timeout: float = 30.0) -> None:
        """Accept no more, and give open connections ``timeout`` seconds to end by themselves.

        Returns at once: ``wait`` waits. Connections still open after that are reset. May be called from a
        signal handler, and again with another timeout.
        """
        check_seconds("timeout", timeout)
        self._check_started()
        self._orders.put(timeout)

    def wait(self) -> bool:
        """Wait until it has drained or was stopped. True if no connection was reset.

        Raises RuntimeError in a forked child process.
        """
        self._check_started()
        uncut = [work.result() for work in self._works]
        self._keeper.result()
        self._warner.wait(_LAST_WARNINGS)
        return all(uncut)

    async def wait_async(self) -> bool:
        """``wait`` as a coroutine. Cancelling it leaves the forwarder running."""
        self._check_started()
        uncut = [await work.result_async(cancel=_nothing) for work in self._works]
        await self._keeper.result_async(cancel=_nothing)
        await self._warner.wait_async(_LAST_WARNINGS)
        return all(uncut)

    def stop(self) -> None:
        """Reset open connections, and return when everything is closed. A second call is no error.

        Does nothing in a forked child process: the parent's forwarder goes on.
        """
        if self._is_ours():
            self.drain(0)
            self.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = Work(self.start, "fastnet-forward-start")  # Resolving may take long.

        def undo() -> None:
            try:
                starting.result()
                self.stop()
            except Exception:  # No thread waits for it.
                log("forward", WARNING, "a start that was cancelled failed", exc_info=True)

        def cancel() -> None:
            Work(undo, "fastnet-forward-stop")

        return await starting.result_async(cancel)

    async def __aexit__(self, *_: object) -> None:
        if self._is_ours():
            self.drain(0)
            await self.wait_async()

    def _is_ours(self) -> bool:
        self._check_started()
        return self._works[0].is_ours

    def _check_started(self) -> None:
        if not self._works:
            raise RuntimeError("this forwarder was not started")

    # Changing rules

    def reload(self, rules: Iterable[Rule]) -> None:
        """Replace the rules by these. If any of them fails, nothing is changed.

        An unchanged rule goes on. A rule with the listening address of an earlier one takes ownership of its
        sockets, so that no client is refused meanwhile, and the connections of the earlier one stay open. A
        rule that is no longer listed stops accepting, and its connections stay open. (UDP has no
        connections: flows go on with a rule of which only the upstreams change.)

        Waits until names are resolved: don't call it in a signal handler. Raises what ``start`` does, also
        AddressInUse if a new rule overlaps with a present listening address, as ``*:80`` with
        ``127.0.0.1:80``; RuntimeError if this forwarder does not run.
        """
        wanted = _distinct(rules)
        with self._reloading, ExitStack() as undo:
            self._check_started()
            steps = [*self._steps(wanted, undo)]
            with self._changing:
                if self._draining:
                    raise RuntimeError("this forwarder ends: its rules can't be changed any more")
                self._change(steps)
                undo.pop_all()

    async def reload_async(self, rules: Iterable[Rule]) -> None:
        """``reload`` as a coroutine. Cancelling it does not stop the reload."""
        await Work(partial(self.reload, rules), "fastnet-forward-reload").result_async(cancel=_nothing)

    def set_upstream(self, upstream: Upstreams, rule: Rule | None = None) -> None:
        """Set the upstreams for new connections of this rule or of the only one; open connections stay.

        Works as ``reload`` does, and raises the same.
        """
        with self._reloading:
            chosen = self._find(rule)
            changed = chosen.rule.going_to(upstream)
            self.reload([changed if one is chosen else one.rule for one in self._state.served])

    async def set_upstream_async(self, upstream: Upstreams, rule: Rule | None = None) -> None:
        """``set_upstream`` as a coroutine. Cancelling it does not stop the change."""
        call = partial(self.set_upstream, upstream, rule)
        await Work(call, "fastnet-forward-reload").result_async(cancel=_nothing)

    def _steps(self, wanted: list[Rule], undo: ExitStack) -> list[_Step]:
        """The change to these rules; everything that can fail is already done, except listening."""
        free = [*self._state.served]
        plan: list[Served] = []
        for rule in wanted:
            before = _counterpart(rule, free, wanted)
            if before:
                free.remove(before)
            if before and before.rule == rule:
                plan.append(before)
                continue
            plan.append(Served(rule, self._settings, before))
            undo.callback(plan[-1].upstreams.end if before else plan[-1].end)
        refuse_circles(plan)
        cores = {served.core for served in self._state.served}
        steps = []
        for served in plan:
            copies = [] if served.core in cores else served.listeners.duplicates()
            undo.callback(close_all, chain(*copies))
            steps.append(_Step(served, copies))
        return steps

    def _listen(self, steps: list[_Step], undo: ExitStack) -> None:
        """Add the new sockets to the loops."""
        for served, listeners in steps:
            if listeners:
                self._rule_of[served.core] = served.rule
            for loop, sockets in zip(self._loops, listeners, strict=bool(listeners)):
                undo.callback(loop.unlisten, served.core)
                loop.listen(served.core, sockets)

    def _turn(self, steps: list[_Step], undo: ExitStack) -> None:
        """Set the new upstreams of the core's rules."""
        before = {one.core: one.upstreams for one in self._state.served}
        for served, _ in steps:
            if served in self._state.served:
                continue
            if served.core in before:
                undo.callback(before[served.core].keep, served.core)
                before[served.core].rest()
            served.upstreams.keep(served.core)

    def _change(self, steps: list[_Step]) -> None:
        with ExitStack() as undo:
            self._listen(steps, undo)
            self._turn(steps, undo)
            undo.pop_all()
        former, state = self._state, self._state.then(tuple(step.served for step in steps))
        self._state = state
        for one in former.served:
            if one not in state.served:
                one.upstreams.end()
        for served, _ in steps:
            self._rule_of[served.core] = served.rule
        with ExitStack() as ends:
            for core in state.left:
                for loop in self._loops:
                    ends.callback(loop.unlisten, core)
            kept = [one.listeners for one in state.served]
            for one in former.served:
                if one.listeners not in kept:
                    ends.callback(one.listeners.close)

    # Counters and records

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force, or before the start those to be served."""
        return tuple(one.rule for one in self._state.served) or tuple(self._wanted)

    @property
    def addresses(self) -> list[Endpoint | UnixEndpoint]:
        """The listening addresses: for TCP and UDP one numeric address per family, all on the same port."""
        self._check_started()
        return [address for one in self._state.served for address in one.listeners.addresses]

    def addresses_of(self, rule: Rule) -> list[Endpoint | UnixEndpoint]:
        """The listening addresses of one rule."""
        return [*self._find(rule).listeners.addresses]

    @property
    def port(self) -> int:
        """The listening port, that of the first rule if there are several."""
        for address in self.addresses:
            if isinstance(address, Endpoint):
                return address.port
        raise InvalidArgument(f"{self.rules[0].listen} has no port")

    def stats(self, rule: Rule | None = None) -> Stats:
        """The current counters, of one rule, or of all rules since the start.

        Can be called from any thread, also after the end.
        """
        if rule is not None:
            return stats_of(self._find(rule).core.counters)
        self._check_started()
        served, left, total = self._state
        for core in (*(one.core for one in served), *left):
            total = total.plus(stats_of(core.counters))
        return total

    def upstreams(self, rule: Rule | None = None) -> list[UpstreamState]:
        """The state of each upstream of a rule, or of the only one."""
        return [
            UpstreamState(one.name, one.healthy, one.active, one.failures)
            for one in self._find(rule).upstreams.current
        ]

    def connections(self) -> list[Record]:
        """The open connections; the relay threads answer in their next turn."""
        self._check_started()
        return [self._record(one) for loop in self._loops for one in loop.connections()]

    def records(self) -> list[Record]:
        """The connections that have ended since the last call, if ``record`` is on.

        Each thread keeps at most 16384 of them; ``lost_records`` counts those dropped. For one thread at a
        time.
        """
        self._check_started()
        return [self._record(one) for loop in self._loops for one in loop.records()]

    @property
    def lost_records(self) -> int:
        """The number of records dropped for lack of room."""
        self._check_started()
        return sum(loop.lost_records for loop in self._loops)

    def _record(self, record: "relay.Record") -> Record:
        return Record(self._rule_of[record.rule], *record[1:])

    def _find(self, rule: Rule | None) -> Served:
        self._check_started()
        if rule is not None:
            check_type("rule", rule, Rule, "a Rule")
        served = self._state.served
        if rule is None and len(served) > 1:
            raise InvalidArgument(f"rule None: expected one of the {len(served)} there are")
        for one in served:
            if rule in (None, one.rule):
                return one
        raise InvalidArgument(f"rule {rule and rule.name!r}: expected one of those in force")


def _distinct(rules: Iterable[Rule]) -> list[Rule]:
    """The rules as a list, if they can be served together."""
    listed = [*several("rules", rules, "a list of rules")]
    for rule in listed:
        check_type("rules", rule, Rule, "a list of rules")
    if not listed:
        raise InvalidArgument("no rules: expected one or more")
    seen = set()
    for rule in listed:
        place = (rule.listen, rule.protocol)
        if place in seen and not (isinstance(rule.listen, Endpoint) and rule.listen.port == 0):
            raise InvalidArgument(f"two rules listen at {rule.listen}: expected one")
        seen.add(place)
    return listed


def _counterpart(rule: Rule, free: list[Served], wanted: list[Rule]) -> Served | None:
    """The served rule that continues as this rule, or whose sockets it takes over."""
    for served in free:
        if served.rule == rule:
            return served
    for served in free:
        if served.listens_for(rule) and served.rule not in wanted:
            return served
    return None


def _nothing() -> None:
    """Continue it."""
