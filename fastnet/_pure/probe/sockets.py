"""Probers' sockets: which are permitted, what the kernel is asked to do, and their error queue."""

import errno
import os
import socket
import struct
from array import array
from collections.abc import Iterator
from itertools import chain, starmap
from typing import Any, NamedTuple

from fastnet._pure.netif import failure
from fastnet._pure.probe.common import ENGINES, FAMILIES, NANOSECOND
from fastnet.errors import InvalidArgument, NoAddress, NotPermitted

Message = tuple[bytes, dict[tuple[int, int], bytes], tuple[Any, ...]]
"""What was read: the data, the ancillary data by level and type, the address."""

ICMP = struct.Struct("!BBHHH")

# What Python's socket module does not name, from asm-generic/socket.h, linux/in.h, in6.h, icmp.h, errqueue.h.
SO_TIMESTAMPNS, _SO_TIMESTAMPING, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 35, 37, 33, 26
_PMTUDISC_DONT, _PMTUDISC_PROBE, _IPV6_DONTFRAG = 0, 3, 62
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_ORIGIN_LOCAL, _ORIGIN_TIMESTAMPING = 1, 4

# linux/net_tstamp.h: SOF_TIMESTAMPING_TX_SOFTWARE, _SOFTWARE, _OPT_ID and _OPT_TSONLY.
_TRANSMIT_STAMPS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 11
TIMESTAMPING = (socket.SOL_SOCKET, _SO_TIMESTAMPING)
TIMESTAMP = (socket.SOL_SOCKET, SO_TIMESTAMPNS)
TIMESPEC = struct.Struct("@ll")

_LONGEST_NAME = 15
_RECEIVE_BUFFER = 4 << 20
_CONTROL_SIZE = 512


def open_socket(family: int, engine: str, source: str) -> tuple[socket.socket, str]:
    """The first permitted socket of the ladder, bound to its source."""
    if engine not in ("auto", *ENGINES, "udp"):
        raise InvalidArgument(f"engine {engine!r}: expected auto, {', '.join(ENGINES)}, udp")
    for name in ENGINES if engine == "auto" else (engine,):
        kind = socket.SOCK_RAW if name == "raw" else socket.SOCK_DGRAM
        protocol = 0 if name == "udp" else FAMILIES[socket.AddressFamily(family)].protocol
        try:
            sock = socket.socket(family, kind, protocol)
        except PermissionError:
            continue
        try:
            sock.bind((source, 0))
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise NoAddress(error.errno, f"source {source}: not an address of this machine") from None
            raise
        return sock, name
    wanted = "ICMP" if engine == "auto" else f"{engine} ICMP"
    raise NotPermitted(
        errno.EPERM,
        f"no {wanted} socket is permitted here: allow datagram ones to your group "
        "(sysctl -w net.ipv4.ping_group_range='0 2147483647'), "
        "or have the capability CAP_NET_RAW (root, or setcap cap_net_raw+ep on the interpreter)",
    )


def prepare(sock: socket.socket) -> None:
    """Ask the kernel for what a prober needs with each message."""
    family = FAMILIES[sock.family]
    prepare_reading(sock)
    # Without it an ICMP error is invisible to a datagram socket, and ENOBUFS to every sender.
    sock.setsockopt(family.level, family.receive_error, 1)
    sock.setsockopt(family.level, family.receive_ttl, 1)


def prepare_reading(sock: socket.socket) -> None:
    """Never wait, say when each message arrived, and have room for many."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def check_name(interface: str) -> bytes:
    """An interface's name as the kernel takes it. Raises NoSuchInterface for what can't be one."""
    try:
        name = os.fsencode(interface)
    except UnicodeEncodeError:
        raise failure(interface, errno.ENODEV, "") from None
    # The kernel would cut a longer name to one that there may be.
    if len(name) > _LONGEST_NAME or 0 in name:
        raise failure(interface, errno.ENODEV, "")
    return name


def bind_to_interface(sock: socket.socket, interface: str) -> None:
    """Send and receive by this interface only. Raises NoSuchInterface, NotPermitted."""
    name = check_name(interface)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    except PermissionError as error:
        raise NotPermitted(
            error.errno, f"interface {interface}: before Linux 5.7 this needs the capability CAP_NET_RAW"
        ) from None
    except OSError as error:
        raise failure(interface, error.errno or 0, "") from None


def set_mark(sock: socket.socket, mark: int) -> None:
    """Give what is sent a firewall mark. Raises NotPermitted."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
    except PermissionError as error:
        raise NotPermitted(
            error.errno, f"mark {mark}: needs the capability CAP_NET_ADMIN (or CAP_NET_RAW since Linux 5.17)"
        ) from None


def set_dont_fragment(sock: socket.socket, dont_fragment: bool) -> None:
    """Whether a packet that is too big is dropped on its way, which is told, instead of cut to pieces."""
    family = FAMILIES[sock.family]
    # Not DO: with that the kernel itself refuses what is above a path's MTU that it has learnt, and nobody
    # on the path is asked again.
    sock.setsockopt(family.level, family.mtu_discover, _PMTUDISC_PROBE if dont_fragment else _PMTUDISC_DONT)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(family.level, _IPV6_DONTFRAG, dont_fragment)


def number_departures(sock: socket.socket) -> None:
    """From now on tell when each packet left, by its number: they are counted from 0 anew."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, 0)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TRANSMIT_STAMPS)


def pass_type(sock: socket.socket, kind: int) -> None:
    """Let the kernel drop every ICMP message of another type before it is queued."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ 1 << kind))
        return
    words = [0xFFFFFFFF] * 8
    words[kind // 32] ^= 1 << kind % 32
    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))


# Classic BPF (linux/filter.h): loads of a byte, a half word and a word, and what follows them.
_LOADS = {1: 0x30, 2: 0x28, 4: 0x20}
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
# What loads a message's ident. IPv4 shows its own header first, IPv6 does not.
_LOAD_IDENT = {
    socket.AF_INET: ((0xB1, 0, 0, 0), (0x48, 0, 0, 4)),
    socket.AF_INET6: ((0x28, 0, 0, 4),),
}
_ACCEPT, _DROP = (_RETURN, 0, 0, 0xFFFFFFFF), (_RETURN, 0, 0, 0)
_TO_US_ALONE = ((_LOADS[4], 0xFFFFF004, 0), (_LOADS[4], 0xFFFFF030, 0))
"""SKF_AD_OFF + SKF_AD_PKTTYPE says that it is unicast to us, + SKF_AD_VLAN_TAG_PRESENT that it has no tag."""


def pass_ident(sock: socket.socket, ident: int) -> None:
    """Let the kernel drop other programs' replies: a raw socket is given them all, and its queue fills."""
    _attach(sock, *_LOAD_IDENT[sock.family], (_JUMP_IF_EQUAL, 0, 1, ident), _ACCEPT, _DROP)


def pass_only(sock: socket.socket, parts: list[tuple[int, bytes]]) -> None:
    """Let the kernel drop frames that are not to us alone, or of a VLAN, or lack these bytes at an offset."""
    checks = [*_TO_US_ALONE, *chain.from_iterable(starmap(_compared, parts))]
    program = []
    for after, (load, offset, value) in zip(range(len(checks) - 1, -1, -1), checks, strict=True):
        program += [(load, 0, 0, offset), (_JUMP_IF_EQUAL, 0, 2 * after + 1, value)]
    _attach(sock, *program, _ACCEPT, _DROP)


def _compared(offset: int, value: bytes) -> Iterator[tuple[int, int, int]]:
    """Which load at which offset must give which number."""
    while value:
        size = min(4, 1 << len(value).bit_length() - 1)
        yield _LOADS[size], offset, int.from_bytes(value[:size], "big")
        offset, value = offset + size, value[size:]


def _attach(sock: socket.socket, *program: tuple[int, int, int, int]) -> None:
    code = array("B", b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    where = struct.pack("HP", len(program), code.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)


def read(sock: socket.socket, size: int, limit: int, flags: int = 0) -> Iterator[Message]:
    """What has arrived, ``limit`` messages of ``size`` bytes at most."""
    for _ in range(limit):
        try:
            data, ancillary, got, address = sock.recvmsg(size, _CONTROL_SIZE, flags)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            continue  # an error's first notice; the error queue says it in full
        if got & socket.MSG_TRUNC and not flags:
            continue  # longer than what we sent: no echo of ours
        yield data, {(level, kind): value for level, kind, value in ancillary}, address


class Failure(NamedTuple):
    """An ICMP error: the packet that it quotes, from its ICMP header on, and to whom that was sent.

    A redirect is one too, although the router that sends it has passed the packet on.
    """

    quoted: bytes
    address: tuple[Any, ...]
    error: tuple[int, int]
    info: int
    reporter: str
    stamp: int


class Departure(NamedTuple):
    """When a packet left."""

    number: int
    stamp: int


def read_errors(sock: socket.socket, size: int, limit: int) -> Iterator[Failure | Departure]:
    """What is in the socket's error queue, at most ``limit``."""
    family = FAMILIES[sock.family]
    for quoted, messages, address in read(sock, size, limit, socket.MSG_ERRQUEUE):
        error = messages.get((family.level, family.receive_error))
        if error is None:
            continue
        _, origin, kind, code, info, data = _EXTENDED_ERROR.unpack_from(error)
        if origin == _ORIGIN_TIMESTAMPING:
            yield Departure(data, stamp_of(messages.get(TIMESTAMPING)))
        elif origin != _ORIGIN_LOCAL:
            reporter = socket.inet_ntop(sock.family, error[family.offender])
            yield Failure(quoted, address, (kind, code), info, reporter, stamp_of(messages.get(TIMESTAMP)))


def stamp_of(message: bytes | None) -> int:
    """A timestamp of the kernel's in nanoseconds of the wall clock; 0 where there is none."""
    if not message:
        return 0
    seconds, nanoseconds = TIMESPEC.unpack_from(message)
    return int(seconds * NANOSECOND + nanoseconds)


def forget_error(sock: socket.socket) -> None:
    """Take an error that the next call on the socket would report; it stays in the error queue."""
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
