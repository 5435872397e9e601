"""Health checks of upstreams: the addresses of an upstream are raced, as by its connections.

A shortage on this machine (descriptors, memory, ports) does not change an upstream's health.
"""

import errno
from _collections_abc import Callable, Mapping, Sequence
from socket import AddressFamily

from fastnet._connect import NoneReached, race
from fastnet._forward.rule import Rule, health_target
from fastnet._steps import Steps, Together, run
from fastnet._typing import Any, cast
from fastnet._wait.checks import CHECKS, Check, Checker
from fastnet._wait.fault import Fault
from fastnet._wait.targets import parse_target
from fastnet.endpoints import Endpoint, Resolved, UnixEndpoint

Upstream = Endpoint | UnixEndpoint
Note = Callable[[Upstream, str | None], None]
"""Takes an upstream and the reason if it is not healthy, else None."""

_SHORTAGES = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EADDRNOTAVAIL),
        errno.EAGAIN,  # A ready socket has no data after all.
    }
)


def check_upstreams(rule: Rule, addresses: Mapping[Upstream, Sequence[tuple[int, Any]]], note: Note) -> None:
    """Check all of them at once by the rule's check, and report each result as soon as it is known.

    Raises OSError where nothing can be checked now.
    """
    # Of a URL is asked for what it names, whatever the check.
    check = cast(Check, rule.health if rule.health in CHECKS else "connect")
    checker = Checker(check, rule.health_timeout, None)

    def check_one(upstream: Upstream) -> Steps[None]:
        target = parse_target(health_target(rule.health, upstream))
        resolved = [Resolved(AddressFamily(family), address) for family, address in addresses[upstream]]
        try:
            yield from race(resolved, lambda address: checker.check(target, address))
        except NoneReached as error:
            if not any(_is_shortage(failure.error) for failure in error.failures):
                note(upstream, str(error))
        else:
            note(upstream, None)

    run(_all([check_one(upstream) for upstream in addresses]))


def _all(checks: list[Steps[None]]) -> Steps[None]:
    with Together[None]() as running:
        for steps in checks:
            running.start(steps)
        while running.running:
            if not [*running.advance()]:
                yield running.wait()


def _is_shortage(error: OSError) -> bool:
    return error.errno in _SHORTAGES and not (isinstance(error, Fault) and error.is_known)
