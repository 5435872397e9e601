"""The port states of an address: which TCP ports are open, closed or filtered, and the reasons.

``portscan("::1", "21-23,80")`` connects to each port itself; ``engine="nmap"`` has nmap do it, through
python-nmap. Both give the same types.
"""

import _socket as socket
import errno
import os
import time
from _collections_abc import Iterable, Iterator
from select import EPOLLOUT, epoll

from fastnet._connect import explain
from fastnet._coroutines import coroutine_of
from fastnet._engines import PortEngine
from fastnet._limits import (
    Host,
    bounded,
    check_choice,
    check_family,
    check_seconds,
    host_text,
    quoted,
    several,
)
from fastnet._reference import reference
from fastnet._results import as_dict, shown
from fastnet._system.icmp_errors import queued_error, request_errors
from fastnet._system.permission import check_stream
from fastnet._typing import Any, NamedTuple, get_args
from fastnet.endpoints import Resolved, addresses_of, check_not_mapped, parse_port
from fastnet.errors import EngineMissing, InvalidArgument, WaitTimeout

ENGINES: tuple[PortEngine, ...] = get_args(PortEngine)
DEFAULT_PORTS = "21-23,80"
DEFAULT_TIMEOUT = 2.0
DEFAULT_CONCURRENCY = 256
MAX_CONCURRENCY = 1 << 20

# What the other side, or a router, sends to a connection that was under way.
_ANSWERS = {
    0: ("open", "accepted"),
    errno.ECONNREFUSED: ("closed", "refused"),
    errno.ECONNRESET: ("closed", "reset"),
    errno.EHOSTUNREACH: ("filtered", "host unreachable"),
    errno.ENETUNREACH: ("filtered", "network unreachable"),
    errno.EACCES: ("filtered", "prohibited"),
    errno.ETIMEDOUT: ("filtered", "no answer"),
}

# No room for one more socket now; wait until one closes.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


_PROHIBITED = (errno.EACCES, errno.EPERM)
"""The errors of this machine's own firewall and routes."""


class PortState(NamedTuple):
    """One TCP port: ``state`` is ``"open"``, ``"closed"`` or ``"filtered"``; ``reason`` is why.

    It is ``"unknown"`` where this machine could not send to the port.
    """

    port: int
    state: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


class PortScan(NamedTuple):
    """The ports of one address, in ascending order."""

    host: str
    address: str
    engine: str
    ports: tuple[PortState, ...]

    @property
    def open(self) -> tuple[int, ...]:
        return tuple(port.port for port in self.ports if port.state == "open")

    def as_dict(self) -> dict[str, Any]:
        """Each field and property, as plain values for JSON."""
        return as_dict(self)

    def __repr__(self) -> str:
        return shown(self)


def parse_ports(ports: str | int | Iterable[int]) -> tuple[int, ...]:
    """The ports of a text such as ``"21-23,https,60000-"``, or of numbers: ascending, each once.

    A range may lack its first port or its last: ``"-"`` is every port.
    Raises InvalidArgument, with the reason.
    """
    wanted: set[int] = set()
    if isinstance(ports, int):
        ports = (ports,)
    elif not isinstance(ports, str):
        several("ports", ports, "ports and ranges, as 21-23,80")
    for part in ports.split(",") if isinstance(ports, str) else ports:
        if isinstance(part, str):
            wanted.update(_range(part.strip()))
        else:
            wanted.add(_number(quoted(part), quoted(part)))
    if not wanted:
        raise InvalidArgument("no ports: expected ports and ranges, as 21-23,80")
    return tuple(sorted(wanted))


def _range(part: str) -> range:
    if not {*part} <= {*"0123456789-"}:  # a name may have a dash too, as http-alt
        return range(port := _service(part), port + 1)
    first, dash, last = part.partition("-")
    low = _number(first or (dash and "1"), part)
    high = _number(last or "65535", part) if dash else low
    if low > high:
        raise InvalidArgument(f"ports {part!r}: the range ends before it begins")
    return range(low, high + 1)


def _number(text: str, part: str) -> int:
    # No port has more than five digits, and a number of thousands would take int() long.
    if not (text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise _refusal(part)
    return int(text)


def _service(name: str) -> int:
    try:
        return parse_port(name)
    except InvalidArgument:
        raise _refusal(name) from None


def _refusal(part: str) -> InvalidArgument:
    return InvalidArgument(
        f"ports {part[:40]!r}: expected ports from 1 to 65535, or names of services, as 21-23,80,https"
    )


def format_ports(ports: Iterable[int]) -> str:
    """The shortest text for ascending ports: what ``parse_ports`` reads."""
    ranges: list[list[int]] = []
    for port in ports:
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1][1] = port
        else:
            ranges.append([port, port])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def check_engine(engine: str) -> None:
    """Raises InvalidArgument for an engine that is not one."""
    check_choice("engine", engine, ENGINES)


class Scan:
    """A scan that yields each port's state as soon as it is known: iterate over it, then take its ``result``.

    Takes and raises what the function ``portscan`` does.
    """

    def __init__(
        self,
        host: Host,
        ports: str | int | Iterable[int] = DEFAULT_PORTS,
        *,
        engine: PortEngine = "connect",
        timeout: float = DEFAULT_TIMEOUT,
        concurrency: int = DEFAULT_CONCURRENCY,
        family: int = socket.AF_UNSPEC,
    ) -> None:
        check_engine(engine)
        check_seconds("timeout", timeout, 0.001)
        bounded("concurrency", concurrency, 1, MAX_CONCURRENCY)
        check_family(family)
        self.ports = parse_ports(ports)
        self.host, self.engine = host_text("host", host), engine
        self.timeout, self.concurrency = timeout, concurrency
        self.target = addresses_of(self.host, family=family)[0]
        check_not_mapped(self.host, self.target)
        if engine == "connect":
            check_stream(self.target.family)
        self._states: list[PortState] = []
        self._refusal: OSError | None = None

    def __iter__(self) -> Iterator[PortState]:
        for state in _nmap(self) if self.engine == "nmap" else _connect(self):
            self._states.append(state)
            yield state
        self._check()

    async def run_async(self) -> None:
        """The whole scan, as a coroutine."""
        import asyncio

        if self.engine == "nmap":
            self._states += await asyncio.to_thread(_nmap, self)
        else:
            await _connect_async(self, self._states)
        self._check()

    def refused(self, port: int, error: OSError) -> PortState:
        """The state of a port that this machine could not send to."""
        if error.errno in _PROHIBITED:
            return PortState(port, "filtered", "prohibited by this machine")
        self._refusal = self._refusal or error
        return PortState(port, "unknown", f"not sent: {(error.strerror or '').lower()}")

    def _check(self) -> None:
        """Raises OSError if the state of no port is known."""
        if self._refusal and all(state.state == "unknown" for state in self._states):
            raise self._refusal

    def result(self) -> PortScan:
        """The states so far."""
        return PortScan(self.host, self.target.host, self.engine, tuple(sorted(self._states)))


def portscan(
    host: Host,
    ports: str | int | Iterable[int] = DEFAULT_PORTS,
    *,
    engine: PortEngine = "connect",
    timeout: float = DEFAULT_TIMEOUT,
    concurrency: int = DEFAULT_CONCURRENCY,
    family: int = socket.AF_UNSPEC,
) -> PortScan:
    """The states of a host's TCP ports, on the first address that it resolves to.

    ``ports`` is one, several, or a text as ``21-23,80``. A port is open where it accepts a connection, closed
    if it refuses, and filtered if nothing came within ``timeout`` seconds, or a router or this
    machine's own rules refused. If this machine can't send to it for another reason it is unknown.
    ``concurrency`` is the maximum number of connections at once. ``engine`` is ``"connect"`` (our own) or
    ``"nmap"`` (python-nmap and the nmap program, which choose their own concurrency).

    Raises InvalidArgument, NameNotResolved, EngineMissing, and OSError where this machine can't send to
    the address at all.
    """
    scan = Scan(host, ports, engine=engine, timeout=timeout, concurrency=concurrency, family=family)
    for _ in scan:
        pass
    return scan.result()


@coroutine_of(portscan)
async def portscan_async(
    host: Host,
    ports: str | int | Iterable[int] = DEFAULT_PORTS,
    *,
    engine: PortEngine = "connect",
    timeout: float = DEFAULT_TIMEOUT,
    concurrency: int = DEFAULT_CONCURRENCY,
    family: int = socket.AF_UNSPEC,
) -> PortScan:
    """``fastnet.portscan`` as a coroutine; the name is looked up in a thread."""
    import asyncio

    options: dict[str, Any] = {
        "engine": engine,
        "timeout": timeout,
        "concurrency": concurrency,
        "family": family,
    }
    scan = await asyncio.to_thread(Scan, host, ports, **options)
    await scan.run_async()
    return scan.result()


def _begin(target: Resolved, port: int) -> tuple[socket.socket, int]:
    """A connecting socket, and the result of connect(): EINPROGRESS, or already an answer.

    Raises OSError where this machine can't even send.
    """
    sock = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        request_errors(sock)
        code = sock.connect_ex((target.address[0], port, *target.address[2:]))
        if code not in (0, errno.EINPROGRESS, errno.ECONNREFUSED, errno.ECONNRESET):
            raise OSError(code, explain(code), f"{target.host} port {port}")
    except BaseException:
        sock.close()
        raise
    return sock, code


def _finish(sock: socket.socket, port: int, code: int) -> PortState:
    """The state of a port from the result of connecting; closes the socket."""
    try:
        if code == 0 and _connected_to_itself(sock):
            code = errno.ECONNREFUSED
        elif code == errno.ECONNREFUSED and queued_error(sock):
            return PortState(port, "filtered", "port unreachable")  # an ICMP error, no RST: a firewall's
    finally:
        sock.close()
    state, reason = _ANSWERS.get(code) or ("filtered", os.strerror(code).lower())
    return PortState(port, state, reason)


def _connected_to_itself(sock: socket.socket) -> bool:
    """Whether the kernel chose the very port that is scanned for our end (RFC 9293, simultaneous open)."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False  # Accepted, and reset since.


def _outcome(sock: socket.socket) -> int:
    """How connecting ended, or 0; also an ICMP error that came while connect(2) held the socket."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _connect(scan: Scan) -> Iterator[PortState]:
    waiting = list(reversed(scan.ports))
    # In the order of their deadlines, as all have the same time.
    under_way: _UnderWay = {}
    with epoll() as poller:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < scan.concurrency:
                    try:
                        sock, code = _begin(scan.target, waiting[-1])
                    except OSError as error:
                        if error.errno not in _EXHAUSTED:
                            yield scan.refused(waiting.pop(), error)
                            continue
                        if under_way:
                            break
                        raise
                    port = waiting.pop()
                    if code == errno.EINPROGRESS:
                        poller.register(sock, EPOLLOUT)
                        under_way[sock.fileno()] = sock, port, time.monotonic() + scan.timeout
                    else:
                        yield _finish(sock, port, code)
                yield from _ended(poller, under_way)
        finally:
            for sock, _, _ in under_way.values():
                sock.close()


_UnderWay = dict[int, tuple[socket.socket, int, float]]
"""By its descriptor: a socket that is connecting, to which port, and until when."""


def _ended(poller: epoll, under_way: _UnderWay) -> Iterator[PortState]:
    """Waits for the next answer or deadline."""
    if not under_way:
        return
    _, _, earliest = next(iter(under_way.values()))
    ready = [fd for fd, _ in poller.poll(max(0.0, earliest - time.monotonic()))]
    ended = [(fd, _outcome(under_way[fd][0])) for fd in ready]
    now = time.monotonic()
    for fd, (sock, _, deadline) in under_way.items():
        if deadline > now:
            break
        if fd not in ready:
            ended.append((fd, _outcome(sock) or errno.ETIMEDOUT))
    for fd, code in ended:
        poller.unregister(fd)
        sock, port, _ = under_way.pop(fd)
        yield _finish(sock, port, code)


async def _connect_async(scan: Scan, states: list[PortState]) -> None:
    import asyncio

    waiting = list(reversed(scan.ports))
    workers = 0

    async def work() -> None:
        nonlocal workers
        while waiting:
            port = waiting.pop()
            try:
                sock, code = _begin(scan.target, port)
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    states.append(scan.refused(port, error))
                    continue
                if workers == 1:
                    raise
                waiting.append(port)
                break
            if code == errno.EINPROGRESS:
                code = await _answer(sock, scan.timeout)
            states.append(_finish(sock, port, code))
        workers -= 1

    workers = min(scan.concurrency, len(waiting))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _answer(sock: socket.socket, timeout: float) -> int:
    """How connecting ends: an errno, or 0."""
    import asyncio

    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    loop.add_writer(sock, answered.set)
    try:
        async with asyncio.timeout(timeout):
            await answered.wait()
        return _outcome(sock)
    except TimeoutError:
        return _outcome(sock) or errno.ETIMEDOUT
    except BaseException:
        sock.close()
        raise
    finally:
        loop.remove_writer(sock)


def _nmap(scan: Scan) -> list[PortState]:
    import shutil

    nmap = reference("nmap")
    if shutil.which("nmap") is None:
        raise EngineMissing("the program nmap is missing: apt-get install nmap")

    milliseconds = max(1, round(scan.timeout * 1000))
    arguments = f"-sT -Pn -n --max-rtt-timeout {milliseconds}ms"
    if scan.target.family == socket.AF_INET6:
        arguments += " -6"
    try:
        scanner = nmap.PortScanner()
        scanner.scan(scan.target.host, format_ports(scan.ports), arguments)
    except nmap.PortScannerError as error:
        raise OSError(errno.EIO, f"nmap: {error.value.strip()}") from None
    return _parse_nmap(scanner.get_nmap_last_output(), scan.ports)


def _parse_nmap(report: str | bytes, wanted: tuple[int, ...]) -> list[PortState]:
    """nmap lists the ports of interest one by one, and the many others of one state as ranges."""
    from xml.etree import ElementTree

    listing = ElementTree.fromstring(report).find("host/ports")
    if listing is None:
        raise WaitTimeout("nmap gave up on the host: scan fewer ports, or give it more time")
    states = []
    for port in listing.iterfind("port"):
        state = port.find("state")
        if state is not None:
            states.append(
                PortState(int(port.attrib["portid"]), state.attrib["state"], state.attrib["reason"])
            )
    for group in listing.iterfind("extraports"):
        for reasons in group.iterfind("extrareasons"):
            ports = parse_ports(reasons.attrib["ports"])
            states += [PortState(port, group.attrib["state"], reasons.attrib["reason"]) for port in ports]
    missing = set(wanted) - {state.port for state in states}
    if missing:
        raise OSError(errno.EIO, f"nmap did not report the ports {format_ports(sorted(missing))}")
    return states
