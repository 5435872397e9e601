"""What tests share: the command as a child process, namespaces with real links, peers and references."""

from __future__ import annotations

import contextlib
import ctypes
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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import pytest
from forwarding import Command, Server, Web, WebServer

if TYPE_CHECKING:
    from command_table import Hosts

pytest.register_assert_rewrite("command_table")

IN_CI = bool(os.environ.get("CI"))
COMMAND_TIMEOUT = 60
ADVERSARY = Path(__file__).with_name("adversary.py")
CLONE_NEWNET = 0x40000000

# These look at the sources, which an installed wheel lacks, and which are the same whatever runs.
SOURCE_TESTS = ["test_bench.py", "test_build.py", "test_structure.py"]
HAS_SOURCES = (Path(__file__).parent.parent / "setup.py").exists()
collect_ignore = [] if HAS_SOURCES and os.environ.get("FASTNET_IMPL") != "pure" else SOURCE_TESTS

# A shell's background job ignores Ctrl-C, nohup's SIGHUP, and so would each command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

T = TypeVar("T")


def absent(what: str) -> None:
    """CI must have every peer and privilege; elsewhere a test that lacks one is skipped, naming it."""
    if IN_CI:
        pytest.fail(f"CI lacks {what}")
    pytest.skip(f"{what} is not available")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests tell and do not assert: properties ``("told", (check, tool, text))``."""
    told: dict[str, dict[str, list[str]]] = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "told":
                check, tool, text = value
                told.setdefault(check, {}).setdefault(text, []).append(tool)
    if told:
        terminalreporter.section("told, not asserted")
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


Run = Callable[..., "subprocess.CompletedProcess[str]"]


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
    """``fastnet("ping", "::1")``: run the command to its end, as ``python`` does."""
    return partial(python, "-m", "fastnet")


class Namespace:
    """A network namespace of the test's own, with loopback up."""

    def __init__(self, name: str, ip: str) -> None:
        self.name = name
        self._ip = ip
        # To ask whether another has a link-local address takes a second or two.
        self.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self.ip("link", "set", "lo", "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words that run a command inside: ``fastnet("ping", ..., prefix=namespace.prefix)``."""
        return (self._ip, "netns", "exec", self.name)

    def ip(self, *words: str) -> str:
        """Run ``ip`` inside and return what it prints."""
        return self.run(self._ip, *words).stdout

    def run(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program inside; it must succeed."""
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*self.prefix, *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            **options,
        )

    def settle(self) -> None:
        """Wait until IPv6 is heard on ``veth0``."""
        while (
            "fe80:" not in (shown := self.ip("-6", "address", "show", "dev", "veth0")) or "tentative" in shown
        ):
            time.sleep(0.02)

    def carry(self) -> None:
        """Wait until ``veth0`` sends: of fresh links the kernel takes notice once a second only."""
        while "state UP" not in self.ip("link", "show", "dev", "veth0"):
            time.sleep(0.02)

    def mac(self) -> str:
        """The hardware address of ``veth0``."""
        return re.findall("link/ether (\\S+)", self.ip("link", "show", "dev", "veth0"))[0]

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that has moved inside."""

        def work() -> T:
            self.enter()
            return function()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    def enter(self) -> None:
        """Move the calling thread inside, for the rest of its life."""
        with open(f"/run/netns/{self.name}") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


MakeNamespace = Callable[[], Namespace]
_numbers = count()


@contextlib.contextmanager
def namespaces(ip: str) -> Iterator[MakeNamespace]:
    """What makes network namespaces, all of which go in the end."""
    names: list[str] = []

    def make() -> Namespace:
        name = f"fastnet-{os.getpid()}-{next(_numbers)}"
        if subprocess.run([ip, "netns", "add", name], check=False).returncode != 0:
            absent("the privilege to make a network namespace")
        names.append(name)
        return Namespace(name, ip)

    try:
        yield make
    finally:
        for name in names:
            subprocess.run([ip, "netns", "delete", name], check=True)


@pytest.fixture
def namespace(root: None, peer: Callable[[str], str]) -> Iterator[MakeNamespace]:
    """``namespace()`` makes one more network namespace; all of them go when the test ends."""
    with namespaces(peer("ip")) as make:
        yield make


def with_hosts(namespace: Namespace, hosts: Path, lines: str) -> tuple[str, ...]:
    """The words that run a command inside, where hosts(5) is this file and holds these lines."""
    hosts.write_text(lines)
    # `ip netns exec` has unshared the mounts.
    return (*namespace.prefix, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))


@pytest.fixture
def knowing(namespace: MakeNamespace, tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """``knowing(lines)``: words that run a command inside a namespace whose hosts(5) holds these lines."""
    return lambda lines: with_hosts(namespace(), tmp_path / "hosts", lines)


@pytest.fixture
def linked(namespace: MakeNamespace) -> tuple[Namespace, Namespace]:
    """Two hosts joined by a veth pair, ``veth0`` on either: 10.77.0.1 and fd77::1, 10.77.0.2 and fd77::2."""
    return link_two(namespace)


def link_two(namespace: MakeNamespace) -> tuple[Namespace, Namespace]:
    left, right = namespace(), namespace()
    left.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", right.name)
    for number, host in enumerate((left, right), 1):
        host.ip("address", "add", f"10.77.0.{number}/24", "dev", "veth0")
        host.ip("address", "add", f"fd77::{number}/64", "dev", "veth0", "nodad")
        host.ip("link", "set", "veth0", "up")
    for host in (left, right):
        host.carry()
    # All namespaces share the kernel's neighbour table, which a test beside these may have filled.
    for host, number, other in ((left, 2, right), (right, 1, left)):
        for address in (f"10.77.0.{number}", f"fd77::{number}"):
            neighbour = (address, "lladdr", other.mac(), "dev", "veth0", "nud", "permanent")
            host.ip("neighbour", "replace", *neighbour)
    return left, right


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
    from fastnet.sweep import sweep

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
    with subprocess.Popen(
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


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
