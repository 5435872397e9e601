"""TCP relayed between pairs of sockets by one thread: an epoll loop over non-blocking sockets.

A connection has two sides, ``down`` (the client's) and ``up`` (the remote's). What is read from one side is
sent to the other at once; only what the kernel would not take is kept, and until that is gone nothing more
is read: a direction holds one read at most. Each direction ends by itself (half-close). A side that fails
is *broken*: what it sent before is still delivered, then the other side is reset.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
import weakref
from typing import TYPE_CHECKING

from fastnet._pure.http_head import BadMessage, Exchange, HostRewrite, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Upstream = tuple[int, Any]
    """An address family, and a socket address of that family."""

BUFFER_SIZE = 262144
"""Bytes of one read, and so the bytes that a direction holds for a slow reader at most."""
HTTP_BUFFER_SIZE = 65536
"""The same where request heads are rewritten: a rewritten head may be longer than it came."""
RESET_GRACE = 2.0
"""Seconds that what was sent before a reset may take to be acknowledged before the reset is passed on."""
LINGER = 2.0
"""Seconds that a client which was refused has to read why."""
SHORTAGE_PAUSE = 0.1
"""Seconds without accepting after descriptors ran out."""
WARNING_PAUSE = 60.0
"""Seconds of no shortage after which the next one is worth a warning again."""

_ACCEPTS_A_TURN = 16
_RESET_POLL = 0.01
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_IN, _OUT, _ERR, _HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP
_ABORT = struct.pack("ii", 1, 0)


class Counters:
    """What was done so far. One thread writes, any may read: each is a plain number, whole at any time."""

    __slots__ = ("accepted", "active", "refused", "resets", "sent_down", "sent_up", "unreachable")

    def __init__(self) -> None:
        self.accepted = 0
        self.active = 0
        """Connections open now."""
        self.unreachable = 0
        """Connections whose upstream could not be connected to."""
        self.refused = 0
        """Connections that were answered 400 or 408 instead of being passed on."""
        self.resets = 0
        """Connections that one of the sides reset, or that were cut."""
        self.sent_up = 0
        """Bytes sent to the upstream (the second socket of ``join``)."""
        self.sent_down = 0
        """Bytes sent to the client (the first socket of ``join``)."""


class _Rule:
    """Where connections come from and go to."""

    __slots__ = ("counters", "listeners", "listening", "max_connections", "rewrite", "upstreams")

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        upstreams: Sequence[Upstream],
        rewrite: HostRewrite | None,
        max_connections: int,
    ) -> None:
        self.listeners = list(listeners)
        self.upstreams = tuple(upstreams)
        self.rewrite = rewrite
        self.max_connections = max_connections
        self.counters = Counters()
        self.listening = False


class _Side:
    """One socket of a connection. ``unsent`` is what waits to be sent to it."""

    __slots__ = (
        "broken",
        "connection",
        "fd",
        "gone",
        "mask",
        "peer",
        "reading",
        "shut",
        "sock",
        "unsent",
    )
    peer: _Side

    def __init__(self, connection: _Connection, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.sock = sock
        self.fd = sock.fileno()
        self.unsent = bytearray()
        self.mask = -1  # What epoll watches for; -1: it does not know the descriptor.
        self.reading = True  # Its stream has not ended.
        self.shut = False  # Ours to it has: FIN was sent.
        self.broken = False  # It failed: nothing can be sent to it any more.
        self.gone = False  # epoll reports it whatever is asked for.

    def on_event(self, events: int) -> None:
        if not self.connection.closed:
            self.connection.on_event(self, events)

    def unacknowledged(self) -> int:
        """Bytes that the kernel still holds for the other end (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self.fd, termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])

    def shut_down(self) -> None:
        self.shut = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # The other end is gone already, which reading it will tell.
            self.broken = True

    def close(self, abort: bool) -> None:
        if abort:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.sock.close()


class _Timer(dict["_Connection", float]):
    """Connections that something must happen to within a fixed time, earliest first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def arm(self, connection: _Connection) -> None:
        self.pop(connection, None)
        self[connection] = time.monotonic() + self.seconds

    def disarm(self, connection: _Connection) -> None:
        self.pop(connection, None)

    def due(self, now: float) -> list[_Connection]:
        """Take out the connections whose time is up."""
        late = []
        for connection, deadline in self.items():
            if deadline > now:
                break
            late.append(connection)
        for connection in late:
            del self[connection]
        return late


class _Connection:
    __slots__ = (
        "_addresses",
        "closed",
        "connected",
        "down",
        "exchange",
        "loop",
        "refused",
        "rule",
        "up",
    )

    def __init__(self, loop: Loop, rule: _Rule, downstream: socket.socket) -> None:
        self.loop = loop
        self.rule = rule
        self._addresses = iter(rule.upstreams)
        self.exchange: Exchange | None = None
        self.connected = False
        self.refused = False
        self.closed = False
        # Until there is an upstream, the client's side stands in for it.
        self.down = self.up = _Side(self, downstream)
        self.down.peer = self.down
        loop.connections.add(self)
        rule.counters.active += 1

    # Connecting

    def join(self, sock: socket.socket) -> None:
        """The upstream is this connected socket."""
        self._pair(sock)
        self.connected = True
        self._settle()

    def connect(self, spare: socket.socket | None) -> None:
        """Begin to connect to the next address that allows it; ``spare`` is a socket to do so with."""
        for family, address in self._addresses:
            try:
                sock = spare or socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue
            spare = None
            self._pair(sock)
            code = sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS):
                self.loop.watch(self.up, _OUT)
                self.loop.watch(self.down, 0)
                self.loop.connect_timer.arm(self)
                return
            self.loop.drop(self.up)
        self.rule.counters.unreachable += 1
        if self.exchange:
            self._refuse(502, "the upstream can't be connected to")
        else:
            self.abort()

    def connect_failed(self) -> None:
        """This address refused, or its time was up: on to the next."""
        self.loop.drop(self.up)
        self.connect(None)

    def _pair(self, sock: socket.socket) -> None:
        self.up = _Side(self, sock)
        self.up.peer, self.down.peer = self.down, self.up

    def _on_connecting(self, side: _Side, events: int) -> None:
        if side is self.down:
            if events & (_ERR | _HUP):
                self.abort()
            return
        sock = side.sock
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        reset = error in (errno.ECONNRESET, errno.EPIPE)
        # A port of this machine without a listener can be connected to itself (RFC 9293, section 3.5).
        if (error and not reset) or sock.getsockname() == _peername(sock):
            self.connect_failed()
            return
        self.loop.connect_timer.disarm(self)
        self.connected = True
        if reset:  # It was connected and is reset already; what it sent in between can be read.
            self._break(side)
        self._settle()

    # Relaying

    def on_event(self, side: _Side, events: int) -> None:
        if not self.connected and not self.refused:
            self._on_connecting(side, events)
            return
        if events & _OUT and side.unsent:
            self._flush(side)
        if events & ~_OUT and not self.closed:
            side.gone = bool(events & (_ERR | _HUP))
            if side.reading and self._may_read(side):
                self._read(side)
            else:
                if events & _ERR:
                    self._break(side)
                self._settle()

    def _may_read(self, side: _Side) -> bool:
        """Whether the other side can take what this one would give."""
        peer = side.peer
        if self.refused:
            return True
        if peer.unsent or peer.broken:
            return False
        return side is self.up or not self._held()

    def _held(self) -> bool:
        """Whether the client must wait for a response, which may still come."""
        return self.exchange is not None and self.exchange.held and self.up.reading

    def _read(self, side: _Side) -> None:
        data: bytes | memoryview
        try:
            if self.exchange is None:
                data = self.loop.view[: side.sock.recv_into(self.loop.view)]
            else:
                data = side.sock.recv(HTTP_BUFFER_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._break(side)
            data = b""
        if not data:
            side.reading = False
            self._settle()
        elif self.refused:
            return
        elif self.exchange is None:
            self._send(side.peer, data)
        elif side is self.down:
            self._request(self.exchange, bytes(data))
        else:
            self._response(self.exchange, bytes(data))

    def _request(self, exchange: Exchange, data: bytes) -> None:
        if data and exchange.held:
            return  # No response can come any more: nothing can be passed on, either.
        out = exchange.request(data)
        if out:
            self._send(self.up, out)
        if self.closed:
            return
        timer = self.loop.head_timer
        if not (exchange.refusal or exchange.head_pending):
            timer.disarm(self)
        elif out or self not in timer:
            timer.arm(self)
        if exchange.refusal and exchange.idle:
            self.rule.counters.refused += 1
            self._refuse(400, exchange.refusal)
        self._settle()

    def _response(self, exchange: Exchange, data: bytes) -> None:
        held = exchange.held
        try:
            exchange.response(data)
        except BadMessage:
            self.abort()
            return
        self._send(self.down, data)
        if held and not self.closed:
            self._request(exchange, b"")

    def _send(self, side: _Side, data: bytes | memoryview) -> None:
        if self.closed or side.broken:
            return
        sent = 0
        if not side.unsent:
            sent = self._sent(side, data)
        if sent < len(data):
            if not side.broken:
                side.unsent += data[sent:]
            self._settle()

    def _sent(self, side: _Side, data: bytes | memoryview | bytearray) -> int:
        try:
            sent = side.sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self._break(side)
            return 0
        if side is self.up:
            self.rule.counters.sent_up += sent
        else:
            self.rule.counters.sent_down += sent
        return sent

    def _flush(self, side: _Side) -> None:
        del side.unsent[: self._sent(side, side.unsent)]
        if not side.unsent:
            self._settle()

    # Ending

    def _break(self, side: _Side) -> None:
        """Nothing more can be sent to this side; what it sent before can still be read."""
        side.broken = True
        side.unsent.clear()

    def _settle(self) -> None:
        """After anything but plain relaying: pass on ends and resets, close, or watch for what is next."""
        if self.closed:
            return
        if self.refused:
            self._settle_refused()
            return
        for side in (self.down, self.up):
            over = not side.peer.reading and not side.peer.broken and not side.unsent
            if over and not side.shut and not side.broken:
                side.shut_down()
        if self.down.broken or self.up.broken:
            self.pass_reset()
        elif self.down.shut and self.up.shut:
            self.close()
        if not self.closed:
            self._watch(self.down)
            self._watch(self.up)

    def pass_reset(self) -> None:
        """Reset the other side of a broken one as soon as that loses nothing."""
        broken, other = (self.down, self.up) if self.down.broken else (self.up, self.down)
        if other.broken or not (broken.reading or other.unsent or other.unacknowledged()):
            self.abort()
        elif self not in self.loop.reset_timer:
            self.loop.reset_timer.arm(self)

    def _settle_refused(self) -> None:
        side = self.down
        if not side.unsent and not side.shut and not side.broken:
            side.shut_down()
        if side.broken or not side.reading:
            self.close()
        else:
            self._watch(side)

    def _watch(self, side: _Side) -> None:
        wanted = _OUT if side.unsent else 0
        if side.reading and self._may_read(side):
            wanted |= _IN
        self.loop.watch(side, wanted)

    def head_late(self) -> None:
        """The head's time is up, or the time in which earlier responses would let a refusal be sent."""
        self.rule.counters.refused += 1
        if self.exchange and self.exchange.idle:
            self._refuse(408, "the request's head took too long")
        else:
            self.abort()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer instead of the upstream, and close once the client has had time to read it."""
        self.refused = True
        self.loop.forget(self)
        self.loop.linger_timer.arm(self)
        if self.connected:
            self.loop.drop(self.up, abort=True)
        self._send(self.down, refusal(status, reason))
        self._settle()

    def abort(self) -> None:
        """Close both sides by a reset."""
        self.rule.counters.resets += self.connected
        self.close(abort=True)

    def close(self, abort: bool = False) -> None:
        if not self.closed:
            self.closed = True
            self.loop.forget(self)
            self.loop.drop(self.down, abort)
            self.loop.drop(self.up, abort)
            self.rule.counters.active -= 1
            self.loop.connections.discard(self)
            self.loop.resume(self.rule)


def _peername(sock: socket.socket) -> Any:
    try:
        return sock.getpeername()
    except OSError:
        return None


class _Listener:
    __slots__ = ("loop", "rule", "sock")

    def __init__(self, loop: Loop, rule: _Rule, sock: socket.socket) -> None:
        self.loop, self.rule, self.sock = loop, rule, sock

    def on_event(self, _events: int) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not (self.rule.listening and self.accept()):
                return

    def accept(self) -> bool:
        """Take one connection; False where there is none, or where no more can be had now."""
        rule = self.rule
        if rule.counters.active >= rule.max_connections:
            self.loop.pause(rule)
            return False
        spare = None
        try:
            # First the upstream's socket: a client is not accepted without a descriptor to serve it with.
            spare = _socket_for(rule.upstreams[0][0])
            sock, _ = self.sock.accept()
        except OSError as error:
            if spare:
                spare.close()
            if error.errno in _SHORTAGES:
                self.loop.shortage(rule, error)
            return False
        rule.counters.accepted += 1
        connection = _Connection(self.loop, rule, sock)
        if rule.rewrite:
            connection.exchange = Exchange(rule.rewrite, _host_of(sock))
        connection.connect(spare)
        return True


def _socket_for(family: int) -> socket.socket | None:
    """A socket of this family; None where this machine lacks the family."""
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        return None


def _host_of(sock: socket.socket) -> str:
    """The local address that the client connected to."""
    name = sock.getsockname()
    return str(name[0]) if isinstance(name, tuple) else ""


class _Waker:
    """Lets another thread, or a signal handler, end the loop's wait."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.RLock()

    def wake(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def on_event(self, _events: int) -> None:
        os.eventfd_read(self.fd)

    def close(self) -> None:
        with self._lock:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)

    def abandon(self) -> None:
        """Close in a forked child, where another thread's lock is held for ever."""
        self._lock = threading.RLock()
        self.close()


class Loop:
    """One thread's relays.

    ``listen`` and ``join`` say what to relay, then ``run`` does it until nothing is left: no listener
    and no connection. ``drain`` and ``stop`` may be called from any thread and from a signal handler; all
    else belongs to the thread that runs. ``connect_timeout`` is the time for each upstream address,
    ``head_timeout`` the one for a request's head (where heads are rewritten), both in seconds. ``warn``
    is called with a line of text when accepting pauses because descriptors ran out.

    A child process that forks off has its copies of all descriptors closed, so that it keeps no
    connection open.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        head_timeout: float = 10.0,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.view = memoryview(bytearray(BUFFER_SIZE))
        self.connections: set[_Connection] = set()
        self.connect_timer = _Timer(connect_timeout)
        self.head_timer = _Timer(head_timeout)
        self.reset_timer = _Timer(RESET_GRACE)
        self.linger_timer = _Timer(LINGER)
        self._warn = warn
        self._quiet_until = 0.0
        self._rules: list[_Rule] = []
        self._short: dict[_Rule, float] = {}
        self._deadline = float("inf")
        self._draining = False
        self._waker = _Waker()
        self._epoll = select.epoll()
        self._handlers: dict[int, _Side | _Listener | _Waker] = {self._waker.fd: self._waker}
        self._epoll.register(self._waker.fd, _IN)
        _loops.add(self)

    # What to relay

    def listen(
        self,
        listeners: Sequence[socket.socket],
        upstreams: Sequence[Upstream],
        *,
        rewrite: HostRewrite | None = None,
        max_connections: int = 4096,
    ) -> Counters:
        """Forward each connection to these listening sockets to the first upstream address that takes it.

        The sockets are the loop's from now on. Where ``max_connections`` are open, no more are
        accepted until one ends; they wait in the kernel's backlog.
        """
        rule = _Rule(listeners, upstreams, rewrite, max_connections)
        self._rules.append(rule)
        for sock in rule.listeners:
            sock.setblocking(False)
        self.resume(rule)
        return rule.counters

    def join(self, first: socket.socket, second: socket.socket) -> Counters:
        """Relay between two connected sockets, which are the loop's from now on."""
        rule = _Rule((), (), None, 1)
        _Connection(self, rule, first).join(second)
        return rule.counters

    # Running

    def run(self) -> bool:
        """Relay until nothing is left to do, or the time to ``drain`` is up; then close every socket.

        True where every connection had ended by itself, False where one was cut.
        """
        try:
            while (self.connections or self._rules) and time.monotonic() < self._deadline:
                if self._draining and self._rules:
                    self._close_listeners()
                else:
                    self._turn()
            return not self.connections
        finally:
            self.close()

    def drain(self, timeout: float) -> None:
        """Accept no more; ``run`` returns when all connections have ended, or after ``timeout`` seconds."""
        self._deadline = time.monotonic() + timeout
        self._draining = True
        self._waker.wake()

    def stop(self) -> None:
        """Let ``run`` reset all connections and return."""
        self.drain(0.0)

    def close(self) -> None:
        """Reset all connections and close everything; for a loop that is not running."""
        self._close_listeners()
        for connection in list(self.connections):
            connection.abort()
        self._waker.close()
        self._epoll.close()

    def _turn(self) -> None:
        events = self._epoll.poll(self._timeout())
        # Looked up at once: what is handled first may close a descriptor whose number is then used anew.
        for handler, mask in [(self._handlers[fd], mask) for fd, mask in events]:
            handler.on_event(mask)
        self._expire(time.monotonic())

    def _timeout(self) -> float:
        """Seconds until something is due; -1 where nothing is."""
        timers = (self.connect_timer, self.head_timer, self.reset_timer, self.linger_timer, self._short)
        dues = [next(iter(timer.values())) for timer in timers if timer]
        due = min(dues, default=float("inf"))
        due = min(due, self._deadline)
        if due == float("inf"):
            return -1
        left = max(0.0, due - time.monotonic())
        return min(left, _RESET_POLL) if self.reset_timer else left

    def _expire(self, now: float) -> None:
        for connection in self.connect_timer.due(now):
            connection.connect_failed()
        for connection in self.head_timer.due(now):
            connection.head_late()
        for connection in self.reset_timer.due(now):
            connection.abort()
        for connection in self.linger_timer.due(now):
            connection.close()
        for connection in list(self.reset_timer):
            connection.pass_reset()
        for rule in [rule for rule, due in self._short.items() if due <= now]:
            del self._short[rule]
            self.resume(rule)

    # Accepting

    def pause(self, rule: _Rule) -> None:
        """Accept no more of this rule's connections for now."""
        if rule.listening:
            rule.listening = False
            for sock in rule.listeners:
                self._epoll.unregister(sock)
                del self._handlers[sock.fileno()]

    def resume(self, rule: _Rule) -> None:
        """Accept again, unless there is a reason not to."""
        full = rule.counters.active >= rule.max_connections
        if not (rule.listening or full or self._draining or rule in self._short):
            rule.listening = True
            for sock in rule.listeners:
                self._handlers[sock.fileno()] = _Listener(self, rule, sock)
                self._epoll.register(sock, _IN)

    def shortage(self, rule: _Rule, error: OSError) -> None:
        """No descriptor or memory for one more connection: pause, and say so once."""
        self.pause(rule)
        now = time.monotonic()
        self._short[rule] = now + SHORTAGE_PAUSE
        if now >= self._quiet_until:
            self._warn(f"accepting pauses at {rule.counters.active} connections: {error.strerror}")
        self._quiet_until = now + WARNING_PAUSE

    def _close_listeners(self) -> None:
        for rule in self._rules:
            self.pause(rule)
            for sock in rule.listeners:
                sock.close()
        self._rules.clear()
        self._short.clear()

    # Descriptors

    def watch(self, side: _Side, mask: int) -> None:
        """Let epoll report these events of a side; one that is gone is reported whatever is asked for."""
        if mask == 0 and side.gone:
            mask = -1
        if mask == side.mask:
            return
        if mask < 0:
            self._epoll.unregister(side.fd)
            del self._handlers[side.fd]
        elif side.mask < 0:
            self._epoll.register(side.fd, mask)
            self._handlers[side.fd] = side
        else:
            self._epoll.modify(side.fd, mask)
        side.mask = mask

    def drop(self, side: _Side, abort: bool = False) -> None:
        """Close one side's socket."""
        if side.sock.fileno() < 0:
            return
        side.gone = True
        self.watch(side, 0)
        side.close(abort)

    def forget(self, connection: _Connection) -> None:
        """Nothing is due for this connection any more."""
        for timer in (self.connect_timer, self.head_timer, self.reset_timer, self.linger_timer):
            timer.disarm(connection)

    def abandon(self) -> None:
        """In a forked child: close the copies, and touch nothing that is shared with the parent."""
        self._epoll.close()
        self._waker.abandon()
        for rule in self._rules:
            for sock in rule.listeners:
                sock.close()
        for connection in self.connections:
            for side in (connection.down, connection.down.peer):
                side.sock.close()
        self.connections.clear()
        self._rules.clear()


_loops: weakref.WeakSet[Loop] = weakref.WeakSet()


def _abandon_loops() -> None:
    for loop in list(_loops):
        loop.abandon()


os.register_at_fork(after_in_child=_abandon_loops)
