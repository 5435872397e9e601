"""The probe engine: probers and sweeps in C; ``fastnet._pure.probe`` documents it."""

import errno
import os
import _socket as socket

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport errno as c_errno
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastnet._contract.probe import (
    ALIVE,
    ALL_WAIT,
    DECIDED,
    ENGINES,
    NOT_A_HOST,
    PENDING,
    SILENT,
    UNREACHABLE,
    Answer,
    End,
    Times,
    Totals,
    check_engine,
    check_options,
    check_payload,
    check_plan,
    check_rate,
    check_time,
    is_host,
    is_link_local,
    not_numeric,
    turbo_refusal,
)
from fastnet._system.icmp_sockets import filler_of, open_probing
from fastnet._system.names import host_by_system
from fastnet.errors import InvalidArgument

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)

cdef extern from "probe.h" nogil:
    struct fn_number:
        uint64_t high
        uint64_t low
    struct fn_span:
        fn_number first
        uint64_t count
    enum fn_state:
        FN_PENDING
        FN_UNREACHABLE
    union fn_slot:
        uint32_t reason
        float rtt_ms
    struct fn_reason:
        int refused
        uint8_t type
        uint8_t code
        uint32_t info
        bint itself
        fn_number reporter
    enum fn_engine:
        FN_DATAGRAM
        FN_RAW
        FN_LINK
        FN_TURBO
    struct fn_link:
        uint8_t mac[6]
        fn_number source
    struct fn_anycast:
        const fn_number *list
        size_t count
    struct fn_sweep_options:
        fn_engine engine
        int fd
        int family
        uint16_t ident
        uint8_t key[16]
        fn_turbo *turbo
        fn_anycast anycast
        unsigned payload
        int64_t timeout
        bint adaptive
        unsigned retries
        unsigned window
        int64_t gap
        uint64_t shard_first
        uint64_t shard_step
        bint permuted
        uint64_t seed
        fn_link link
    struct fn_sweep:
        pass
    struct fn_turbo:
        pass
    enum:
        FN_SWEEP_PAYLOAD
    int fn_sweep_new(fn_sweep **out, const fn_sweep_options *options, const fn_span *spans, size_t count,
                     const uint8_t *decided)
    void fn_sweep_free(fn_sweep *sweep)
    int fn_sweep_run(fn_sweep *sweep, int64_t until)
    void fn_sweep_pace(fn_sweep *sweep, int64_t gap)
    uint64_t fn_sweep_size(const fn_sweep *sweep)
    const uint8_t *fn_sweep_states(const fn_sweep *sweep)
    const fn_slot *fn_sweep_slots(const fn_sweep *sweep)
    uint64_t fn_sweep_sent(const fn_sweep *sweep)
    bint fn_sweep_finished(const fn_sweep *sweep)
    const fn_reason *fn_sweep_reason(const fn_sweep *sweep, uint32_t number)
    bint fn_sweep_responder(const fn_sweep *sweep, uint64_t target, fn_number *out)
    uint64_t fn_sweep_refused(const fn_sweep *sweep, uint64_t target)
    const uint8_t *fn_sweep_mac(const fn_sweep *sweep, uint64_t target)
    fn_number fn_sweep_address(const fn_sweep *sweep, uint64_t target)

cdef extern from "probe/turbo.h" nogil:
    struct fn_turbo_path:
        unsigned interface
        uint8_t hardware[6]
        uint8_t next_hop[6]
        int family
        fn_number source
        uint16_t ident
        unsigned payload
    int fn_turbo_open(fn_turbo **out, const fn_turbo_path *path)
    void fn_turbo_close(fn_turbo *turbo)
    void fn_turbo_free(fn_turbo *turbo)

cdef extern from "probe/privileges.h" nogil:
    int fn_drop_capabilities()

cdef object NANOSECOND = 1_000_000_000
cdef object WORD = (1 << 64) - 1
cdef object FAR_OFF = 1 << 60


def drop_capabilities():
    cdef int code
    with nogil:
        code = fn_drop_capabilities()
    if code == -errno.EBUSY:
        from fastnet._system.privileges import busy_threads
        raise busy_threads()
    if code < 0:
        raise OSError(-code, os.strerror(-code))


cdef int64_t time_now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef int64_t nanoseconds(str name, seconds) except? -1:
    if not isinstance(seconds, float) or not isfinite(seconds):
        check_time(name, seconds)
    return min(int(seconds * NANOSECOND), FAR_OFF)


cdef int64_t gap_of(rate) except? -1:
    return nanoseconds("rate", 1 / rate) if rate else 0


cdef uint64_t checked_seed(object seed) except? 0:
    from fastnet._native.permute import Permutation  # a ping does not use it

    return Permutation(1, seed).seed


cdef fn_number split(object number):
    return fn_number(number >> 64, number & WORD)


cdef str text_of(int family, fn_number address):
    cdef uint32_t[4] words = [htonl(<uint32_t>(address.high >> 32)), htonl(<uint32_t>address.high),
                              htonl(<uint32_t>(address.low >> 32)), htonl(<uint32_t>address.low)]
    cdef char[INET6_ADDRSTRLEN] text
    inet_ntop(family, &words[3] if family == AF_INET else words, text, sizeof(text))
    return text.decode("ascii")


cdef bytes packed(addresses):
    """Addresses as an array of fn_number."""
    cdef fn_number each
    cdef list parts = []
    for address in addresses:
        each = split(address)
        parts.append((<const uint8_t *>&each)[:sizeof(each)])
    return b"".join(parts)


cdef fn_anycast anycast_of(bytes addresses):
    return fn_anycast(<const fn_number *><const uint8_t *>addresses, len(addresses) // sizeof(fn_number))


include "probe_prober.pxi"
include "probe_conversation.pxi"


cdef class _Turbo:
    """The object that open_turbo() returns; it replaces the prober."""

    cdef fn_turbo *turbo
    cdef object prober
    cdef readonly str engine

    def __cinit__(self, prober, path):
        cdef fn_turbo_path given
        cdef int code
        given.interface = path.interface
        memcpy(given.hardware, <const uint8_t *>path.hardware, sizeof(given.hardware))
        memcpy(given.next_hop, <const uint8_t *>path.next_hop, sizeof(given.next_hop))
        given.family = prober.family
        given.source = fn_number(path.source >> 64, path.source & WORD)
        given.ident = prober.ident
        given.payload = max(prober.size, FN_SWEEP_PAYLOAD)
        code = fn_turbo_open(&self.turbo, &given)
        if code < 0:
            raise turbo_refusal(-code)
        self.prober = prober
        self.engine = "turbo"

    def __dealloc__(self):
        fn_turbo_free(self.turbo)

    def __getattr__(self, name):
        return getattr(self.prober, name)

    def close(self):
        fn_turbo_close(self.turbo)
        self.prober.close()


def open_turbo(prober, route):
    from fastnet._system.next_hop import find_path

    return _Turbo(prober, find_path(prober.engine, prober.family, route))


cdef class _Column:
    """One value per target, in the sweep's own memory."""

    cdef _Sweep sweep
    cdef void *data
    cdef Py_ssize_t length, item_size
    cdef bytes format

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a sweep's results can't be written to")
        if self.format is None:  # a column that _Sweep did not make; a size of 0 would divide by zero
            raise BufferError("a column is a sweep's")
        buffer.obj = self
        buffer.buf = self.data
        buffer.len = self.length * self.item_size
        buffer.itemsize = self.item_size
        buffer.readonly = 1
        buffer.ndim = 1
        buffer.format = <char *>self.format if flags & PyBUF_FORMAT else NULL
        buffer.shape = &self.length if flags & PyBUF_ND else NULL
        buffer.strides = NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL


cdef object column(_Sweep sweep, const void *data, Py_ssize_t item_size, bytes format):
    cdef _Column made = _Column.__new__(_Column)
    made.sweep = sweep
    made.data = <void *>data
    made.length = fn_sweep_size(sweep.sweep)
    made.item_size = item_size
    made.format = format
    return memoryview(made)


cdef class _Sweep:
    cdef fn_sweep *sweep
    cdef object channel
    cdef bint at_work

    def __cinit__(self, *_, **__):
        if not isinstance(self, (Sweeper, LinkSweeper)):
            raise TypeError("a sweep is a Sweeper or a LinkSweeper")

    cdef int begin(self, fn_sweep_options *options, channel, spans, timeout, retries, window, rate, shard, seed,
                   decided, adaptive) except -1:
        """Start a sweep on a channel; the caller has set the options of the channel."""
        cdef bytes key = os.urandom(16)
        spans = tuple(spans)
        bits = None if decided is None else memoryview(decided)
        check_options(spans, timeout, retries, window, rate, shard, bits)
        options.fd = channel.fileno()
        options.family = channel.family
        memcpy(options.key, <const uint8_t *>key, sizeof(options.key))
        options.timeout = nanoseconds("timeout", timeout)
        options.adaptive = adaptive
        options.retries = retries
        options.window = window
        options.gap = gap_of(rate)
        options.shard_first, options.shard_step = shard
        options.permuted = seed is not None
        options.seed = 0 if seed is None else checked_seed(seed)
        self.channel = channel
        return self.make(options, spans, bits)

    cdef int make(self, const fn_sweep_options *options, object spans, object decided) except -1:
        cdef size_t count = len(spans)
        cdef fn_span *list = <fn_span *>PyMem_Malloc((count + 1) * sizeof(fn_span))
        cdef Py_buffer bitmap
        cdef int code
        if list == NULL:
            raise MemoryError
        try:
            for i, (first, last) in enumerate(spans):
                list[i].first = split(first)
                list[i].count = last - first + 1
            if decided is None:
                code = fn_sweep_new(&self.sweep, options, list, count, NULL)
            else:
                PyObject_GetBuffer(decided, &bitmap, PyBUF_SIMPLE)
                code = fn_sweep_new(&self.sweep, options, list, count, <const uint8_t *>bitmap.buf)
                PyBuffer_Release(&bitmap)
        finally:
            PyMem_Free(list)
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        return 0

    def __dealloc__(self):
        fn_sweep_free(self.sweep)

    @property
    def size(self):
        return fn_sweep_size(self.sweep)

    @property
    def sent(self):
        return fn_sweep_sent(self.sweep)

    @property
    def finished(self):
        return fn_sweep_finished(self.sweep)

    @property
    def states(self):
        return column(self, fn_sweep_states(self.sweep), 1, b"B")

    @property
    def rtts_ms(self):
        return column(self, fn_sweep_slots(self.sweep), 4, b"f")

    def reason(self, index):
        cdef uint64_t target = self.target_of(index)
        cdef fn_reason reason
        cdef bint known
        with cython.critical_section(self):
            self.stop_unless_idle()
            known = self.read_reason(target, &reason)
        if not known:
            return None
        if reason.refused:
            return reason.refused
        reporter = fn_sweep_address(self.sweep, target) if reason.itself else reason.reporter
        return Answer(index, self.host(reporter), 0, None, (reason.type, reason.code), reason.info)

    def find_refused(self, uint64_t begin):
        with cython.critical_section(self):
            self.stop_unless_idle()
            return fn_sweep_refused(self.sweep, begin)

    cdef str host(self, fn_number address):
        return text_of(self.channel.family, address)

    cdef bint read_reason(self, uint64_t target, fn_reason *out) noexcept:
        """Copy a target's reason; False if it has none."""
        cdef uint8_t state = fn_sweep_states(self.sweep)[target]
        cdef const fn_reason *reason
        if state != FN_PENDING and state != FN_UNREACHABLE:
            return False
        reason = fn_sweep_reason(self.sweep, fn_sweep_slots(self.sweep)[target].reason)
        if reason == NULL:
            return False
        out[0] = reason[0]
        return True

    def run(self, seconds):
        cdef int64_t until = time_now() + nanoseconds("seconds", seconds)
        cdef int code
        with cython.critical_section(self):
            self.stop_unless_idle()
            self.at_work = True
        with nogil:
            code = fn_sweep_run(self.sweep, until)
        with cython.critical_section(self):
            self.at_work = False
        if code < 0:
            raise cannot_receive(-code)
        return code == 1

    def pace(self, rate):
        cdef int64_t gap
        check_rate(rate)
        gap = gap_of(rate)
        with cython.critical_section(self):
            self.stop_unless_idle()
            fn_sweep_pace(self.sweep, gap)

    cdef uint64_t target_of(self, index) except? 0:
        cdef uint64_t size = fn_sweep_size(self.sweep)
        if not 0 <= index < size:
            raise IndexError(f"target {index}: there are {size}")
        return index

    cdef int stop_unless_idle(self) except -1:
        """Refuse to read results during another thread's run(), or to run a sweep twice at once."""
        if self.at_work:
            raise RuntimeError("the sweep runs in another thread")
        return 0

    def close(self):
        pass


cdef class Sweeper(_Sweep):
    cdef bytes anycast

    def __cinit__(self, prober, spans, *, timeout=1.0, retries=1, window=128, rate=None, shard=(0, 1),
                  seed=None, decided=None, adaptive=False):
        cdef fn_sweep_options options
        if isinstance(prober, _Turbo):
            options.engine = FN_TURBO
            options.turbo = (<_Turbo>prober).turbo
        else:
            check_engine(prober.engine)
            options.engine = FN_RAW if prober.engine == "raw" else FN_DATAGRAM
        options.ident = prober.ident
        options.payload = max(prober.size, FN_SWEEP_PAYLOAD)
        self.anycast = packed(prober.anycast)
        options.anycast = anycast_of(self.anycast)
        self.begin(&options, prober, spans, timeout, retries, window, rate, shard, seed, decided, adaptive)

    def responder(self, index):
        cdef uint64_t target = self.target_of(index)
        cdef fn_number found
        cdef bint other
        with cython.critical_section(self):
            self.stop_unless_idle()
            other = fn_sweep_responder(self.sweep, target, &found)
        return self.host(found) if other else None


cdef class LinkSweeper(_Sweep):
    def __cinit__(self, link, spans, *, timeout=1.0, retries=1, window=128, rate=None, shard=(0, 1),
                  seed=None, decided=None, adaptive=False):
        cdef fn_sweep_options options
        options.engine = FN_LINK
        memcpy(options.link.mac, <const uint8_t *>link.mac, sizeof(options.link.mac))
        options.link.source = split(int.from_bytes(socket.inet_pton(link.family, link.source), "big"))
        self.begin(&options, link, spans, timeout, retries, window, rate, shard, seed, decided, adaptive)

    def mac(self, index):
        cdef uint64_t target = self.target_of(index)
        with cython.critical_section(self):
            self.stop_unless_idle()
            mac = fn_sweep_mac(self.sweep, target)
            return None if mac == NULL else <bytes>mac[:6]
