"""``fastnet.aio``: each function that waits, under its own name, for a running event loop."""

import asyncio
import inspect
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from inspect import signature
from typing import get_args, get_origin

import pytest

import fastnet
from fastnet import aio
from fastnet.echo import EchoServer

NOT_WAITING = {"checksum", "get_ip_address", "implementation", "list_interfaces", "load_rules"}
"""Public functions that answer at once."""

each = pytest.mark.parametrize("name", aio.__all__)


def test_it_has_each_function_that_waits_and_nothing_else() -> None:
    functions = {name for name in fastnet._HOME if not inspect.isclass(getattr(fastnet, name))}
    assert {*aio.__all__} == functions - NOT_WAITING
    assert sorted(aio.__all__) == dir(aio)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        aio.nothing  # noqa: B018


@each
def test_a_twin_takes_and_returns_what_its_function_does(name: str) -> None:
    function, twin = signature(getattr(fastnet, name)), signature(getattr(aio, name))
    assert [*twin.parameters.values()] == [*function.parameters.values()]
    if get_origin(function.return_annotation) is Iterator:
        assert get_origin(twin.return_annotation) is AsyncIterator
        assert get_args(twin.return_annotation) == get_args(function.return_annotation)
    else:
        assert twin.return_annotation == function.return_annotation
        assert inspect.iscoroutinefunction(getattr(aio, name))


@each
def test_a_twin_is_called_what_its_function_is(name: str) -> None:
    twin = getattr(aio, name)
    assert (twin.__module__, twin.__qualname__, twin.__name__) == ("fastnet.aio", name, name)
    assert pickle.loads(pickle.dumps(twin)) is twin


@each
@pytest.mark.parametrize("module", [fastnet, aio], ids=["fastnet", "aio"])
def test_the_help_has_units_and_errors(module: object, name: str) -> None:
    """Or names the function whose arguments and errors are its own."""
    text = inspect.getdoc(getattr(module, name)) or ""
    assert "seconds" in text or name == "relay"
    assert "Raises" in text or "raises what ``" in text


def test_a_twin_waits_in_the_event_loop() -> None:
    async def both() -> None:
        async with EchoServer() as server:
            names = [str(address) for address in server.addresses]
            found = await asyncio.gather(*(aio.wait(name) for name in names))
            assert [(type(one), one.address) for one in found] == [(fastnet.Ready, name) for name in names]

    asyncio.run(both())


def test_a_stream_of_targets_to_wait_for() -> None:
    async def collect() -> None:
        async with EchoServer("127.0.0.1") as server:
            here, nowhere = f"127.0.0.1:{server.port}", "127.0.0.1:1"
            seen: list[fastnet.Outcome] = []
            stream = aio.wait_stream([nowhere, here], 0.5, seen.append)
            found = [(one.target, one.ready) async for one in stream]
            assert found == [(here, True), (nowhere, False)]
            assert {one.target for one in seen} == {nowhere}

    asyncio.run(collect())


def test_a_stream_ends_with_the_error_of_progress_and_leaves_no_task() -> None:
    def fail(outcome: fastnet.Outcome) -> None:
        raise ValueError(outcome.target)

    async def collect() -> None:
        with pytest.raises(ValueError, match=r"127\.0\.0\.1:1"):
            _ = [one async for one in aio.wait_stream(["127.0.0.1:1"], 30.0, fail)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(collect())


def test_sweeps_for_async_for() -> None:
    options = {"engine": "tcp", "timeout": 5.0}

    async def collect() -> None:
        verdicts = [one async for one in aio.sweep_stream("127.0.0.1-2", **options)]
        assert sorted(one.address for one in verdicts) == ["127.0.0.1", "127.0.0.2"]
        results = [one async for one in aio.sweep_every("127.0.0.1-2", 0.0, 2, **options)]
        assert [len(one.alive) for one in results] == [2, 2]

    asyncio.run(collect())


def test_nothing_is_loaded_until_it_is_named() -> None:
    code = (
        "import sys; from fastnet import aio; assert not {'asyncio', 'fastnet._wait'} & set(sys.modules); "
        "aio.wait; assert 'fastnet._wait' in sys.modules and 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
