"""Probers' sockets: which are permitted, and their options."""

import _socket as socket
import _struct as struct
import errno
import os
import time
from _collections_abc import Callable, Iterator
from itertools import chain, starmap

from fastnet._contract.netif import check_name, failure
from fastnet._contract.probe import COOKIE, ENGINES, is_link_local
from fastnet._contract.values import quoted
from fastnet._system.permission import DATAGRAM_CURE, raw_cure, refusal
from fastnet._typing import Any, NamedTuple, TypeAlias
from fastnet.errors import InvalidArgument, NoAddress, NotPermitted

# What Python's socket module does not name, from asm-generic/socket.h, linux/in.h, in6.h and icmp.h.
SO_TIMESTAMPNS, _SO_TIMESTAMPING, _SO_ATTACH_FILTER = 35, 37, 26
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_PMTUDISC_DONT, _PMTUDISC_PROBE, _IPV6_DONTFRAG = 0, 3, 62
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_IP_MTU_DISCOVER, _IP_RECVERR, _IP_RECVTTL = 10, 11, 12
_IPV6_MTU_DISCOVER, _IPV6_RECVERR = 23, 25


Attach: TypeAlias = Callable[[socket.socket, bytes], None]


class Family(NamedTuple):
    """What differs between IPv4 and IPv6.

    ``offender`` is the offset of the sender in an error's cmsg, ``offender_scope`` that of its scope.
    """

    protocol: int
    level: int
    echo_request: int
    echo_reply: int
    no_errors: tuple[int, ...]
    """ICMP types that are no errors: a router that sends a redirect forwards the packet, and source quench is
    obsolete (RFC 6633)."""
    ttl_option: int
    receive_ttl: int
    ttl_message: int
    tos_option: int
    mtu_discover: int
    receive_error: int
    header_size: int
    address_size: int
    offender: slice
    offender_scope: slice


FAMILIES = {
    socket.AF_INET: Family(
        protocol=socket.IPPROTO_ICMP,
        level=socket.IPPROTO_IP,
        echo_request=8,
        echo_reply=0,
        no_errors=(4, 5),
        ttl_option=socket.IP_TTL,
        receive_ttl=_IP_RECVTTL,
        ttl_message=socket.IP_TTL,
        tos_option=socket.IP_TOS,
        mtu_discover=_IP_MTU_DISCOVER,
        receive_error=_IP_RECVERR,
        header_size=60,
        address_size=4,
        offender=slice(20, 24),
        offender_scope=slice(0),
    ),
    socket.AF_INET6: Family(
        protocol=socket.IPPROTO_ICMPV6,
        level=socket.IPPROTO_IPV6,
        echo_request=128,
        echo_reply=129,
        no_errors=(137,),
        ttl_option=socket.IPV6_UNICAST_HOPS,
        receive_ttl=socket.IPV6_RECVHOPLIMIT,
        ttl_message=socket.IPV6_HOPLIMIT,
        tos_option=socket.IPV6_TCLASS,
        mtu_discover=_IPV6_MTU_DISCOVER,
        receive_error=_IPV6_RECVERR,
        header_size=0,
        address_size=16,
        offender=slice(24, 40),
        offender_scope=slice(40, 44),
    ),
}

# linux/net_tstamp.h: SOF_TIMESTAMPING_TX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY; _RX_SOFTWARE, _SOFTWARE.
_TRANSMIT_STAMPS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 11
_RECEIVE_STAMPS = 1 << 3 | 1 << 4
_STAMPS_SECONDS, _STAMPS_PAUSE = 0.1, 0.0005
"""Maximum time until the kernel begins with timestamps, and time between two checks."""
TIMESTAMPING = (socket.SOL_SOCKET, _SO_TIMESTAMPING)
TIMESTAMP = (socket.SOL_SOCKET, SO_TIMESTAMPNS)

_IDENTIFIER, _BETWEEN_TWO = 64, 127
"""First bit of an interface identifier (RFC 4291, 2.5.1), and prefix length of a link between two routers."""
_NEVER_CUT = 552 - 60 - 8
"""Size of a payload that fits in the smallest path MTU that Linux accepts (min_pmtu, ip-sysctl.rst)."""
_BUFFER = 4 << 20
"""Bytes of the receive buffer and of the send buffer. The kernel holds three requests to each of 1,000
neighbours that do not answer ARP for three seconds."""


def open_socket(family: int, engine: str) -> tuple[socket.socket, str]:
    """The first permitted socket among the engines, and its engine. Raises InvalidArgument, NotPermitted."""
    if engine not in ("auto", *ENGINES, "udp"):
        raise InvalidArgument(f"engine {quoted(engine)}: expected auto, {', '.join(ENGINES)}, udp")
    for name in ENGINES if engine == "auto" else (engine,):
        kind = socket.SOCK_RAW if name == "raw" else socket.SOCK_DGRAM
        protocol = 0 if name == "udp" else FAMILIES[family].protocol
        try:
            return socket.socket(family, kind, protocol), name
        except PermissionError:
            continue
    if engine == "udp":
        raise refusal("UDP", family)
    cures = {"datagram": DATAGRAM_CURE, "raw": raw_cure()}
    if engine == "auto":
        raise refusal("ICMP", family, *cures.values())
    raise refusal(f"{engine} ICMP", family, cures[engine])


class Notes(list[str]):
    """The options that the system refused to a socket, and their effect."""

    def attempt(self, without: str, step: Callable[..., object], *arguments: Any) -> bool:
        """Set an optional socket option: False if the system refuses, which is recorded."""
        try:
            step(*arguments)
        except OSError as error:
            self.append(f"{without} ({error.strerror})")
            return False
        return True


def prepare(sock: socket.socket, notes: Notes) -> None:
    """Request the control messages that a prober needs."""
    family = FAMILIES[sock.family]
    prepare_reading(sock, notes)
    short = "the send buffer can't be enlarged: many hosts that are not there may hold up the others"
    notes.attempt(short, _enlarge, sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
    # Without it an ICMP error is invisible to a datagram socket, and ENOBUFS to every sender.
    sock.setsockopt(family.level, family.receive_error, 1)
    unknown = "the TTL or hop limit of replies is not known"
    notes.attempt(unknown, sock.setsockopt, family.level, family.receive_ttl, 1)


def prepare_reading(sock: socket.socket, notes: Notes) -> None:
    """Make the socket non-blocking, with receive timestamps and large buffers."""
    sock.setblocking(False)
    late = "no kernel timestamps: round-trip times end when a reply is read"
    if notes.attempt(late, sock.setsockopt, socket.SOL_SOCKET, SO_TIMESTAMPNS, 1):
        _await_timestamps()
    short = "the receive buffer can't be enlarged: replies may be lost where many come at once"
    notes.attempt(short, _enlarge, sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF)


def _await_timestamps() -> None:
    """Until the kernel timestamps what arrives.

    It begins a moment after the system's first socket requests it (net_enable_timestamp uses a work item).
    Until then packets are stamped as they are read; with SO_TIMESTAMPING they have no timestamp. If nothing
    can be sent over loopback, this can't be found out.
    """
    deadline = time.monotonic() + _STAMPS_SECONDS
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(_STAMPS_SECONDS)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _RECEIVE_STAMPS)
        while time.monotonic() < deadline:
            sock.sendto(b"", sock.getsockname())
            _, ancillary, _, _ = sock.recvmsg(0, 128)
            if ancillary:
                return
            time.sleep(_STAMPS_PAUSE)
    except OSError:
        return
    finally:
        sock.close()


def _enlarge(sock: socket.socket, force: int, plain: int) -> None:
    """Set a buffer's size: above the system's limit if that is permitted, else up to it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)


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


def bind_to_source(sock: socket.socket, source: str, interface: str) -> None:
    """Send from this numeric address; from any where it is empty.

    After ``bind_to_interface``: an address may be that of one VRF only. Raises NoAddress, InvalidArgument
    for a link-local one without its interface.
    """
    address: Any = ("", 0)
    if source:
        found = socket.getaddrinfo(source, 0, sock.family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)
        address = found[0][4]
        if interface and is_link_local(source) and not address[3]:
            address = (*address[:3], socket.if_nametoindex(interface))
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise NoAddress(error.errno, f"source {source}: not an address of this machine") from None
        if is_link_local(source) and not address[3]:
            raise InvalidArgument(
                f"source {source}: a link-local address needs its interface, as {source}%eth0"
            ) from None
        raise


def set_mark(sock: socket.socket, mark: int) -> None:
    """Give what is sent a firewall mark. Raises NotPermitted."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
    except PermissionError as error:
        raise NotPermitted(
            error.errno, f"mark {mark}: needs the capability CAP_NET_ADMIN (or CAP_NET_RAW since Linux 5.17)"
        ) from None


def set_dont_fragment(sock: socket.socket, dont_fragment: bool) -> None:
    """Whether a packet that is too big is dropped on its way, which is reported, instead of fragmented."""
    family = FAMILIES[sock.family]
    # Not DO: then the kernel refuses packets above the path MTU that it has learnt, without sending
    # them.
    sock.setsockopt(family.level, family.mtu_discover, _PMTUDISC_PROBE if dont_fragment else _PMTUDISC_DONT)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(family.level, _IPV6_DONTFRAG, dont_fragment)


def number_departures(sock: socket.socket) -> None:
    """Timestamp each sent packet from now on, by its number, counted from 0."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, 0)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TRANSMIT_STAMPS)


def pass_type(sock: socket.socket, kind: int) -> None:
    """Make the kernel drop every ICMP message of another type before it is queued."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ 1 << kind))
        return
    words = [0xFFFFFFFF] * 8
    words[kind // 32] ^= 1 << kind % 32
    sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))


_INSTRUCTION = struct.Struct("=HBBI")
# Classic BPF (linux/filter.h): loads of a byte, a half word and a word, and what follows them.
_LOADS = {1: 0x30, 2: 0x28, 4: 0x20}
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
# Loads a message's ident. IPv4 messages begin with their IP header, IPv6 ones do not.
_LOAD_IDENT = {
    socket.AF_INET: ((0xB1, 0, 0, 0), (0x48, 0, 0, 4)),
    socket.AF_INET6: ((0x28, 0, 0, 4),),
}
_ACCEPT, _DROP = (_RETURN, 0, 0, 0xFFFFFFFF), (_RETURN, 0, 0, 0)
_TO_US_ALONE = ((_LOADS[4], 0xFFFFF004, 0), (_LOADS[4], 0xFFFFF030, 0))
"""SKF_AD_OFF + SKF_AD_PKTTYPE: unicast to us; + SKF_AD_VLAN_TAG_PRESENT: without a VLAN tag."""


def attach_filter(sock: socket.socket, code: bytes) -> None:
    """Have the kernel drop what this code (classic BPF) does not accept."""
    from array import array  # only here: it loads collections, and native has this function in C

    kept = array("B", code)
    where = struct.pack("HP", len(code) // _INSTRUCTION.size, kept.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)


def pass_ident(sock: socket.socket, ident: int, attach: Attach = attach_filter) -> None:
    """Make the kernel drop other programs' replies, which would fill a raw socket's queue."""
    attach(sock, _code(*_LOAD_IDENT[sock.family], (_JUMP_IF_EQUAL, 0, 1, ident), _ACCEPT, _DROP))


def pass_only(sock: socket.socket, parts: list[tuple[int, bytes]]) -> None:
    """Make the kernel drop frames not unicast to us, with a VLAN tag, or without these bytes at an offset."""
    checks = [*_TO_US_ALONE, *chain.from_iterable(starmap(_compared, parts))]
    program = []
    for after, (load, offset, value) in zip(range(len(checks) - 1, -1, -1), checks, strict=True):
        program += [(load, 0, 0, offset), (_JUMP_IF_EQUAL, 0, 2 * after + 1, value)]
    attach_filter(sock, _code(*program, _ACCEPT, _DROP))


def _compared(offset: int, value: bytes) -> Iterator[tuple[int, int, int]]:
    """For each load: its offset and the required number."""
    while value:
        size = min(4, 1 << len(value).bit_length() - 1)
        yield _LOADS[size], offset, int.from_bytes(value[:size], "big")
        offset, value = offset + size, value[size:]


def _code(*program: tuple[int, int, int, int]) -> bytes:
    return b"".join(_INSTRUCTION.pack(*each) for each in program)


class Opened(NamedTuple):
    """A socket that is ready."""

    socket: socket.socket
    engine: str
    ident: int
    """Of what it sends."""
    has_departures: bool
    """Whether the kernel timestamps each packet that leaves."""
    notes: tuple[str, ...]
    """The options that the system refused, and their effect."""
    anycast: tuple[int, ...]
    """The addresses of all routers on our own links, except those that are recognised by their form."""


def open_probing(
    family: int,
    engine: str,
    *,
    source: str,
    interface: str,
    mark: int,
    ttl: int | None,
    tos: int,
    dont_fragment: bool | None,
    size: int,
    transmit_timestamps: bool,
    attach: Attach = attach_filter,
) -> Opened:
    """A socket with these options. Raises what Prober does."""
    sock, engine = open_socket(family, engine)
    its, notes = FAMILIES[sock.family], Notes()
    try:
        prepare(sock, notes)
        if interface:
            bind_to_interface(sock, interface)
        bind_to_source(sock, source, interface)
        if mark:
            set_mark(sock, mark)
        if ttl is not None:
            sock.setsockopt(its.level, its.ttl_option, ttl)
        if tos:
            sock.setsockopt(its.level, its.tos_option, tos)
        if dont_fragment is not None:
            set_dont_fragment(sock, dont_fragment)
        elif family == socket.AF_INET and size <= _NEVER_CUT:
            # Otherwise the kernel chooses an IP id for it: 5 % of a sweep's CPU time.
            notes.attempt("packets have an IP id", set_dont_fragment, sock, True)
        # The kernel chooses the ident of a datagram socket, which is its port.
        own = 0 if engine == "raw" else sock.getsockname()[1]
        ident = own or int.from_bytes(os.urandom(2), "big")
        if engine == "raw":
            everything = "no filter: the socket receives other programs' ICMP messages too"
            notes.attempt(everything, pass_type, sock, its.echo_reply)
            notes.attempt(everything, pass_ident, sock, ident, attach)
        begun = "no transmit timestamps: round-trip times begin before the packet is sent"
        stamped = transmit_timestamps and notes.attempt(begun, number_departures, sock)
    except BaseException:
        sock.close()
        raise
    anycast = tuple(own_routers()) if family == socket.AF_INET6 else ()
    return Opened(sock, engine, ident, stamped, tuple(dict.fromkeys(notes)), anycast)


def own_routers() -> Iterator[int]:
    """The addresses of all routers on our own links (RFC 4291, 2.6.1) whose prefixes are longer than 64 bits.

    A /127 is left out: both addresses are those of hosts (RFC 6164).
    """
    from fastnet._system.interfaces import own_addresses  # IPv4 has none

    try:
        own = [*own_addresses(socket.AF_INET6)]
    except OSError:
        return  # a sandbox may forbid it
    for _, address, length in own:
        if _IDENTIFIER < length < _BETWEEN_TWO:
            number = int.from_bytes(address, "big")
            yield number >> 128 - length << 128 - length


def filler_of(pattern: bytes, size: int) -> bytes:
    """The bytes after the cookie in a payload of this size."""
    filler = pattern or bytes(range(256))
    return (filler * (size // len(filler) + 1))[: max(0, size - COOKIE)]
