"""A sweep: many targets, with no state of a request but its own payload."""

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
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

    from fastnet._pure.probe.icmp import Reply
    from fastnet._pure.probe.reading import Failure

_BATCH = 64
_READ_MOST = 1024
"""So many messages are read before it is looked at whether to send, or to stop."""
_AGE_NS = 10_000_000
"""A window that has seen no answer for so long has aged out; sooner where answers come sooner."""
_SHORTEST_AGE_NS = 500_000
_DEAD_WINDOWS = 8
"""So many windows without any answer are taken for targets that are dead: the next ones age sooner."""
_DEAD_AGE_NS = 2_000_000
_NARROWEST = 16
_LONGEST_REFUSAL_NS = 30 * NANOSECOND
"""So long the system may refuse to send at all."""
_SHORTEST_TIMEOUT_NS = 100_000_000
"""The least that an adaptive timeout comes down to."""
_FULL = (errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM)
"""Send queue or neighbour table full (IPv6 reports ENOMEM)."""
_REASONS = 65_535
"""Maximum number of distinct reasons; later ones are not kept."""


class Channel(Protocol):
    """What a sweep's requests leave by: an open socket of one family."""

    @property
    def family(self) -> int: ...

    def fileno(self) -> int: ...


class Wire(Protocol):
    """A sweep's requests and what answers them, over a channel; ``icmp.Wire`` documents each member."""

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
        # Of an alive target the round-trip time, of a silent one the wire's, else the number of a reason.
        self._slots = array("f", bytes(4 * self._size))
        self._reasons: list[int | Answer] = []
        self._reason_numbers: dict[int | Answer, int] = {}
        self._responders: dict[int, str] = {}
        """Of targets that were answered from another address."""
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
        """Mark what an earlier sweep decided, and return how many these are."""
        bits = memoryview(decided or b"").cast("B")
        for target in range(self._size if bits else 0):
            if bits[target >> 3] >> (target & 7) & 1:
                self._states[target] = DECIDED
        return self._states.count(DECIDED)

    @property
    def size(self) -> int:
        """How many targets there are."""
        return self._size

    @property
    def sent(self) -> int:
        """How many probes were sent so far."""
        return self._sent

    @property
    def finished(self) -> bool:
        """Whether every target has its verdict."""
        return self._finished

    @property
    def states(self) -> memoryview:
        """A byte a target, readable at any time."""
        return memoryview(self._states).toreadonly()

    @property
    def rtts_ms(self) -> memoryview:
        """The round-trip time of each alive target, as 32-bit floats; undefined for others."""
        return memoryview(self._slots).toreadonly()

    def reason(self, index: int) -> int | Answer | None:
        """Why a target is not probed (an errno) or not reachable (the error, with the target as its tag).

        Raises IndexError for a target that there is not.
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
        """The first target from here on that was not probed for a known reason; ``size`` if there is none."""
        self._stop_unless_idle()
        place = self._states.find(PENDING, begin)
        while place >= 0 and not self._slots[place]:
            place = self._states.find(PENDING, place + 1)
        return place if place >= 0 else self._size

    def _check_target(self, index: int) -> None:
        if not 0 <= index < self._size:
            raise IndexError(f"target {index}: there are {self._size}")

    def _host(self, index: int) -> str:
        packed = self._targets.number(index).to_bytes(self._family.address_size, "big")
        return socket.inet_ntop(self._channel.family, packed)

    def close(self) -> None:
        """Nothing is held but a socket that is somebody else's to close."""

    def run(self, seconds: float) -> bool:
        """Work for about that long at most. True once every target has its verdict. Raises OSError."""
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
            # First of all: what came while nobody ran the sweep keeps its window, and its targets, from
            # being given up.
            self._read_replies()
            wake_ns = min(self._send_some(), until_ns)
            wait_ns = wake_ns - monotonic_ns()
            if wait_ns > 0 and any(event & select.POLLERR for _, event in self._wait(wait_ns)):
                self._read_errors()
            if monotonic_ns() >= until_ns:
                break
        return self._finished

    def pace(self, rate: float | None) -> None:
        """Send at most so many probes a second from now on; None: no limit. Raises InvalidArgument."""
        check_rate(rate)
        self._stop_unless_idle()
        self._gap_ns = _gap_ns(rate)

    def _stop_unless_idle(self) -> None:
        """Refuse to read results during another thread's run(), or to run a sweep twice at once."""
        if self._at_work.locked():
            raise _at_work_elsewhere()

    def _wait(self, wait_ns: int) -> list[tuple[int, int]]:
        return self._poll.poll(-(-wait_ns // 1_000_000))

    # Sending

    def _pass(self) -> Iterator[tuple[int, int]]:
        """The targets that are still to be sent to, with their addresses."""
        states = self._states
        first, last = MULTICAST[socket.AddressFamily(self._channel.family)]
        for target, number in self._targets.in_order():
            if states[target] >= ALIVE:
                continue
            if number == 0 or first <= number <= last:
                self._note_refusal(target, NOT_A_HOST)
                continue
            yield target, number

    def _send_some(self) -> int:
        """Send all that may be sent now, and return the time of the next step."""
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
            # What was missed is made up for as far as that.
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
        """Nothing came back for a full window: let it age. Narrower if answers had come: some were lost."""
        narrower = max(_NARROWEST, self._window // 2)
        self._window = min(self._widest, narrower) if self._answered_since_stall else self._widest
        self._answered_since_stall = False
        self._silent_stalls += 1
        self._newest = self._sent
        self._progress_ns = now_ns

    def _end_pass(self, now_ns: int) -> int:
        """Wait for the last probe's answer, then turn to those that did not answer once more."""
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

    def _send(self, batch: list[tuple[int, int]]) -> tuple[int, int]:
        """How many were sent, and the errno with which the first one was refused, or 0.

        What is reported may be an error that came back for an earlier request; it is this one's own where it
        is reported again while none had come.
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
        """Give a queue or table that is full some time, but not for ever."""
        self._not_before_ns = now_ns + _AGE_NS
        self._refused_since_ns = self._refused_since_ns or now_ns
        if now_ns - self._refused_since_ns > _LONGEST_REFUSAL_NS:
            for target, _ in chain(self._batch, self._order):
                self._note_refusal(target, code)
            self._batch = []

    def _note_refusal(self, target: int, code: int) -> None:
        # The silence of one that can't be asked again means nothing: what hinders us may have swallowed its
        # answer too.
        if self._states[target] == SILENT:
            self._states[target] = PENDING
            self._unanswered -= 1
        if self._states[target] == PENDING:
            self._slots[target] = self._number_of(code)

    def _number_of(self, reason: int | Answer) -> int:
        """The number under which a reason is kept; equal ones are kept once."""
        if reason not in self._reason_numbers and len(self._reasons) < _REASONS:
            self._reasons.append(reason)
            self._reason_numbers[reason] = len(self._reasons)
        return self._reason_numbers.get(reason, _REASONS)

    # Receiving

    def _read_replies(self) -> None:
        replies, code = self._wire.receive(_READ_MOST)
        if code:  # the error queue has in full what this may be the first notice of
            self._notices = 0 if self._read_errors() else self._notices + 1
            if code not in NOTICES or self._notices == MOST_NOTICES:
                raise cannot_receive(code)
        else:
            self._notices = 0
        if replies:
            number = replies[-1][2]
            self._note_answers(self._take_replies(replies), self._place(number))

    def _take_replies(self, replies: list[Reply]) -> int:
        """Of how many targets they are the first ones."""
        left = self._left
        states, slots, rtt_of = self._states, self._slots, self._clocks.rtt_ns
        self._clocks.read()
        now_ns, rtt_ns, taken, pending = monotonic_ns(), 0, 0, 0
        for target, ticks, _, stamp_ns, responder in replies:
            # A pending target without a retry may still answer an earlier request.
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
        """Read the error queue; the number of errors, ours or not."""
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
        """Which request of all has this number."""
        return self._sent - (self._sent - number & NUMBERS)

    def _note_answers(self, count: int, newest: int) -> None:
        """Answers that came, the first ones of so many targets, up to that of the newest request."""
        # A repeated answer is not progress: endless repetitions would keep requests in the window.
        if not count and newest <= self._newest:
            return
        self._newest = max(self._newest, newest)
        self._answered_since_stall = True
        self._silent_stalls = 0
        self._progress_ns = monotonic_ns()
        self._window = min(self._widest, self._window + count)


class Sweeper(Sweep[Prober]):
    """One echo request to each target, and ``retries`` more to those that did not answer.

    ``spans`` are (first, last) intervals of addresses as integers, ascending and apart. The targets are
    all their addresses in ascending order, or of these the shard (i, n): those at i, i + n, i + 2n ...;
    ``decided`` is a bitmap (bit k % 8 of byte k // 8) of the targets that are left out. They are sent to in
    the order of ``permute.Permutation(size, seed)``, or ascending where seed is None. The prober is used
    for its socket only; nobody else reads that while a sweep runs.

    Sending is windowed by what comes back: at most ``window`` probes are out past the newest answer
    (a forward acknowledgment), and where nothing comes back they age out of the window, not out of the
    sweep. The window narrows where answers stop coming, and widens again with each of them. An answer
    counts whenever it comes; an error only if no reply does. ``rate`` is a limit in probes a second.
    ``timeout`` is how long an answer is waited for, in seconds, before its target is asked again or given
    up; ``adaptive`` makes it less where the round-trip times allow that (RFC 6298). A queue or a neighbour
    table that is full is waited for, up to 30 seconds. Raises InvalidArgument for what is out of range.
    """

    def _make_wire(self) -> Wire:
        check_engine(self._channel.engine)
        return icmp.Wire(self._channel, self._targets)

    def responder(self, index: int) -> str | None:
        """The address from which a target was answered where that is not its own: see ``Prober``.

        Raises IndexError for a target that there is not.
        """
        self._check_target(index)
        self._stop_unless_idle()
        return self._responders.get(index)


def _at_work_elsewhere() -> RuntimeError:
    return RuntimeError("the sweep runs in another thread")


def _gap_ns(rate: float | None) -> int:
    return int(NANOSECOND / rate) if rate else 0
