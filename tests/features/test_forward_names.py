"""Upstreams' names: what they lead to is looked up again when it no longer serves."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Child
from environment import absent
from forwarding import PATIENCE, Server, assert_reset, assert_soon, free_port, say, who

from fastnet._forward import Forwarder
from fastnet._forward import upstreams as upstreams_module
from fastnet.endpoints import resolve


@pytest.fixture(params=["auto", "pure"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FORWARDING = """
import sys
from fastnet._forward import Forwarder
with Forwarder("127.0.0.1:0", sys.argv[1], resolve_interval=3600, engine=sys.argv[2]) as forwarder:
    print(forwarder.port, flush=True)
    sys.stdin.read()
"""


def test_a_failed_connect_has_the_name_resolved_at_once(
    serve: Callable[..., Server], tmp_path: Path, root: None, peer: Callable[[str], str], engine: str
) -> None:
    """The resolver's own answers: in a mount namespace whose /etc/hosts is the test's."""
    if not Path("/etc/hosts").exists():
        absent("/etc/hosts, which the test mounts its own over")
    second = serve(say("second"), "127.0.0.2")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 moving.test\n")
    script = f'mount --bind {hosts} /etc/hosts && exec "$0" "$@"'
    command = (peer("unshare"), "--mount", "sh", "-c", script, sys.executable, "-c", FORWARDING)
    with Child(
        [*command, f"moving.test:{second.port}", engine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        assert_reset(port)
        hosts.write_text("127.0.0.2 moving.test\n")

        def is_followed() -> bool:
            try:
                return who(port) == "second"
            except ConnectionResetError:
                return False

        assert_soon(is_followed)
        process.communicate("", timeout=PATIENCE)


def test_however_often_connecting_fails_a_name_is_looked_up_once_a_second(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    asked: list[float] = []

    def counted(host: str, *args: object, **options: object) -> object:
        asked.append(time.monotonic())
        return resolve(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(upstreams_module, "resolve", counted)
    with Forwarder("127.0.0.1:0", f"localhost:{free_port()}", engine=engine) as forwarder:
        assert len(asked) == 1
        while len(asked) < 4:
            assert_reset(forwarder.port)
    assert all(later - earlier >= 0.9 for earlier, later in itertools.pairwise(asked[1:])), asked


def test_a_failed_check_has_the_name_resolved_at_once(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[..., Server], engine: str
) -> None:
    """No connection is needed for that."""
    second = serve(say("second"), "127.0.0.2")
    lead = ["127.0.0.1"]
    asked: list[float] = []

    def answer(_host: str, *args: object, **options: object) -> object:
        asked.append(time.monotonic())
        return resolve(lead[0], *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(upstreams_module, "resolve", answer)
    place = f"moving.test:{second.port}"
    health = {"health": "connect", "health_interval": 0.1, "resolve_interval": 3600.0}
    with Forwarder("127.0.0.1:0", place, engine=engine, warn=lambda _: None, **health) as forwarder:  # type: ignore[arg-type]
        assert_soon(lambda: len(asked) == 3)
        assert not forwarder.upstreams()[0].healthy
        lead[0] = "127.0.0.2"
        assert_soon(lambda: forwarder.upstreams()[0].healthy)
        assert who(forwarder.port) == "second"
    assert all(later - earlier >= 0.9 for earlier, later in itertools.pairwise(asked[1:])), asked
