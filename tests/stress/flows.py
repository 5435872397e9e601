"""One round of datagrams: a forwarder with a row of options, and the clients around it.

A datagram may be lost. But what arrives was sent, once, to whom it arrives at; and whoever goes on asking is
answered, also when there are more clients than the forwarder has descriptors, and when a shortage is over.
"""

from __future__ import annotations

import random
from typing import Any

from faults import Faults

from .datagrams import Client, Flows, Upstream
from .lives import DENIED
from .reactor import Reactor
from .rounds import Plan
from .targets import Failed, Refused, Target
from .windows import Windows

UPSTREAM = "127.0.0.3"
"""Their address, so that no client gets the port of one that has died."""
AT_A_TIME = 60
PATIENCE = 6.0
"""Seconds in which who asks again and again is answered."""
FEW = 40
"""Descriptors that are left to the process where there are few."""


class FlowRound:
    """A round as it is run; ``problems`` is what was wrong."""

    def __init__(self, reactor: Reactor, target: Target, plan: Plan, faults: Faults | None = None) -> None:
        self._reactor = reactor
        self._target = target
        self.plan = plan
        self._row = row = plan.row
        self._dice = random.Random(f"{plan.seed}/round")
        self.windows = Windows(reactor, faults, plan.faults)
        self.problems: list[str] = []
        self.world = Flows(reactor, 60_000 if row["sizes"] == "all" else 600)
        self._waiting = list(reversed(plan.lives))
        self._asking: set[Client] = set()
        self._changed = False
        self.world.on_served = self._asking.discard

    def run(self) -> list[str]:
        host = "[::1]" if self._row["listen"] == "ipv6" else "127.0.0.1"
        bare = host.strip("[]")
        self._upstreams = [Upstream(self._reactor, UPSTREAM, self.world) for _ in range(2)]
        self._limit: tuple[int, int] | None = None
        try:
            self._start(host, bare)
            self._burst()
            self._live()
            self._conclude()
        except Failed as failure:
            self.problems.insert(0, str(failure))
        finally:
            self.windows.close()
            self._have_many()
            for client in self.world.clients.values():
                client.close()
            for upstream in self._upstreams:
                upstream.close()
        self.world.check_misled()
        self.problems += self.world.wrongs
        return self.problems

    def history(self, named: set[int]) -> list[str]:
        """What the clients of these numbers did."""
        return [str(client) for number, client in self.world.clients.items() if number in named]

    def _places(self) -> list[str]:
        places = [upstream.place for upstream in self._upstreams]
        if self._row["upstreams"] == "refused first":
            self._upstreams[0].die()
            return places
        return places if self._row["upstreams"] == "two" else places[:1]

    def _start(self, host: str, bare: str) -> None:
        row = self._row
        same = ("max_connections", "idle_timeout", "rate", "policy", "failure_pause", "reuse_port")
        rule = {
            "listen": f"{'[::]' if ':' in host else '0.0.0.0'}:0" if row["wildcard"] else f"{host}:0",
            "upstreams": self._places(),
            "protocol": "udp",
            **{name: row[name] for name in same},
            **({"deny": ["127.0.2.0/24"]} if row["access"] == "deny" else {}),
        }
        if row["reuse_port"]:
            rule["listen"] = f"{host}:0"
        settings = {name: row[name] for name in ("threads", "record")}
        (address,) = self._target.ask("start", rule=rule, engine="auto", spin=0.0, **settings)
        self._bare = bare
        self._place = (bare, int(address.rpartition(":")[2]))
        if row["descriptors"] == "few":
            self._limit = self._target.leave_descriptors(FEW)

    def _have_many(self) -> None:
        if self._limit:
            self._target.allow_descriptors(self._limit)
        self._limit = None

    # Traffic

    def _new(self, number: int) -> Client:
        denied = self._row["access"] == "deny" and self._dice.random() < 0.1 and self._bare == "127.0.0.1"
        host = f"{DENIED}{1 + number % 20}" if denied else self._bare
        client = self.world.clients[number] = Client(number, self.world, self.plan.seed, host, self._place)
        if denied:
            self.world.denied.add(number)
        else:
            self._asking.add(client)
        return client

    def _burst(self) -> None:
        """Many new clients at once: each one's first datagram arrives, unless something is short."""
        row = self._row
        if not row["burst"]:
            return
        clients = [self._new(number) for number in self._waiting]
        self._waiting.clear()
        for client in clients:
            client.begin()
        calm = not (row["rate"] or self.plan.faults) and row["max_connections"] > len(clients)
        if not calm or row["descriptors"] == "few" or row["upstreams"] != "one" or row["sizes"] == "all":
            return
        due = {client.number for client in clients if client in self._asking}
        self._reactor.run_until(lambda: due <= {number for number, at in self.world.questions if at == 0}, 3)
        if lost := due - {number for number, at in self.world.questions if at == 0}:
            self.problems.append(
                f"the first datagrams of {len(lost)} clients of {len(due)} were lost: {sorted(lost)[:8]}"
            )

    def _live(self) -> None:
        half = len(self.plan.lives) // 2
        self.windows.begin()
        while self._waiting:
            while self._waiting and len(self._asking) < AT_A_TIME:
                self._new(self._waiting.pop()).begin()
            if not self._changed and len(self._waiting) <= half:
                self._changed = True
                self._change()
            if len(self._waiting) < half // 2:
                self.windows.close()
            self._reactor.run_until(lambda: len(self._asking) < AT_A_TIME, 0.02)
            self._check()
        self.windows.close()
        self._reactor.run_until(lambda: not self._asking or bool(self._late()), PATIENCE + 2)
        self._check()

    def _late(self) -> list[Client]:
        now = self._reactor.now
        return [
            client for client in self._asking if client.asked_since and now - client.asked_since > PATIENCE
        ]

    def _check(self) -> None:
        if not self._target.alive:
            raise Failed(self._target.obituary())
        if late := self._late():
            raise Failed(
                "\n".join(
                    [f"{len(late)} clients ask for {PATIENCE:g} s without success", *map(str, late[:8])]
                )
            )
        if self.world.wrongs:
            raise Failed("what arrived is wrong")

    def _change(self) -> None:
        change = self._row["change"]
        try:
            if change == "set_upstream":
                self._upstreams[1].revive()
                self._target.ask("set_upstream", upstreams=[self._upstreams[1].place])
            elif change == "reload":
                self._target.ask("reload", changes={"idle_timeout": self._row["idle_timeout"] or 50.0})
        except Refused:
            # Nothing has changed then.
            if not self.windows.any_lately and self._row["descriptors"] != "few":
                raise
        if change == "upstreams die":
            alive = self._upstreams[1 if self._row["upstreams"] == "refused first" else 0]
            alive.die()
            self._reactor.later(0.2, alive.revive)

    # The end

    def _conclude(self) -> None:
        row, target = self._row, self._target
        self._have_many()
        if row["finish"] == "drain":
            target.ask("drain", seconds=20)
        else:
            target.ask("stop")
        target.ask("wait")
        stats = target.ask("stats")
        if stats["active"]:
            self.problems.append(f"{stats['active']} flows are counted as active, all have ended")
        for name, received in (("up", self.world.received_up), ("down", self.world.received_down)):
            if received > stats[f"sent_{name}"]:
                self.problems.append(f"{received} bytes {name} were received, {stats[f'sent_{name}']} sent")
        if row["record"]:
            self._check_records(target.ask("records"), target.ask("lost_records"), stats)

    def _check_records(self, records: list[dict[str, Any]], lost: int, stats: dict[str, int]) -> None:
        if len(records) + lost != stats["accepted"]:
            self.problems.append(f"{len(records)} records and {lost} lost of {stats['accepted']} flows")
        for name in ("up", "down"):
            total = sum(record[name] for record in records)
            if total != stats[f"sent_{name}"] and not lost:
                self.problems.append(f"records: {total} bytes {name}, counters: {stats[f'sent_{name}']}")
