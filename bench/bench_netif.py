"""Interface names and addresses by ioctl, of 5 and 501: beside a new socket each time, netifaces, psutil."""

from __future__ import annotations

import array
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import eq

from bench._case import Case, Contender, Place
from bench._namespace import namespace
from fastnet.interfaces import get_ip_address, list_interfaces

NAMES_GOALS_NS = {5: 1_000, 501: 100_000}
ADDRESS_GOALS_NS = {5: 400, 501: 500}
SIOCGIFCONF = 0x8912
SIOCGIFADDR = 0x8915
IFREQ_BYTES = 40
SEED_FIRST_GUESS = 8


@contextmanager
def places() -> Iterator[Sequence[Place]]:
    """Temporary namespaces with so many interfaces; without root, the present one."""
    if not shutil.which("ip"):
        sys.exit("bench: the netif page needs the ip command (apt-get install iproute2)")
    if os.geteuid() != 0:
        print("netif: without root no namespaces: only this machine's own interfaces", file=sys.stderr)
        yield [()]
        return
    with ExitStack() as stack:
        yield [stack.enter_context(namespace(str(count), list(links(count)))) for count in NAMES_GOALS_NS]


def links(count: int) -> Iterator[str]:
    """Beside loopback, veth pairs, each end with an IPv4 address, an IPv6 one, and a link-local one."""
    for number in range(1, count, 2):
        yield f"link add veth{number} type veth peer name veth{number + 1}"
    for number in range(1, count):
        yield f"address add 10.{number >> 8}.{number & 255}.1/24 dev veth{number}"
        yield f"address add fd00:{number:x}::1/64 dev veth{number}"
        yield f"link set veth{number} up"


def addresses() -> dict[str, str]:
    """Each name that has an IPv4 address, with its first one, by the ip command."""
    printed = subprocess.run(["ip", "-4", "-json", "address"], stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, str] = {}
    for interface in json.loads(printed):
        for address in interface["addr_info"]:
            found.setdefault(address["label"], address["local"])
    return found


def new_socket_names() -> list[str]:
    """A new socket, and a buffer doubled until the answer leaves room in it."""
    guess = SEED_FIRST_GUESS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        while True:
            answer = array.array("B", bytes(guess * IFREQ_BYTES))
            request = struct.pack("iL", len(answer), answer.buffer_info()[0])
            used = struct.unpack("iL", fcntl.ioctl(asked, SIOCGIFCONF, request))[0]
            if used < len(answer):
                break
            guess *= 2
    data = answer.tobytes()
    return [data[at : at + 16].rstrip(b"\0").decode() for at in range(0, used, IFREQ_BYTES)]


def new_socket_address(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return socket.inet_ntoa(fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()))[20:24])


def kept_socket(name: str) -> Contender:
    """The least there is: one ioctl on a socket that is kept whatever namespace the thread may move to."""
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return Contender(
        "inet_ntoa(ioctl(asked, SIOCGIFADDR, request)[20:24])",
        {
            "inet_ntoa": socket.inet_ntoa,
            "ioctl": fcntl.ioctl,
            "asked": asked,
            "SIOCGIFADDR": SIOCGIFADDR,
            "request": struct.pack("256s", name.encode()),
        },
    )


def netifaces_names() -> Contender:
    import netifaces

    return Contender("netifaces.interfaces()", {"netifaces": netifaces})


def netifaces_address(name: str) -> Contender:
    import netifaces

    return Contender(
        "netifaces.ifaddresses(name)[AF_INET][0]['addr']",
        {"netifaces": netifaces, "AF_INET": netifaces.AF_INET, "name": name},
    )


def psutil_names() -> Contender:
    import psutil

    return Contender("list(psutil.net_if_addrs())", {"psutil": psutil})


def psutil_address(name: str) -> Contender:
    import psutil

    return Contender(
        "next(entry.address for entry in psutil.net_if_addrs()[name] if entry.family == AF_INET)",
        {"psutil": psutil, "AF_INET": socket.AF_INET, "name": name},
    )


def names_case(count: int, expected: Sequence[str]) -> Case:
    def ours() -> Contender:
        return Contender("list_interfaces()", {"list_interfaces": list_interfaces})

    def new_socket() -> Contender:
        return Contender("new_socket_names()", {"new_socket_names": new_socket_names})

    return Case(
        f"interface names by SIOCGIFCONF, {count} interfaces",
        ours,
        {"a new socket each time": new_socket, "netifaces": netifaces_names, "psutil": psutil_names},
        lambda names: sorted(names) == sorted(expected),
        NAMES_GOALS_NS.get(count),
    )


def address_case(count: int, name: str, expected: str) -> Case:
    def ours() -> Contender:
        return Contender("get_ip_address(name)", {"get_ip_address": get_ip_address, "name": name})

    def new_socket() -> Contender:
        return Contender("new_socket_address(name)", {"new_socket_address": new_socket_address, "name": name})

    peers: dict[str, Callable[[], Contender]] = {
        "a new socket each time": new_socket,
        "a kept socket, not setns-safe": partial(kept_socket, name),
        "netifaces": partial(netifaces_address, name),
        "psutil": partial(psutil_address, name),
    }
    return Case(
        f"one IPv4 address, {count} interfaces",
        ours,
        peers,
        partial(eq, expected),
        ADDRESS_GOALS_NS.get(count),
    )


def cases() -> Iterator[Case]:
    count = len(socket.if_nameindex())
    expected = addresses()
    yield names_case(count, list(expected))
    yield address_case(count, *list(expected.items())[-1])
