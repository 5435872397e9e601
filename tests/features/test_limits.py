"""Times that nobody can wait for are refused by every feature, before anything is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import fastnet
from fastnet._sweep import rounds
from fastnet.errors import InvalidArgument


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 3.6e8])
@pytest.mark.parametrize(
    "call",
    [
        lambda seconds: fastnet.ping("127.0.0.1", timeout=seconds),
        lambda seconds: fastnet.ping("127.0.0.1", interval=seconds),
        lambda seconds: fastnet.sweep("127.0.0.1", timeout=seconds),
        lambda seconds: rounds(seconds),
        lambda seconds: fastnet.portscan("127.0.0.1", "1", timeout=seconds),
        lambda seconds: fastnet.wait("127.0.0.1:1", timeout=seconds),
        lambda seconds: fastnet.wait("127.0.0.1:1", interval=seconds),
        lambda seconds: fastnet.wait("127.0.0.1:1", attempt_timeout=seconds),
        lambda seconds: fastnet.Forwarder("0", "127.0.0.1:1", connect_timeout=seconds),
        lambda seconds: fastnet.Forwarder("0", "127.0.0.1:1", head_timeout=seconds),
        lambda seconds: fastnet.echo.EchoServer(idle_timeout=seconds),
        lambda seconds: fastnet.echo.echo("127.0.0.1", 1, timeout=seconds),
        lambda seconds: fastnet.echo.echo("127.0.0.1", 1, interval=seconds),
        lambda seconds: fastnet.ipc.connect("@nobody", timeout=seconds),
    ],
)
def test_no_such_time(call: Callable[[float], object], seconds: float) -> None:
    with pytest.raises(InvalidArgument, match="expected seconds"):
        call(seconds)
