"""Connections relayed by rules, in C; ``fastnet._pure.relay`` is its contract."""

import os
import socket
import weakref

from cpython.object cimport PyObject
from libc.errno cimport EBADF, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastnet._pure.relay.loop import MAX_SPIN
from fastnet._pure.relay.options import ENGINES, Options, checked
from fastnet._pure.relay.rule import Record
from fastnet.errors import InvalidArgument

cdef extern from "<netinet/in.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        AF_UNIX
    struct sockaddr:
        unsigned short sa_family
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    struct sockaddr_storage:
        unsigned short ss_family
    unsigned short htons(unsigned short)
    unsigned short ntohs(unsigned short)

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        char *sun_path

cdef extern from "http_head.h" nogil:
    struct fn_http_rewrite:
        pass
    struct fn_http_text:
        const char *data
        size_t len
    fn_http_rewrite *fn_http_rewrite_new(const fn_http_text *names, size_t count, fn_http_text port,
                                         fn_http_text upstream, bint always, bint responses)

cdef extern from "relay.h" nogil:
    struct fn_relay:
        pass
    struct fn_rule:
        pass
    struct fn_upstream:
        pass
    struct fn_address:
        unsigned int len
        sockaddr_storage at
    fn_upstream *fn_upstream_new(const fn_address *addresses, unsigned count)
    void fn_upstream_release(fn_upstream *upstream)
    bint fn_upstream_healthy(const fn_upstream *upstream)
    void fn_upstream_set_healthy(fn_upstream *upstream, bint healthy)
    unsigned fn_upstream_active(const fn_upstream *upstream)
    unsigned fn_upstream_failures(const fn_upstream *upstream)

    struct fn_prefix:
        pass
    struct fn_prefixes:
        const fn_prefix *list
        size_t count
    int fn_prefix_set(fn_prefix *prefix, int family, const uint8_t *network, unsigned length)

    enum fn_policy:
        pass
    enum fn_engine:
        pass
    struct fn_rule_options:
        void *owner
        fn_http_rewrite *rewrite
        fn_policy policy
        fn_engine engine
        unsigned max_connections
        unsigned max_per_source
        int64_t connect_timeout
        int64_t head_timeout
        int64_t idle_timeout
        int64_t half_closed_timeout
        uint64_t rate
        uint64_t connection_rate
        unsigned max_failures
        int64_t failure_pause
        fn_prefixes allow
        fn_prefixes deny
        fn_prefixes trust_proxy
        int send_proxy
        bint transparent
        bint record
        char *congestion
    fn_rule *fn_rule_new(const fn_rule_options *options, fn_upstream **upstreams, unsigned count)
    void fn_rule_hold(fn_rule *rule)
    void fn_rule_release(fn_rule *rule)
    int fn_rule_set_upstreams(fn_rule *rule, fn_upstream **upstreams, unsigned count)

    struct fn_counters:
        uint64_t accepted, active, unreachable, refused, denied, resets, timed_out, sent_up, sent_down
        uint64_t connects_retried
    void fn_rule_counters(fn_rule *rule, fn_counters *out)

    union fn_client:
        sockaddr any
        sockaddr_in in_ "in"
        sockaddr_in6 in6
    struct fn_record:
        void *owner
        uint64_t number
        fn_client client
        fn_upstream *upstream
        int ended
        int64_t opened
        int64_t duration
        uint64_t sent_up
        uint64_t sent_down
    const fn_address *fn_record_upstream(const fn_record *record)

    struct fn_shortage:
        int error
        unsigned connections
    enum:
        FN_RUN_WHOLE
        FN_RUN_WARNS
    int fn_relay_new(fn_relay **out, int64_t spin)
    void fn_relay_close(fn_relay *relay)
    void fn_relay_free(fn_relay *relay)
    void fn_relay_abandon(fn_relay *relay)
    int fn_relay_listen(fn_relay *relay, fn_rule *rule, const int *sockets, size_t count)
    void fn_relay_unlisten(fn_relay *relay, fn_rule *rule)
    int fn_relay_join(fn_relay *relay, fn_rule *rule, int first, int second)
    void fn_relay_drain(fn_relay *relay, int64_t timeout)
    int fn_relay_run(fn_relay *relay, fn_shortage *shortage)
    size_t fn_relay_records(fn_relay *relay, fn_record *out, size_t count)
    uint64_t fn_relay_lost_records(const fn_relay *relay)
    ssize_t fn_relay_connections(fn_relay *relay, fn_record **out)

__all__ = ["ENGINES", "Counters", "Loop", "Record", "Rule", "Upstream"]

cdef tuple POLICIES = ("round-robin", "least-connections")
# In the order of enum fn_ended.
cdef tuple ENDED = (
    "", "closed", "client reset", "upstream reset", "unreachable", "refused", "denied", "idle", "half-closed",
    "late head", "stopped",
)

cdef enum:
    UNIX_PATH = 108
    CONGESTION = 16
    RECORDS = 64
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
        # An abstract name is as long as said; a path ends with a NUL.
        out.len = sizeof(unsigned short) + len(packed) + (not packed.startswith(b"\0"))
    else:  # One that this machine may not know: connecting will tell.
        out.len = sizeof(unsigned short)
    return 0


cdef object ip_address(const fn_client *address):
    """A socket address of IPv4 or IPv6; of another only the family is known."""
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


cdef class Upstream:
    """One place to connect to: the addresses of one name, in the order in which to try them.

    Several rules and loops may share one. ``healthy`` may be set in any thread: one that is not is chosen
    only where no other is either. Raises InvalidArgument where there is no address.
    """

    cdef fn_upstream *upstream
    cdef tuple _addresses
    cdef str _name
    cdef object __weakref__

    def __init__(self, addresses, name=""):
        cdef fn_address *room
        if not addresses:
            raise InvalidArgument("an upstream without an address: expected one or more")
        self._addresses = tuple(addresses)
        self._name = name
        room = <fn_address *>malloc(len(self._addresses) * sizeof(fn_address))
        if room is NULL:
            raise MemoryError
        try:
            for number, address in enumerate(self._addresses):
                read_address(address, &room[number])
            self.upstream = fn_upstream_new(room, len(self._addresses))
        finally:
            free(room)
        if self.upstream is NULL:
            raise MemoryError

    def __dealloc__(self):
        fn_upstream_release(self.upstream)

    @property
    def addresses(self):
        """Families and socket addresses."""
        return self._addresses

    @property
    def name(self):
        """What it is called where something is told of it."""
        return self._name

    @property
    def healthy(self):
        return fn_upstream_healthy(self.upstream)

    @healthy.setter
    def healthy(self, value):
        fn_upstream_set_healthy(self.upstream, value)

    @property
    def active(self):
        """Connections to it that are open now."""
        return fn_upstream_active(self.upstream)

    @property
    def failures(self):
        """How often in a row it could not be connected to."""
        return fn_upstream_failures(self.upstream)


cdef class Counters:
    """What a rule has done so far, in all of its loops. May be read in any thread, at any time."""

    cdef fn_rule *rule

    def __dealloc__(self):
        fn_rule_release(self.rule)

    cdef fn_counters now(self):
        cdef fn_counters counters
        with nogil:
            fn_rule_counters(self.rule, &counters)
        return counters

    @property
    def accepted(self):
        """Connections accepted."""
        return self.now().accepted

    @property
    def active(self):
        """Connections open now."""
        return self.now().active

    @property
    def unreachable(self):
        """Connections for which no upstream could be connected to."""
        return self.now().unreachable

    @property
    def refused(self):
        """Connections that were answered 400 or 408 instead of being passed on."""
        return self.now().refused

    @property
    def denied(self):
        """Connections that were closed at once: by prefix, too many of one source, or no PROXY header."""
        return self.now().denied

    @property
    def resets(self):
        """Connections that one of the sides reset, or that were cut when the loop was stopped."""
        return self.now().resets

    @property
    def timed_out(self):
        """Connections that were cut because nothing had come for too long."""
        return self.now().timed_out

    @property
    def sent_up(self):
        """Bytes sent to the upstream (the second socket of ``join``)."""
        return self.now().sent_up

    @property
    def sent_down(self):
        """Bytes sent to the client (the first socket of ``join``)."""
        return self.now().sent_down

    @property
    def connects_retried(self):
        """Connects that failed and were followed by one to another address or upstream."""
        return self.now().connects_retried


cdef class _Prefixes:
    """Prefixes as the rule wants them."""

    cdef fn_prefix *list
    cdef fn_prefixes view

    def __cinit__(self, prefixes):
        cdef bytes network
        self.list = <fn_prefix *>malloc((len(prefixes) + 1) * sizeof(fn_prefix))
        if self.list is NULL:
            raise MemoryError
        self.view.list = self.list
        self.view.count = len(prefixes)
        for number, (family, packed, length) in enumerate(prefixes):
            network = bytes(packed)
            fn_prefix_set(&self.list[number], family, <const uint8_t *><const char *>network, length)

    def __dealloc__(self):
        free(self.list)


cdef class _Upstreams:
    """Upstreams as the rule wants them."""

    cdef fn_upstream **list
    cdef unsigned count
    cdef tuple kept

    def __cinit__(self, upstreams):
        self.kept = tuple(upstreams)
        self.count = len(self.kept)
        self.list = <fn_upstream **>malloc((self.count + 1) * sizeof(fn_upstream *))
        if self.list is NULL:
            raise MemoryError
        for number, upstream in enumerate(self.kept):
            self.list[number] = (<Upstream?>upstream).upstream

    def __dealloc__(self):
        free(self.list)


cdef fn_http_text text_of(bytes value):
    return fn_http_text(<const char *>value, len(value))


cdef fn_http_rewrite *rewrite_of(object rewrite) except? NULL:
    """A copy in C; NULL where there is none."""
    cdef fn_http_text *names
    cdef fn_http_rewrite *made
    if rewrite is None:
        return NULL
    encoded = [name.encode() for name in rewrite.names]
    names = <fn_http_text *>malloc((len(encoded) + 1) * sizeof(fn_http_text))
    if names is NULL:
        raise MemoryError
    for number, name in enumerate(encoded):
        names[number] = text_of(name)
    port, upstream = str(rewrite.port).encode(), rewrite.upstream.encode()
    made = fn_http_rewrite_new(
        names, len(encoded), text_of(port), text_of(upstream), rewrite.always, rewrite.responses
    )
    free(names)
    if made is NULL:
        raise MemoryError
    return made


cdef class Rule:
    """Where connections go, and under which conditions. May serve several loops at once.

    Times are in seconds, 0 is none. Raises InvalidArgument for what can't be meant, and NotPermitted where
    ``transparent`` lacks its privilege.

    ``upstreams`` are chosen by ``policy``, in turn or by the fewest open connections; where connecting fails,
    or takes longer than ``connect_timeout``, the next is tried. Without any, no connection gets through.
    ``rewrite`` takes the stream for HTTP/1, and ``head_timeout`` is the time for a request's head, or for a
    PROXY header. ``idle_timeout`` ends a connection on which nothing came for so long; once one direction
    has ended it is ``half_closed_timeout``.

    Of ``max_connections`` more wait until one ends; of more than ``max_per_source`` (0: any number) from one
    address the rest are closed. ``rate`` and ``connection_rate`` are bytes a second, both directions
    together, of all connections and of each. ``max_failures`` failed connects in a row rest an upstream
    for ``failure_pause``, where there is another. ``allow`` and ``deny`` are prefixes of clients: deny wins,
    and an empty ``allow`` allows all.

    ``send_proxy`` begins each connection to an upstream with a PROXY header of this version (1 or 2);
    clients within ``trust_proxy`` must begin with one. ``transparent`` connects from the client's own address
    (IP_TRANSPARENT, ip(7)); ``congestion`` names the TCP congestion control of both sides. ``record`` keeps a
    Record of each connection that has ended, for ``Loop.records``. ``tap`` is called with a connection's
    number, whether towards the upstream, and the bytes, before they are sent.
    """

    cdef fn_rule *rule
    cdef Counters _counters
    cdef object __weakref__

    def __init__(
        self,
        upstreams,
        *,
        policy="round-robin",
        rewrite=None,
        engine="auto",
        max_connections=4096,
        max_per_source=0,
        connect_timeout=10.0,
        head_timeout=10.0,
        idle_timeout=0.0,
        half_closed_timeout=0.0,
        rate=0,
        connection_rate=0,
        max_failures=3,
        failure_pause=10.0,
        allow=(),
        deny=(),
        send_proxy=0,
        trust_proxy=(),
        transparent=False,
        congestion="",
        record=False,
        tap=None,
    ):
        cdef fn_rule_options options
        cdef _Prefixes allowed, denied, trusted
        cdef _Upstreams chosen
        cdef bytes congested
        if tap is not None:
            raise InvalidArgument("tap: only the pure implementation has it")
        checked(
            Options(
                policy, rewrite, "auto" if engine == "splice" else engine, max_connections, max_per_source,
                connect_timeout, head_timeout, idle_timeout, half_closed_timeout, rate, connection_rate,
                max_failures, failure_pause, tuple(allow), tuple(deny), send_proxy, tuple(trust_proxy),
                transparent, congestion, record, tap,
            )
        )
        allowed, denied, trusted = _Prefixes(allow), _Prefixes(deny), _Prefixes(trust_proxy)
        chosen = _Upstreams(upstreams)
        congested = congestion.encode()[: CONGESTION - 1]
        memset(&options, 0, sizeof(options))
        options.owner = <void *>self
        options.policy = <fn_policy><int>POLICIES.index(policy)
        options.engine = <fn_engine><int>ENGINES.index(engine)
        options.max_connections = min(max_connections, MOST)
        options.max_per_source = min(max_per_source, MOST)
        options.connect_timeout = nanoseconds(connect_timeout)
        options.head_timeout = nanoseconds(head_timeout)
        options.idle_timeout = nanoseconds(idle_timeout)
        options.half_closed_timeout = nanoseconds(half_closed_timeout)
        options.rate = rate
        options.connection_rate = connection_rate
        options.max_failures = min(max_failures, MOST)
        options.failure_pause = nanoseconds(failure_pause)
        options.allow, options.deny, options.trust_proxy = allowed.view, denied.view, trusted.view
        options.send_proxy = send_proxy
        options.transparent = transparent
        options.record = record
        memcpy(options.congestion, <const char *>congested, len(congested))
        options.rewrite = rewrite_of(rewrite)
        self.rule = fn_rule_new(&options, chosen.list, chosen.count)
        if self.rule is NULL:
            raise MemoryError
        fn_rule_hold(self.rule)
        self._counters = Counters.__new__(Counters)
        self._counters.rule = self.rule

    def __dealloc__(self):
        fn_rule_release(self.rule)

    @property
    def counters(self):
        """What was done so far."""
        return self._counters

    def set_upstreams(self, upstreams):
        """New connections go to these, open ones stay. May be called in any thread."""
        cdef _Upstreams chosen = _Upstreams(upstreams)
        cdef int code
        with nogil:
            code = fn_rule_set_upstreams(self.rule, chosen.list, chosen.count)
        if code < 0:
            fail(code)


cdef object record_of(fn_record *record):
    cdef object upstream = None
    if record.upstream is not NULL:
        upstream = any_address(fn_record_upstream(record))
        fn_upstream_release(record.upstream)
    return Record(
        <object><PyObject *>record.owner,
        record.number,
        ip_address(&record.client),
        upstream,
        record.opened / 1e9,
        record.duration / 1e9,
        record.sent_up,
        record.sent_down,
        ENDED[record.ended],
    )


cdef class Loop:
    """One thread's relays.

    ``listen`` and ``join`` say what to relay, then ``run`` does it until nothing is left: no listener
    and no connection. What may be called in any thread waits for the running loop's next turn, except for
    ``drain`` and ``stop``, which return at once and may also be called from a signal handler.

    ``spin`` is the time in seconds after an event for which it polls instead of sleeping, which spends a
    processor on answering sooner. ``warn`` is called in the loop's thread with a line of text when accepting
    pauses because descriptors or ports ran out. Raises InvalidArgument for a ``spin`` that can't be meant.

    A child process that forks off has its copies of all descriptors closed, so that it keeps no
    connection open.
    """

    cdef fn_relay *relay
    cdef object _warn
    cdef set _rules  # Those whose records may still come.
    cdef object __weakref__

    def __init__(self, *, spin=0.0, warn=lambda text: None):
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
        """Serve the connections to these listening sockets by this rule; they are the loop's from now on.

        May be called in any thread, before and while it runs. Raises RuntimeError where it has ended.
        """
        cdef fn_rule *its = (<Rule?>rule).rule
        cdef size_t count = len(listeners)
        cdef int *sockets = <int *>malloc((count + 1) * sizeof(int))
        cdef int code
        if sockets is NULL:
            raise MemoryError
        self._rules.add(rule)
        for number, sock in enumerate(listeners):
            sockets[number] = sock.detach()
        with nogil:
            code = fn_relay_listen(self.relay, its, sockets, count)
        free(sockets)
        if code == -EBADF:
            raise RuntimeError("this loop has ended: make another one")
        if code < 0:
            fail(code)

    def unlisten(self, rule):
        """Close this rule's listeners here; its connections go on. May be called in any thread."""
        cdef fn_rule *its = (<Rule?>rule).rule
        with nogil:
            fn_relay_unlisten(self.relay, its)

    def join(self, first, second, rule=None):
        """Relay between two connected sockets, which are the loop's from now on; before it runs."""
        cdef Rule its = Rule(()) if rule is None else rule
        cdef int code
        self._rules.add(its)
        code = fn_relay_join(self.relay, its.rule, first.detach(), second.detach())
        if code < 0:
            fail(code)
        return its.counters

    def run(self):
        """Relay until nothing is left to do, or the time to ``drain`` is up; then close every socket.

        True where every connection had ended by itself, False where one was cut.
        """
        cdef fn_shortage shortage
        cdef int code
        try:
            while True:
                with nogil:
                    code = fn_relay_run(self.relay, &shortage)
                if code != FN_RUN_WARNS:
                    return code == FN_RUN_WHOLE
                self._warn(f"accepting pauses at {shortage.connections} connections: {os.strerror(shortage.error)}")
        finally:
            self.close()

    def drain(self, timeout):
        """Accept no more; ``run`` returns when all connections have ended, or after ``timeout`` seconds."""
        cdef int64_t left = nanoseconds(timeout)
        with nogil:
            fn_relay_drain(self.relay, left)

    def stop(self):
        """Let ``run`` reset all connections and return."""
        self.drain(0.0)

    def close(self):
        """Reset all connections and close everything; for a loop that is not running."""
        with nogil:
            fn_relay_close(self.relay)

    def records(self):
        """The connections that have ended since the last call, the earliest first; in any one thread.

        Those of rules with ``record``. No more than 16384 are kept: the rest is lost, and counted.
        """
        cdef fn_record some[RECORDS]
        cdef size_t count = RECORDS, number
        ended = []
        while count == RECORDS:
            count = fn_relay_records(self.relay, some, RECORDS)
            for number in range(count):
                ended.append(record_of(&some[number]))
        return ended

    @property
    def lost_records(self):
        """Records that were lost because nobody asked for them."""
        return fn_relay_lost_records(self.relay)

    def connections(self):
        """The connections that are open now. May be called in any thread."""
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
        """In a forked child: close the copies, and touch nothing that is shared with the parent."""
        fn_relay_abandon(self.relay)


_loops = weakref.WeakSet()


def _abandon_loops():
    for loop in list(_loops):
        (<Loop>loop)._abandon()


os.register_at_fork(after_in_child=_abandon_loops)
