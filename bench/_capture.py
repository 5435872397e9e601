"""Times of echoes on the wire: ``python -m bench._capture DEVICE COMMAND...``.

It runs the command and prints as JSON its output, ``told``, and from the nanosecond timestamps of a packet
socket on the device, the ``wire``: address and microseconds of each IPv4 echo that was answered, in the order
of the requests. The socket is read when the command has ended, so that it is not disturbed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from struct import Struct, unpack_from

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
TIMESPEC = Struct("@qq")
BUFFER = 1 << 26
REQUEST, REPLY = 8, 0


def listen(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((device, ETH_P_ALL))  # a socket of one protocol would not receive outgoing packets
    sock.setblocking(False)
    return sock


def heard(sock: socket.socket) -> Iterator[tuple[bytes, int]]:
    """Each packet with its timestamp in nanoseconds."""
    while True:
        try:
            packet, [(_, _, stamp)], _, _ = sock.recvmsg(2048, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = TIMESPEC.unpack(stamp)
        yield packet, seconds * 10**9 + nanoseconds


def echoes(packets: Iterator[tuple[bytes, int]]) -> list[tuple[str, float]]:
    """The answered echoes: address, and microseconds from the request to its first reply."""
    asked: dict[bytes, int] = {}
    answered: dict[bytes, int] = {}
    for packet, when in packets:
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_ICMP:
            continue
        message = packet[(packet[0] & 0xF) * 4 :]
        [kind] = unpack_from("B", message)
        if kind == REQUEST:
            asked[packet[16:20] + message[4:8]] = when
        elif kind == REPLY:
            answered.setdefault(packet[12:16] + message[4:8], when)
    return [
        (socket.inet_ntoa(key[:4]), (answered[key] - when) / 1000)
        for key, when in asked.items()
        if key in answered
    ]


def main(device: str, command: list[str]) -> int:
    with listen(device) as sock:
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(json.dumps({"told": ran.stdout, "wire": echoes(heard(sock))}))
    if ran.returncode:
        print(ran.stdout, file=sys.stderr)
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
