"""The book's own way, ``sr(IP(dst=...)/ICMP())``, as a reference: slow, and it believes every reply."""

import os
import socket
import time
from array import array
from itertools import islice
from typing import Any

from fastnet._backend import probe as _core
from fastnet._reference import reference
from fastnet.errors import NotPermitted
from fastnet.sweep.plan import Options, Segment
from fastnet.targets import address_text


class ScapySweeper:
    """Sweeps a segment as the core's ``Sweeper`` does; of the options it knows timeout, retries and seed."""

    _CHUNK = 64

    def __init__(self, segment: Segment, options: Options, decided: bytes | None) -> None:
        self._scapy = reference("scapy.all")
        self._segment, self._options = segment, options
        self._order = segment.order(options.seed, decided)
        size = len(segment.indices)
        self.states = bytearray([_core.DECIDED]) * size
        for place in segment.order(None, decided):
            self.states[place] = _core.PENDING
        self.rtts_ms = array("f", bytes(4 * size))
        self._reasons: dict[int, Any] = {}
        self.sent = 0
        self.finished = False

    def reason(self, index: int) -> Any:
        return self._reasons.get(index)

    def close(self) -> None:
        """Nothing: each chunk closes its own socket."""

    def run(self, seconds: float) -> bool:
        """Sweep one chunk, however long it takes: scapy does not stop in the middle of it."""
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
        refused: dict[str, int] = {}
        sock = self._socket(refused)
        try:
            answered, unanswered = self._scapy.sndrcv(
                sock,
                [self._request(address, place) for address, place in addresses.items()],
                timeout=self._options.timeout,
                retry=self._options.retries,
                verbose=0,
                chainCC=True,
            )
        finally:
            sock.close()
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

    def _socket(self, refused: dict[str, int]) -> Any:
        """Scapy's socket that lets the kernel route; it notes a failure where theirs only logs it."""
        sweeper = self
        v4 = self._segment.family == socket.AF_INET
        base = self._scapy.L3RawSocket if v4 else self._scapy.L3RawSocket6

        class Noting(base):  # type: ignore[misc, valid-type]
            def send(self, packet: Any) -> int:
                packet.sent_time = time.time()
                try:
                    sent: int = self.outs.sendto(bytes(packet), (packet.dst, 0))
                except OSError as error:
                    refused[packet.dst] = error.errno or 0
                    return 0
                refused.pop(packet.dst, None)
                sweeper.sent += 1
                return sent

        try:
            return Noting()
        except PermissionError as error:
            raise NotPermitted(
                error.errno, "engine scapy needs raw sockets: run as root or with the capability CAP_NET_RAW"
            ) from None
