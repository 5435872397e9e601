"""The kernel's interfaces and routes, by rtnetlink(7), in C; ``fastnet._pure.rtnetlink`` documents it."""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject
from libc.errno cimport EACCES, EAFNOSUPPORT, EBADMSG, ENETUNREACH, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastnet._contract import rtnetlink_names as names_of
from fastnet._contract.rtnetlink import (
    AddressLifetime,
    Interface,
    InterfaceAddress,
    InterfaceCounters,
    Message,
    Neighbour,
    NextHop,
    Route,
)

cdef extern from "Python.h":
    object PyUnicode_DecodeFSDefaultAndSize(const char *text, Py_ssize_t size)
    object PyUnicode_FromStringAndSize(const char *text, Py_ssize_t size)
    PyTypeObject PyTuple_Type
    ctypedef object (*newfunc)(PyTypeObject *, object, PyObject *)

cdef extern from "<linux/rtnetlink.h>":
    enum:
        RTM_NEWLINK
        RTM_DELLINK
        RTM_GETLINK
        RTM_NEWADDR
        RTM_DELADDR
        RTM_GETADDR
        RTM_NEWROUTE
        RTM_DELROUTE
        RTM_GETROUTE
        RTM_NEWNEIGH
        RTM_DELNEIGH
        RTM_GETNEIGH
        NETLINK_ROUTE
        NETLINK_GENERIC
        NLM_F_DUMP

cdef extern from "<sys/socket.h>":
    enum:
        AF_INET
        AF_INET6

cdef extern from "packet.h" nogil:
    size_t fn_text_ipv4(const uint8_t *address, char *out)
    size_t fn_text_ipv6(const uint8_t *address, char *out)
    size_t fn_text_mac(const uint8_t *address, char *out)

cdef extern from "rtnetlink.h" nogil:
    struct fn_rtnetlink_slice:
        const uint8_t *at
        size_t len
    struct fn_rtnetlink_message:
        uint16_t type
        fn_rtnetlink_slice body
    struct fn_rtnetlink_link:
        int32_t index
        uint16_t type
        uint32_t flags
        uint32_t mtu
        uint32_t master
        uint32_t link
        int32_t link_namespace
        uint8_t has_link_namespace
        uint8_t operational_state
        uint8_t has_carrier
        uint8_t carrier
        uint32_t carrier_changes
        fn_rtnetlink_slice name
        fn_rtnetlink_slice kind
        fn_rtnetlink_slice address
        fn_rtnetlink_slice permanent
        fn_rtnetlink_slice broadcast
        fn_rtnetlink_slice altnames
        fn_rtnetlink_slice counters
    struct fn_rtnetlink_address:
        uint8_t size
        uint8_t prefix_length
        uint8_t scope
        uint8_t has_protocol
        uint8_t protocol
        int32_t index
        uint32_t flags
        uint32_t preferred
        uint32_t valid
        const uint8_t *address
        const uint8_t *peer
        const uint8_t *broadcast
        const uint8_t *network
        fn_rtnetlink_slice label
    struct fn_rtnetlink_leg:
        int32_t index
        uint8_t flags
        uint16_t weight
        fn_rtnetlink_slice gateway
    struct fn_rtnetlink_route:
        uint8_t size
        uint8_t prefix_length
        uint8_t sources_length
        uint8_t tos
        uint8_t protocol
        uint8_t scope
        uint8_t type
        uint32_t flags
        uint32_t table
        uint32_t metric
        uint32_t mtu
        uint32_t next_hop_id
        uint16_t encapsulation
        uint8_t has_preference
        uint8_t preference
        int32_t index
        const uint8_t *destination
        const uint8_t *sources
        const uint8_t *source
        fn_rtnetlink_slice gateway
        fn_rtnetlink_slice legs
    struct fn_rtnetlink_neighbour:
        uint8_t size
        uint8_t has_protocol
        uint8_t protocol
        uint16_t state
        uint32_t flags
        int32_t index
        const uint8_t *address
        fn_rtnetlink_slice hardware
    struct fn_rtnetlink_speed:
        int32_t index
        uint32_t megabits
        uint8_t duplex
    struct fn_rtnetlink:
        int socket
    struct fn_rtnetlink_answer:
        const uint8_t *data
        size_t len
    ssize_t fn_rtnetlink_next(const uint8_t *data, size_t len, fn_rtnetlink_message *out)
    int fn_rtnetlink_read_link(const fn_rtnetlink_message *message, fn_rtnetlink_link *out)
    int fn_rtnetlink_next_altname(fn_rtnetlink_slice *altnames, fn_rtnetlink_slice *name)
    int fn_rtnetlink_read_address(const fn_rtnetlink_message *message, fn_rtnetlink_address *out)
    int fn_rtnetlink_read_route(const fn_rtnetlink_message *message, fn_rtnetlink_route *out)
    int fn_rtnetlink_next_leg(fn_rtnetlink_slice *legs, uint8_t size, fn_rtnetlink_leg *leg)
    int fn_rtnetlink_read_neighbour(const fn_rtnetlink_message *message, fn_rtnetlink_neighbour *out)
    int fn_rtnetlink_read_speed(const fn_rtnetlink_message *message, fn_rtnetlink_speed *out)
    int fn_rtnetlink_read_family(const fn_rtnetlink_message *message, uint16_t *family)
    int fn_rtnetlink_open(fn_rtnetlink *netlink, int protocol)
    void fn_rtnetlink_adopt(fn_rtnetlink *netlink, int socket)
    void fn_rtnetlink_close(fn_rtnetlink *netlink)
    void fn_rtnetlink_free(fn_rtnetlink_answer *answer)
    int fn_rtnetlink_ask(fn_rtnetlink *netlink, uint16_t type, uint16_t flags, const void *body, size_t len, fn_rtnetlink_answer *answer)
    int fn_rtnetlink_name(const fn_rtnetlink *netlink, int32_t index, char *out)

include "rtnetlink_records.pxi"

cdef enum:
    GENL_ID_CTRL = 16
    RTM_F_LOOKUP_TABLE = 0x1000
    IFLA_IFNAME = 3
    IFLA_ALT_IFNAME = 53
    NAME_SIZE = 16
    ALTNAME_SIZE = 128

# Questions, as linux/rtnetlink.h, if_link.h, genetlink.h and ethtool_netlink.h have them.
cdef bytes ALL = bytes(16)
cdef bytes ALL_ADDRESSES = bytes(8)
cdef bytes WITHOUT_STATISTICS = ALL + attribute(29, number(8))
cdef bytes ETHTOOL = bytes((3, 1, 0, 0)) + attribute(2, b"ethtool\0")
cdef bytes LINK_MODES = bytes((4, 1, 0, 0)) + attribute(0x8001, attribute(3, number(1)))
cdef tuple NO_ETHTOOL = (ENOENT, EOPNOTSUPP, EPROTONOSUPPORT, EPERM, EACCES)


cdef bytes number(uint32_t value):
    return PyBytes_FromStringAndSize(<char *>&value, sizeof(value))


cdef bytes attribute(uint16_t kind, bytes value):
    cdef uint16_t length = <uint16_t>(4 + len(value))
    return (PyBytes_FromStringAndSize(<char *>&length, 2) + PyBytes_FromStringAndSize(<char *>&kind, 2) + value
            + bytes(-length % 4))


cdef bad_message():
    return OSError(EBADMSG, "a netlink message that is not formed as linux/rtnetlink.h has it")


cdef int checked(ssize_t result) except -1:
    """What a function of the core returned, if it is no error."""
    if result == -EBADMSG:
        raise bad_message()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


cdef class _Answer:
    """A whole answer of the kernel, read message by message."""

    cdef fn_rtnetlink_answer answer
    cdef fn_rtnetlink_message message
    cdef size_t at

    def __cinit__(self):
        memset(&self.answer, 0, sizeof(self.answer))

    def __dealloc__(self):
        fn_rtnetlink_free(&self.answer)

    cdef int ask(self, fn_rtnetlink *netlink, uint16_t kind, uint16_t flags, bytes question) except -1:
        cdef const char *body = PyBytes_AS_STRING(question)
        cdef size_t size = PyBytes_GET_SIZE(question)
        cdef int code
        with nogil:
            code = fn_rtnetlink_ask(netlink, kind, flags, body, size, &self.answer)
        checked(code)
        self.at = 0
        return 0

    cdef bint next(self) except -1:
        cdef ssize_t size = fn_rtnetlink_next(self.answer.data + self.at, self.answer.len - self.at, &self.message)
        if size <= 0:
            checked(size)
            return False
        self.at += size
        return True


cdef class _Names:
    """The names of interfaces by their index, each requested once; None for one that was removed."""

    cdef dict known
    cdef fn_rtnetlink *netlink

    def __cinit__(self, dict known=None):
        self.known = {} if known is None else known
        self.netlink = NULL

    cdef object of(self, int32_t index):
        cdef char name[NAME_SIZE]
        cdef int code
        found = self.known.get(index, self)
        if found is not self:
            return found
        if self.netlink is NULL:
            return None
        code = fn_rtnetlink_name(self.netlink, index, name)
        if code != -ENODEV:
            checked(code)
        found = self.known[index] = None if code else fs_text(name)
        return found


def parse(data, names):
    cdef Py_buffer view
    cdef fn_rtnetlink_message message
    cdef _Names known = _Names(dict(names))
    cdef size_t at = 0
    cdef ssize_t size
    cdef list found = []
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while at < <size_t>view.len:
            size = fn_rtnetlink_next(<const uint8_t *>view.buf + at, view.len - at, &message)
            checked(size)
            at += size
            found.append(Message(message.type, read(&message, known)))
    finally:
        PyBuffer_Release(&view)
    return found


cdef object read(fn_rtnetlink_message *message, _Names names):
    cdef fn_rtnetlink_link link
    cdef fn_rtnetlink_address address
    if message.type in (RTM_NEWLINK, RTM_DELLINK):
        return as_link(&link, names, None, None) if checked(fn_rtnetlink_read_link(message, &link)) else None
    if message.type in (RTM_NEWADDR, RTM_DELADDR):
        if not checked(fn_rtnetlink_read_address(message, &address)):
            return None
        return as_address(&address, names.of(address.index) or "")
    if message.type in (RTM_NEWROUTE, RTM_DELROUTE):
        return read_route(message, names)
    if message.type in (RTM_NEWNEIGH, RTM_DELNEIGH):
        return read_neighbour(message, names)
    return None


cdef class Kernel:
    cdef fn_rtnetlink netlink
    cdef fn_rtnetlink generic

    def __cinit__(self, int route=-1, int generic=-1):
        self.netlink.socket = self.generic.socket = -1
        if generic >= 0:
            fn_rtnetlink_adopt(&self.generic, generic)
        if route >= 0:
            fn_rtnetlink_adopt(&self.netlink, route)
        else:
            checked(fn_rtnetlink_open(&self.netlink, NETLINK_ROUTE))

    def __dealloc__(self):
        fn_rtnetlink_close(&self.netlink)
        fn_rtnetlink_close(&self.generic)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.close()

    def close(self):
        fn_rtnetlink_close(&self.netlink)
        fn_rtnetlink_close(&self.generic)

    cdef _Answer ask(self, uint16_t kind, uint16_t flags, bytes question):
        cdef _Answer answer = _Answer()
        answer.ask(&self.netlink, kind, flags, question)
        return answer

    cdef _Names names(self):
        cdef _Names names = _Names()
        names.netlink = &self.netlink
        return names

    def interfaces(self):
        cdef _Answer links = self.ask(RTM_GETLINK, NLM_F_DUMP, WITHOUT_STATISTICS)
        cdef fn_rtnetlink_link link
        cdef dict known = {}
        cdef dict addresses, speeds
        cdef list found = []
        while links.next():
            if checked(fn_rtnetlink_read_link(&links.message, &link)):
                known[link.index] = slice_text(&link.name)
        names = _Names(known)
        addresses = self.grouped(names)
        speeds = self.speeds()
        links.at = 0
        while links.next():
            if fn_rtnetlink_read_link(&links.message, &link) > 0:
                found.append(as_link(&link, names, addresses.get(link.index), speeds.get(link.index)))
        return found

    cdef dict grouped(self, _Names names):
        """The addresses of each interface, by its index."""
        cdef _Answer answer = self.ask(RTM_GETADDR, NLM_F_DUMP, ALL_ADDRESSES)
        cdef fn_rtnetlink_address address
        cdef dict found = {}
        while answer.next():
            if not checked(fn_rtnetlink_read_address(&answer.message, &address)):
                continue
            name = names.of(address.index)
            if name is None:
                continue
            own = found.get(address.index)
            if own is None:
                own = found[address.index] = []
            (<list>own).append(as_address(&address, name))
        return found

    def addresses(self, int32_t ifindex=0):
        cdef _Names names = self.names()
        cdef _Answer answer = self.ask(RTM_GETADDR, NLM_F_DUMP, bytes(4) + number(ifindex))
        cdef fn_rtnetlink_address address
        cdef list found = []
        while answer.next():
            if checked(fn_rtnetlink_read_address(&answer.message, &address)) and ifindex in (0, address.index):
                name = names.of(address.index)
                if name is not None:
                    found.append(as_address(&address, name))
        return found

    def lifetimes(self):
        cdef _Names names = self.names()
        cdef _Answer answer = self.ask(RTM_GETADDR, NLM_F_DUMP, ALL_ADDRESSES)
        cdef fn_rtnetlink_address address
        cdef list found = []
        while answer.next():
            if checked(fn_rtnetlink_read_address(&answer.message, &address)):
                name = names.of(address.index)
                if name is not None:
                    found.append(as_lifetime(&address, name))
        return found

    def counters(self):
        cdef _Answer answer = self.ask(RTM_GETLINK, NLM_F_DUMP, ALL)
        cdef fn_rtnetlink_link link
        cdef list found = []
        while answer.next():
            if checked(fn_rtnetlink_read_link(&answer.message, &link)):
                found.append(as_counters(&link))
        return found

    def routes(self):
        cdef _Names names = self.names()
        cdef _Answer answer
        cdef list found = []
        for family in (AF_INET, AF_INET6):
            answer = self.dump_of(RTM_GETROUTE, family)
            while answer.next():
                if answer.message.body.len and answer.message.body.at[0] == family:
                    route = read_route(&answer.message, names)
                    if route is not None and (route.ifindex is None or route.interface is not None):
                        found.append(route)
        return found

    def neighbours(self):
        cdef _Names names = self.names()
        cdef _Answer answer
        cdef list found = []
        for family in (AF_INET, AF_INET6):
            answer = self.dump_of(RTM_GETNEIGH, family)
            while answer.next():
                if answer.message.body.len and answer.message.body.at[0] == family:
                    neighbour = read_neighbour(&answer.message, names)
                    if neighbour is not None and neighbour.interface:
                        found.append(neighbour)
        return found

    cdef _Answer dump_of(self, uint16_t kind, int family):
        """A dump of one family; a kernel without it returns another family's, or an error."""
        try:
            return self.ask(kind, NLM_F_DUMP, bytes((family,)) + bytes(11))
        except OSError as error:
            if error.errno not in (EOPNOTSUPP, EAFNOSUPPORT):
                raise
        return _Answer()

    def route_to(self, bytes destination, int32_t ifindex=0):
        cdef int family = AF_INET if len(destination) == 4 else AF_INET6
        cdef bytes question = bytes((family, 8 * len(destination), 0, 0, 0, 0, 0, 0))
        question += number(RTM_F_LOOKUP_TABLE if family == AF_INET else 0) + attribute(1, destination)
        if ifindex:
            question += attribute(4, number(ifindex))
        cdef _Answer answer = self.ask(RTM_GETROUTE, 0, question)
        cdef fn_rtnetlink_link link
        route = read_route(&answer.message, _Names()) if answer.next() else None
        if route is None or route.ifindex is None:
            raise OSError(ENETUNREACH, os.strerror(ENETUNREACH))
        self.link(bytes(4) + number(route.ifindex) + bytes(8), answer, &link)
        address, _, _ = route.destination.partition("/")
        mtu = route.mtu or link.mtu
        return route._replace(destination=address, interface=slice_text(&link.name), sources=None, mtu=mtu)

    def find(self, bytes name):
        cdef _Answer answer = _Answer()
        cdef fn_rtnetlink_link link
        if not 0 < len(name) < ALTNAME_SIZE or b"\0" in name:
            raise OSError(ENODEV, os.strerror(ENODEV))
        kind = IFLA_IFNAME if len(name) < NAME_SIZE else IFLA_ALT_IFNAME
        self.link(ALL + attribute(kind, name + b"\0"), answer, &link)
        return as_link(&link, _Names(), None, None)

    cdef int link(self, bytes question, _Answer answer, fn_rtnetlink_link *link) except -1:
        """Requests one interface; the fields of ``link`` point into the answer."""
        answer.ask(&self.netlink, RTM_GETLINK, 0, question)
        if not answer.next() or not checked(fn_rtnetlink_read_link(&answer.message, link)):
            raise OSError(ENODEV, os.strerror(ENODEV))
        return 0

    cdef dict speeds(self):
        """The ethtool settings of each interface, by its index; empty if the kernel has none."""
        try:
            if self.generic.socket < 0:  # kept: the thread may be in another namespace at the next call
                checked(fn_rtnetlink_open(&self.generic, NETLINK_GENERIC))
            return read_speeds(&self.generic)
        except OSError as error:
            if error.errno not in NO_ETHTOOL:
                raise
        return {}


cdef uint16_t ethtool = 0  # the number of its family, which stays as it is while the kernel runs


cdef uint16_t ethtool_family(fn_rtnetlink *generic, _Answer answer) except 0:
    global ethtool
    cdef uint16_t family = 0
    if ethtool == 0:
        answer.ask(generic, GENL_ID_CTRL, 0, ETHTOOL)
        if answer.next():
            checked(fn_rtnetlink_read_family(&answer.message, &family))
        if family == 0:
            raise bad_message()
        ethtool = family
    return ethtool


cdef dict read_speeds(fn_rtnetlink *generic):
    cdef _Answer answer = _Answer()
    cdef fn_rtnetlink_speed speed
    cdef dict found = {}
    answer.ask(generic, ethtool_family(generic, answer), NLM_F_DUMP, LINK_MODES)
    while answer.next():
        checked(fn_rtnetlink_read_speed(&answer.message, &speed))
        found[speed.index] = (None if speed.megabits in (0, 0xFFFFFFFF) else speed.megabits,
                              names_of.DUPLEXES.get(speed.duplex))
    return found
