"""A sweep: requests to many targets, whose state is in their own payload."""

from __future__ import annotations

import errno
import os
import select
import socket
from _thread import allocate_lock
from array import array
from itertools import chain, islice
from time import monotonic_ns

from fastnet._contract.probe import (
    ALIVE,
    DECIDED,
    MULTICAST,
    NOT_A_HOST,
    PENDING,
    SILENT,
    UNREACHABLE,
    Answer,
    check_engine,
    check_options,
    check_rate,
    check_time,
)
from fastnet._pure.probe import icmp
from fastnet._pure.probe.icmp import NUMBERS
from fastnet._pure.probe.prober import Prober
from fastnet._pure.probe.reading import MOST_NOTICES, NOTICES, Departure, cannot_receive
from fastnet._pure.probe.targets import Targets
from fastnet._pure.probe.timing import NANOSECOND, Clocks, Expectation
from fastnet._system.icmp_sockets import FAMILIES
from fastnet._typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from _collections_abc import Iterator, Sequence

    from typing_extensions import Buffer

    from fastnet._pure.probe.icmp import Reply
    from fastnet._pure.probe.reading import Failure

_BATCH = 64
_READ_MOST = 1024
"""Maximum number of messages to read before the next check whether to send or to stop."""
_AGE_NS = 10_000_000
"""Time without an answer after which the window ages; less if answers usually come sooner."""
_SHORTEST_AGE_NS = 500_000
_DEAD_WINDOWS = 8
"""Number of windows without an answer after which targets count as dead: the next windows age sooner."""
_DEAD_AGE_NS = 2_000_000
_NARROWEST = 16
_LONGEST_REFUSAL_NS = 30 * NANOSECOND
"""Maximum time for which the system may refuse to send."""
_SHORTEST_TIMEOUT_NS = 100_000_000
"""Minimum adaptive timeout."""
_FULL = (errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM)
"""Send queue or neighbour table full (IPv6 reports ENOMEM)."""
_LOOKED_THROUGH = 1024
"""Targets that are searched for a reason at once."""
_REASONS = 65_535
"""Maximum number of distinct reasons; later ones are not kept."""


class Channel(Protocol):
    """The open socket of one family that sends a sweep's requests."""

    @property
    def family(self) -> int: ...

    def fileno(self) -> int: ...


class Wire(Protocol):
    """Sends a sweep's requests over a channel and reads the answers; ``icmp.Wire`` documents each member."""

    def send(self, batch: list[tuple[int, int]], before: int) -> tuple[int, int]: ...
    def receive(self, limit: int) -> tuple[list[Reply], int]: ...
    def errors(self, limit: int) -> list[tuple[int | None, int, Failure | Departure]]: ...


Over = TypeVar("Over", bound=Channel)


class Sweep(Generic[Over]):
    """The schedule and the verdicts of a sweep, over any wire; ``Sweeper`` has its options."""

    def __init__(
        self,
        channel: Over,
        /,
        spans: Sequence[tuple[int, int]],
        *,
        timeout: float = 1.0,
        retries: int = 1,
        window: int = 128,
        rate: float | None = None,
        shard: tuple[int, int] = (0, 1),
        seed: int | None = None,
        decided: Buffer | None = None,
        adaptive: bool = False,
    ) -> None:
        check_options(spans, timeout, retries, window, rate, shard, decided)
        self._at_work = allocate_lock()
        self._targets = Targets(spans, shard, seed)
        self._size = self._targets.size
        self._states = bytearray(self._size)
        # An alive target's round-trip time, a silent one's value of the wire, else the number of a reason.
        self._slots = array("f", bytes(4 * self._size))
        self._reasons: list[int | Answer] = []
        self._reason_numbers: dict[int | Answer, int] = {}
        self._responders: dict[int, str] = {}
        """The source addresses of replies that came from another address than the target."""
        self._unanswered = 0
        self._left = self._size - self._leave_out(decided)

        self._family = FAMILIES[socket.AddressFamily(channel.family)]
        self._channel = channel
        self._wire = self._make_wire()
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

        self._order = self._pass()
        self._batch: list[tuple[int, int]] = []
        self._passes_left = retries
        self._finished = self._left == 0
        self._sent = self._newest = 0
        self._widest = self._window = window
        self._answered_since_stall = False
        self._silent_stalls = 0
        self._gap_ns = _gap_ns(rate)
        self._timeout_ns = int(timeout * NANOSECOND)
        self._adaptive = adaptive
        self._clocks, self._expectation = Clocks(), Expectation()
        self._progress_ns = self._last_sent_ns = self._not_before_ns = monotonic_ns()
        self._refused_since_ns = self._notices = 0

    def _make_wire(self) -> Wire:
        raise NotImplementedError

    def _leave_out(self, decided: Buffer | None) -> int:
        """Mark the targets that an earlier sweep decided; return their number."""
        bits = memoryview(decided or b"").cast("B")
        for target in range(self._size if bits else 0):
            if bits[target >> 3] >> (target & 7) & 1:
                self._states[target] = DECIDED
        return self._states.count(DECIDED)

    @property
    def size(self) -> int:
        """The number of targets."""
        return self._size

    @property
    def sent(self) -> int:
        """The number of probes sent so far."""
        return self._sent

    @property
    def finished(self) -> bool:
        """Whether every target has its verdict."""
        return self._finished

    @property
    def states(self) -> memoryview:
        """One byte for each target, readable at any time."""
        return memoryview(self._states).toreadonly()

    @property
    def rtts_ms(self) -> memoryview:
        """The round-trip time of each alive target, as 32-bit floats; undefined for others."""
        return memoryview(self._slots).toreadonly()

    def reason(self, index: int) -> int | Answer | None:
        """Why a target is not probed (an errno) or unreachable (the error, with the target as tag).

        Raises IndexError for an index that is out of range.
        """
        self._check_target(index)
        self._stop_unless_idle()
        number = int(self._slots[index]) if self._states[index] in (PENDING, UNREACHABLE) else 0
        if not 0 < number <= len(self._reasons):
            return None
        reason = self._reasons[number - 1]
        if isinstance(reason, int):
            return reason
        return reason._replace(tag=index, responder=reason.responder or self._host(index))

    def find_refused(self, begin: int) -> int:
        """The first target from this one on that was not probed for a known reason; ``size`` without one."""
        self._stop_unless_idle()
        slots = memoryview(self._slots).cast("B")
        place = self._states.find(PENDING, begin)
        while place >= 0 and not self._slots[place]:
            some = slots[4 * place : 4 * (place + _LOOKED_THROUGH)].tobytes()
            empty = (len(some) - len(some.lstrip(b"\0"))) // 4
            place = self._states.find(PENDING, place + empty)
        return place if place >= 0 else self._size

    def _check_target(self, index: int) -> None:
        if not 0 <= index < self._size:
            raise IndexError(f"target {index}: there are {self._size}")

    def _host(self, index: int) -> str:
        packed = self._targets.number(index).to_bytes(self._family.address_size, "big")
        return socket.inet_ntop(self._channel.family, packed)

    def close(self) -> None:
        """Does nothing: the socket is the owner's to close."""

    def run(self, seconds: float) -> bool:
        """Work for at most about so many seconds. True once every target has its verdict. Raises OSError."""
        check_time("seconds", seconds)
        until_ns = monotonic_ns() + int(seconds * NANOSECOND)
        if not self._at_work.acquire(blocking=False):
            raise _at_work_elsewhere()
        try:
            return self._run(until_ns)
        finally:
            self._at_work.release()

    def _run(self, until_ns: int) -> bool:
        while not self._finished:
            # First, so that answers that came between two runs count before the window ages or a target
            # is given up.
            self._read_replies()
            wake_ns = min(self._send_some(), until_ns)
            wait_ns = wake_ns - monotonic_ns()
            if wait_ns > 0 and any(event & select.POLLERR for _, event in self._wait(wait_ns)):
                self._read_errors()
            if monotonic_ns() >= until_ns:
                break
        return self._finished

    def pace(self, rate: float | None) -> None:
        """Limit the rate to so many probes a second from now on; None is no limit. Raises InvalidArgument."""
        check_rate(rate)
        self._stop_unless_idle()
        self._gap_ns = _gap_ns(rate)

    def _stop_unless_idle(self) -> None:
        """Refuse to read results during another thread's run(), and a second run at the same time."""
        if self._at_work.locked():
            raise _at_work_elsewhere()

    def _wait(self, wait_ns: int) -> list[tuple[int, int]]:
        return self._poll.poll(-(-wait_ns // 1_000_000))

    # Sending

    def _pass(self) -> Iterator[tuple[int, int]]:
        """The targets without a probe so far, with their addresses."""
        states = self._states
        first, last = MULTICAST[self._channel.family]
        for target, number in self._targets.in_order():
            if states[target] >= ALIVE:
                continue
            if number == 0 or first <= number <= last:
                self._note_refusal(target, NOT_A_HOST)
                continue
            yield target, number

    def _send_some(self) -> int:
        """Send what may be sent now; return the time of the next step."""
        now_ns = monotonic_ns()
        if self._left == 0:
            self._finished = True
            return now_ns
        if now_ns < self._not_before_ns:
            return self._not_before_ns
        out = self._sent - self._newest
        if out >= self._window:
            aged_ns = self._progress_ns + self._age_ns()
            if now_ns < aged_ns:
                return aged_ns
            self._stall(now_ns)
            out = 0
        room = min(_BATCH, self._window - out)
        if self._gap_ns:
            # Lost time is caught up by at most that much.
            self._not_before_ns = max(self._not_before_ns, now_ns - _AGE_NS)
            room = min(room, (now_ns - self._not_before_ns) // self._gap_ns + 1)
        self._batch = self._batch or list(islice(self._order, room))
        if not self._batch:
            return self._end_pass(now_ns)
        self._send_batch(now_ns)
        return now_ns

    def _age_ns(self) -> int:
        longest_ns = _AGE_NS if self._silent_stalls < _DEAD_WINDOWS else _DEAD_AGE_NS
        return self._expectation.within_ns(_SHORTEST_AGE_NS, longest_ns)

    def _stall(self, now_ns: int) -> None:
        """Age a full window without answers, and narrow it if there were answers before: some were lost."""
        narrower = max(_NARROWEST, self._window // 2)
        self._window = min(self._widest, narrower) if self._answered_since_stall else self._widest
        self._answered_since_stall = False
        self._silent_stalls += 1
        self._newest = self._sent
        self._progress_ns = now_ns

    def _end_pass(self, now_ns: int) -> int:
        """Wait for the answer to the last probe, then begin the next pass over the silent targets."""
        deadline_ns = self._last_sent_ns + self._reply_timeout_ns()
        if now_ns < deadline_ns and self._unanswered:
            return deadline_ns
        if self._passes_left == 0:
            self._finished = True
        self._passes_left -= 1
        self._order = self._pass()
        self._refused_since_ns = 0
        return now_ns

    def _reply_timeout_ns(self) -> int:
        if not self._adaptive:
            return self._timeout_ns
        return self._expectation.within_ns(min(_SHORTEST_TIMEOUT_NS, self._timeout_ns), self._timeout_ns)

    def _send_batch(self, now_ns: int) -> None:
        count, code = self._send(self._batch)
        if count:
            self._note_sent(self._batch[:count])
        self._batch = self._batch[count:]
        if code in _FULL:
            self._hold(code, now_ns)
        elif code:
            self._note_refusal(self._batch.pop(0)[0], code)
            self._not_before_ns += self._gap_ns

    def _send(self, batch: list[tuple[int, int]]) -> tuple[int, int]:
        """The number of probes sent, and the errno with which the first one was refused, or 0.

        The socket may report the ICMP error of an earlier request. An error that it reports again without a
        new ICMP error is this request's own.
        """
        alone = 0
        for _ in range(_READ_MOST):
            count, code = self._wire.send(batch, self._sent)
            if count or code in _FULL:
                return count, 0 if count else code
            if code == errno.EBADF:
                raise OSError(code, os.strerror(code))
            alone = 0 if self._read_errors() else alone + 1
            if alone == 2:
                break
        return 0, code

    def _note_sent(self, batch: list[tuple[int, int]]) -> None:
        states = self._states
        for target, _ in batch:
            if states[target] == PENDING:
                states[target] = SILENT
                self._unanswered += 1
        self._sent += len(batch)
        self._refused_since_ns = 0
        self._last_sent_ns = monotonic_ns()
        self._not_before_ns += len(batch) * self._gap_ns

    def _hold(self, code: int, now_ns: int) -> None:
        """Wait for room in a full queue or table, for a limited time."""
        self._not_before_ns = now_ns + _AGE_NS
        self._refused_since_ns = self._refused_since_ns or now_ns
        if now_ns - self._refused_since_ns > _LONGEST_REFUSAL_NS:
            for target, _ in chain(self._batch, self._order):
                self._note_refusal(target, code)
            self._batch = []

    def _note_refusal(self, target: int, code: int) -> None:
        # A target that can't be probed again is not silent: its answer may have been lost for the same
        # reason.
        if self._states[target] == SILENT:
            self._states[target] = PENDING
            self._unanswered -= 1
        if self._states[target] == PENDING:
            self._slots[target] = self._number_of(code)

    def _number_of(self, reason: int | Answer) -> int:
        """The number of a reason; equal reasons have one number."""
        if reason not in self._reason_numbers and len(self._reasons) < _REASONS:
            self._reasons.append(reason)
            self._reason_numbers[reason] = len(self._reasons)
        return self._reason_numbers.get(reason, _REASONS)

    # Receiving

    def _read_replies(self) -> None:
        replies, code = self._wire.receive(_READ_MOST)
        if code:  # the error queue has all of the error that this may report
            self._notices = 0 if self._read_errors() else self._notices + 1
            if code not in NOTICES or self._notices == MOST_NOTICES:
                raise cannot_receive(code)
        else:
            self._notices = 0
        if replies:
            number = replies[-1][2]
            self._note_answers(self._take_replies(replies), self._place(number))

    def _take_replies(self, replies: list[Reply]) -> int:
        """The number of targets whose first answer is among these."""
        left = self._left
        states, slots, rtt_of = self._states, self._slots, self._clocks.rtt_ns
        self._clocks.read()
        now_ns, rtt_ns, taken, pending = monotonic_ns(), 0, 0, 0
        for target, ticks, _, stamp_ns, responder in replies:
            # A pending target that is not retried may still answer an earlier request.
            if (state := states[target]) < ALIVE:
                rtt_ns = rtt_of(ticks, stamp_ns, now_ns)
                pending += state == PENDING
                states[target] = ALIVE
                slots[target] = rtt_ns / 1e6
                if responder:
                    self._responders[target] = responder
                taken += 1
        self._unanswered -= taken - pending
        self._left -= taken
        if taken:
            self._expectation.learn(rtt_ns)
        return left - self._left

    def _read_errors(self) -> int:
        """Read the error queue; return the number of errors, also of those that are not ours."""
        errors = self._wire.errors(_READ_MOST)
        for target, number, failure in errors:
            if target is None or isinstance(failure, Departure):
                continue
            first = self._states[target] == SILENT
            if first or self._states[target] == UNREACHABLE:
                itself = failure.reporter == failure.address[0]
                reporter = "" if itself else failure.reporter
                reason = Answer(0, reporter, 0, None, failure.error, failure.info)
                self._states[target] = UNREACHABLE
                self._slots[target] = self._number_of(reason)
            self._note_answers(int(first), self._place(number) if number else 0)
        return len(errors)

    def _place(self, number: int) -> int:
        """The position among all requests of the one with this number."""
        return self._sent - (self._sent - number & NUMBERS)

    def _note_answers(self, count: int, newest: int) -> None:
        """Count answers: the first ones of so many targets, up to that of the newest request."""
        # A repeated answer is no progress: endless repetitions would keep requests in the window.
        if not count and newest <= self._newest:
            return
        self._newest = max(self._newest, newest)
        self._answered_since_stall = True
        self._silent_stalls = 0
        self._progress_ns = monotonic_ns()
        self._window = min(self._widest, self._window + count)


class Sweeper(Sweep[Prober]):
    """Sends an echo request to each target, and ``retries`` more to silent ones.

    ``spans`` are (first, last) intervals of addresses as integers, ascending and apart. The targets are
    all their addresses in ascending order, or the shard (i, n) of them: those at i, i + n, i + 2n ...;
    ``decided`` is a bitmap (bit k % 8 of byte k // 8) of the targets to leave out. Requests are sent in the
    order of ``permute.Permutation(size, seed)``, or ascending if seed is None. Only the prober's socket is
    used, and nothing else may read it while a sweep runs.

    Answers limit the sending: at most ``window`` probes are outstanding past the newest answer (a forward
    acknowledgment). Without answers, probes age out of the window, but their answers still count. The
    window narrows if answers stop, and widens with each new one. An answer counts whenever it comes; an
    error counts only without a reply. ``rate`` is the limit in probes a second. ``timeout`` is the time in
    seconds to wait for an answer before the target is probed again or given up; with ``adaptive`` it is
    shorter if the round-trip times permit (RFC 6298). A full queue or neighbour table is waited for, up to
    30 seconds. Raises InvalidArgument for a value out of range.
    """

    def _make_wire(self) -> Wire:
        check_engine(self._channel.engine)
        return icmp.Wire(self._channel, self._targets)

    def responder(self, index: int) -> str | None:
        """The source address of a target's reply if it is not the target: see ``Prober``.

        Raises IndexError for an index that is out of range.
        """
        self._check_target(index)
        self._stop_unless_idle()
        return self._responders.get(index)


def _at_work_elsewhere() -> RuntimeError:
    return RuntimeError("the sweep runs in another thread")


def _gap_ns(rate: float | None) -> int:
    return int(NANOSECOND / rate) if rate else 0
