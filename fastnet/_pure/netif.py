"""The kernel's answers about its interfaces, by the ioctl calls of netdevice(7) and /proc/net/if_inet6.

Everything is asked over one kept socket a thread. A socket answers for the network namespace that it was
opened in, so each call first reads, from the thread's own ``/proc/thread-self/ns/net`` (namespaces(7)),
whether the thread is still there: correct across ``setns``, ``unshare`` and fork. A thread that asks
keeps two descriptors until it ends.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import threading

from fastnet._contract.netif import (
    MAC_TYPES,
    NAME_SIZE,
    TUNNEL_TYPES,
    check_ifname,
    failure,
    packed_ipv4,
)
from fastnet._typing import TYPE_CHECKING
from fastnet.errors import NoAddress

if TYPE_CHECKING:
    from ipaddress import IPv4Address

# linux/sockios.h
_SIOCGIFNAME = 0x8910
_SIOCGIFCONF = 0x8912
_SIOCGIFFLAGS = 0x8913
_SIOCGIFADDR = 0x8915
_SIOCGIFBRDADDR = 0x8919
_SIOCGIFNETMASK = 0x891B
_SIOCGIFMTU = 0x8921
_SIOCGIFHWADDR = 0x8927
_SIOCGIFINDEX = 0x8933

# struct ifreq is the name and the largest of a union, which is either a sockaddr or struct ifmap.
_ANSWER = struct.Struct(f"{NAME_SIZE}s{max(16, struct.calcsize('LLHBBB0L'))}s")
_SOCKADDR_IN = struct.Struct("HH4s")

_FIRST_ROOM = 64


class _Kept:
    """A thread's socket, and the name of the namespace that it belongs to."""

    def __init__(self) -> None:
        self.thread_namespace = -1
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
        self.identity = self._identity()
        try:
            self.thread_namespace = os.open(
                "/proc/thread-self/ns/net", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            )
            self.socket_namespace = self._read_namespace()
        except OSError:
            # Without /proc the thread can't be watched: no socket is current but a new one.
            self.socket_namespace = ""

    def _read_namespace(self) -> str:
        return os.readlink("", dir_fd=self.thread_namespace)

    def _identity(self) -> tuple[int, int]:
        status = os.fstat(self.socket)
        return status.st_dev, status.st_ino

    def is_current(self) -> bool:
        try:
            return bool(self.socket_namespace) and self._read_namespace() == self.socket_namespace
        except OSError:
            return False

    def __del__(self) -> None:
        # A descriptor that other code closed (a daemon closes all of them) must not be closed again.
        try:
            ours = self._identity() == self.identity
        except (OSError, AttributeError):
            return
        if ours:
            os.close(self.socket)
            if self.thread_namespace >= 0:
                os.close(self.thread_namespace)


_thread = threading.local()


def _forget() -> None:
    """In a forked child: the parent's thread owns its descriptors."""
    _thread.__dict__.pop("kept", None)


os.register_at_fork(after_in_child=_forget)


def _socket() -> int:
    kept: _Kept | None = _thread.__dict__.get("kept")
    if kept is None or not kept.is_current():
        kept = _thread.kept = _Kept()
    return kept.socket


def _ask(question: int, ifname: str, what: str, selector: bytes = b"") -> bytes:
    """The union in the kernel's answer about an interface."""
    check_ifname(ifname)
    try:
        name = os.fsencode(ifname)
    except UnicodeEncodeError:
        raise failure(ifname, errno.ENODEV, what) from None
    try:
        return _ioctl(question, name, selector)
    except OSError as error:
        code = error.errno or 0
    if real := _real_name(name, code):
        return _ask(question, real, what, selector)
    raise failure(ifname, code, what)


def _ioctl(question: int, name: bytes, selector: bytes) -> bytes:
    if not 0 < len(name) < NAME_SIZE or b"\0" in name:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    union: bytes = _ANSWER.unpack(fcntl.ioctl(_socket(), question, _ANSWER.pack(name, selector)))[1]
    return union


def _real_name(name: bytes, code: int) -> str | None:
    """The name of an interface by its alternative name, where a question by that failed; None if it is none.

    The kernel knows an interface by a short one, but none of its addresses, and by a long one only over
    rtnetlink.
    """
    if b":" in name:
        return None
    if len(name) >= NAME_SIZE:
        return _link_by_rtnetlink(name, "name")
    if code != errno.EADDRNOTAVAIL:
        return None
    try:
        index = _ioctl(_SIOCGIFINDEX, name, b"")
        answer = fcntl.ioctl(_socket(), _SIOCGIFNAME, _ANSWER.pack(b"", index))
    except OSError:
        return None  # It was removed meanwhile.
    real = os.fsdecode(_ANSWER.unpack(answer)[0].partition(b"\0")[0])
    return None if real == os.fsdecode(name) else real


def _link_by_rtnetlink(name: bytes, field: str) -> str | None:
    """A field of the interface of this name or alternative name; None if there is none."""
    from fastnet._pure.rtnetlink import Kernel

    try:
        with Kernel() as kernel:
            found: str | None = getattr(kernel.find(name), field)
            return found
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def _ask_link(question: int, ifname: str, what: str) -> bytes:
    """A question that is not about an address. An alias label that no address has is no interface."""
    check_ifname(ifname)
    if ":" in ifname:
        try:
            _ask(_SIOCGIFADDR, ifname, what)
        except NoAddress:
            raise failure(ifname, errno.ENODEV, what) from None
    return _ask(question, ifname, what)


def _ask_ipv4(question: int, ifname: str, what: str, address: str | IPv4Address | None = None) -> bytes:
    selector = b""
    if address is not None:
        wanted = packed_ipv4(address)
        selector = _SOCKADDR_IN.pack(socket.AF_INET, 0, wanted)
        # For an address that is not there the kernel answers with the first one's.
        own = _ask(_SIOCGIFADDR, ifname, what, selector)
        if _SOCKADDR_IN.unpack_from(own)[2] != wanted:
            raise failure(ifname, errno.EADDRNOTAVAIL, f"IPv4 address {socket.inet_ntoa(wanted)}")
    packed: bytes = _SOCKADDR_IN.unpack_from(_ask(question, ifname, what, selector))[2]
    return packed


def list_ipv4() -> list[tuple[str, str]]:
    """Every IPv4 address with its label, as ``("eth0", "192.0.2.1")`` (SIOCGIFCONF).

    A label is the interface's name, or an alias of it such as ``eth0:1``.
    """
    room = _FIRST_ROOM * _ANSWER.size
    while True:
        answers = array.array("B", bytes(room))
        request = struct.pack("iP", room, answers.buffer_info()[0])
        used: int = struct.unpack("iP", fcntl.ioctl(_socket(), _SIOCGIFCONF, request))[0]
        # The kernel stops in silence when the next one does not fit.
        if room - used >= _ANSWER.size:
            break
        request = struct.pack("iP", 0, 0)
        room = 2 * struct.unpack("iP", fcntl.ioctl(_socket(), _SIOCGIFCONF, request))[0] + _ANSWER.size
    return [
        (os.fsdecode(name.rstrip(b"\0")), socket.inet_ntoa(_SOCKADDR_IN.unpack_from(union)[2]))
        for name, union in _ANSWER.iter_unpack(answers[:used])
    ]


def list_interfaces() -> list[str]:
    """The names of the interfaces that have an IPv4 address, each once, in the kernel's order (SIOCGIFCONF).

    The system call has two limits: an interface without an IPv4 address is missing, and an address with
    an alias label (``eth0:1``) is listed by that label like an interface. ``socket.if_nameindex()``
    returns every interface.
    """
    return list(dict.fromkeys(label for label, _ in list_ipv4()))


def get_ip_address(ifname: str, /) -> str:
    """The first IPv4 address of an interface, or of an alias label such as ``eth0:1`` (SIOCGIFADDR).

    Raises NoSuchInterface for an unknown or invalid name (the message lists the interfaces), NoAddress
    if the interface has no IPv4 address.
    """
    return socket.inet_ntoa(_ask_ipv4(_SIOCGIFADDR, ifname, "IPv4 address"))


def get_netmask(ifname: str, address: str | IPv4Address | None = None, /) -> str:
    """The netmask of an interface's first IPv4 address, or of ``address`` (SIOCGIFNETMASK).

    Raises the errors of ``get_ip_address``, and InvalidArgument if ``address`` is not IPv4.
    """
    return socket.inet_ntoa(_ask_ipv4(_SIOCGIFNETMASK, ifname, "IPv4 address", address))


def get_broadcast(ifname: str, address: str | IPv4Address | None = None, /) -> str:
    """The broadcast address of an interface's first IPv4 address, or of ``address`` (SIOCGIFBRDADDR).

    Raises the errors of ``get_netmask``; NoAddress also if the address has no broadcast address, as
    on loopback and on point-to-point links.
    """
    packed = _ask_ipv4(_SIOCGIFBRDADDR, ifname, "broadcast address", address)
    if packed == b"\0\0\0\0":
        raise failure(ifname, errno.EADDRNOTAVAIL, "broadcast address")
    return socket.inet_ntoa(packed)


def get_flags(ifname: str, /) -> int:
    """The flags of an interface (IFF_UP 0x1, IFF_RUNNING 0x40, ...; SIOCGIFFLAGS).

    Raises NoSuchInterface.
    """
    flags: int = struct.unpack_from("H", _ask_link(_SIOCGIFFLAGS, ifname, "flags"))[0]
    return flags


def get_mtu(ifname: str, /) -> int:
    """The MTU of an interface in bytes (SIOCGIFMTU). Raises NoSuchInterface."""
    mtu: int = struct.unpack_from("i", _ask_link(_SIOCGIFMTU, ifname, "MTU"))[0]
    return mtu


def get_index(ifname: str, /) -> int:
    """The index of an interface (SIOCGIFINDEX). Raises NoSuchInterface."""
    index: int = struct.unpack_from("i", _ask_link(_SIOCGIFINDEX, ifname, "index"))[0]
    return index


def get_hardware_address(ifname: str, /) -> str:
    """The MAC address of an interface, as ``02:00:00:00:00:01`` (SIOCGIFHWADDR).

    One of another length than six bytes is read over rtnetlink.

    Raises NoSuchInterface, and NoAddress for a kind of interface without MAC addresses, such as a tunnel.
    """
    union = _ask_link(_SIOCGIFHWADDR, ifname, "MAC address")
    kind = struct.unpack_from("H", union)[0]
    if kind in MAC_TYPES:
        return union[2:8].hex(":")
    mac = None if kind in TUNNEL_TYPES else _link_by_rtnetlink(os.fsencode(ifname.partition(":")[0]), "mac")
    if mac is None:
        raise failure(ifname, errno.EADDRNOTAVAIL, "MAC address")
    return mac


def _parse_ipv6(line: bytes) -> tuple[str, str, int, int]:
    digits, _, prefix_length, _, flags, name = line.split()
    address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits.decode()))
    return os.fsdecode(name), address, int(prefix_length, 16), int(flags, 16)


def list_ipv6() -> list[tuple[str, str, int, int]]:
    """Every IPv6 address: interface, address, prefix length, flags (/proc/net/if_inet6).

    The flags are those of linux/if_addr.h: IFA_F_TENTATIVE 0x40, IFA_F_DADFAILED 0x08, ... Empty if
    the kernel has no IPv6. Raises OSError if /proc is not mounted.
    """
    os.stat("/proc/thread-self/net")
    try:
        # thread-self, since /proc/net is for the main thread's namespace.
        with open("/proc/thread-self/net/if_inet6", "rb") as file:
            return [_parse_ipv6(line) for line in file]
    except FileNotFoundError:
        return []
