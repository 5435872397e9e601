"""All addresses of a name: the first that passes is the answer, and all must be known to fail to be gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
import json, socket, sys, threading
from contextlib import suppress
from fastnet._wait import wait_stream

def serve(listener, reply):
    while True:
        sock = listener.accept()[0]
        kept.append(sock)
        if reply and sock.recv(4096):
            with suppress(OSError):
                sock.sendall(reply)

roles, target, timeout, options = json.load(sys.stdin)
REPLIES = {"hangs": b"", "200": b"HTTP/1.1 200 OK\\r\\n\\r\\n", "503": b"HTTP/1.1 503 Later\\r\\n\\r\\n"}
kept = []
for address, role in roles:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    kept.append(listener)
    listener.bind((address, 8080))
    if role in REPLIES:
        listener.listen()
        threading.Thread(target=serve, args=(listener, REPLIES[role]), daemon=True).start()
    elif role == "silent":  # its queue is full: SYNs are dropped
        listener.listen(0)
        for _ in range(4):
            filler = socket.socket(listener.family)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            kept.append(filler)
(outcome,) = wait_stream([target], timeout, **options)
print(json.dumps([outcome.ready, outcome.address, outcome.reason]))
"""
LONG = 1000.0
TIME = 20.0

Outcome = tuple[bool, str | None, str | None]
Watch = Callable[..., Outcome]


@pytest.fixture
def watched(knowing: Callable[[str], tuple[str, ...]], python: Callable[..., Any]) -> Watch:
    """``watched({"127.0.0.2": "200"}, ...)``: the outcome for a name with these addresses, on port 8080."""

    def watch(roles: dict[str, str], *, http: bool = False, timeout: float = TIME, **options: Any) -> Outcome:
        prefix = knowing("".join(f"{address} some.example\n" for address in roles))
        target = "http://some.example:8080/" if http else "some.example:8080"
        told = json.dumps([list(roles.items()), target, timeout, options])
        ran = python("-c", SCRIPT, prefix=prefix, input=told)
        assert ran.returncode == 0, ran.stderr
        ready, address, reason = json.loads(ran.stdout)
        return ready, address, reason

    return watch


SILENT = {f"127.0.0.{number}": "silent" for number in range(91, 96)}


@pytest.mark.parametrize("http", [False, True], ids=["tcp", "http"])
def test_addresses_that_are_silent_do_not_take_the_time_of_one_that_answers(
    watched: Watch, http: bool
) -> None:
    roles = {**SILENT, "127.0.0.2": "200"}
    assert watched(roles, http=http, attempt_timeout=LONG) == (True, "127.0.0.2:8080", None)


def test_nor_does_one_that_accepts_and_hangs(watched: Watch) -> None:
    roles = {"::1": "hangs", "127.0.0.2": "200"}
    assert watched(roles, http=True, attempt_timeout=LONG) == (True, "127.0.0.2:8080", None)


def test_one_that_fails_its_check_is_not_the_answer(watched: Watch) -> None:
    roles = {"127.0.0.3": "503", "127.0.0.4": "refused", "127.0.0.2": "200"}
    assert watched(roles, http=True, attempt_timeout=LONG) == (True, "127.0.0.2:8080", None)


def test_the_first_that_is_up_is_the_answer(watched: Watch) -> None:
    roles = {"127.0.0.2": "200", "127.0.0.3": "200"}
    assert watched(roles, http=True, attempt_timeout=LONG) == (True, "127.0.0.2:8080", None)


def test_every_reason_is_in_the_reason(watched: Watch) -> None:
    roles = {"127.0.0.3": "503", "127.0.0.4": "refused", "127.0.0.5": "refused", "127.0.0.6": "silent"}
    ready, address, reason = watched(roles, http=True, timeout=3.0, attempt_timeout=0.5)
    assert (ready, address) == (False, None)
    assert {*str(reason).split(", ")} == {"HTTP status 503", "connection refused", "no answer within 0.5 s"}


@pytest.mark.parametrize("check", ["connect", "stable"])
def test_gone_is_gone_at_every_address(watched: Watch, check: str) -> None:
    gone = {"gone": True, "check": check}
    assert watched({"::1": "refused", "127.0.0.2": "refused"}, **gone)[0]
    assert watched({"::1": "refused", "127.0.0.2": "hangs"}, timeout=1.0, **gone) == (
        *(False, "127.0.0.2:8080"),
        "127.0.0.2:8080 is up",
    )
    assert not watched({"::1": "refused", "127.0.0.2": "silent"}, timeout=1.0, attempt_timeout=0.1, **gone)[0]


def test_a_family_alone(watched: Watch) -> None:
    roles = {"::1": "200", "127.0.0.2": "200"}
    for family, address in ((2, "127.0.0.2:8080"), (10, "[::1]:8080")):
        assert watched(roles, family=family) == (True, address, None)
