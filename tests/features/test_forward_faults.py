"""Calls of the system that fail while the rules of a forwarder are changed."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from faults import calls_that_fail
from forwarding import Server, free_port, say, who

import fastnet
from fastnet._forward import Forwarder, Rule
from fastnet._forward.upstreams import Upstreams


def test_a_reload_that_can_not_listen_changes_nothing(serve: Callable[..., Server]) -> None:
    port, udp = free_port(), free_port()
    before = Rule(f"127.0.0.1:{port}", f"127.0.0.1:{serve(say('before')).port}")
    after = before.going_to(f"127.0.0.1:{serve(say('after')).port}")._replace(idle_timeout=50.0)
    datagrams = Rule(f"127.0.0.1:{udp}", f"127.0.0.1:{free_port()}", protocol="udp")
    warnings: list[str] = []
    failing = calls_that_fail(native=fastnet.implementation() == "native")
    running = Forwarder.from_rules([before], threads=2, warn=warnings.append)
    with running as forwarder, ThreadPoolExecutor() as pool:
        with failing("epoll_ctl", "ENOSPC"), pytest.raises(OSError, match="No space left"):
            pool.submit(forwarder.reload, [after, datagrams]).result()  # The main thread's calls never fail.
        assert failing.count > 0
        assert forwarder.rules == (before,)
        assert {who(port) for _ in range(10)} == {"before"}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", udp))  # Nobody is there.
        forwarder.reload([after, datagrams])
        assert {who(port) for _ in range(10)} == {"after"}


@pytest.mark.parametrize("failing", ["first", "second"])
def test_a_reload_that_has_no_memory_for_upstreams_changes_nothing(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    ports = {"first": free_port(), "second": free_port()}
    before = [
        Rule(f"127.0.0.1:{port}", f"127.0.0.1:{serve(say('before')).port}", name=name)
        for name, port in ports.items()
    ]
    place = f"127.0.0.1:{serve(say('after')).port}"
    after = [rule.going_to(place) for rule in before]
    added = Rule("127.0.0.1:0", place)
    keep = Upstreams.keep

    def fail(self: Upstreams, target: object) -> None:
        if self._rule.name == failing:
            raise MemoryError
        keep(self, target)  # type: ignore[arg-type]

    with Forwarder.from_rules(before) as forwarder:
        with monkeypatch.context() as patched:
            patched.setattr(Upstreams, "keep", fail)
            with pytest.raises(MemoryError):
                forwarder.reload([added, *after])
        assert forwarder.rules == tuple(before)
        assert [who(port) for port in ports.values()] == ["before", "before"]
        forwarder.reload([added, *after])
        assert [who(port) for port in ports.values()] == ["after", "after"]
