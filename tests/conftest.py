"""What tests share: the command as a child process, namespaces with real links, peers and references."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from children import Child
from environment import ADVERSARY, COMMAND_TIMEOUT, HAS_SOURCES, Run, absent, installed, open_fds
from forwarding import Command, Server, Web, WebServer, free_port
from hypothesis import HealthCheck, settings
from namespaces import MakeNamespace, Namespace, link_two, namespaces, with_hosts
from records import parse_all
from services import Make, make_services

if TYPE_CHECKING:
    from command_table import Hosts

pytest.register_assert_rewrite("command_table")


# These look at the sources, which an installed wheel lacks, and which are the same whatever runs.
SOURCE_TESTS = [
    "features/test_bench.py",
    "features/test_bench_peers.py",
    "features/test_examples.py",
    "core/test_build.py",
    "core/test_deploy.py",
    "core/test_documents.py",
    "core/test_manuals.py",
    "core/test_release.py",
    "core/test_structure.py",
    "core/test_style.py",
]
collect_ignore = [] if HAS_SOURCES and os.environ.get("FASTNET_IMPL") != "pure" else SOURCE_TESTS

# A shell's background job ignores Ctrl-C, nohup's SIGHUP, and so would each command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes depends on the machine; a hang is for pytest-timeout.
settings.register_profile("fastnet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastnet")


def pytest_configure() -> None:
    expected = os.environ.get("FASTNET_EXPECT_IMPL", "")
    if expected not in ("", installed()):
        pytest.exit(f"FASTNET_EXPECT_IMPL={expected}, but what is installed is {installed()}", 3)


# Features without a core topic, as test_package.py shows, and what looks at types, options and names only.
ONCE = (
    "*/test_connect.py",
    "*/test_echo.py",
    "*/test_endpoints*.py",
    "*/test_ipc*.py",
    "*/test_ipv6_explain.py",
    "*/test_other_systems.py",
    "*/test_parsers.py",
    "*/test_portscan*.py",
    "*/test_wait*.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where native is installed, what is marked ``once`` or in a file of ``ONCE`` has run on it."""
    if os.environ.get("FASTNET_IMPL") == "pure" and installed() == "native":
        for item in items:
            if item.get_closest_marker("once") or any(map(item.path.match, ONCE)):
                item.add_marker(pytest.mark.skip("the same on pure, and run on native"))


LONGEST_ID = 60


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long value by its length: pytest-xdist sends each test's name to and fro."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{type(val).__name__} of {len(val)}"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests print and do not assert: properties ``("told", (check, tool, text))``."""
    told: dict[str, dict[str, list[str]]] = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "told":
                check, tool, text = value
                told.setdefault(check, {}).setdefault(text, []).append(tool)
    if told:
        terminalreporter.section("printed, not asserted")
    for check, texts in sorted(told.items()):
        terminalreporter.line(check)
        for text, tools in sorted(texts.items()):
            terminalreporter.line(f"    {', '.join(sorted(tools))}: {text}")


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """``peer("nmap")``: the path of another tool's program."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        return path or absent(name)  # type: ignore[return-value]

    return find


@pytest.fixture(scope="session")
def reference() -> Callable[[str], ModuleType]:
    """``reference("scapy.all")``: a reference engine's module, from the extra of that name."""

    def load(name: str) -> ModuleType:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                raise
            return absent(f"the Python package {name}")  # type: ignore[return-value]

    return load


@pytest.fixture(scope="session")
def root() -> None:
    """The test needs root, for raw sockets or namespaces."""
    if os.geteuid() != 0:
        absent("root")


@pytest.fixture(scope="session")
def localhost() -> None:
    """The test has another client than ours connect to ``localhost``."""
    try:
        socket.getaddrinfo("localhost", 80)
    except socket.gaierror:
        absent("a resolver that knows localhost")


@pytest.fixture(scope="session")
def python() -> Run:
    """``python("-c", code)``: run this interpreter to its end; ``prefix=`` puts other words before it."""

    def run(
        *arguments: str, prefix: tuple[str, ...] = (), **options: object
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONSAFEPATH": "1", **options.pop("env", {})}  # type: ignore[dict-item]
        settings = {"timeout": COMMAND_TIMEOUT, "stdin": None if "input" in options else subprocess.DEVNULL}
        return subprocess.run(
            [*prefix, sys.executable, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            **{**settings, **options},  # type: ignore[call-overload]
        )

    return run


@pytest.fixture(scope="session")
def fastnet(python: Run) -> Run:
    """``fastnet("ping", "::1")``: run the command to its end, as ``python`` does; check its records."""

    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        ran = python("-m", "fastnet", *words, **options)
        if "--json" in words and isinstance(ran.stdout, str):
            parse_all(ran.stdout)
        return ran

    return run


@pytest.fixture(scope="session")
def unshare(root: None, peer: Callable[[str], str]) -> str:
    """The program unshare(1), where namespaces may be made."""
    path = peer("unshare")
    if subprocess.run([path, "--net", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        absent("the privilege to make a namespace")
    return path


@pytest.fixture
def namespace(root: None, peer: Callable[[str], str]) -> Iterator[MakeNamespace]:
    """``namespace()`` makes one more network namespace; all of them go when the test ends."""
    with namespaces(peer("ip")) as make:
        yield make


@pytest.fixture
def silent(namespace: MakeNamespace) -> Namespace:
    """A namespace whose kernel answers no echo request, and limits no error."""
    made = namespace()
    made.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1", "net.ipv4.icmp_msgs_per_sec=100000")
    return made


@pytest.fixture
def knowing(namespace: MakeNamespace, tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """``knowing(lines)``: words that run a command inside a namespace whose hosts(5) holds these lines."""
    return lambda lines: with_hosts(namespace(), tmp_path / "hosts", lines)


@pytest.fixture
def linked(namespace: MakeNamespace) -> tuple[Namespace, Namespace]:
    """Two hosts joined by a veth pair, ``veth0`` on either: 10.77.0.1 and fd77::1, 10.77.0.2 and fd77::2."""
    return link_two(namespace)


@pytest.fixture(scope="module")
def hosts(
    root: None, peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hosts]:
    """The hosts that the tables of commands are for; a module's tests share them."""
    from command_table import some_hosts

    files = tmp_path_factory.mktemp("hosts")
    with namespaces(peer("ip")) as make, some_hosts(make, peer("nft"), files) as made:
        yield made


@pytest.fixture
def met(linked: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """``linked``, where the left host has heard from the right one: a fresh link may take seconds."""
    from fastnet._sweep import sweep

    deadline = time.monotonic() + COMMAND_TIMEOUT
    while not linked[0].call(lambda: sweep("10.77.0.2", timeout=0.2).alive):
        assert time.monotonic() < deadline, "the link stays silent"
    return linked


@pytest.fixture
def engines(linked: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """``linked``, where the left host is allowed both kinds of ICMP socket, and IPv6 is heard."""
    linked[0].run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    for host in linked:
        host.settle()
    return linked


@pytest.fixture
def responder(linked: tuple[Namespace, Namespace]) -> Iterator[Callable[[str], str]]:
    """``responder("options")``: an address of the right host that answers in that way."""
    left, right = linked
    left.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    right.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
    behaviours = [*re.findall(r'behaviour == "(.*?)"', ADVERSARY.read_text()), "silence"]
    addresses = {behaviour: f"10.77.0.{number}" for number, behaviour in zip(count(101), behaviours)}
    for address in addresses.values():
        right.ip("address", "add", f"{address}/24", "dev", "veth0")
    words = [f"{address}={behaviour}" for behaviour, address in addresses.items()]
    with Child(
        [*right.prefix, sys.executable, str(ADVERSARY), *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield addresses.__getitem__
        process.kill()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """``serve(handle)`` starts a server; all of them are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None], host: str = "127.0.0.1", port: int = 0) -> Server:
            server = Server(handle, host, port)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def service() -> Iterator[Make]:
    """``service(handle)``: a server to wait for; see ``make_services``."""
    with contextlib.ExitStack() as stack:
        yield make_services(stack)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def forward() -> Iterator[Callable[..., Command]]:
    """``forward("0", "127.0.0.1:80")`` runs the command; what still runs in the end is killed."""
    commands: list[Command] = []

    def start(*arguments: str, **options: tuple[str, ...]) -> Command:
        commands.append(Command(*arguments, **options))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.communicate()


@pytest.fixture(name="free_port")
def a_free_port() -> int:
    """A port that nobody listens at."""
    return free_port()


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No descriptor, thread or child more after the test than before it."""
    before, threads = len(open_fds()), threading.active_count()
    yield
    assert len(open_fds()) == before
    assert threading.active_count() == threads
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server"


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """``answering(handler)``: the port of a server that lets the handler answer its one client."""
    threads: list[threading.Thread] = []

    def start(handler: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with listener, listener.accept()[0] as sock:
                handler(sock)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for thread in threads:
        thread.join()
