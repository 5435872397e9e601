"""Queries about network interfaces, in C; ``fastnet._pure.netif`` documents it."""

import os

from cpython.dict cimport PyDict_GetItem, PyDict_SetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.errno cimport EADDRNOTAVAIL, ENOBUFS, ENODEV
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memset, strcmp, strlen

from fastnet._contract.netif import MAC_TYPES, TUNNEL_TYPES, check_ifname, failure, packed_ipv4
from fastnet.errors import NoAddress

cdef extern from "Python.h":
    PyObject *PyThreadState_GetDict()
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_DecodeFSDefaultAndSize(const char *text, Py_ssize_t size)
    object PyUnicode_FromStringAndSize(const char *text, Py_ssize_t size)

cdef extern from "<sys/ioctl.h>":
    enum:
        SIOCGIFADDR
        SIOCGIFBRDADDR
        SIOCGIFFLAGS
        SIOCGIFHWADDR
        SIOCGIFINDEX
        SIOCGIFMTU
        SIOCGIFNAME
        SIOCGIFNETMASK

cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    struct in_addr:
        pass
    struct sockaddr_in:
        int sin_family
        in_addr sin_addr
    int inet_pton(int family, const char *text, void *out)
    const char *inet_ntop(int family, const void *address, char *out, unsigned int size)

cdef extern from "netif.h" nogil:
    struct sockaddr:
        unsigned short sa_family
        char sa_data[14]
    struct ifreq:
        char *ifr_name
        sockaddr ifr_addr
        sockaddr ifr_hwaddr
        short ifr_flags
        int ifr_ifindex
        int ifr_mtu
    struct fn_netif:
        pass
    struct fn_netif_ipv6:
        uint8_t *address
        uint8_t prefix_length
        uint8_t flags
        char *name
    void fn_netif_init(fn_netif *netif)
    void fn_netif_close(fn_netif *netif)
    int fn_netif_ask(fn_netif *netif, unsigned long question, const char *name, size_t len, ifreq *answer)
    ssize_t fn_netif_list(fn_netif *netif, ifreq *out, size_t capacity)
    ssize_t fn_netif_parse_ipv6(const char *text, size_t len, fn_netif_ipv6 *out)

cdef enum:
    FIRST_ROOM = 64
    NAME_SIZE = 16

cdef str KEPT = "fastnet._native.netif"


cdef class _Kept:
    """A thread's socket; the dictionary of the thread owns it until the thread ends."""

    cdef fn_netif netif

    def __cinit__(self):
        fn_netif_init(&self.netif)

    def __dealloc__(self):
        fn_netif_close(&self.netif)


cdef _Kept kept():
    cdef PyObject *mine = PyThreadState_GetDict()
    if mine is NULL:
        raise MemoryError
    cdef PyObject *found = PyDict_GetItem(<object>mine, KEPT)
    if found is not NULL:
        return <_Kept>found
    new = _Kept()
    PyDict_SetItem(<object>mine, KEPT, new)
    return new


def _forget():
    """In a forked child: drop the copy of the parent's socket."""
    cdef PyObject *mine = PyThreadState_GetDict()
    if mine is not NULL:
        (<dict>mine).pop(KEPT, None)


os.register_at_fork(after_in_child=_forget)


cdef int ask(unsigned long question, object ifname, ifreq *answer, str what) except -1:
    cdef const char *name
    cdef size_t size
    cdef int code
    cdef _Kept mine
    cdef bytes encoded
    if not isinstance(ifname, str):
        check_ifname(ifname)
    if PyUnicode_IS_COMPACT_ASCII(ifname):
        name = <const char *>PyUnicode_DATA(ifname)
        size = PyUnicode_GET_LENGTH(ifname)
    else:
        try:
            encoded = os.fsencode(ifname)
        except UnicodeEncodeError:
            raise failure(ifname, ENODEV, what) from None
        name, size = encoded, len(encoded)
    mine = kept()
    with nogil:
        code = fn_netif_ask(&mine.netif, question, name, size, answer)
    if code == 0:
        return 0
    real = real_name(name, size, -code)
    if real is None:
        raise failure(ifname, -code, what)
    return ask(question, real, answer, what)


cdef str real_name(const char *name, size_t size, int code):
    """The name of an interface by its alternative name, where a question by that failed; None if it is none.

    The kernel knows an interface by a short one, but none of its addresses, and by a long one only over rtnetlink.
    """
    cdef _Kept mine = kept()
    cdef ifreq answer
    cdef bytes given = name[:size]
    if b":" in given:
        return None
    if size >= NAME_SIZE:
        return link_by_rtnetlink(given, "name")
    if code != EADDRNOTAVAIL or fn_netif_ask(&mine.netif, SIOCGIFINDEX, name, size, &answer) < 0:
        return None
    if fn_netif_ask(&mine.netif, SIOCGIFNAME, name, size, &answer) < 0:
        return None  # It was removed meanwhile.
    return None if answer.ifr_name == given else decoded(answer.ifr_name)


cdef object link_by_rtnetlink(bytes name, str field):
    """A field of the interface of this name or alternative name; None if there is none."""
    from fastnet._native.rtnetlink import Kernel

    try:
        with Kernel() as kernel:
            return getattr(kernel.find(name), field)
    except OSError as error:
        if error.errno != ENODEV:
            raise
    return None


cdef int ask_link(unsigned long question, object ifname, ifreq *answer, str what) except -1:
    """A question that is not about an address. An alias label that no address has is no interface."""
    check_ifname(ifname)
    if ":" in ifname:
        try:
            ask_ipv4(SIOCGIFADDR, ifname, None, answer, what)
        except NoAddress:
            raise failure(ifname, ENODEV, what) from None
    return ask(question, ifname, answer, what)


cdef const uint8_t *ipv4(ifreq *answer) noexcept:
    return <const uint8_t *>&(<sockaddr_in *>&answer.ifr_addr).sin_addr


cdef str dotted(const uint8_t *octets):
    """The address as text; inet_ntop(3) takes three times as long."""
    cdef char text[16]
    cdef int i, size = 0
    for i in range(4):
        if octets[i] >= 100:
            text[size] = 48 + octets[i] // 100
            size += 1
        if octets[i] >= 10:
            text[size] = 48 + octets[i] // 10 % 10
            size += 1
        text[size] = 48 + octets[i] % 10
        text[size + 1] = b"."
        size += 2
    return PyUnicode_FromStringAndSize(text, size - 1)


cdef void select(ifreq *answer, bytes packed):
    memset(answer, 0, sizeof(ifreq))
    answer.ifr_addr.sa_family = AF_INET
    memcpy(<uint8_t *>ipv4(answer), <const uint8_t *>packed, 4)


cdef int ask_ipv4(unsigned long question, object ifname, object address, ifreq *answer, str what) except -1:
    memset(answer, 0, sizeof(ifreq))
    if address is not None:
        packed = packed_ipv4(address)
        select(answer, packed)
        # For an address that is not there the kernel answers with the first one's.
        ask(SIOCGIFADDR, ifname, answer, what)
        if memcmp(ipv4(answer), <const uint8_t *>packed, 4):
            raise failure(ifname, EADDRNOTAVAIL, f"IPv4 address {dotted(<const uint8_t *>packed)}")
        select(answer, packed)
    return ask(question, ifname, answer, what)


cdef class _Answers:
    """The kernel's list of IPv4 addresses with their labels."""

    cdef ifreq first[FIRST_ROOM]
    cdef ifreq *more
    cdef ssize_t count

    def __cinit__(self):
        cdef _Kept mine = kept()
        cdef ifreq *room = self.first
        cdef size_t capacity = FIRST_ROOM
        while True:
            with nogil:
                self.count = fn_netif_list(&mine.netif, room, capacity)
            if self.count != -ENOBUFS:
                break
            with nogil:
                self.count = fn_netif_list(&mine.netif, NULL, 0)
            if self.count < 0:
                break
            capacity = 2 * self.count + 1
            PyMem_Free(self.more)
            self.more = room = <ifreq *>PyMem_Malloc(capacity * sizeof(ifreq))
            if room is NULL:
                raise MemoryError
        if self.count < 0:
            raise OSError(-self.count, os.strerror(-self.count))

    def __dealloc__(self):
        PyMem_Free(self.more)

    cdef ifreq *at(self, ssize_t i) noexcept:
        return &(self.more if self.more is not NULL else self.first)[i]


cdef str decoded(const char *name):
    return PyUnicode_DecodeFSDefaultAndSize(name, strlen(name))


cdef list parse_ipv6(bytes text):
    cdef fn_netif_ipv6 entry
    cdef char address[46]
    cdef const char *at = text
    cdef size_t left = len(text)
    cdef ssize_t size
    cdef list addresses = []
    while True:
        size = fn_netif_parse_ipv6(at, left, &entry)
        if size == 0:
            return addresses
        if size < 0:
            raise OSError(-size, os.strerror(-size), "/proc/thread-self/net/if_inet6")
        inet_ntop(AF_INET6, entry.address, address, sizeof(address))
        addresses.append((decoded(entry.name), (<bytes>address).decode(), entry.prefix_length, entry.flags))
        at += size
        left -= size


def list_ipv4():
    """Every IPv4 address with its label, as ``("eth0", "192.0.2.1")`` (SIOCGIFCONF).

    A label is the interface's name, or an alias of it such as ``eth0:1``.
    """
    answers = _Answers()
    return [(decoded(answers.at(i).ifr_name), dotted(ipv4(answers.at(i)))) for i in range(answers.count)]


def list_interfaces():
    """The names of the interfaces that have an IPv4 address, each once, in the kernel's order (SIOCGIFCONF).

    The system call has two limits: an interface without an IPv4 address is missing, and an address with
    an alias label (``eth0:1``) is listed by that label like an interface. ``socket.if_nameindex()``
    returns every interface.
    """
    cdef _Answers answers = _Answers()
    cdef dict names = {}
    cdef ssize_t i
    for i in range(answers.count):
        # The addresses of one interface are consecutive: most repeated labels need no decoding.
        if i == 0 or strcmp(answers.at(i).ifr_name, answers.at(i - 1).ifr_name):
            names[decoded(answers.at(i).ifr_name)] = None
    return list(names)


def get_ip_address(ifname, /):
    """The first IPv4 address of an interface, or of an alias label such as ``eth0:1`` (SIOCGIFADDR).

    Raises NoSuchInterface for an unknown or invalid name (the message lists the interfaces), NoAddress
    if the interface has no IPv4 address.
    """
    cdef ifreq answer
    ask_ipv4(SIOCGIFADDR, ifname, None, &answer, "IPv4 address")
    return dotted(ipv4(&answer))


def get_netmask(ifname, address=None, /):
    """The netmask of an interface's first IPv4 address, or of ``address`` (SIOCGIFNETMASK).

    Raises the errors of ``get_ip_address``, and InvalidArgument if ``address`` is not IPv4.
    """
    cdef ifreq answer
    ask_ipv4(SIOCGIFNETMASK, ifname, address, &answer, "IPv4 address")
    return dotted(ipv4(&answer))


def get_broadcast(ifname, address=None, /):
    """The broadcast address of an interface's first IPv4 address, or of ``address`` (SIOCGIFBRDADDR).

    Raises the errors of ``get_netmask``; NoAddress also if the address has no broadcast address, as
    on loopback and on point-to-point links.
    """
    cdef ifreq answer
    ask_ipv4(SIOCGIFBRDADDR, ifname, address, &answer, "broadcast address")
    broadcast = dotted(ipv4(&answer))
    if broadcast == "0.0.0.0":
        raise failure(ifname, EADDRNOTAVAIL, "broadcast address")
    return broadcast


def get_flags(ifname, /):
    """The flags of an interface (IFF_UP 0x1, IFF_RUNNING 0x40, ...; SIOCGIFFLAGS).

    Raises NoSuchInterface.
    """
    cdef ifreq answer
    ask_link(SIOCGIFFLAGS, ifname, &answer, "flags")
    return <unsigned short>answer.ifr_flags


def get_mtu(ifname, /):
    """The MTU of an interface in bytes (SIOCGIFMTU). Raises NoSuchInterface."""
    cdef ifreq answer
    ask_link(SIOCGIFMTU, ifname, &answer, "MTU")
    return answer.ifr_mtu


def get_index(ifname, /):
    """The index of an interface (SIOCGIFINDEX). Raises NoSuchInterface."""
    cdef ifreq answer
    ask_link(SIOCGIFINDEX, ifname, &answer, "index")
    return answer.ifr_ifindex


def get_hardware_address(ifname, /):
    """The MAC address of an interface, as ``02:00:00:00:00:01`` (SIOCGIFHWADDR).

    One of another length than six bytes is read over rtnetlink.

    Raises NoSuchInterface, and NoAddress for a kind of interface without MAC addresses, such as a tunnel.
    """
    cdef ifreq answer
    ask_link(SIOCGIFHWADDR, ifname, &answer, "MAC address")
    if answer.ifr_hwaddr.sa_family not in MAC_TYPES:
        mac = None
        if answer.ifr_hwaddr.sa_family not in TUNNEL_TYPES:
            mac = link_by_rtnetlink(os.fsencode(ifname.partition(":")[0]), "mac")
        if mac is None:
            raise failure(ifname, EADDRNOTAVAIL, "MAC address")
        return mac
    return answer.ifr_hwaddr.sa_data[:6].hex(":")


def list_ipv6():
    """Every IPv6 address: interface, address, prefix length, flags (/proc/net/if_inet6).

    The flags are those of linux/if_addr.h: IFA_F_TENTATIVE 0x40, IFA_F_DADFAILED 0x08, ... Empty if
    the kernel has no IPv6. Raises OSError if /proc is not mounted.
    """
    os.stat("/proc/thread-self/net")
    try:
        # thread-self, since /proc/net is for the main thread's namespace.
        with open("/proc/thread-self/net/if_inet6", "rb") as file:
            return parse_ipv6(file.read())
    except FileNotFoundError:
        return []
