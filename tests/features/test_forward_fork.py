"""A child process that forks off while a forwarder runs leaves it alone, and waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from forking import forked
from forwarding import Server, say, who

from fastnet._forward import Forwarder


@pytest.fixture(params=["auto", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def forwarder(serve: Callable[..., Server], engine: str) -> Forwarder:
    return Forwarder("127.0.0.1:0", f"127.0.0.1:{serve(say('served')).port}", engine=engine)


def leave(forwarder: Forwarder) -> None:
    forwarder.__exit__()


def stop(forwarder: Forwarder) -> None:
    forwarder.stop()
    forwarder.stop()


def stop_async(forwarder: Forwarder) -> None:
    asyncio.run(forwarder.__aexit__())


def wait(forwarder: Forwarder) -> None:
    with pytest.raises(RuntimeError, match="the parent process's"):
        forwarder.wait()


def wait_async(forwarder: Forwarder) -> None:
    with pytest.raises(RuntimeError, match="the parent process's"):
        asyncio.run(forwarder.wait_async())


@pytest.mark.parametrize("end", [leave, stop, stop_async, wait, wait_async])
def test_a_child_does_not_hang_and_the_parent_serves_on(
    forwarder: Forwarder, end: Callable[[Forwarder], None]
) -> None:
    with forwarder:
        assert who(forwarder.port) == "served"
        with forked(lambda: end(forwarder)):
            pass
        assert who(forwarder.port) == "served"


def test_a_child_may_ask_how_a_forwarder_ended_before(forwarder: Forwarder) -> None:
    def ask() -> None:
        assert forwarder.wait()

    with forwarder:
        pass
    with forked(ask):
        pass
