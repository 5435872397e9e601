"""The probe engine: conversations and sweeps in C; ``fastnet._pure.probe`` is its contract."""

import errno
import os
import socket

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastnet._native.permute import Permutation
from fastnet._pure.probe import (
    ALIVE,
    DECIDED,
    ENGINES,
    NOT_A_HOST,
    PENDING,
    SILENT,
    UNREACHABLE,
    Answer,
    is_host,
)
from fastnet._pure.probe.opening import ALL_WAIT, filler_of, not_numeric, open_probing
from fastnet._pure.probe.options import check_engine, check_options, check_rate
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
    struct fn_sweep_options:
        fn_engine engine
        int fd
        int family
        uint16_t ident
        uint8_t key[16]
        fn_turbo *turbo
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


def __getattr__(name):
    # Loaded when it is named, as the pure module does: a ping starts sooner.
    if name not in ("Link", "Route", "gatewayed", "on_link", "only_ipv6_source"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastnet._pure import probe

    return getattr(probe, name)


def drop_capabilities():
    """Give up every capability, and the user and group that a set-user-ID program borrowed, for good.

    For a program that has opened what it needed them for. It is the calling thread's capabilities that go
    (capset(2)): call it before other threads begin. What is imported or opened later is opened without them.
    Raises OSError.
    """
    cdef int code = fn_drop_capabilities()
    if code < 0:
        raise OSError(-code, os.strerror(-code))


cdef int64_t time_now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef int64_t nanoseconds(seconds) except? -1:
    return min(int(seconds * NANOSECOND), FAR_OFF)


cdef int64_t gap_of(rate) except? -1:
    return nanoseconds(1 / rate) if rate else 0


cdef fn_number split(object number):
    return fn_number(number >> 64, number & WORD)


cdef object number_of(fn_number number):
    return (<object>number.high) << 64 | <object>number.low


include "probe_prober.pxi"


cdef class _Turbo:
    """What open_turbo() opens: it takes the prober's place."""

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
            from fastnet._pure.probe.turbo import refusal

            raise refusal(-code)
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
    """The fast way of a raw prober to what one gateway reaches: ``route`` is one of ``gatewayed()``.

    A Sweeper takes it in the prober's place. Requests leave as whole frames to the gateway (packet(7)), past
    the firewall's rules for output; replies are taken by an eBPF program at the interface's ingress, before
    the kernel's own stack sees them, and judged as ever. Whatever else comes goes on to the stack; a reply in
    an unusual form, and every error, comes by the prober's socket. ``close()`` detaches the program, and
    closes the prober; the end of the process detaches it too, whatever ended it.

    Needs Linux 6.6, CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF. Raises EngineMissing where the kernel is older or
    the implementation is not native, NotPermitted, InvalidArgument for a prober that is not raw or a route
    without a gateway, NoSuchInterface, NoAddress for an interface without a MAC address, and OSError where
    the gateway does not tell its own.
    """
    from fastnet._pure.probe.turbo import find_path

    return _Turbo(prober, find_path(prober, route))


cdef class _Column:
    """One value a target, in the sweep's own memory."""

    cdef _Sweep sweep
    cdef void *data
    cdef Py_ssize_t length, item_size
    cdef bytes format

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a sweep's results can't be written to")
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
    """What every sweep has, whatever it goes over."""

    cdef fn_sweep *sweep
    cdef object channel
    cdef bint at_work

    cdef int begin(self, fn_sweep_options *options, channel, spans, timeout, retries, window, rate, shard, seed,
                   decided, adaptive) except -1:
        """Start a sweep over a channel, whose own options are already there."""
        cdef bytes key = os.urandom(16)
        spans = tuple(spans)
        bits = None if decided is None else memoryview(decided)
        check_options(spans, timeout, retries, window, rate, shard, bits)
        options.fd = channel.fileno()
        options.family = channel.family
        memcpy(options.key, <const uint8_t *>key, sizeof(options.key))
        options.timeout = nanoseconds(timeout)
        options.adaptive = adaptive
        options.retries = retries
        options.window = window
        options.gap = gap_of(rate)
        options.shard_first, options.shard_step = shard
        options.permuted = seed is not None
        options.seed = 0 if seed is None else Permutation(1, seed).seed
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
        """How many targets there are."""
        return fn_sweep_size(self.sweep)

    @property
    def sent(self):
        """How many probes were sent so far."""
        return fn_sweep_sent(self.sweep)

    @property
    def finished(self):
        """Whether every target has its verdict."""
        return fn_sweep_finished(self.sweep)

    @property
    def states(self):
        """A byte a target, readable at any time."""
        return column(self, fn_sweep_states(self.sweep), 1, b"B")

    @property
    def rtts_ms(self):
        """The round-trip time of each alive target, as 32-bit floats; of another it says nothing."""
        return column(self, fn_sweep_slots(self.sweep), 4, b"f")

    def reason(self, index):
        """Why a target is not probed (an errno) or not reachable (the error, with the target as its tag).

        Raises IndexError for a target that there is not.
        """
        cdef uint64_t target = self.target_of(index)
        cdef uint8_t state = fn_sweep_states(self.sweep)[target]
        if state != PENDING and state != UNREACHABLE:
            return None
        cdef const fn_reason *reason = fn_sweep_reason(self.sweep, fn_sweep_slots(self.sweep)[target].reason)
        if reason == NULL:
            return None
        if reason.refused:
            return reason.refused
        family = self.channel.family
        reporter = number_of(fn_sweep_address(self.sweep, target) if reason.itself else reason.reporter)
        host = socket.inet_ntop(family, reporter.to_bytes(4 if family == socket.AF_INET else 16, "big"))
        return Answer(index, host, 0, None, (reason.type, reason.code), reason.info)

    def run(self, seconds):
        """Work for about that long at most. True once every target has its verdict. Raises OSError."""
        cdef int64_t until = time_now() + nanoseconds(seconds)
        cdef int code
        self.stop_unless_idle()
        self.at_work = True
        with nogil:
            code = fn_sweep_run(self.sweep, until)
        self.at_work = False
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        return code == 1

    def pace(self, rate):
        """Send at most so many probes a second from now on; None: no limit. Raises InvalidArgument."""
        check_rate(rate)
        self.stop_unless_idle()
        fn_sweep_pace(self.sweep, gap_of(rate))

    cdef uint64_t target_of(self, index) except? 0:
        if not 0 <= index < self.size:
            raise IndexError(f"target {index}: there are {self.size}")
        self.stop_unless_idle()
        return index

    cdef int stop_unless_idle(self) except -1:
        """What another thread's run() writes can't be read, nor a sweep be run twice at once."""
        if self.at_work:
            raise RuntimeError("the sweep runs in another thread")
        return 0

    def close(self):
        """Nothing is held but a socket that is somebody else's to close."""


cdef class Sweeper(_Sweep):
    """One echo request to each target, and ``retries`` more to those that did not answer.

    ``spans`` are (first, last) intervals of addresses as integers, ascending and apart. The targets are
    all their addresses in ascending order, or of these the shard (i, n): those at i, i + n, i + 2n ...;
    ``decided`` is a bitmap (bit k % 8 of byte k // 8) of the targets that are left out. They are sent to in
    the order of ``permute.Permutation(size, seed)``, or ascending where seed is None. The prober is used
    for its socket only; nobody else reads that while a sweep runs.

    Sending is windowed by what comes back: at most ``window`` probes are out past the newest answer
    (a forward acknowledgment), and where nothing comes back they age out of the window, not out of the
    sweep. The window narrows where answers stop coming, and widens again with each of them. An answer
    counts whenever it comes; an error only if no reply does. ``rate`` is a limit in probes a second.
    ``timeout`` is how long an answer is waited for, in seconds, before its target is asked again or given
    up; ``adaptive`` makes it less where the round-trip times allow that (RFC 6298). A queue or a neighbour
    table that is full is waited for, up to 30 seconds. Raises InvalidArgument for what is out of range.
    """

    def __cinit__(self, prober, spans, *, timeout=1.0, retries=1, window=128, rate=None, shard=(0, 1),
                  seed=None, decided=None, adaptive=False):
        cdef fn_sweep_options options
        if isinstance(prober, _Turbo):
            options.engine = FN_TURBO
            options.turbo = (<_Turbo>prober).turbo
        else:
            check_engine(prober)
            options.engine = FN_RAW if prober.engine == "raw" else FN_DATAGRAM
        options.ident = prober.ident
        options.payload = max(prober.size, FN_SWEEP_PAYLOAD)
        self.begin(&options, prober, spans, timeout, retries, window, rate, shard, seed, decided, adaptive)


cdef class LinkSweeper(_Sweep):
    """One ARP request or neighbour solicitation for each target, and ``retries`` more where nobody answered.

    Everything but what is sent is as a ``Sweeper`` has it. A target is alive where its reply comes to our
    address and MAC, well-formed, and its MAC is told with it; the first one counts. A proxy's reply is one.
    Gratuitous announcements are none. What is not on the link does not answer, and our own addresses don't
    either. Of several requests to a target the round-trip time is the newest one's. One sweep at a time
    uses a link. Raises InvalidArgument for what is out of range.
    """

    def __cinit__(self, link, spans, *, timeout=1.0, retries=1, window=128, rate=None, shard=(0, 1),
                  seed=None, decided=None, adaptive=False):
        cdef fn_sweep_options options
        options.engine = FN_LINK
        memcpy(options.link.mac, <const uint8_t *>link.mac, sizeof(options.link.mac))
        options.link.source = split(int.from_bytes(socket.inet_pton(link.family, link.source), "big"))
        self.begin(&options, link, spans, timeout, retries, window, rate, shard, seed, decided, adaptive)

    def mac(self, index):
        """The MAC, six bytes, of a target that is alive. Raises IndexError for a target that there is not."""
        cdef const uint8_t *mac = fn_sweep_mac(self.sweep, self.target_of(index))
        return None if mac == NULL else <bytes>mac[:6]
