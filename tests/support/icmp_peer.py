"""A host of ICMP that sends only what the test sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from adversary import Request


class Peer:
    """All addresses of a silent namespace's loopback."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def requests(self) -> Iterator[Request]:
        """The echo requests that have arrived since."""
        while True:
            try:
                packet = self._socket.recv(2000)
            except BlockingIOError:
                return
            source, destination = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
            request = Request(source, destination, packet, packet[20:])
            if request.icmp[0] == 8:
                yield request

    def send(self, packet: bytes) -> None:
        self._socket.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
