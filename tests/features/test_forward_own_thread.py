"""A relaying thread can't wait for its own end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from forwarding import Server, assert_soon, connect, echo

from fastnet._forward import Forwarder


@pytest.mark.parametrize("name", ["stop", "wait"])
def test_waiting_in_a_tap_raises_and_hangs_nothing(serve: Callable[..., Server], name: str) -> None:
    raised: list[str] = []

    def tap(*_: object) -> None:
        try:
            getattr(forwarder, name)()
        except RuntimeError as error:
            raised.append(str(error))

    forwarder = Forwarder("127.0.0.1:0", f"127.0.0.1:{serve(echo).port}", tap=tap)
    with forwarder, connect(forwarder.port) as client:
        with suppress(ConnectionError):
            client.sendall(b"x")
        assert_soon(lambda: bool(raised))
    assert raised[0] == "this thread can't wait for its own end"
