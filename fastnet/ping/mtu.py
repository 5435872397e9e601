"""The largest packet that goes all the way to a host whole: path-MTU discovery (RFC 1191, RFC 8201)."""

import errno
import socket
import time
from contextlib import closing
from typing import Any, NamedTuple

from fastnet._backend import probe as _core
from fastnet._limits import bounded, check_seconds
from fastnet._steps import READABLE, Steps, Wait, run
from fastnet.endpoints import Resolved, resolve
from fastnet.ping.pinger import source_of
from fastnet.ping.reasons import TOO_BIG, explain, explain_refusal, has_arrived

_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""Before the payload: IP without options, and ICMP or UDP."""
_SMALLEST = {socket.AF_INET: 68, socket.AF_INET6: 1280}
"""What every link passes whole (RFC 791, RFC 8200)."""
_LARGEST = 65535
_USUAL = 1500


class PathMTU(NamedTuple):
    """What is known of a path's MTU."""

    host: str
    """The host as it was asked for."""
    address: str
    engine: str
    mtu: int | None
    """In bytes, IP header included; None where the host does not answer at all."""
    limits: tuple[tuple[str, int], ...]
    """Routers that said a packet was too big, and the MTU of the link behind each."""
    error: str | None
    """Why there is no MTU."""

    def __str__(self) -> str:
        """In words: ``path MTU 1400, 1400 behind 10.0.0.1``."""
        if self.mtu is None:
            return f"no MTU: {self.error}"
        limits = "".join(f", {mtu} behind {router}" for router, mtu in self.limits)
        return f"path MTU {self.mtu}{limits}"


class _Verdict(NamedTuple):
    arrived: bool
    limit: tuple[str, int] | None = None
    error: str = "no answer"


def path_mtu(
    host: str,
    timeout: float = 1.0,
    *,
    retries: int = 2,
    source: str | None = None,
    family: int = socket.AF_UNSPEC,
    engine: str = "auto",
    **options: Any,
) -> PathMTU:
    """Search for the size at which packets that must not be fragmented still arrive.

    Each size is tried up to ``retries`` more times, ``timeout`` seconds each: a router that drops what is too
    big and says nothing costs that much a step. ``engine`` may be ``udp``, which needs no privilege;
    ``options`` are ``interface``, ``mark`` and ``tos``, as of ``Pinger``. Raises what ``ping`` does.
    """
    check_seconds("timeout", timeout, 0.001)
    bounded("retries", retries, 0, 100)
    family, options["source"] = source_of(source, family)
    found = resolve(host, family=family)[0]
    return run(search(host, found, timeout, retries, engine, options))


def search(
    host: str, to: Resolved, timeout: float, retries: int, engine: str, options: dict[str, Any]
) -> Steps[PathMTU]:
    """The steps of ``path_mtu``, its host resolved."""
    with closing(_core.Prober(to.family, engine, **options)) as prober:
        engine = prober.engine
    low, high, size = 0, _LARGEST, _SMALLEST[to.family]
    limits: list[tuple[str, int]] = []
    hint = _USUAL
    while low < high:
        verdict = yield from _try(to, size, timeout, retries, engine, options)
        if verdict.arrived:
            low = size
        elif not low:
            return PathMTU(host, to.host, engine, None, (), verdict.error)
        else:
            high = size - 1
            if verdict.limit:
                limits.append(verdict.limit)
                # A router that knows no RFC 1191 says 0; and none is believed that contradicts what was seen.
                if low <= verdict.limit[1] <= high:
                    high = hint = verdict.limit[1]
        size = hint if low < hint <= high else (low + high + 1) // 2
    return PathMTU(host, to.host, engine, low, tuple(limits), None)


def _try(
    to: Resolved, size: int, timeout: float, retries: int, engine: str, options: dict[str, Any]
) -> Steps[_Verdict]:
    """Whether a packet of this size arrives whole."""
    payload = size - _HEADERS[to.family]
    verdict = _Verdict(False)
    with closing(_core.Prober(to.family, engine, size=payload, dont_fragment=True, **options)) as prober:
        for tag in range(retries + 1):
            deadline = time.monotonic() + timeout
            try:
                prober.send(to.address, tag, timeout)
            except OSError as error:
                verdict = _Verdict(False, error=f"not sent: {explain_refusal(error.errno or 0)}")
                if error.errno == errno.EMSGSIZE:
                    return verdict
                continue
            while (yield Wait(prober.fileno(), READABLE, deadline)):
                for answer in prober.receive():
                    verdict = _judge(to, answer)
                    if verdict.arrived or verdict.limit:
                        return verdict
    return verdict


def _judge(to: Resolved, answer: "_core.Answer") -> _Verdict:
    if has_arrived(to, answer):
        return _Verdict(True)
    error = explain(to.family, answer)
    if answer.error in TOO_BIG:
        return _Verdict(False, (answer.responder, answer.info), error)
    return _Verdict(False, error=error)
