"""One end of a connection: a socket that follows a script while it reads and checks what comes."""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .reactor import HANGUP, READ, WRITE, Reactor
from .streams import LONGEST, MARK, Receiver, Segment, Stream, Wrong, literal

AT_ONCE = struct.pack("ii", 1, 0)
WHOLE = 1 << 18
SHOWN = 24
"""Bytes of a literal that a report shows."""


class Step(NamedTuple):
    """One step of a script.

    ``send`` so many bytes of bulk, ``say`` segments, send an ``urgent`` byte; ``receive`` so many bytes more,
    or wait ``until`` so many have come in all; ``pause`` for so many milliseconds, ``stall`` (read nothing)
    as long, ``hold`` until the round releases it; and ``fin``, ``reset``, ``close``.
    """

    op: str
    n: int = 0
    segments: tuple[Segment, ...] = ()

    def __str__(self) -> str:
        if not self.segments:
            return f"{self.op} {self.n or ''}".rstrip()
        said = b"".join(segment.sent for segment in self.segments)
        bulk = sum(segment.bulk for segment in self.segments)
        return f"{self.op} {said[:SHOWN]!r}... of {len(said)} bytes{f' and {bulk}' if bulk else ''}"


class Habits(NamedTuple):
    """How an end uses its socket."""

    piece: int = WHOLE
    """Bytes of one send."""
    gulp: int = WHOLE
    """Bytes of one recv."""
    send_buffer: int = 0
    receive_buffer: int = 0

    def apply(self, sock: socket.socket) -> None:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        if self.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)


class End:
    """A socket and its script; ``done`` when it is closed.

    ``connecting``: it is not connected yet. ``skip`` is called with the first bytes that come, and returns
    what is behind those it was waiting for (None: they are not there yet).
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        stream: Stream,
        receiver: Receiver,
        habits: Habits,
        *,
        connecting: bool = False,
        skip: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        self.reactor = reactor
        self.sock = sock
        self.stream = stream
        self.receiver = receiver
        self.habits = habits
        self.skip = skip
        self.skipped = b""
        self.connected = not connecting
        self.is_tcp = sock.family != socket.AF_UNIX
        self.steps: deque[Step] = deque()
        self.peer: End | None = None
        self.wrong: Wrong | None = None
        self.on_named: Callable[[], None] = lambda: None
        self.on_done: Callable[[], None] = lambda: None
        self.done = False
        self.ended_at = float("inf")
        self.aborted = False
        """It was reset, or closed with its peer's end still to come, by the script."""
        self.failed = 0
        """errno of what ended it otherwise."""
        self.stalled = self.released = False
        self.begun = False
        self.cut_short = False
        """It was released before its script was over."""
        self._out: deque[tuple[bytes, Segment]] = deque()
        self._written = self._bulk = 0
        self._goal = -1
        self._until = 0.0
        self._watched = True
        self._events = WRITE if connecting else READ
        reactor.watch(sock.fileno(), self._events, self._on_events)

    def begin(self, steps: Sequence[Step]) -> None:
        """Follow this script."""
        self.begun = True
        self.steps.extend(steps)
        self.advance()

    def release(self) -> None:
        """Give up what it waits for, and come to an orderly end."""
        self.released = True
        self.stalled = False
        self.cut_short |= bool(self.steps or self._out)
        self.steps = deque(step for step in self.steps if step.op in ("reset", "close"))
        if self._out and not self.connected:
            self._out.clear()
        self.advance()

    @property
    def answer(self) -> bytes:
        """What the forwarder itself answered, behind all that was due or before any of it."""
        return self.receiver.answer or self.receiver.unnamed

    @property
    def wants(self) -> bool:
        """It reads, and its peer's end has not come."""
        return not (self.done or self.stalled or self.receiver.ended)

    @property
    def over(self) -> bool:
        """Both directions have ended, as far as it can see."""
        return self.done or bool(self.receiver.ended and self.stream.ended)

    @property
    def state(self) -> str:
        """What it has done, for a report."""
        words = [f"sent {self.stream.due}", self.stream.ended, "aborted" if self.aborted else ""]
        words += [f"received {self.receiver.count}", self.receiver.ended]
        words += [
            f"errno {self.failed}" if self.failed else "",
            "" if self.done else f"next {[*self.steps][:1]}",
        ]
        return " ".join(filter(None, words))

    # Steps

    def advance(self) -> None:
        """Take the steps that can be taken now."""
        if not self.connected and self.steps and self.steps[0].op in ("reset", "close") and not self.done:
            self._finish_step()
        while not self.done and self.connected:
            if self._out and not self._flush():
                break
            if not self.steps:
                if self.begun or self.released:
                    self._end_in_order()
                break
            if not self._take(self.steps[0]):
                break
            if self.steps and not self.done:
                self.steps.popleft()
        self._watch()

    def _finish_step(self) -> None:
        step = self.steps.popleft()
        self._take(step)

    def _take(self, step: Step) -> bool:
        """Begin a step, or go on with it; whether that is all of it."""
        if step.op == "send":
            self._say(Segment(bulk=step.n))
        elif step.op == "say":
            for segment in step.segments:
                self._say(segment)
        elif step.op == "urgent":
            self._say(Segment(MARK, MARK, optional=True))
        elif step.op == "receive":
            return self._has(self.receiver.count + step.n if self._goal < 0 else self._goal)
        elif step.op == "until":
            return self._has_all(step.n)
        elif step.op in ("pause", "stall"):
            return self._rest(step)
        elif step.op == "hold":
            return self.released
        elif step.op == "fin":
            self._fin()
        else:
            self.leave(step.op == "reset")
        return True

    def _say(self, segment: Segment) -> None:
        self.stream.segments.append(segment)
        self._out.append((segment.sent, segment))

    def _has(self, goal: int) -> bool:
        self._goal = goal
        if self.receiver.count < goal and not (self.receiver.ended or self.receiver.answer):
            return False
        self._goal = -1
        return True

    def _has_all(self, goal: int) -> bool:
        """Where less has come than it waited for, nothing of its script is left to do."""
        if self.receiver.count < goal and (self.receiver.ended or self.receiver.answer):
            self.steps = deque(list(self.steps)[:1])
            self._out.clear()
            self.cut_short = True
            return True
        return self.receiver.count >= goal

    def _rest(self, step: Step) -> bool:
        if not self._until:
            self._until = self.reactor.now + step.n / 1000
            self.stalled = step.op == "stall"
            self.reactor.later(step.n / 1000 + 0.001, self.advance)
        if self.reactor.now < self._until:
            return False
        self._until = 0.0
        self.stalled = False
        return True

    def _fin(self) -> None:
        if self.stream.ended:
            return
        self.stream.ended = "fin"
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.fail(error)

    def _end_in_order(self) -> None:
        self._fin()
        if self.receiver.ended and not self.done:
            self.close()

    def leave(self, abort: bool) -> None:
        """Reset it, or close it as it is. A Unix socket can't be reset."""
        abort = abort and self.is_tcp
        if abort:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        if abort or not self.receiver.ended:
            self.aborted = True
        if not self.stream.ended:
            self.stream.ended = "reset" if abort else "closed" if self.aborted else "fin"
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.done = True
        self.ended_at = self.reactor.now
        self.reactor.forget(self.sock.fileno())
        self.sock.close()
        self.on_done()

    def fail(self, error: OSError) -> None:
        """End it: the socket reports an error."""
        self.failed = error.errno or -1
        self.receiver.ended = self.receiver.ended or "reset"
        self.reactor.moved()
        if not self.done:
            self.close()

    # Events

    def _watch(self) -> None:
        if self.done:
            return
        events = READ if self.connected and self.wants else 0
        if self._out or not self.connected:
            events |= WRITE
        # Where both directions have ended, epoll reports that without end.
        watched = bool(events or not self.stream.ended)
        if watched and not self._watched:
            self.reactor.watch(self.sock.fileno(), events, self._on_events)
        elif watched and events != self._events:
            self.reactor.change(self.sock.fileno(), events)
        elif not watched and self._watched:
            self.reactor.forget(self.sock.fileno())
        self._watched, self._events = watched, events

    def _on_events(self, events: int) -> None:
        if not self.connected:
            self._on_connected()
        elif events & ~WRITE:
            self._read_or_fail(events)
        self.advance()

    def _read_or_fail(self, events: int) -> None:
        if self.wants:
            self._read()
        elif error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.fail(OSError(error, "reset"))
        elif events & HANGUP and not self.stream.ended:
            # A Unix socket's peer is gone, which only this distinguishes from its end.
            self.fail(OSError(errno.EPIPE, "gone"))

    def _on_connected(self) -> None:
        if error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.fail(OSError(error, "connect"))
        else:
            self.connected = True

    def _flush(self) -> bool:
        """Whether all is written."""
        while self._out:
            data, segment = self._out[0]
            left = (segment.bulk or len(data)) - self._written
            piece = min(left, self.habits.piece)
            part = (
                self.stream.bulk(self._bulk, piece)
                if segment.bulk
                else memoryview(data)[self._written : self._written + piece]
            )
            try:
                n = self.sock.send(part, socket.MSG_OOB if segment.optional else 0) if left else 0
            except BlockingIOError:
                return False
            except OSError as error:
                self._drain_errors(error)
                return False
            self._written += n
            if segment.bulk:
                self._bulk += n
                self.stream.due += n
            if n == left:
                self._out.popleft()
                self._written = 0
                self.stream.due += 0 if segment.bulk else segment.size
            return_early = n < left and self.habits.piece < WHOLE
            if return_early:
                return False
        return True

    def _drain_errors(self, error: OSError) -> None:
        """What came before an error of sending may still be read."""
        self._out.clear()
        try:
            while data := self.sock.recv(LONGEST):
                self._feed(data)
        except OSError:
            pass
        self.fail(error)

    def _read(self) -> None:
        try:
            data = self.sock.recv(self.habits.gulp)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT):
                raise
            self.fail(error)
            return
        if data:
            self._feed(data)
        else:
            self.receiver.ended = "eof"
        if self.begun or self.receiver.stream:  # Health checks come and go.
            self.reactor.moved()

    def _feed(self, data: bytes) -> None:
        try:
            if self.skip:
                self.skipped += data
                rest = self.skip(self.skipped)
                if rest is None:
                    return
                self.skip = None
                data = rest
            if data and self.receiver.feed(data):
                self.on_named()
        except Wrong as wrong:
            self.wrong = self.wrong or wrong


def greeting(stream: Stream) -> Step:
    return Step("say", segments=(stream.greeting(),))


def saying(data: bytes, due: bytes | None = None) -> Step:
    return Step("say", segments=(literal(data, due),))
