"""Connections relayed by rules, in C; ``fastnet._pure.relay`` documents it."""

import os
import socket
import weakref
from collections import deque

cimport cython
from cpython.object cimport PyObject
from libc.errno cimport EBADF, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastnet._contract.values import counted
from fastnet._contract.relay import DEFAULTS, ENDED, ENGINES, MAX_SPIN, POLICIES, Options, Record, check_addresses, checked
from fastnet.errors import InvalidArgument

include "relay_c.pxi"

__all__ = ["ENGINES", "Counters", "Loop", "Options", "Record", "Rule", "Upstream"]

cdef enum:
    UNIX_PATH = 108
    CONGESTION = 16
    RECORDS = 64
    OWN = 2  # references to a rule: those of the Rule and of its Counters
    MOST = 0x7fffffff

cdef int64_t FOREVER = 1 << 60


cdef int64_t nanoseconds(double seconds):
    return FOREVER if seconds >= 1e9 else <int64_t>(seconds * 1e9)


cdef int fail(int code) except -1:
    if code == -ENOMEM:
        raise MemoryError
    raise OSError(-code, os.strerror(-code))


# Addresses

cdef int read_address(object address, fn_address *out) except -1:
    cdef sockaddr_in *ipv4 = <sockaddr_in *>&out.at
    cdef sockaddr_in6 *ipv6 = <sockaddr_in6 *>&out.at
    cdef bytes packed
    family, place = address
    memset(out, 0, sizeof(fn_address))
    out.at.ss_family = family
    if family == AF_INET:
        packed = socket.inet_pton(AF_INET, place[0])
        memcpy(&ipv4.sin_addr, <const char *>packed, 4)
        ipv4.sin_port = htons(place[1])
        out.len = sizeof(sockaddr_in)
    elif family == AF_INET6:
        packed = socket.inet_pton(AF_INET6, place[0].partition("%")[0])
        memcpy(&ipv6.sin6_addr, <const char *>packed, 16)
        ipv6.sin6_port = htons(place[1])
        ipv6.sin6_scope_id = place[3] if len(place) > 3 else 0
        out.len = sizeof(sockaddr_in6)
    elif family == AF_UNIX:
        packed = os.fsencode(place)
        if len(packed) > UNIX_PATH - 1:
            raise InvalidArgument(f"{place!r}: longer than a Unix socket's path may be")
        memcpy((<sockaddr_un *>&out.at).sun_path, <const char *>packed, len(packed))
        # An abstract name is as long as given; a path ends with a NUL.
        out.len = sizeof(unsigned short) + len(packed) + (not packed.startswith(b"\0"))
    else:  # This machine may not support the family: then connecting fails.
        out.len = sizeof(unsigned short)
    return 0


cdef object ip_address(const fn_client *address):
    """A socket address of IPv4 or IPv6; only the family for others."""
    if address.any.sa_family == AF_INET:
        packed = (<const char *>&address.in_.sin_addr)[:4]
        return int(AF_INET), (socket.inet_ntop(AF_INET, packed), ntohs(address.in_.sin_port))
    if address.any.sa_family == AF_INET6:
        packed = (<const char *>&address.in6.sin6_addr)[:16]
        host = socket.inet_ntop(AF_INET6, packed)
        return int(AF_INET6), (host, ntohs(address.in6.sin6_port), 0, address.in6.sin6_scope_id)
    return int(address.any.sa_family), ""


cdef object any_address(const fn_address *address):
    cdef bytes path
    if address.at.ss_family != AF_UNIX:
        return ip_address(<const fn_client *>&address.at)
    path = (<sockaddr_un *>&address.at).sun_path[:address.len - sizeof(unsigned short)]
    return int(AF_UNIX), path if path.startswith(b"\0") else os.fsdecode(path.rstrip(b"\0"))


include "relay_rule.pxi"


cdef object record_of(fn_record *record):
    """Convert a record. Takes ownership of its references."""
    cdef object upstream = None
    cdef object rule = <object><PyObject *>fn_rule_owner(record.rule)
    if record.upstream is not NULL:
        upstream = any_address(fn_record_upstream(record))
    fn_record_release(record)
    return Record(
        rule,
        record.number,
        ip_address(&record.client),
        upstream,
        record.opened / 1e9,
        record.duration / 1e9,
        record.sent_up,
        record.sent_down,
        ENDED[record.ended],
    )


cdef int report_failure(fn_rule *rule) except -1:
    """Call the rule's watcher after a failed connect. Takes ownership of the reference."""
    cdef Rule its = <object><PyObject *>fn_rule_owner(rule)
    fn_rule_release(rule)
    its.report_failure()
    return 0


cdef class Loop:
    cdef fn_relay *relay
    cdef object _warn
    cdef set _rules  # The Rules that the relay or a record refers to.
    cdef object __weakref__

    def __cinit__(self, *, spin=0.0, warn=lambda text: None):
        cdef int code
        if not 0 <= spin <= MAX_SPIN:
            raise InvalidArgument(f"spin {spin}: expected seconds, 0 to {MAX_SPIN}")
        code = fn_relay_new(&self.relay, nanoseconds(spin))
        if code < 0:
            fail(code)
        self._warn = warn
        self._rules = set()
        _loops.add(self)

    def __dealloc__(self):
        fn_relay_free(self.relay)

    def listen(self, rule, listeners):
        cdef fn_rule *its = (<Rule?>rule).rule
        cdef size_t count = len(listeners)
        cdef int *sockets = <int *>malloc((count + 1) * sizeof(int))
        cdef int code
        if sockets is NULL:
            raise MemoryError
        fn_rule_hold(its)
        try:
            self._keep(rule)
            for number, sock in enumerate(listeners):
                sockets[number] = sock.detach()
            with nogil:
                code = fn_relay_listen(self.relay, its, sockets, count)
        finally:
            fn_rule_release(its)
            free(sockets)
        if code == -EBADF:
            raise RuntimeError("this loop has ended: make another one")
        if code < 0:
            fail(code)

    cdef int _keep(self, Rule rule) except -1:
        """Keep this rule, to which the caller has a C reference, and drop those that only Python refers to."""
        with cython.critical_section(self):
            self._rules = {kept for kept in self._rules if fn_rule_references((<Rule>kept).rule) > OWN}
            self._rules.add(rule)
        return 0

    def unlisten(self, rule):
        cdef fn_rule *its = (<Rule?>rule).rule
        with nogil:
            fn_relay_unlisten(self.relay, its)

    def join(self, first, second, rule=None):
        cdef Rule its = Rule(()) if rule is None else rule
        cdef int code
        fn_rule_hold(its.rule)
        try:
            self._keep(its)
            code = fn_relay_join(self.relay, its.rule, first.detach(), second.detach())
        finally:
            fn_rule_release(its.rule)
        if code < 0:
            fail(code)
        return its.counters

    def run(self):
        cdef fn_shortage shortage
        cdef int code
        try:
            while True:
                with nogil:
                    code = fn_relay_run(self.relay, &shortage)
                if code == FN_RUN_FAILED:
                    report_failure(fn_relay_take_failure(self.relay))
                    continue
                if code != FN_RUN_WARNS:
                    return code == FN_RUN_WHOLE
                self._warn(f"accepting pauses at {counted(shortage.connections, 'connection')}: {os.strerror(shortage.error)}")
        finally:
            self.close()

    def drain(self, timeout):
        cdef int64_t left = nanoseconds(timeout)
        with nogil:
            fn_relay_drain(self.relay, left)

    def stop(self):
        self.drain(0.0)

    def close(self):
        with nogil:
            fn_relay_close(self.relay)

    def records(self):
        cdef fn_record some[RECORDS]
        cdef size_t count = RECORDS, number
        ended = []
        while count == RECORDS:
            with cython.critical_section(self):  # the ring has a single reader
                count = fn_relay_records(self.relay, some, RECORDS)
            for number in range(count):
                ended.append(record_of(&some[number]))
        return ended

    @property
    def lost_records(self):
        return fn_relay_lost_records(self.relay)

    def connections(self):
        cdef fn_record *some
        cdef ssize_t count, number
        with nogil:
            count = fn_relay_connections(self.relay, &some)
        if count < 0:
            fail(count)
        try:
            return [record_of(&some[number]) for number in range(count)]
        finally:
            free(some)

    def _abandon(self):
        """In a forked child: close the copies, and change nothing that is shared with the parent."""
        fn_relay_abandon(self.relay)


_loops = weakref.WeakSet()


def _abandon_loops():
    for loop in list(_loops):
        (<Loop>loop)._abandon()


os.register_at_fork(after_in_child=_abandon_loops)
