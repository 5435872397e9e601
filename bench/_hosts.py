"""Two namespaces and a veth pair: one sends requests, the other's kernel answers for whole prefixes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from os import geteuid

from bench._case import Place
from bench._namespace import namespace

ALIVE_4, HALF_4, LINK_4 = (int(ip_address(text)) for text in ("10.80.0.0", "10.81.0.0", "10.86.0.0"))
"""Where a /16 begins: all alive, half dead, and all alive on the link."""
ALIVE_6, HALF_6 = int(ip_address("fd80::")), int(ip_address("fd81::"))
DEVICE = "veth0"
SOURCE_4, LINK_SOURCE_4 = "10.79.0.1", "10.84.0.1"
ASKER_MAC, ANSWERER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

ASKING = (
    f"address add {SOURCE_4}/30 dev veth0",
    # The /16 in its middle has no address of the network's, nor its broadcast address.
    f"address add {LINK_SOURCE_4}/14 dev veth0",
    "address add fd79::1/64 dev veth0 nodad",
    "link set veth0 up",
    "route add 10.80.0.0/15 via 10.79.0.2",
    "route add fd80::/15 via fd79::2",
)
ANSWERING = (
    "address add 10.79.0.2/30 dev veth0",
    "address add fd79::2/64 dev veth0 nodad",
    "link set veth0 up",
    "route add 10.84.0.0/14 dev veth0",
    "route add local 10.80.0.0/15 dev lo",
    "route add local 10.86.0.0/16 dev lo",
    "route add local fd80::/15 dev lo",
)
# Each odd address is dead.
DEAD = """\
table inet bench {
    chain dead {
        type filter hook prerouting priority raw
        ip daddr 10.81.0.0/16 ip daddr & 0.0.0.1 == 0.0.0.1 drop
        ip6 daddr fd81::/16 ip6 daddr & ::1 == ::1 drop
    }
}
"""


@contextmanager
def two_hosts() -> Iterator[Place]:
    """The requesting namespace of a pair."""
    with pair() as (asking, _):
        yield asking


@contextmanager
def pair() -> Iterator[tuple[Place, Place]]:
    """The requesting namespace, in which every user may open ICMP datagram sockets, and the answering one."""
    if geteuid() != 0:
        sys.exit("bench: this page makes network namespaces and needs root")
    with namespace("asks") as left, namespace("answers") as right:
        ends = (f"{DEVICE} address {ASKER_MAC}", f"name {DEVICE} address {ANSWERER_MAC} netns {right[-1]}")
        pair = f"link add {' type veth peer '.join(ends)}"
        for place, batch in ((left, (pair,)), (left, ASKING), (right, ANSWERING)):
            subprocess.run([*place, "ip", "-batch", "-"], input="\n".join(batch), text=True, check=True)
        groups = "net.ipv4.ping_group_range=0 2147483647"
        subprocess.run([*left, "sysctl", "-qw", groups], check=True)
        subprocess.run([*right, "nft", "-f", "-"], input=DEAD, text=True, check=True)
        for place in (left, right):
            wait_until_up(place)
        yield left, right


# A datagram from the answering host each tenth of a second: masscan's receiver ends only after a packet.
HEARTBEAT = f"""
import socket, time
with socket.socket(type=socket.SOCK_DGRAM) as sender:
    while True:
        sender.sendto(b"", ("{SOURCE_4}", 9))
        time.sleep(0.1)
"""


@contextmanager
def heartbeat(answering: Place) -> Iterator[None]:
    with subprocess.Popen([*answering, sys.executable, "-c", HEARTBEAT]) as process:
        try:
            yield
        finally:
            process.kill()


def wait_until_up(place: Place) -> None:
    """Wait for the links: the kernel handles new ones only once per second."""
    show = [*place, "ip", "link", "show", "dev", DEVICE]
    while "state UP" not in subprocess.run(show, capture_output=True, text=True, check=True).stdout:
        time.sleep(0.02)
