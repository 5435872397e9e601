"""One suite over both implementations: a core test takes ``core`` and runs once on each.

The test module names its topic: ``TOPIC = "checksum"``.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import packet_recipes as recipes
import pytest
from environment import absent
from relays import Relay, Service, running

IMPLEMENTATIONS = [
    name for name in ("native", "pure") if name == "pure" or find_spec("fastnet._native.checksum")
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "core" in metafunc.fixturenames:
        metafunc.parametrize("core", IMPLEMENTATIONS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def core(request: pytest.FixtureRequest) -> ModuleType:
    """The topic's module, native and pure in turn."""
    return import_module(f"fastnet._{request.param}.{request.module.TOPIC}")


@pytest.fixture(scope="module")
def twins(request: pytest.FixtureRequest) -> tuple[ModuleType, ModuleType]:
    """The topic's native and pure modules, to be compared with each other."""
    if "native" not in IMPLEMENTATIONS:
        pytest.skip("the native implementation is not installed: there is nothing to compare")
    return tuple(import_module(f"fastnet._{name}.{request.module.TOPIC}") for name in ("native", "pure"))  # type: ignore[return-value]


@pytest.fixture
def unprivileged(peer: Callable[[str], str]) -> tuple[str, ...]:
    """The words that run a command as root without any capability: root's home may have the interpreter."""
    words = (peer("setpriv"), "--inh-caps=-all", "--bounding-set=-all")
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        absent("util-linux's setpriv")  # BusyBox has one with fewer options
    return words


@pytest.fixture
def services() -> Iterator[Callable[..., Service]]:
    """``services()`` makes one more service for relays to connect to; all are closed when the test ends."""
    with ExitStack() as stack:

        def make(kind: type[Service] = Service, *arguments: Any) -> Service:
            return stack.enter_context(closing(kind(*arguments)))

        yield make


@pytest.fixture
def service(services: Callable[..., Service]) -> Service:
    return services()


@pytest.fixture
def relays(core: ModuleType) -> Iterator[Callable[..., Relay]]:
    """``relays(upstream, ..., option=...)`` runs one more relay; all are stopped when the test ends."""
    with ExitStack() as stack:

        def make(*upstreams: Any, **options: Any) -> Relay:
            relay = Relay(core, upstreams, **options)
            stack.enter_context(running(relay.loop))
            return relay

        yield make


@pytest.fixture
def packets(core: ModuleType) -> ModuleType:
    """``fastnet.packet`` over the implementation at hand."""
    return recipes.library(core.__name__.split(".")[1].removeprefix("_"))


@pytest.fixture(scope="module")
def both() -> tuple[ModuleType, ModuleType]:
    if not find_spec("fastnet._native.packet"):
        pytest.skip("the native implementation is not installed: there is nothing to compare")
    return recipes.library("native"), recipes.library("pure")
