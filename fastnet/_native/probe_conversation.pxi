# Conversations: csrc/probe/conversation.h documents its C functions.

cdef extern from "probe/round_trips.h" nogil:
    struct fn_round_trips:
        uint64_t count
        double least
        double most
        double mean
        double squares
        double differences
    int fn_round_trips_add(fn_round_trips *trips, double ms)
    void fn_round_trips_free(fn_round_trips *trips)
    int fn_round_trips_percentile(const fn_round_trips *trips, unsigned percent, double *out)

cdef extern from "probe/conversation.h" nogil:
    struct fn_plan:
        uint64_t count
        int64_t interval
        int64_t timeout
        bint keeps_ends
    struct fn_end:
        uint64_t round
        int refused
        bint is_answered
        fn_heard answer
    struct fn_host:
        uint64_t sent
        uint64_t not_sent
        uint64_t lost
        uint64_t duplicates
        fn_round_trips received
        int refused
        fn_heard error
        const fn_end *ends
        size_t ended
    struct fn_conversation:
        pass
    int fn_conversation_new(fn_conversation **out, fn_prober *prober, const fn_plan *plan, const sockaddr_in6 *hosts,
                            size_t count)
    void fn_conversation_free(fn_conversation *conversation)
    int fn_conversation_run(fn_conversation *conversation, int64_t until)
    const fn_host *fn_conversation_host(const fn_conversation *conversation, size_t i)
    int fn_conversation_shortage(const fn_conversation *conversation)


cdef double percentile(const fn_round_trips *trips, unsigned percent) except -1:
    cdef double found
    if fn_round_trips_percentile(trips, percent, &found) < 0:
        raise MemoryError
    return found


cdef object times_of(const fn_round_trips *trips):
    cdef double count = <double>trips.count
    if not trips.count:
        return None
    percentiles = percentile(trips, 50), percentile(trips, 90), percentile(trips, 99)
    jitter = trips.differences / (count - 1) if trips.count > 1 else None
    # Like Times(), which is Python and takes three times as long; so is Totals().
    return tuple.__new__(Times, (trips.least, trips.mean, trips.most, sqrt(trips.squares / count), *percentiles,
                                 jitter))


cdef class RoundTrips:
    cdef fn_round_trips trips

    @property
    def count(self):
        return self.trips.count

    def __dealloc__(self):
        fn_round_trips_free(&self.trips)

    def add(self, double ms):
        cdef int code
        with cython.critical_section(self):
            code = fn_round_trips_add(&self.trips, ms)
        if code < 0:
            raise MemoryError

    def times(self):
        with cython.critical_section(self):
            return times_of(&self.trips)


cdef class Conversation:
    cdef fn_conversation *conversation
    cdef Prober prober
    cdef size_t hosts
    cdef bint at_work

    def __cinit__(self, Prober prober not None, destinations, *, count=4, interval=1.0, timeout=1.0,
                  keeps_ends=False):
        check_engine(prober.engine)
        check_plan(count, interval, timeout)
        cdef fn_plan plan = fn_plan(count or 0, nanoseconds("interval", interval), nanoseconds("timeout", timeout),
                                    keeps_ends)
        cdef list given = list(destinations)
        cdef sockaddr_in6 *list_ = <sockaddr_in6 *>PyMem_Malloc((len(given) + 1) * sizeof(sockaddr_in6))
        cdef int code
        if list_ == NULL:
            raise MemoryError
        try:
            for i, each in enumerate(given):
                prober.read_address(each, &list_[i])
            code = fn_conversation_new(&self.conversation, prober.prober, &plan, list_, len(given))
        finally:
            PyMem_Free(list_)
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        self.prober, self.hosts = prober, len(given)

    def __dealloc__(self):
        fn_conversation_free(self.conversation)

    @property
    def shortage(self):
        return fn_conversation_shortage(self.conversation)

    def run(self, seconds):
        cdef int64_t until = time_now() + nanoseconds("seconds", seconds)
        cdef int code
        with cython.critical_section(self):
            self.stop_unless_idle()
            self.at_work = True
        with nogil:
            code = fn_conversation_run(self.conversation, until)
        with cython.critical_section(self):
            self.at_work = False
        if code < 0:
            raise cannot_receive(-code)
        return code == 1

    def totals(self, index):
        cdef const fn_host *host = self.host_at(index)
        with cython.critical_section(self):
            self.stop_unless_idle()
            error = self.prober.answer_of(&host.error) if host.error.is_error else None
            return tuple.__new__(Totals, (host.sent, host.not_sent, host.received.count, host.lost, host.duplicates,
                                          host.refused, error, times_of(&host.received)))

    def ends(self, index):
        cdef const fn_host *host = self.host_at(index)
        with cython.critical_section(self):
            self.stop_unless_idle()
            return [self.end_of(&host.ends[i]) for i in range(host.ended)]

    cdef object end_of(self, const fn_end *end):
        answer = self.prober.answer_of(&end.answer) if end.is_answered else None
        return tuple.__new__(End, (end.round, end.refused, answer, end.answer.repeated))

    cdef const fn_host *host_at(self, index) except NULL:
        if not 0 <= index < self.hosts:
            raise IndexError(f"host {index}: there are {self.hosts}")
        return fn_conversation_host(self.conversation, index)

    cdef int stop_unless_idle(self) except -1:
        if self.at_work:
            raise RuntimeError("the conversation runs in another thread")
        return 0
