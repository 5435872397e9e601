"""Wait until a TCP or Unix-domain service is ready, or until it is gone.

A service is *up* when a fresh connection to one of its addresses passes the check. ``check="stable"``, the
default, wants the connection to stay open for a moment: a proxy that accepts for a service that is not
there yet, and then closes, does not count. Each attempt has its own time-out, so that dropped SYNs don't
hide a service that comes up later, and names are resolved anew for each round.
"""

import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from fastnet._backend import unix as _unix
from fastnet._callable import make_callable
from fastnet._limits import check_seconds
from fastnet._threads import Work
from fastnet.endpoints import Endpoint, parse_endpoint, parse_unix, resolve
from fastnet.errors import InvalidArgument, NameNotResolved, WaitTimeout

__all__ = [
    "CHECKS",
    "Options",
    "Outcome",
    "Ready",
    "check_target",
    "raise_if_late",
    "wait",
    "wait_all",
    "wait_all_async",
    "wait_async",
    "watch",
]

Check = Literal["connect", "stable", "banner"]
CHECKS = ("connect", "stable", "banner")
"""Whether a connection must be accepted, stay open for a moment, or bring data from the server."""

STABLE_SECONDS = 0.2
"""How long a connection must stay open to count as stable; data from the server ends it at once."""

_BACK_OFF = 1.5
_LONGEST_PAUSE = 1.0
_STATUS_LINE_LIMIT = 1024
# How much longer than the deadline a thread is waited for: it may hang in the resolver.
_SLACK = 0.25
_CLOSES = "accepts, then closes at once"


class Ready(NamedTuple):
    """What was waited for has happened."""

    target: str
    """The target as it was given."""
    address: str | None
    """The numeric address (or path) that is up; None where the wait was for the service to go."""
    attempts: int
    """Rounds over the target's addresses."""
    waited_s: float
    """Seconds since the wait began."""


class Outcome(NamedTuple):
    """How things stand with one target: ``ready``, or the last ``reason`` why not."""

    target: str
    ready: bool
    address: str | None
    reason: str | None
    attempts: int
    waited_s: float


class Options(TypedDict, total=False):
    """What every wait takes besides its targets and its timeout; all times are in seconds."""

    gone: bool
    """Wait until no address of the target is up any more, instead of until one is."""
    check: Check
    """One of ``CHECKS``; "stable" unless given."""
    interval: float
    """Time between rounds at first, 0.1; it grows by half each time, up to a second."""
    attempt_timeout: float
    """Time for each connect and each answer, 1."""
    family: int
    """``socket.AF_INET`` or ``AF_INET6`` alone; both unless given."""


def wait(target: str, timeout: float | None = 30.0, **options: Unpack[Options]) -> Ready:
    """Wait until one target is up (or gone); takes and raises what ``wait_all`` does."""
    return wait_all([target], timeout, **options)[0]


def wait_all(targets: list[str], timeout: float | None = 30.0, **options: Unpack[Options]) -> list[Ready]:
    """Wait until every target is up, or with ``gone`` until none is; the results are in the same order.

    A target is ``"HOST:PORT"``, ``"unix:/path"`` (``unix:@name`` for an abstract one), or
    ``"http://HOST[:PORT]/path"``, which is up when it answers a GET with a status of 200 to 399. All
    addresses of a host are tried each round; a name that does not resolve yet is not up yet. ``timeout``
    is in seconds, for everything; None is no limit. ``Options`` says what else there is.

    Raises WaitTimeout with the last reason for each target that was not ready, InvalidArgument for a target
    or an option that can't be meant.
    """
    return _Wait(targets, timeout, **options).ready()


async def wait_async(target: str, timeout: float | None = 30.0, **options: Unpack[Options]) -> Ready:
    """``wait`` as a coroutine; cancelling it ends the wait."""
    return (await wait_all_async([target], timeout, **options))[0]


async def wait_all_async(
    targets: list[str], timeout: float | None = 30.0, **options: Unpack[Options]
) -> list[Ready]:
    """``wait_all`` as a coroutine, in threads of its own; cancelling it ends the wait."""
    waiting = _Wait(targets, timeout, **options)
    return await Work(waiting.ready, "fastnet-wait").result_async(cancel=waiting.stop)


def watch(
    targets: list[str],
    timeout: float | None = 30.0,
    progress: Callable[[Outcome], None] | None = None,
    **options: Unpack[Options],
) -> Iterator[Outcome]:
    """The outcome of each target when it is ready, and when the time is up of those that are not.

    Takes what ``wait_all`` does, and raises nothing for what is not ready. ``progress`` is called with what
    is known of a target after each round that did not find it ready.
    """
    return _Wait(targets, timeout, **options).outcomes(progress)


def raise_if_late(outcomes: Iterable[Outcome]) -> None:
    """Raise WaitTimeout if any of the outcomes is not ready, with the reason for each."""
    late = [outcome for outcome in outcomes if not outcome.ready]
    if late:
        reasons = "; ".join(f"{outcome.target}: {outcome.reason}" for outcome in late)
        raise WaitTimeout(f"time is up after {max(outcome.waited_s for outcome in late):.1f} s: {reasons}")


def check_target(text: str) -> str:
    """The text, if it is a target of ``wait``. Raises InvalidArgument."""
    _parse(text)
    return text


class _Target(NamedTuple):
    """A parsed target: an endpoint, and what to GET there where it is a URL; or a Unix-domain address."""

    text: str
    endpoint: Endpoint | None
    unix: str = ""
    get: str = ""


class _Wait:
    """One wait: a thread for each target, since resolving a name can't be interrupted."""

    def __init__(
        self,
        targets: list[str],
        timeout: float | None,
        *,
        gone: bool = False,
        check: Check = "stable",
        interval: float = 0.1,
        attempt_timeout: float = 1.0,
        family: int = socket.AF_UNSPEC,
    ) -> None:
        if isinstance(targets, str) or not targets:
            raise InvalidArgument("no targets: expected a list of one or more")
        if check not in CHECKS:
            raise InvalidArgument(f"check {check!r}: expected one of {', '.join(CHECKS)}")
        check_seconds("timeout", timeout, 0.001)
        check_seconds("interval", interval, 0.001)
        check_seconds("attempt_timeout", attempt_timeout, 0.001)
        self._targets = [_parse(text) for text in targets]
        self._gone = gone
        self._check = check
        self._interval = interval
        self._attempt_timeout = attempt_timeout
        self._family = family
        self._started = time.monotonic()
        self._deadline = self._started + (math.inf if timeout is None else timeout)
        self._stop = threading.Event()
        # (index of the target, its outcome so far; None where its thread has given up).
        self._news: queue.SimpleQueue[tuple[int, Outcome | None]] = queue.SimpleQueue()

    def ready(self) -> list[Ready]:
        outcomes = {outcome.target: outcome for outcome in self.outcomes(None)}
        raise_if_late(outcomes.values())
        ordered = [outcomes[target.text] for target in self._targets]
        return [Ready(one.target, one.address, one.attempts, one.waited_s) for one in ordered]

    def stop(self) -> None:
        """End the wait as if the time was up; from any thread."""
        self._stop.set()
        for index in range(len(self._targets)):
            self._news.put((index, None))

    def outcomes(self, progress: Callable[[Outcome], None] | None) -> Iterator[Outcome]:
        waiting = {
            index: Outcome(target.text, False, None, "its name is still being resolved", 0, 0.0)
            for index, target in enumerate(self._targets)
        }
        for index in waiting:
            threading.Thread(target=self._watch, args=(index,), name="fastnet-wait", daemon=True).start()
        try:
            while waiting:
                index, outcome = self._next()
                if index not in waiting:
                    continue
                if outcome is None:
                    yield waiting.pop(index)._replace(waited_s=self._waited())
                elif outcome.ready:
                    del waiting[index]
                    yield outcome
                else:
                    waiting[index] = outcome
                    if progress:
                        progress(outcome)
        except queue.Empty:
            for late in waiting.values():
                yield late._replace(waited_s=self._waited())
        finally:
            self._stop.set()

    def _next(self) -> tuple[int, Outcome | None]:
        left = self._deadline + _SLACK - time.monotonic()
        return self._news.get(timeout=None if left == math.inf else max(0.0, left))

    def _waited(self) -> float:
        return time.monotonic() - self._started

    def _watch(self, index: int) -> None:
        """Try one target round by round until it is as it should be, or the time is up."""
        target = self._targets[index]
        pause = self._interval
        attempts = 0
        while not self._stop.is_set() and time.monotonic() < self._deadline:
            attempts += 1
            address, reason = self._round(target)
            ready = (address is None) == self._gone
            if self._gone and not ready:
                reason = f"{address} is up"
            self._news.put((index, Outcome(target.text, ready, address, reason, attempts, self._waited())))
            if ready:
                return
            self._stop.wait(max(0.0, min(pause, self._deadline - time.monotonic())))
            pause = min(pause * _BACK_OFF, max(self._interval, _LONGEST_PAUSE))
        self._news.put((index, None))

    def _round(self, target: _Target) -> tuple[str | None, str | None]:
        """The first address of the target that is up, or the reason why none is."""
        try:
            addresses = self._addresses(target)
        except NameNotResolved as error:
            return None, str(error)
        reasons = []
        for family, address, name in addresses:
            reason = self._attempt(target, family, address)
            if reason is None:
                return name, None
            reasons.append(reason)
        return None, ", ".join(dict.fromkeys(reasons))

    def _addresses(self, target: _Target) -> list[tuple[int, Any, str]]:
        if target.endpoint is None:
            return [(socket.AF_UNIX, _unix.unix_address(target.unix), target.unix)]
        host, port = target.endpoint
        answers = resolve(host, port, family=self._family)
        return [(one.family, one.address, str(Endpoint(one.host, port))) for one in answers]

    def _attempt(self, target: _Target, family: int, address: Any) -> str | None:
        """Why a fresh connection to this address is not up; None where it is."""
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(self._patience())
                sock.connect(address)
                # A local port without a listener can be connected to itself (RFC 9293, section 3.5).
                if family != socket.AF_UNIX and sock.getsockname() == sock.getpeername():
                    return "connection refused"
                return self._fault(target, sock)
        except ConnectionResetError:
            # So soon, sometimes, that connecting itself fails; it was accepted even so.
            return None if self._check == "connect" and not target.get else _CLOSES
        except TimeoutError:
            return f"no answer within {self._attempt_timeout:g} s"
        except OSError as error:
            return error.strerror.lower() if error.strerror else str(error)

    def _patience(self) -> float:
        """Seconds that the next step of an attempt may take."""
        return max(0.001, min(self._attempt_timeout, self._deadline - time.monotonic()))

    def _fault(self, target: _Target, sock: socket.socket) -> str | None:
        """What is wrong with a service that accepted this connection; None where nothing is."""
        if target.get:
            return self._http_fault(target, sock)
        if self._check == "connect":
            return None
        stable = self._check == "stable"
        sock.settimeout(min(STABLE_SECONDS, self._patience()) if stable else self._patience())
        try:
            return None if sock.recv(1) else _CLOSES
        except TimeoutError:
            return None if stable else "accepts, but sends nothing"

    def _http_fault(self, target: _Target, sock: socket.socket) -> str | None:
        request = f"GET {target.get} HTTP/1.1\r\nHost: {target.endpoint}\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode("ascii"))
        until = time.monotonic() + self._patience()
        line = b""
        while b"\n" not in line and len(line) < _STATUS_LINE_LIMIT:
            sock.settimeout(max(0.001, until - time.monotonic()))
            data = sock.recv(_STATUS_LINE_LIMIT)
            if not data:
                break
            line += data
        version, _, rest = line.partition(b" ")
        status = rest[:3].decode("latin-1")
        if not (version.startswith(b"HTTP/1.") and status.isdigit()):
            return "answers, but not in HTTP" if line else _CLOSES
        return None if 200 <= int(status) < 400 else f"HTTP status {status}"


def _parse(text: str) -> _Target:
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() != "http":
        raise InvalidArgument(f"{text!r}: only http:// can be asked for: for another service write HOST:PORT")
    if separator:
        authority, _, path = rest.partition("/")
        if not path.isascii() or not path.isprintable() or " " in path:
            raise InvalidArgument(f"{text!r}: write other characters in a path as %XX")
        with_port = authority if authority.rpartition("]")[2].count(":") else f"{authority}:80"
        return _Target(text, _endpoint(with_port), get=f"/{path}")
    if text.startswith("unix:"):
        return _Target(text, None, unix=parse_unix(text.removeprefix("unix:")).path)
    return _Target(text, _endpoint(text))


def _endpoint(text: str) -> Endpoint:
    endpoint = parse_endpoint(text)
    if not endpoint.port:
        raise InvalidArgument(f"{text!r}: port 0 can't be connected to")
    if not _is_host(endpoint.host):
        raise InvalidArgument(f"{text!r}: {endpoint.host!r} is not a host name or an address")
    return endpoint


def _is_host(host: str) -> bool:
    """Whether this could be a host at all: what can't must not be waited for."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        elif host.rpartition(".")[2].isdigit():
            socket.inet_aton(host)
        else:
            host.encode("idna")
    except (OSError, UnicodeError):
        return False
    return host.isprintable() and not set(host) & set(" /?#@*")


make_callable(__name__)
