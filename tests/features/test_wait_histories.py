"""Random histories: servers that do something else each time, against what that means."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import time
from collections.abc import Callable

import pytest
from services import PATIENCE, RESET, Make

from fastnet._wait import Outcome, wait_stream
from fastnet._wait.checks import Check

UP, DOWN, UNKNOWN = "up", "down", "unknown"
ATTEMPT = 0.15
OK = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"

Handle = Callable[[socket.socket], None]


def do(data: bytes = b"", then: str = "keep", *, ask: bool = False) -> Handle:
    """Read a request to ``ask``, send this, and then keep, close or reset the connection, or drip on it."""

    def handle(sock: socket.socket) -> None:
        if ask:
            sock.recv(4096)
        sock.sendall(data)
        if then == "drip":
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(b"a")
                    time.sleep(0.01)
        if then == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if then != "keep":
            sock.close()

    return handle


def http(data: bytes = b"", then: str = "keep") -> Handle:
    return do(data, then, ask=True)


MEANINGS: dict[str, list[tuple[Handle, str]]] = {
    "connect": [(do(), UP), (do(then="close"), UP), (do(then="reset"), UP), (do(b"220\r\n"), UP)],
    # A connection must stay open for longer than these tests take.
    "stable": [(do(), UNKNOWN), (do(then="close"), DOWN), (do(then="reset"), DOWN), (do(b"220\r\n"), UP)],
    "banner": [
        *((do(), UNKNOWN), (do(then="close"), DOWN), (do(then="reset"), DOWN)),
        *((do(b"2"), UP), (do(b"220\r\n", "close"), UP), (do(b"\0"), UP)),
    ],
    "http": [
        *((http(OK), UP), (http(OK, "close"), UP), (http(HINTS + OK), UP), (http(OK + b"body", "drip"), UP)),
        *(
            (http(b"HTTP/1.1 302 Found\r\n\r\n"), UP),
            (http(b"HTTP/1.1 200\n\n"), UP),
            (http(OK[:-2], "close"), UP),
        ),
        *((http(then="close"), DOWN), (http(then="reset"), DOWN), (do(then="close"), DOWN)),
        *((http(HINTS, "close"), DOWN), (http(OK[:-2], "reset"), DOWN), (http(OK[:12], "close"), DOWN)),
        *((http(b"HTTP/1.1 500 X\r\n\r\n"), DOWN), (http(HINTS + b"HTTP/1.1 404 X\r\n\r\n"), DOWN)),
        # Something answers, but not in HTTP/1.
        *((http(b"SSH-2.0-x\r\n"), UNKNOWN), (http(b"HTTP/1.1 20x OK\r\n\r\n"), UNKNOWN)),
        (do(b"\xff\0"), UNKNOWN),
        *((http(), UNKNOWN), (http(HINTS), UNKNOWN), (http(OK[:9]), UNKNOWN), (http(OK[:-2]), UNKNOWN)),
        *((http(OK[:-2], "drip"), UNKNOWN), (http(HINTS[:-2], "drip"), UNKNOWN)),
    ],
}


class History:
    """A service that does one thing of a list with each connection, and for ever the last."""

    def __init__(self, service: Make, check: str, acts: list[tuple[Handle, str]]) -> None:
        self._acts = acts
        self._connections = itertools.count()
        where = service(self._handle).target
        self.target = f"http://{where}/" if check == "http" else where

    def _handle(self, sock: socket.socket) -> None:
        self._act(next(self._connections))[0](sock)

    def _act(self, connection: int) -> tuple[Handle, str]:
        return self._acts[min(connection, len(self._acts) - 1)]

    def meaning(self, attempt: int) -> str:
        """What the n-th attempt met, from 1."""
        return self._act(attempt - 1)[1]


def watch_all(histories: list[History], timeout: float, check: str, gone: bool) -> dict[str, Outcome]:
    kind: Check = "connect" if check == "http" else check  # type: ignore[assignment]
    options = {"interval": 0.01, "attempt_timeout": ATTEMPT}
    targets = [history.target for history in histories]
    outcomes = list(wait_stream(targets, timeout, check=kind, gone=gone, **options))  # type: ignore[arg-type]
    assert sorted(outcome.target for outcome in outcomes) == sorted(targets)
    return {outcome.target: outcome for outcome in outcomes}


@pytest.fixture(autouse=True)
def _stable_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late this machine lets a server close, it is not taken for a stable one."""
    monkeypatch.setattr("fastnet._wait.checks.STABLE_SECONDS", 10 * PATIENCE)


def acts_of(check: str, gone: bool) -> tuple[list[tuple[Handle, str]], list[tuple[Handle, str]]]:
    """Those that mean what is wanted, and the others."""
    wanted = DOWN if gone else UP
    acts = MEANINGS[check]
    return [act for act in acts if act[1] == wanted], [act for act in acts if act[1] != wanted]


CASES = [(check, gone) for check in MEANINGS for gone in (False, True)]
SEEDS = pytest.mark.parametrize("seed", range(4))


@pytest.mark.parametrize(("check", "gone"), [case for case in CASES if acts_of(*case)[0]])
@SEEDS
def test_what_is_wanted_is_found_and_nothing_else_is_taken_for_it(
    service: Make, seed: int, check: str, gone: bool
) -> None:
    draw = random.Random(f"{seed} {check} {gone}")
    wanted, others = acts_of(check, gone)
    if check == "stable":  # what is open for long holds the next one up
        others = [act for act in others if act[1] != UNKNOWN]
    histories = [
        History(service, check, [*draw.choices(wanted + others, k=draw.randrange(6)), draw.choice(wanted)])
        for _ in range(8)
    ]
    outcomes = watch_all(histories, 3 * PATIENCE, check, gone)
    for history in histories:
        outcome = outcomes[history.target]
        assert outcome.ready
        assert (outcome.address is None) == gone
        assert history.meaning(outcome.attempts) == wanted[0][1]


@pytest.mark.parametrize(("check", "gone"), [case for case in CASES if acts_of(*case)[1]])
@SEEDS
def test_what_never_happens_is_never_found(service: Make, seed: int, check: str, gone: bool) -> None:
    """At whatever moment the time is up."""
    draw = random.Random(f"{seed} {check} {gone} never")
    _, others = acts_of(check, gone)
    histories = [History(service, check, draw.choices(others, k=6)) for _ in range(8)]
    outcomes = watch_all(histories, draw.uniform(0.2, 1.2), check, gone)
    assert not any(outcome.ready for outcome in outcomes.values())
