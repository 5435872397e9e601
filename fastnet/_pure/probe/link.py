"""Sweeps of the addresses on a link of this machine, by ARP and neighbour discovery.

The kernel's neighbour table holds 1,024 addresses (gc_thresh3, arp(7)); packets to more of them are
dropped. So the requests go over a packet socket (packet(7)), with a table of our own.
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
    """Sends requests over a link and reads the replies.

    Until a target replies, the place of its MAC has the number of its newest request, and its slot the time
    of that request, in ticks.
    """

    def __init__(
        self, link: Link, targets: Targets, states: bytearray, slots: array[float], macs: bytearray
    ) -> None:
        self._socket, self._frames = link.socket, FRAMES[link.family](link.mac, link.source)
        self._targets, self._states, self._macs = targets, states, macs
        self._ticks = memoryview(slots).cast("B").cast("I")
        for _ in read(self._socket, 0, _STALE_MOST):
            pass  # replies to an earlier sweep's requests do not count

    def send(self, batch: list[tuple[int, int]], before: int) -> tuple[int, int]:
        """Send to each (target, address), from number ``before + 1`` on; return how many, and the errno."""
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
        """The replies among at most ``limit`` frames, and the errno that stopped the reading, or 0."""
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
        """None: no error is sent for an absent neighbour."""
        return []


class LinkSweeper(Sweep[Link]):
    """Sends an ARP request or neighbour solicitation to each target, and ``retries`` more to silent ones.

    Apart from the requests it works as ``Sweeper``. A target is alive if a well-formed reply comes to our
    address and MAC; the MAC of the first reply is kept. A proxy's reply counts, a gratuitous announcement
    does not. Addresses that are not on the link do not answer, and neither do our own. After several requests
    to a target, the round-trip time is that of the newest. Only one sweep at a time may use a link. Raises
    InvalidArgument for a value out of range.
    """

    def _make_wire(self) -> Wire:
        self._macs = bytearray(MAC_SIZE * self._size)
        return Wire(self._channel, self._targets, self._states, self._slots, self._macs)

    def mac(self, index: int) -> bytes | None:
        """The MAC of an alive target, six bytes. Raises IndexError for an index that is out of range."""
        self._check_target(index)
        self._stop_unless_idle()
        start = index * MAC_SIZE
        return bytes(self._macs[start : start + MAC_SIZE]) if self._states[index] == ALIVE else None
