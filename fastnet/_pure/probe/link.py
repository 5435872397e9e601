"""Sweeps of the addresses on a link of this machine, by ARP and neighbour discovery.

The kernel's neighbour table holds 1,024 addresses (gc_thresh3, arp(7)), and what a socket sends to more of
them is never sent. Here the requests are our own, over a packet socket (packet(7)), and so is the table.
"""

from __future__ import annotations

import socket
from time import monotonic_ns

from fastnet._contract.probe import ALIVE, SILENT
from fastnet._pure.probe.frames import FRAMES
from fastnet._pure.probe.icmp import NUMBERS
from fastnet._pure.probe.reading import TIMESPEC, read, stamp_of
from fastnet._pure.probe.sweeper import Sweep
from fastnet._pure.probe.timing import TICK_BITS, TICKS
from fastnet._system.icmp_sockets import SO_TIMESTAMPNS
from fastnet._system.link_socket import Link
from fastnet._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array

    from fastnet._pure.probe.icmp import Reply
    from fastnet._pure.probe.reading import Departure, Failure
    from fastnet._pure.probe.targets import Targets

MAC_SIZE = 6
_CONTROL_SIZE = socket.CMSG_SPACE(TIMESPEC.size)
_STALE_MOST = 1 << 16


class Wire:
    """What is asked over a link, and what answers. While a target's answer is waited for, the place of its
    MAC holds the number of its newest request, and its slot the time of that, in ticks.
    """

    def __init__(
        self, link: Link, targets: Targets, states: bytearray, slots: array[float], macs: bytearray
    ) -> None:
        self._socket, self._frames = link.socket, FRAMES[link.family](link.mac, link.source)
        self._targets, self._states, self._macs = targets, states, macs
        self._ticks = memoryview(slots).cast("B").cast("I")
        for _ in read(self._socket, 0, _STALE_MOST):
            pass  # answers to an earlier sweep's requests are no news

    def send(self, batch: list[tuple[int, int]], before: int) -> tuple[int, int]:
        """Ask for each (target, address), ``before + 1`` first: for how many, and what errno stopped it."""
        send, request, macs, sent_at = self._socket.send, self._frames.request, self._macs, self._ticks
        for place, (target, address) in enumerate(batch):
            frame = request(address)
            ticks = monotonic_ns() >> TICK_BITS & TICKS
            try:
                send(frame)
            except OSError as error:
                return place, error.errno or 0
            sent_at[target] = ticks
            start = target * MAC_SIZE
            macs[start : start + 4] = (before + place + 1 & NUMBERS).to_bytes(4, "big")
        return len(batch), 0

    def receive(self, limit: int) -> tuple[list[Reply], int]:
        """The replies among so many frames at most, and the errno of what stopped it or 0."""
        receive, reply, longest = self._socket.recvmsg, self._frames.reply, self._frames.longest
        target_of, states, macs, sent_at = self._targets.target, self._states, self._macs, self._ticks
        found: dict[int, Reply] = {}
        for _ in range(limit):
            try:
                frame, ancillary, _, _ = receive(longest, _CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                return [*found.values()], error.errno or 0
            answer = reply(frame)
            target = target_of(answer[0]) if answer else None
            if answer is None or target is None or states[target] != SILENT or target in found:
                continue
            start = target * MAC_SIZE
            number = int.from_bytes(macs[start : start + 4], "big")
            macs[start : start + MAC_SIZE] = answer[1]
            stamp = stamp_of(ancillary[0][2]) if ancillary and ancillary[0][1] == SO_TIMESTAMPNS else 0
            found[target] = target, sent_at[target], number, stamp, ""
        return [*found.values()], 0

    def errors(self, limit: int) -> list[tuple[int | None, int, Failure | Departure]]:
        """Nobody reports that a neighbour is not there."""
        return []


class LinkSweeper(Sweep[Link]):
    """One ARP request or neighbour solicitation for each target, and ``retries`` more where nobody answered.

    Everything but what is sent is as a ``Sweeper`` has it. A target is alive where its reply comes to our
    address and MAC, well-formed, and its MAC is kept with it; the first one counts. A proxy's reply is one.
    Gratuitous announcements are none. What is not on the link does not answer, and our own addresses don't
    either. Of several requests to a target the round-trip time is the newest one's. One sweep at a time
    uses a link. Raises InvalidArgument for what is out of range.
    """

    def _make_wire(self) -> Wire:
        self._macs = bytearray(MAC_SIZE * self._size)
        return Wire(self._channel, self._targets, self._states, self._slots, self._macs)

    def mac(self, index: int) -> bytes | None:
        """The MAC, six bytes, of a target that is alive. Raises IndexError for a target that there is not."""
        self._check_target(index)
        self._stop_unless_idle()
        start = index * MAC_SIZE
        return bytes(self._macs[start : start + MAC_SIZE]) if self._states[index] == ALIVE else None
