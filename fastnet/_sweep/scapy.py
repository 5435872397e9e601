"""Sweeps by scapy's ``sr(IP(dst=...)/ICMP())``, as a reference: slow, and it accepts every reply."""

import os
import socket
import time
from array import array
from contextlib import suppress
from itertools import islice

from fastnet._backend import probe as _core
from fastnet._reference import reference
from fastnet._sweep.plan import Options, Segment
from fastnet._system.permission import raw_cure, refusal
from fastnet._typing import Any
from fastnet.targets import address_text

_RECEIVE_BUFFER = 4 << 20


class ScapySweeper:
    """Sweeps a segment as the core's ``Sweeper`` does; of the options it knows timeout, retries and seed."""

    _CHUNK = 64

    def __init__(self, sock: Any, segment: Segment, options: Options, decided: bytes | None) -> None:
        self._scapy = reference("scapy.all")
        self._socket, self._segment, self._options = sock, segment, options
        self._order = segment.order(options.seed, decided)
        size = len(segment.indices)
        self.states = bytearray([_core.DECIDED]) * size
        for place in segment.order(None, decided):
            self.states[place] = _core.PENDING
        self.rtts_ms = array("f", bytes(4 * size))
        self._reasons: dict[int, Any] = {}
        self.sent, self._sent_before = 0, sock.sent
        self.finished = False

    def reason(self, index: int) -> Any:
        return self._reasons.get(index)

    def pace(self, rate: float | None) -> None:
        """Does nothing: scapy has no rate limit."""

    def close(self) -> None:
        """Nothing to close: the caller owns the socket."""

    def run(self, seconds: float) -> bool:
        """Sweep one chunk, whatever time it takes: scapy can't be interrupted within it."""
        chunk = list(islice(self._order, self._CHUNK))
        addresses = {}
        for place in chunk:
            family, number = self._segment.at(place)
            if _core.is_host(family, number):
                addresses[address_text(family, number)] = place
            else:
                self._reasons[place] = _core.NOT_A_HOST
        self._sweep(addresses)
        self.finished = len(chunk) < self._CHUNK
        return self.finished

    def _sweep(self, addresses: dict[str, int]) -> None:
        self._socket.forget()
        answered, unanswered = self._scapy.sndrcv(
            self._socket,
            [self._request(address, place) for address, place in addresses.items()],
            timeout=self._options.timeout,
            retry=self._options.retries,
            verbose=0,
            chainCC=True,
        )
        refused = self._socket.refused
        self.sent = self._socket.sent - self._sent_before
        for request in unanswered:
            place = addresses[request.dst]
            if request.dst in refused:
                self._reasons[place] = refused[request.dst]
            else:
                self.states[place] = _core.SILENT
        for request, reply in answered:
            self._note(addresses[request.dst], request, reply)

    def _note(self, place: int, request: Any, reply: Any) -> None:
        if reply.src == request.dst and reply.payload.type in (0, 129):
            self.states[place] = _core.ALIVE
            self.rtts_ms[place] = (float(reply.time) - request.sent_time) * 1000
            return
        error = (reply.payload.type, reply.payload.code)
        self.states[place] = _core.UNREACHABLE
        self._reasons[place] = _core.Answer(place, reply.src, 0, None, error, 0)

    def _request(self, address: str, place: int) -> Any:
        scapy, seq = self._scapy, place & 0xFFFF
        if self._segment.family == socket.AF_INET:
            return scapy.IP(dst=address) / scapy.ICMP(id=os.getpid() & 0xFFFF, seq=seq)
        return scapy.IPv6(dst=address) / scapy.ICMPv6EchoRequest(id=os.getpid() & 0xFFFF, seq=seq)


def open_socket(family: int) -> Any:
    """Scapy's socket with the kernel's routing; it records a failure that scapy's only logs."""
    scapy = reference("scapy.all")
    base = scapy.L3RawSocket if family == socket.AF_INET else scapy.L3RawSocket6

    class Noting(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            # It receives all ICMP of this machine, and scapy's own buffer has only 64 KiB.
            self.ins.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self.sent = 0
            self.refused: dict[str, int] = {}

        def send(self, packet: Any) -> int:
            packet.sent_time = time.time()
            try:
                sent: int = self.outs.sendto(bytes(packet), (packet.dst, 0))
            except OSError as error:
                self.refused[packet.dst] = error.errno or 0
                return 0
            self.refused.pop(packet.dst, None)
            self.sent += 1
            return sent

        def forget(self) -> None:
            """Drop replies to earlier requests, which look like replies to these."""
            self.refused = {}
            with suppress(BlockingIOError):
                while True:
                    self.ins.recv(1, socket.MSG_DONTWAIT)

    try:
        return Noting()
    except PermissionError:
        raise refusal("raw", family, raw_cure()) from None
