# Upstreams, rules and their counters.

cdef class Rule

cdef class Upstream:
    cdef fn_upstream *upstream
    cdef tuple _addresses
    cdef str _name
    cdef object __weakref__

    def __cinit__(self, addresses, name=""):
        cdef fn_address *room
        check_addresses(addresses)
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
        return self._addresses

    @property
    def name(self):
        return self._name

    @property
    def healthy(self):
        return fn_upstream_healthy(self.upstream)

    @healthy.setter
    def healthy(self, value):
        fn_upstream_set_healthy(self.upstream, value)

    @property
    def active(self):
        return fn_upstream_active(self.upstream)

    @property
    def failures(self):
        return fn_upstream_failures(self.upstream)


cdef class Counters:
    cdef fn_rule *rule

    def __cinit__(self, Rule rule not None):
        fn_rule_hold(rule.rule)
        self.rule = rule.rule

    def __dealloc__(self):
        fn_rule_release(self.rule)

    cdef fn_counters now(self):
        cdef fn_counters counters
        with nogil:
            fn_rule_counters(self.rule, &counters)
        return counters

    @property
    def accepted(self):
        return self.now().accepted

    @property
    def active(self):
        return self.now().active

    @property
    def unreachable(self):
        return self.now().unreachable

    @property
    def refused(self):
        return self.now().refused

    @property
    def denied(self):
        return self.now().denied

    @property
    def resets(self):
        return self.now().resets

    @property
    def timed_out(self):
        return self.now().timed_out

    @property
    def sent_up(self):
        return self.now().sent_up

    @property
    def sent_down(self):
        return self.now().sent_down

    @property
    def connects_retried(self):
        return self.now().connects_retried


cdef class _Prefixes:
    """Prefixes as a C array for a rule."""

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
    """Upstreams as a C array for a rule."""

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
    """A copy in C; NULL for None."""
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
    made = fn_http_rewrite_new(names, len(encoded), text_of(port), text_of(upstream), rewrite.always, rewrite.responses)
    free(names)
    if made is NULL:
        raise MemoryError
    if rewrite.origin:
        fn_http_rewrite_add_origin(made)
    return made


cdef class Rule:
    cdef fn_rule *rule
    cdef Counters _counters
    cdef object _watcher  # One callback or None; any number of threads may read it at once.
    cdef object __weakref__

    def __cinit__(self, upstreams, options=DEFAULTS):
        cdef fn_rule_options its
        cdef _Prefixes allowed, denied, trusted
        cdef _Upstreams chosen
        cdef bytes congestion
        checked(options)
        if options.tap is not None:
            raise InvalidArgument("tap: only the pure implementation has it")
        allowed, denied, trusted = map(_Prefixes, (options.allow, options.deny, options.trust_proxy))
        chosen = _Upstreams(upstreams)
        congestion = options.congestion.encode()[: CONGESTION - 1]
        memset(&its, 0, sizeof(its))
        its.owner = <void *>self
        its.policy = <fn_policy><int>POLICIES.index(options.policy)
        its.engine = <fn_engine><int>ENGINES.index(options.engine)
        its.max_connections = min(options.max_connections, MOST)
        its.max_per_source = min(options.max_per_source, MOST)
        its.source_prefix = options.source_prefix
        its.connect_timeout = nanoseconds(options.connect_timeout)
        its.head_timeout = nanoseconds(options.head_timeout)
        its.keep_alive_timeout = nanoseconds(options.keep_alive_timeout)
        its.idle_timeout = nanoseconds(options.idle_timeout)
        its.half_closed_timeout = nanoseconds(options.half_closed_timeout)
        its.keepalive = nanoseconds(options.keepalive)
        its.user_timeout = nanoseconds(options.user_timeout)
        its.rate = options.rate
        its.connection_rate = options.connection_rate
        its.max_failures = min(options.max_failures, MOST)
        its.failure_pause = nanoseconds(options.failure_pause)
        its.allow, its.deny, its.trust_proxy = allowed.view, denied.view, trusted.view
        its.send_proxy = options.send_proxy
        its.transparent = options.transparent
        its.record = options.record
        memcpy(its.congestion, <const char *>congestion, len(congestion))
        its.rewrite = rewrite_of(options.rewrite)
        self.rule = fn_rule_new(&its, chosen.list, chosen.count)
        if self.rule is NULL:
            raise MemoryError
        self._counters = Counters(self)
        self._watcher = deque(maxlen=1)

    def __dealloc__(self):
        fn_rule_release(self.rule)

    @property
    def counters(self):
        return self._counters

    def watch(self, callback):
        self._watcher.append(callback)
        fn_rule_watch(self.rule)

    cdef int report_failure(self) except -1:
        try:
            callback = self._watcher.pop()
        except IndexError:  # Another loop has called it.
            return 0
        callback()
        return 0

    def set_upstreams(self, upstreams):
        cdef _Upstreams chosen = _Upstreams(upstreams)
        cdef int code
        with nogil:
            code = fn_rule_set_upstreams(self.rule, chosen.list, chosen.count)
        if code < 0:
            fail(code)
