"""Options of a round: rows in which every two values of different options meet."""

from __future__ import annotations

import random
from itertools import combinations, product
from typing import Any

Row = dict[str, Any]

OPTIONS: dict[str, tuple[Any, ...]] = {
    "engine": ("auto", "splice", "copy"),
    "threads": (1, 2),
    "spin": (0.0, 0.001),
    "record": (True, False),
    "listen": ("ipv4", "ipv6", "unix"),
    "upstreams": ("one", "two", "refused first", "black hole first", "name", "unix", "dying"),
    "policy": ("round-robin", "least-connections"),
    "rewrite_host": (False, True, "always"),
    "rewrite_responses": (False, True),
    "connect_timeout": (10.0, 0.3),
    "head_timeout": (10.0, 0.3),
    "idle_timeout": (0.0, 0.4),
    "half_closed_timeout": (0.0, 0.3),
    "max_connections": (4096, 8),
    "max_per_source": (0, 3),
    "rate": (0, 20_000_000),
    "connection_rate": (0, 4_000_000),
    "max_failures": (3, 1),
    "failure_pause": (10.0, 0.1),
    "access": ("all", "allow", "deny"),
    "send_proxy": (0, 1, 2),
    "trust_proxy": (False, True),
    "transparent": (False, True),
    "congestion": ("", "reno"),
    "health": ("", "connect"),
    "reuse_port": (False, True),
    "traffic": ("mixed", "bulk"),
    "interrupted": (False, True),
    "urgent": (False, True),
    "shortage": (False, True),
    "descriptors": ("many", "few"),
    "change": ("nothing", "set_upstream", "reload", "upstreams die"),
    "finish": ("calm", "calm", "drain", "stop"),
}
"""What each may be, its plainest value first. ``change`` is what happens meanwhile, ``finish`` how it ends.
An ``interrupted`` process is stopped now and then, so that much happens at once when it goes on; in a
``shortage`` some of its calls of the system fail for a while, again and again; with ``few`` descriptors it
can't serve all clients at once."""

DEFAULTS: Row = {name: values[0] for name, values in OPTIONS.items()}

FLOW_OPTIONS: dict[str, tuple[Any, ...]] = {
    "protocol": ("udp",),
    "threads": (1, 2),
    "record": (True, False),
    "listen": ("ipv4", "ipv6"),
    "wildcard": (False, True),
    "upstreams": ("one", "two", "refused first"),
    "policy": ("round-robin", "least-connections"),
    "idle_timeout": (0.0, 0.2),
    "max_connections": (4096, 30),
    "rate": (0, 4_000_000),
    "failure_pause": (10.0, 0.1),
    "access": ("all", "deny"),
    "reuse_port": (False, True),
    "sizes": ("small", "all"),
    "burst": (False, True),
    "descriptors": ("many", "few"),
    "shortage": (False, True),
    "change": ("nothing", "set_upstream", "reload", "upstreams die"),
    "finish": ("stop", "drain"),
}
"""The same of rounds of datagrams; ``burst``: all clients begin at once."""


def options_of(row: Row) -> dict[str, tuple[Any, ...]]:
    """What could be chosen for this row."""
    return FLOW_OPTIONS if row.get("protocol") == "udp" else OPTIONS


def defaults_of(row: Row) -> Row:
    return {name: values[0] for name, values in options_of(row).items()}


def is_possible(row: Row) -> bool:
    """Whether these options, perhaps not all of them, can be asked for together."""
    return not any(all(row.get(name) == value for name, value in pair.items()) for pair in _IMPOSSIBLE)


_IMPOSSIBLE: tuple[Row, ...] = (
    {"rewrite_responses": True, "rewrite_host": False},
    # It would take ten seconds for each of many.
    {"upstreams": "black hole first", "connect_timeout": 10.0},
    # The client's address and the upstream's must be of one family.
    *({"transparent": True, "listen": listen} for listen in ("ipv6", "unix")),
    *({"transparent": True, "upstreams": upstreams} for upstreams in ("unix", "name")),
    # A PROXY header names an address that this machine has not.
    {"transparent": True, "trust_proxy": True},
    # A Unix socket has no port, and its clients no address.
    *({"listen": "unix", name: value} for name, value in (("reuse_port", True), ("congestion", "reno"))),
    # Urgent data is TCP's, and HTTP knows none.
    *({"urgent": True, "rewrite_host": rewrite} for rewrite in (True, "always")),
    {"urgent": True, "rewrite_responses": True},
    *({"traffic": "bulk", name: value} for name, value in (("urgent", True), ("rate", 20_000_000))),
    {"traffic": "bulk", "connection_rate": 4_000_000},
    *({"urgent": True, name: "unix"} for name in ("listen", "upstreams")),
    # The second socket of a connection may not be had in time.
    *({"descriptors": "few", "connect_timeout": 0.3, "upstreams": kind} for kind in ("name", "two")),
    *({"descriptors": "few", "connect_timeout": 0.3, "change": what} for what in ("set_upstream", "reload")),
    {"descriptors": "few", "upstreams": "black hole first"},
    *({"listen": listen, "trust_proxy": True} for listen in ("unix", "ipv6")),
    *({"listen": listen, "access": access} for listen in ("unix", "ipv6") for access in ("allow", "deny")),
    *({"listen": listen, "max_per_source": 3} for listen in ("unix", "ipv6")),
)

Pair = tuple[tuple[str, Any], tuple[str, Any]]


def _pair(one: tuple[str, Any], other: tuple[str, Any]) -> Pair:
    return (one, other) if one[0] < other[0] else (other, one)


def _pairs(row: Row) -> set[Pair]:
    return {_pair(*pair) for pair in combinations(row.items(), 2)}


def all_pairs() -> set[Pair]:
    """Every two values of different options that can meet."""
    return {
        _pair((one, a), (other, b))
        for (one, some), (other, more) in combinations(OPTIONS.items(), 2)
        for a, b in product(some, more)
        if is_possible({one: a, other: b})
    }


def rows(dice: random.Random) -> list[Row]:
    """Rows that cover all pairs, in random order: greedily, each value the one that adds most pairs."""
    missing = all_pairs()
    result = []
    while missing:
        row: Row = dict(dice.choice(sorted(missing, key=repr)))
        for name in dice.sample([*OPTIONS], len(OPTIONS)):
            if name in row:
                continue
            values = dice.sample(OPTIONS[name], len(OPTIONS[name]))
            fitting = [value for value in values if is_possible({**row, name: value})]
            row[name] = max(fitting, key=lambda value: _gain(row, name, value, missing))
        missing -= _pairs(row)
        result.append(row)
    dice.shuffle(result)
    return result


def _gain(row: Row, name: str, value: Any, missing: set[Pair]) -> int:
    return sum(_pair((other, theirs), (name, value)) in missing for other, theirs in row.items())


def described(row: Row) -> str:
    """What differs from the defaults."""
    defaults = {**defaults_of(row), "protocol": "tcp"}
    return (
        ", ".join(f"{name}={value}" for name, value in row.items() if value != defaults[name]) or "defaults"
    )
