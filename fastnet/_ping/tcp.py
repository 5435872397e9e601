"""Echo by TCP, which needs no privilege: a host that accepts or refuses a connection is alive.

What sends nothing but SYN has no payload, and no cookie: whoever sees the SYN on its way can answer it, as
firewalls do that refuse a connection in the host's name.
"""

import errno
import os
import socket
import time
from _collections_abc import Iterator
from select import EPOLLIN, EPOLLOUT, epoll

from fastnet._alive import EXHAUSTED, FROM_THE_HOST, MAX_CONNECTIONS, PORTS, answer_of
from fastnet._backend import probe as _core
from fastnet._connect import outcome
from fastnet._system.icmp_errors import request_errors
from fastnet._system.icmp_sockets import FAMILIES, bind_to_interface, bind_to_source
from fastnet._system.permission import open_stream
from fastnet._typing import Any, NamedTuple

_NANOSECOND = 1_000_000_000
_EVENTS = 256


class _Attempt(NamedTuple):
    """A connection to one port that is under way."""

    sock: socket.socket
    destination: tuple[Any, ...]
    port: int
    tag: int
    begun_ns: int
    until_ns: int


class TcpProber:
    """Sends probes as the core's ``Prober`` does, by connecting to ports that are rarely dropped on the way.

    The first probe of a host goes to all of ``PORTS``, those that follow to the one that answered, until it
    does not. A round-trip time ends when the answer is read. The options are those of ``Prober``; raises
    NoAddress, NoSuchInterface, NotPermitted, OSError.
    """

    engine = "tcp"
    notes: tuple[str, ...] = ()

    def __init__(self, family: int, *, source: str, interface: str, ttl: int | None, tos: int) -> None:
        self.family = socket.AddressFamily(family)
        self._source, self._interface, self._ttl, self._tos = source, interface, ttl, tos
        self._socket().close()  # raises what is wrong
        self._poller = epoll()
        self._attempts: dict[int, _Attempt] = {}
        self._answering: dict[tuple[Any, ...], int] = {}
        """The port of a host that answered last."""

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to ``receive``."""
        return self._poller.fileno()

    def close(self) -> None:
        # Without a word to the poller: after a fork it is the parent's too.
        self._poller.close()
        for attempt in self._attempts.values():
            attempt.sock.close()
        self._attempts.clear()

    def send(self, destination: tuple[Any, ...], tag: int, timeout: float) -> None:
        """Connect to a host, for ``timeout`` seconds; its answers have this ``tag``.

        Raises OSError: EAGAIN if there is no room for more connections until others end.
        """
        self._give_up()
        known = self._answering.get(destination)
        ports = PORTS if known is None else (known,)
        if len(self._attempts) + len(ports) > MAX_CONNECTIONS:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        begun: list[int] = []
        try:
            for port in ports:
                begun.append(self._connect(destination, port, tag, timeout))
        except OSError as error:
            for fd in begun:
                self._end(fd).sock.close()
            if error.errno in EXHAUSTED and self._attempts:
                raise OSError(errno.EAGAIN, error.strerror) from None
            raise

    def receive(self) -> list["_core.Answer"]:
        """The answers that have arrived, without waiting."""
        answers: list[_core.Answer] = []
        for fd, _ in self._poller.poll(0, _EVENTS):
            if fd in self._attempts:
                attempt = self._end(fd)
                with attempt.sock:
                    answers += self._answers(attempt)
        return answers

    def _socket(self) -> socket.socket:
        family = FAMILIES[self.family]
        sock = open_stream(self.family)
        try:
            sock.setblocking(False)
            request_errors(sock)
            if self._interface:
                bind_to_interface(sock, self._interface)
            if self._source:
                bind_to_source(sock, self._source, self._interface)
            if self._ttl is not None:
                sock.setsockopt(family.level, family.ttl_option, self._ttl)
            if self._tos:
                sock.setsockopt(family.level, family.tos_option, self._tos)
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect(self, destination: tuple[Any, ...], port: int, tag: int, timeout: float) -> int:
        """Begin one attempt; returns its descriptor. Raises OSError."""
        sock = self._socket()
        now_ns = time.monotonic_ns()
        try:
            code = sock.connect_ex((destination[0], port, *destination[2:]))
            if code != errno.EINPROGRESS and code not in FROM_THE_HOST:
                raise OSError(code, os.strerror(code))
            self._poller.register(sock, EPOLLIN | EPOLLOUT)
        except BaseException:
            sock.close()
            raise
        until_ns = now_ns + int(timeout * _NANOSECOND)
        self._attempts[sock.fileno()] = _Attempt(sock, destination, port, tag, now_ns, until_ns)
        return sock.fileno()

    def _answers(self, attempt: _Attempt) -> Iterator["_core.Answer"]:
        """The answer of an attempt that has ended; the host's own ends the others of its probe too."""
        rtt_ns = time.monotonic_ns() - attempt.begun_ns
        answer = answer_of(attempt.sock, attempt.destination, outcome(attempt.sock), attempt.tag, rtt_ns)
        if answer is None:
            return
        if answer.error is None:
            self._answering[attempt.destination] = attempt.port
            for fd in [fd for fd, other in self._attempts.items() if other.tag == attempt.tag]:
                self._end(fd).sock.close()
        yield answer

    def _give_up(self) -> None:
        """End the attempts whose time is over."""
        now_ns = time.monotonic_ns()
        for fd, attempt in list(self._attempts.items()):
            if attempt.until_ns <= now_ns:
                self._answering.pop(attempt.destination, None)
                self._end(fd).sock.close()

    def _end(self, fd: int) -> _Attempt:
        self._poller.unregister(fd)
        return self._attempts.pop(fd)
