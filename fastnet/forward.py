"""Forward TCP connections from a local port to a remote host, or relay between two open sockets.

A ``Forwarder`` listens and connects; ``relay`` moves bytes between two sockets that are connected
already. Both keep half-close (one direction ends, the other goes on), pass resets on, and hold no more of a
stream than one read (256 KiB a direction) for a reader that is slow or has stopped.

With ``rewrite_host`` the stream is taken to be HTTP/1: in request heads, and nowhere else, a Host that
names the local listener becomes the upstream's.
"""

import socket
import sys
from collections.abc import Callable
from typing import Literal, NamedTuple, Self

from fastnet._backend import http_head as _http_head
from fastnet._backend import relay as _core
from fastnet._limits import check_seconds
from fastnet._threads import Work
from fastnet.endpoints import Endpoint, Resolved, listen, parse_endpoint, resolve
from fastnet.errors import InvalidArgument

__all__ = ["Forwarder", "Relayed", "Stats", "relay", "relay_async"]

_LOOPBACKS = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("0.0.0.0", "::")
_HTTP_PORT = ":80"


class Stats(NamedTuple):
    """What a forwarder has done so far."""

    accepted: int
    """Connections accepted."""
    active: int
    """Connections open now."""
    unreachable: int
    """Connections whose upstream could not be connected to."""
    refused: int
    """Connections that were answered 400 or 408 instead of being passed on."""
    resets: int
    """Connections that one of the sides reset, or that were cut."""
    sent_up: int
    """Bytes sent to the upstream."""
    sent_down: int
    """Bytes sent to the clients."""


class Relayed(NamedTuple):
    """What ``relay`` moved."""

    from_a: int
    """Bytes that came from the first socket and were sent to the second."""
    from_b: int
    """Bytes that came from the second socket and were sent to the first."""
    reset: bool
    """Whether one side was reset, so that bytes may be missing."""


class Forwarder:
    """A TCP forwarder: each connection to ``listen`` becomes one to ``upstream``.

    ``listen`` is ``"HOST:PORT"``, ``"PORT"`` alone for loopback, or an Endpoint; ``localhost`` and ``*`` are
    both families, and port 0 is a free one, which ``port`` then tells. ``upstream`` is ``"HOST:PORT"``. Its
    name is resolved once, at the start, and every connection tries its addresses in turn.

    ``rewrite_host``: True replaces a Host that names the listener (``localhost``, ``127.0.0.1``, ``[::1]``,
    the address that the client connected to, or the host of ``listen``; any case, with the port or
    without one) by the upstream's; ``"always"`` replaces every Host. Requests that could be understood in two
    ways are answered 400, a head that takes longer than ``head_timeout`` seconds 408.

    ``connect_timeout`` is in seconds, for each address of the upstream. ``max_connections`` may be open at
    once; more wait until one ends. ``warn`` is called with a line of text when accepting pauses because
    the process ran out of descriptors (by default it is logged to ``fastnet.forward``).

    Used as a context manager (``with`` or ``async with``) it starts and stops; it runs in a thread of its
    own. Raises InvalidArgument for values that can't be meant; ``start`` raises NameNotResolved,
    AddressInUse, NotPermitted or OSError.
    """

    def __init__(
        self,
        listen: str | Endpoint,
        upstream: str | Endpoint,
        *,
        rewrite_host: bool | Literal["always"] = False,
        max_connections: int = 4096,
        connect_timeout: float = 10.0,
        head_timeout: float = 10.0,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        if rewrite_host not in (False, True, "always"):
            raise InvalidArgument(f'rewrite_host {rewrite_host!r}: expected False, True or "always"')
        if max_connections < 1:
            raise InvalidArgument(f"max_connections {max_connections}: expected 1 or more")
        check_seconds("connect_timeout", connect_timeout, 0.001)
        check_seconds("head_timeout", head_timeout, 0.001)
        self._listen = parse_endpoint(listen, "localhost") if isinstance(listen, str) else listen
        self._upstream = parse_endpoint(upstream) if isinstance(upstream, str) else upstream
        if not self._upstream.port:
            raise InvalidArgument(f"{self._upstream}: port 0 can't be connected to")
        self._rewrite_host = rewrite_host
        self._max_connections = max_connections
        self._connect_timeout = connect_timeout
        self._head_timeout = head_timeout
        self._warn = warn or _log
        self._loop: _core.Loop | None = None

    def start(self) -> Self:
        """Listen, and begin to forward in a thread."""
        return self._start(self._resolve())

    def _resolve(self) -> list[Resolved]:
        return resolve(*self._upstream)

    def _start(self, upstreams: list[Resolved]) -> Self:
        if self._loop:
            raise RuntimeError("this forwarder was started before: make another one")
        loop = _core.Loop(warn=self._warn)
        try:
            self._listen_by(loop, upstreams)
        except (OSError, ValueError):
            loop.close()
            raise
        self._loop = loop
        self._work = Work(loop.run, "fastnet-forward")
        return self

    def _listen_by(self, loop: _core.Loop, upstreams: list[Resolved]) -> None:
        listeners = listen(self._listen)
        self._addresses = [_endpoint_of(sock) for sock in listeners]
        rule = _core.Rule(
            [_core.Upstream(upstreams, str(self._upstream))],
            rewrite=self._rewrite(),
            max_connections=self._max_connections,
            connect_timeout=self._connect_timeout,
            head_timeout=self._head_timeout,
        )
        self._counters = rule.counters
        loop.listen(rule, listeners)
        if any(_reaches(upstream, address) for upstream in upstreams for address in self._addresses):
            raise InvalidArgument(f"{self._upstream} is this forwarder itself: it would connect for ever")

    def _rewrite(self) -> _http_head.HostRewrite | None:
        if not self._rewrite_host:
            return None
        names = {*_LOOPBACKS, self._listen.host, *(address.host for address in self._addresses)}
        return _http_head.HostRewrite(
            names, self.port, _authority(self._upstream), self._rewrite_host == "always"
        )

    @property
    def addresses(self) -> list[Endpoint]:
        """Where it listens: one numeric address for each family, all on the same port."""
        self._started()
        return list(self._addresses)

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return self._addresses[0].port

    def stats(self) -> Stats:
        """The counters as they are now; they may be asked for from any thread, also after the end."""
        self._started()
        return Stats(*(getattr(self._counters, name) for name in Stats._fields))

    def drain(self, timeout: float = 30.0) -> None:
        """Accept no more, and let the connections there are end by themselves for ``timeout`` seconds.

        Returns at once: ``wait`` waits. What is left then is reset. May be called from a signal
        handler, and again with another time.
        """
        check_seconds("timeout", timeout)
        self._started().drain(timeout)

    def wait(self) -> bool:
        """Wait until it has drained or was stopped. True where no connection was cut."""
        self._started()
        return self._work.result()

    async def wait_async(self) -> bool:
        """``wait`` as a coroutine. Cancelling it leaves the forwarder running."""
        self._started()
        return await self._work.result_async(cancel=lambda: None)

    def stop(self) -> None:
        """Reset the connections there are, and return when everything is closed. Twice is no error."""
        self._started().stop()
        self._work.result()

    def _started(self) -> _core.Loop:
        if self._loop is None:
            raise RuntimeError("this forwarder was not started")
        return self._loop

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        # Resolving may take its time; the rest does not.
        resolving = Work(self._resolve, "fastnet-forward-resolve")
        return self._start(await resolving.result_async(cancel=lambda: None))

    async def __aexit__(self, *_: object) -> None:
        self._started().stop()
        await self.wait_async()


def relay(sock_a: socket.socket, sock_b: socket.socket) -> Relayed:
    """Relay between two connected stream sockets until both directions have ended, in this thread.

    The sockets are handed over: the caller's objects are closed at once, the connections when it
    returns. Raises InvalidArgument for what is no plain connected stream socket.
    """
    loop, counters = _joined(sock_a, sock_b)
    loop.run()
    return _relayed(counters)


async def relay_async(sock_a: socket.socket, sock_b: socket.socket) -> Relayed:
    """``relay`` as a coroutine, in a thread of its own. Cancelling it resets both connections."""
    loop, counters = _joined(sock_a, sock_b)
    await Work(loop.run, "fastnet-relay").result_async(cancel=loop.stop)
    return _relayed(counters)


def _joined(sock_a: socket.socket, sock_b: socket.socket) -> tuple[_core.Loop, _core.Counters]:
    if sock_a is sock_b:
        raise InvalidArgument("both ends are the same socket: expected two")
    for sock in (sock_a, sock_b):
        _check_relayable(sock)
    loop = _core.Loop()
    return loop, loop.join(_handed_over(sock_a), _handed_over(sock_b))


def _check_relayable(sock: socket.socket) -> None:
    if "ssl" in sys.modules and isinstance(sock, sys.modules["ssl"].SSLSocket):
        raise InvalidArgument("a TLS socket can't be relayed: its bytes pass through its object")
    if sock.type != socket.SOCK_STREAM:
        raise InvalidArgument(f"{sock.type.name}: expected a stream socket")
    try:
        sock.getpeername()
    except OSError as error:
        raise InvalidArgument(f"expected a connected socket: {error.strerror}") from None


def _handed_over(sock: socket.socket) -> socket.socket:
    return socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())


def _relayed(counters: _core.Counters) -> Relayed:
    return Relayed(counters.sent_up, counters.sent_down, bool(counters.resets))


def _endpoint_of(sock: socket.socket) -> Endpoint:
    address = sock.getsockname()
    return Endpoint(Resolved(sock.family, address).host, address[1])


def _reaches(upstream: Resolved, address: Endpoint) -> bool:
    """Whether connecting to this upstream address reaches the listener at ``address``."""
    host, port = upstream.host, upstream.address[1]
    return port == address.port and (
        host == address.host or (address.host in _WILDCARDS and host in (*_LOOPBACKS, *_WILDCARDS))
    )


def _authority(upstream: Endpoint) -> str:
    """The upstream as a Host field names it: without HTTP's own port, and without an address's scope."""
    host = upstream.host.partition("%")[0]
    named = Endpoint(host if ":" in host else host.encode("idna").decode("ascii"), upstream.port)
    return str(named).removesuffix(_HTTP_PORT)


def _log(text: str) -> None:
    import logging

    logging.getLogger(__name__).warning("%s", text)
