"""One round: a forwarder with a row of options, and the lives that are led around it."""

from __future__ import annotations

import random
import signal
import socket
import tempfile
from typing import Any, NamedTuple

from faults import Fault, Faults

from . import oracle
from .cases import World
from .exchanges import Site
from .lives import Life, life
from .options import Row
from .reactor import Reactor
from .targets import Failed, HAProxy, Refused, Target
from .upstreams import Upstreams
from .windows import Windows

AT_A_TIME = {"mixed": 40, "bulk": 80}
FEW = 36
"""Descriptors that are left to the process where there are few."""
QUIET = 0.3
"""Seconds without any progress after which it is asked whether something should move."""
STALL = 6.0
"""Seconds without any progress after which what should move has stalled."""
BUSY, RUNS = 0.8, 0.1
"""Share of a processor that nobody needs who has nothing to do."""


class Plan(NamedTuple):
    """A round that can be repeated, whole or in part."""

    seed: str
    row: Row
    lives: tuple[int, ...]
    scale: float
    """By what long streams are multiplied: where rates are limited they are shorter."""
    faults: tuple[Fault, ...] = ()
    """What fails meanwhile, one after the other."""


class Round:
    """A round as it is run; ``problems`` is what was wrong."""

    def __init__(self, reactor: Reactor, target: Target, plan: Plan, faults: Faults | None = None) -> None:
        self._reactor = reactor
        self._target = target
        self.plan = plan
        self._row = plan.row
        self._places = AT_A_TIME[plan.row["traffic"]]
        self._dice = random.Random(f"{plan.seed}/round")
        self._room = tempfile.TemporaryDirectory()
        self._waiting: list[Life] = []
        self._living = 0
        self._changed = False
        self._accepting = True
        self.problems: list[str] = []
        self.windows = Windows(reactor, faults, plan.faults)
        self._limits: tuple[int, int] | None = None
        self.world: World
        self._family = socket.AF_INET
        self._place: Any = None

    def run(self) -> list[str]:
        row = self._row
        with self._room:
            upstreams = self._upstreams = Upstreams(self._reactor, row["upstreams"], self._accept)
            try:
                self._start()
                self._live()
                self._settle()
                self._conclude()
            except Failed as failure:
                self.problems.insert(0, str(failure))
                if hasattr(self, "world"):
                    self.problems += [text for case in self.world.cases for text in case.wrongs]
            finally:
                self.windows.close()
                if self._limits:
                    self._target.allow_descriptors(self._limits)
                if hasattr(self, "world"):
                    self.world.close()
                upstreams.close()
        return self.problems

    # The forwarder

    def _start(self) -> None:
        row, plan = self._row, self.plan
        # Health checks connect before it is known where the forwarder listens.
        self.world = World(self._reactor, plan.seed, plan.scale, row)
        if isinstance(self._target, HAProxy):
            self._target.listen(row, self._upstreams.places[0])
            self._family, self._place = socket.AF_INET, ("127.0.0.1", self._target.port)
        else:
            (address,) = self._target.ask("start", **rule_of(row, self._upstreams.places, self._room.name))
            self._place_at(address)
        if row["descriptors"] == "few":
            self._limits = self._target.leave_descriptors(FEW)
        if row["rewrite_host"]:
            port = f":{self._place[1]}" if self._family != socket.AF_UNIX else ""
            first = self._upstreams.places[0]
            upstream = "localhost" if first.startswith("unix:") else first
            always = row["rewrite_host"] == "always"
            self.world.site = Site(
                f"localhost{port}".encode(), upstream.encode(), always, row["rewrite_responses"]
            )

    def _place_at(self, address: str) -> None:
        if address.startswith("unix:"):
            self._family, self._place = socket.AF_UNIX, address.removeprefix("unix:")
            return
        host, _, port = address.rpartition(":")
        self._family = socket.AF_INET6 if "[" in host else socket.AF_INET
        self._place = (host.strip("[]"), int(port))

    def _accept(self, sock: socket.socket) -> None:
        self.world.accept(sock)

    def history(self, named: set[int]) -> list[str]:
        """What the lives of these numbers were to do."""
        return [str(case) for case in self.world.cases if case.life.number in named]

    # Traffic

    def _live(self) -> None:
        row, plan = self._row, self.plan
        self._waiting = [life(plan.seed, number, plan.scale, row) for number in reversed(plan.lives)]
        half, most = len(self._waiting) // 2, len(self._waiting) // 4
        self._fill()
        self.windows.begin()
        if row["interrupted"]:
            self._interrupt()
        while self._waiting and self._accepting:
            self._reactor.run_until(lambda: self._living < self._places or self._is_quiet(), 1.0)
            if not self._target.alive:
                raise Failed(self._target.obituary())
            if self._is_quiet() and self._living >= self._places:
                self._settle_here()
            self._fill()
            if not self._changed and len(self._waiting) <= half:
                self._changed = True
                self._change()
            if len(self._waiting) <= most:
                self.windows.close()
                self._accepting = row["finish"] == "calm"
        if row["finish"] == "drain":
            self._target.ask("drain", seconds=60)
        elif row["finish"] == "stop":
            self._target.ask("stop")

    def _fill(self) -> None:
        while self._waiting and self._living < self._places:
            one = self._waiting.pop()
            self._living += 1
            if one.start:
                self._reactor.later(one.start, lambda one=one: self._begin(one))  # type: ignore[misc]
            else:
                self._begin(one)

    def _interrupt(self) -> None:
        """Stop the process for a moment, again and again while lives begin."""
        self._target.signal(signal.SIGSTOP)
        self._reactor.later(self._dice.uniform(0.001, 0.01), self._resume)

    def _resume(self) -> None:
        self._target.signal(signal.SIGCONT)
        if self._waiting:
            self._reactor.later(self._dice.choice((0.001, 0.002, 0.004, 0.03)), self._interrupt)

    def _begin(self, one: Life) -> None:
        self.world.begin(one, self._family, self._place, self._end_of_one)

    def _end_of_one(self) -> None:
        self._living -= 1

    def _change(self) -> None:
        try:
            self._make_change(self._row["change"])
        except Refused:
            # Nothing has changed then.
            if not self.windows.any_lately and self._row["descriptors"] != "few":
                raise

    def _make_change(self, change: str) -> None:
        if change == "set_upstream":
            self._target.ask("set_upstream", upstreams=self._upstreams.others)
        elif change == "reload":
            self._target.ask("reload", changes={"idle_timeout": self._row["idle_timeout"] or 100.0})
        elif change == "upstreams die":
            self._upstreams.die()
            for end in self.world.upstream_ends[::2]:
                if not end.done and end.connected:
                    end.leave(abort=True)
            self._reactor.later(0.05, self._upstreams.revive)

    # Liveness

    def _is_quiet(self) -> bool:
        return self._reactor.now - self._reactor.progress > QUIET

    def _settle_here(self) -> None:
        """All places are taken and nothing moves: check that nothing should, and make room."""
        self._check_still()
        self.world.release()
        self.world.released = False
        self._reactor.moved()
        self._reactor.run_until(lambda: self._living < self._places or self._is_stalled(), 120)
        if self._living >= self._places:
            raise Failed("\n".join(["stalled: no place becomes free", *self._unfinished()]))

    def _is_stalled(self) -> bool:
        return self._reactor.now - self._reactor.progress > STALL

    def _check_still(self) -> None:
        """Nothing moves: whatever should must do so soon, without another word of anybody."""
        world, row = self.world, self._row
        self._reactor.run_until(lambda: not oracle.movable(world, row) or self._is_stalled(), 120)
        if stalled := oracle.movable(world, row):
            if not self._target.alive:
                raise Failed(self._target.obituary())
            raise Failed("\n".join([f"stalled: nothing has moved for {STALL:g} s", *stalled]))

    def _settle(self) -> None:
        """Let all come to rest, then to an end."""
        self._reactor.run_until(lambda: not self._living or self._is_quiet(), 120)
        if self._row["finish"] != "stop":
            self._check_still()
            self._check_idle()
        self.world.release()
        self._reactor.moved()
        self._reactor.run_until(lambda: self.world.all_done or self._is_stalled(), 120)
        if not self._target.alive:
            raise Failed(self._target.obituary())
        if not self.world.all_done:
            raise Failed("\n".join(["stalled: these connections do not end", *self._unfinished()]))

    def _unfinished(self) -> list[str]:
        cases = {id(end): case for case in self.world.cases for end in case.ends}
        return [
            f"{'an upstream' if end in self.world.upstream_ends else 'a client'} of "
            f"{f'life {cases[id(end)].life.number}' if id(end) in cases else 'no life that is known'}: "
            f"{end.state}"
            for end in self.world.ends
            if not end.done
        ][:20]

    def _check_idle(self) -> None:
        """Who has nothing to do takes no processor for it."""
        if self._row["spin"] or not self._target.ours:
            return
        before, since, progress = self._target.processor_seconds(), self._reactor.now, self._reactor.progress
        self._reactor.run_until(lambda: False, 0.2)
        span = self._reactor.now - since
        ran, waited = (
            (now - then) / span for now, then in zip(self._target.processor_seconds(), before, strict=True)
        )
        # On a busy machine one that spins waits for most of its turns; so does one that wakes now and then.
        if ran > RUNS and ran + waited > BUSY and self._reactor.progress == progress:
            self.problems.append(
                f"takes {ran:.0%} of a processor, and waits for it {waited:.0%}, while nothing moves"
            )

    # The end

    def _conclude(self) -> None:
        row, target = self._row, self._target
        if not target.ours:
            self.problems += oracle.Judge(self.world, row, None, self.windows, ours=False).problems()
            return
        if row["finish"] == "calm":
            self._reactor.run_until(lambda: not target.ask("stats")["active"], 5)
            target.ask("stop")
        target.ask("wait")
        stats = target.ask("stats")
        records = target.ask("records") if row["record"] else None
        self.problems += oracle.Judge(self.world, row, records, self.windows, ours=True).problems()
        lost = target.ask("lost_records")
        self.problems += oracle.count_problems(self.world, row, stats, records, lost)


def rule_of(row: Row, places: list[str], room: str) -> dict[str, Any]:
    """What ``serving.py`` starts for this row."""
    same = (
        *("policy", "rewrite_host", "rewrite_responses", "connect_timeout", "head_timeout", "idle_timeout"),
        *(
            "half_closed_timeout",
            "max_connections",
            "max_per_source",
            "rate",
            "connection_rate",
            "max_failures",
        ),
        *("failure_pause", "send_proxy", "transparent", "congestion", "health", "reuse_port"),
    )
    access: dict[str, dict[str, list[str]]] = {
        "all": {},
        "allow": {"allow": ["127.0.0.0/23", "10.0.0.0/8"]},
        "deny": {"deny": ["127.0.2.0/24"]},
    }
    listen = {"ipv4": "127.0.0.1:0", "ipv6": "[::1]:0", "unix": f"unix:{room}/listener"}[row["listen"]]
    rule = {
        "listen": listen,
        "upstreams": places,
        **{name: row[name] for name in same},
        **access[row["access"]],
        "trust_proxy": ["127.0.1.0/24"] if row["trust_proxy"] else [],
    }
    return {"rule": rule, **{name: row[name] for name in ("engine", "threads", "spin", "record")}}
