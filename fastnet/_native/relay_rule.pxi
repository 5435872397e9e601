# Upstreams, rules and what they count.

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
