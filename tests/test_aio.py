"""The coroutine twins under their plain names, loaded when they are named."""

import asyncio
import inspect
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from fastnet import aio
from fastnet.echo import EchoServer


@pytest.mark.parametrize("name", [name for name in aio.__all__ if find_spec(f"fastnet.{aio._HOME[name]}")])
def test_each_name_is_the_modules_twin(name: str) -> None:
    twin = getattr(aio, name)
    assert twin is getattr(import_module(f"fastnet.{aio._HOME[name]}"), f"{name}_async")
    assert inspect.iscoroutinefunction(twin)


def test_the_table_and_the_names_agree() -> None:
    assert sorted(aio._HOME) == aio.__all__
    assert set(aio.__all__) <= set(dir(aio))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        aio.nothing  # noqa: B018


def test_a_twin_waits_in_the_event_loop() -> None:
    async def both() -> None:
        async with EchoServer() as server:
            first, second = await asyncio.gather(
                *(aio.echo(*address, count=20) for address in server.addresses)
            )
            assert first.ok
            assert second.ok

    asyncio.run(both())


def test_nothing_is_loaded_until_it_is_named() -> None:
    code = (
        "import sys; from fastnet import aio; assert not {'asyncio', 'fastnet.echo'} & set(sys.modules); "
        "aio.echo; assert 'fastnet.echo' in sys.modules and 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
