"""One suite over every engine of ours, which must pass it, and over peers: what they do is printed."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module

import pytest
import traffic
from environment import HAS_SOURCES, ROOT, absent
from forwarders import MIB, PEERS, Find, Forwarder, our

from fastnet._backend import implementation

ENGINES = [our("pure", engine="pure")]
if implementation("relay") == "native":
    ENGINES += [our(f"native {name}", bulk=512 * MIB, engine=name) for name in ("auto", "copy", "splice")]
# Peers do the same whatever of ours is installed: once is enough.
TOLD = PEERS if HAS_SOURCES and os.environ.get("FASTNET_IMPL") != "pure" else []
MANY_FILES = 65536
FEWEST_FILES = 8192

Line = Callable[..., AbstractContextManager[traffic.Line]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    if "forwarder" in names:
        tried = ENGINES if "ours" in names else ENGINES + TOLD
        metafunc.parametrize("forwarder", tried, ids=[one.name for one in tried])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What a peer loses is printed, and fails no test."""
    forwarder = pyfuncitem.callspec.params.get("forwarder") if hasattr(pyfuncitem, "callspec") else None
    if forwarder not in PEERS:
        return (yield)
    try:
        yield
    except (AssertionError, OSError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        result = "lost: " + words.splitlines()[0]
    else:
        result = "kept"
    _tell(pyfuncitem, forwarder, result)
    return True


@pytest.fixture
def ours() -> None:
    """The test asks for what only our own forwarder has."""


@pytest.fixture
def note(request: pytest.FixtureRequest, forwarder: Forwarder) -> Callable[[str], None]:
    """``note("16 KiB each")``: what is printed about this forwarder in the end."""
    return partial(_tell, request.node, forwarder)


def _tell(item: pytest.Function, forwarder: Forwarder, text: str) -> None:
    others = [name for name in item.name.partition("[")[2].strip("]").split("-") if name != forwarder.name]
    check = " ".join([item.originalname.removeprefix("test_").replace("_", " "), *others])
    item.user_properties.append(("told", (check, forwarder.name, text)))


@pytest.fixture
def line(forwarder: Forwarder, find: Find, many_files: int) -> Line:
    """``with line(connect_timeout=1.0) as it``: the forwarder in front of an upstream that the test holds."""
    return partial(traffic.line, forwarder, find)


@pytest.fixture(scope="session")
def find() -> Iterator[Find]:
    """Finds peers, which run only where the sources are, as bench does: also in BENCH_ROOT."""

    def words_of(name: str) -> list[str]:
        peers = import_module("bench._peers")
        try:
            return [str(peers.file(name))] if "/" in name else peers.command(name)
        except peers.Missing as error:
            return absent(str(error))  # type: ignore[return-value]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield words_of


@pytest.fixture(scope="session")
def many_files() -> Iterator[int]:
    """As many open files as this process may have, for itself and the forwarders; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, max(hard, MANY_FILES)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MANY_FILES), hard))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < FEWEST_FILES:
        pytest.fail(f"{allowed} open files are allowed: this suite needs {FEWEST_FILES}")
    yield allowed
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
