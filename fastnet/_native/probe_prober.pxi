# The prober: csrc/probe/prober.h documents its C functions.

cdef extern from "<netinet/in.h>" nogil:
    enum:
        AF_INET
        INET6_ADDRSTRLEN
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_family
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    unsigned int htonl(unsigned int)

cdef extern from "<linux/filter.h>" nogil:
    struct sock_filter:
        pass
    struct sock_fprog:
        unsigned short len
        sock_filter *filter

cdef extern from "<sys/socket.h>" nogil:
    enum:
        SOL_SOCKET
        SO_ATTACH_FILTER
    int setsockopt(int fd, int level, int option, const void *value, unsigned int size)

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *out)
    const char *inet_ntop(int family, const void *address, char *out, unsigned int size)

cdef extern from "probe/prober.h" nogil:
    enum fn_prober_engine:
        FN_PROBER_DATAGRAM
        FN_PROBER_RAW
        FN_PROBER_UDP
    struct fn_prober_options:
        fn_prober_engine engine
        int fd
        int family
        uint16_t ident
        uint8_t key[16]
        uint16_t first
        unsigned size
        const uint8_t *filler
        fn_anycast anycast
        bint departures
    struct fn_heard:
        int64_t tag
        int64_t rtt
        fn_number from_ "from"
        uint32_t scope
        int ttl
        bint repeated
        bint is_error
        uint8_t type
        uint8_t code
        uint32_t info
    struct fn_prober:
        pass
    ctypedef bint fn_more "bool"
    enum:
        FN_NO_SLOT
        FN_BATCH
        FN_HEARD
    int fn_prober_new(fn_prober **out, const fn_prober_options *options)
    void fn_prober_free(fn_prober *prober)
    void fn_prober_detach(fn_prober *prober)
    int fn_prober_send(fn_prober *prober, const sockaddr_in6 *to, int64_t tag, int64_t timeout, int ttl, unsigned size)
    int fn_prober_receive(fn_prober *prober, unsigned limit, fn_heard *out, fn_more *more)

cdef dict PROBER_ENGINES = {"datagram": FN_PROBER_DATAGRAM, "raw": FN_PROBER_RAW, "udp": FN_PROBER_UDP}


cdef object cannot_receive(int code):
    return OSError(code, f"receiving: {os.strerror(code)}")


cdef object refusal_to_send(int code):
    if code == FN_NO_SLOT:
        return OSError(errno.EAGAIN, ALL_WAIT)
    return OSError(-code, os.strerror(-code))


def _attach_filter(sock, bytes code):
    cdef sock_fprog program
    program.len = len(code) // sizeof(sock_filter)
    program.filter = <sock_filter *><const char *>code
    if setsockopt(sock.fileno(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0:
        raise OSError(c_errno, os.strerror(c_errno))


# The C functions called here never block: releasing and taking the GIL would take longer. Without a GIL, critical
# sections serialise the threads that share a prober.
cdef class Prober:
    cdef fn_prober *prober
    cdef object socket
    cdef bytes filler, routers
    cdef int inet
    cdef readonly str engine
    cdef readonly object anycast, family, ident, notes, size

    def __cinit__(self, family, engine="auto", *, source="", interface="", mark=0, ttl=None, tos=0,
                  dont_fragment=None, size=56, pattern=b"", transmit_timestamps=False):
        check_payload(pattern, size)
        self.socket, self.engine, self.ident, has_departures, self.notes, self.anycast = open_probing(
            family, engine, source=source, interface=interface, mark=mark, ttl=ttl, tos=tos,
            dont_fragment=dont_fragment, size=size, transmit_timestamps=transmit_timestamps, attach=_attach_filter)
        self.inet, self.family, self.size = family, family, size
        self.filler = filler_of(pattern, size)
        self.routers = packed(self.anycast)
        cdef int code = self.open(has_departures)
        if code < 0:
            self.socket.close()
            raise OSError(-code, os.strerror(-code))

    cdef int open(self, bint departures) except? 0:
        cdef bytes key = os.urandom(16)
        cdef fn_prober_options options
        options.engine = PROBER_ENGINES[self.engine]
        options.fd = self.socket.fileno()
        options.family = self.inet
        options.ident = self.ident
        memcpy(options.key, <const uint8_t *>key, sizeof(options.key))
        options.first = 0 if self.engine == "udp" else int.from_bytes(os.urandom(2), "big")
        options.size = self.size
        options.filler = self.filler
        options.departures = departures
        options.anycast = anycast_of(self.routers)
        return fn_prober_new(&self.prober, &options)

    def __dealloc__(self):
        fn_prober_free(self.prober)

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        with cython.critical_section(self):
            fn_prober_detach(self.prober)
        self.socket.close()

    def send(self, destination, tag, timeout, *, ttl=None, size=None):
        cdef sockaddr_in6 to
        cdef int code
        size = self.size if size is None else size
        if not isinstance(size, int) or not 0 <= size <= self.size:
            raise InvalidArgument(f"size {size}: expected 0 to {self.size}")
        self.read_address(destination, &to)
        cdef int64_t its_tag = tag, its_timeout = nanoseconds("timeout", timeout)
        cdef int hops = -1 if ttl is None else ttl
        cdef unsigned octets = size
        with cython.critical_section(self):
            code = fn_prober_send(self.prober, &to, its_tag, its_timeout, hops, octets)
        if code < 0:
            raise refusal_to_send(code)

    cdef int read_address(self, address, sockaddr_in6 *out) except -1:
        if not isinstance(address, tuple) or not address or not isinstance(address[0], str):
            raise not_numeric(address)
        cdef bytes host = address[0].partition("%")[0].encode("ascii", "replace")
        cdef void *where = &(<sockaddr_in *>out).sin_addr if self.inet == AF_INET else <void *>&out.sin6_addr
        memset(out, 0, sizeof(out[0]))
        out.sin6_family = self.inet
        if 0 in host or inet_pton(self.inet, host, where) != 1:
            raise not_numeric(address)
        if self.inet != AF_INET:
            out.sin6_flowinfo = htonl(address[2]) if len(address) > 2 else 0
            out.sin6_scope_id = address[3] if len(address) > 3 else 0
        return 0

    def receive(self, limit=256):
        cdef fn_heard heard[FN_HEARD]
        cdef fn_more more = True
        cdef int left = limit, count, i
        cdef list answers = []
        while more and left > 0:
            with cython.critical_section(self):
                count = fn_prober_receive(self.prober, left, heard, &more)
            if count < 0:
                raise cannot_receive(-count)
            for i in range(count):
                answers.append(self.answer_of(&heard[i]))
            left -= FN_BATCH
        return answers

    cdef object answer_of(self, const fn_heard *heard):
        cdef str responder = text_of(self.inet, heard.from_)
        if heard.scope:
            responder = host_by_system((responder, 0, 0, heard.scope), socket.NI_NUMERICHOST)
        ttl = None if heard.ttl < 0 else heard.ttl
        error = (heard.type, heard.code) if heard.is_error else None
        # Like Answer(), which is Python and takes three times as long.
        return tuple.__new__(Answer, (heard.tag, responder, heard.rtt, ttl, error, heard.info))
