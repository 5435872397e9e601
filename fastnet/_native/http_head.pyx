"""HTTP/1 message heads found in a byte stream, in C; ``fastnet._pure.http_head`` is its contract."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EBADMSG
from libc.stdint cimport int64_t

from fastnet._pure.http_head import BadMessage

cdef extern from "http_head.h" nogil:
    enum:
        FN_HTTP_HEAD_LIMIT
        FN_HTTP_CHUNK_LINE_LIMIT
        FN_HTTP_PIPELINE_LIMIT
        FN_HTTP_REFUSAL_MAX
    int64_t FN_HTTP_ALL
    struct fn_http_rewrite:
        pass
    struct fn_http_text:
        const char *data
        size_t len
    fn_http_rewrite *fn_http_rewrite_new(const fn_http_text *names, size_t count, fn_http_text port,
                                         fn_http_text upstream, bint always, bint responses)
    void fn_http_rewrite_free(fn_http_rewrite *rewrite)
    struct fn_http:
        pass
    fn_http *fn_http_new(const fn_http_rewrite *rewrite, const char *reached_at)
    void fn_http_free(fn_http *http)
    struct fn_http_step:
        size_t used
        const char *send
        size_t send_len
    int fn_http_request(fn_http *http, const char *data, size_t len, fn_http_step *step)
    int fn_http_response(fn_http *http, const char *data, size_t len, fn_http_step *step)
    int64_t fn_http_request_passes(const fn_http *http)
    int64_t fn_http_response_passes(const fn_http *http)
    void fn_http_request_passed(fn_http *http, int64_t n)
    void fn_http_response_passed(fn_http *http, int64_t n)
    bint fn_http_held(const fn_http *http)
    bint fn_http_head_pending(const fn_http *http)
    const char *fn_http_refusal(const fn_http *http)
    const char *fn_http_unfollowed(const fn_http *http)
    bint fn_http_idle(const fn_http *http)
    size_t fn_http_refuse(int status, const char *reason, char *out, size_t room)

ctypedef int (*direction)(fn_http *, const char *, size_t, fn_http_step *) noexcept nogil

HEAD_LIMIT = FN_HTTP_HEAD_LIMIT
CHUNK_LINE_LIMIT = FN_HTTP_CHUNK_LINE_LIMIT
PIPELINE_LIMIT = FN_HTTP_PIPELINE_LIMIT
ALL = FN_HTTP_ALL


def refusal(status, reason):
    """The whole response that refuses a request (400, 408, 502) and says that the connection closes.

    Raises ValueError for another status, or a reason that is not a few words.
    """
    cdef char text[FN_HTTP_REFUSAL_MAX]
    cdef bytes encoded = reason.encode("ascii")
    cdef size_t size = fn_http_refuse(status, encoded, text, sizeof(text))
    if not size:
        raise ValueError(f"{status} {reason!r}: expected 400, 408 or 502, and a few words")
    return text[:size]


cdef fn_http_text text_of(bytes encoded) noexcept:
    cdef fn_http_text text
    text.data = PyBytes_AS_STRING(encoded)
    text.len = PyBytes_GET_SIZE(encoded)
    return text


cdef class HostRewrite:
    """Which Host is replaced, and by what.

    A Host that is one of ``names`` (``localhost``, ``127.0.0.1``, ``::1``; any case), or the address at
    which the client reached us, with ``port`` or without a port, becomes ``upstream``; with ``always``
    every Host does. With ``responses`` the upstream's name goes back to what the client asked for, in
    Location and in Set-Cookie's Domain.
    """

    cdef fn_http_rewrite *rewrite
    cdef readonly tuple names
    cdef readonly object port
    cdef readonly str upstream
    cdef readonly bint always, responses

    def __cinit__(self, names, port, upstream, always=False, responses=False):
        self.names, self.port, self.upstream = tuple(names), port, upstream
        self.always, self.responses = always, responses
        cdef list encoded = [name.encode() for name in self.names]
        cdef bytes port_text = str(port).encode(), upstream_text = upstream.encode("ascii")
        cdef fn_http_text *texts = <fn_http_text *>PyMem_Malloc((len(encoded) + 1) * sizeof(fn_http_text))
        cdef Py_ssize_t i
        if texts is NULL:
            raise MemoryError
        for i in range(len(encoded)):
            texts[i] = text_of(encoded[i])
        self.rewrite = fn_http_rewrite_new(texts, len(encoded), text_of(port_text), text_of(upstream_text),
                                           always, responses)
        PyMem_Free(texts)
        if self.rewrite is NULL:
            raise MemoryError

    def __dealloc__(self):
        fn_http_rewrite_free(self.rewrite)


cdef class Exchange:
    """The requests and responses of one connection.

    ``rewrite`` says which Host is replaced; ``reached_at`` is the local address at which the client
    reached us, one more name of the listener.
    """

    cdef fn_http *http
    cdef HostRewrite rewrite

    def __cinit__(self, HostRewrite rewrite not None, reached_at=""):
        self.rewrite = rewrite
        self.http = fn_http_new(rewrite.rewrite, reached_at.encode())
        if self.http is NULL:
            raise MemoryError

    def __dealloc__(self):
        fn_http_free(self.http)

    cdef object run(self, direction step_on, bytes data):
        """What the steps give together; data itself where that is the same."""
        cdef fn_http_step step
        cdef const char *begin = PyBytes_AS_STRING(data)
        cdef size_t left = PyBytes_GET_SIZE(data)
        cdef list pieces = []
        cdef int code = 1
        while code > 0:
            code = step_on(self.http, begin, left, &step)
            if code == 0 and step.send_len == <size_t>PyBytes_GET_SIZE(data) and step.send == PyBytes_AS_STRING(data):
                return data
            if step.send_len:
                pieces.append(PyBytes_FromStringAndSize(step.send, step.send_len))
            begin += step.used
            left -= step.used
        if code == -EBADMSG:
            raise BadMessage(fn_http_unfollowed(self.http).decode())
        if code < 0:
            raise MemoryError
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def request(self, data=b""):
        """What to send upstream for these bytes from the client: whole heads and whatever of bodies there is.

        What comes while ``held`` is kept, and goes out with a later call, as ``request()`` without data.
        Never raises: ``refusal`` tells.
        """
        return self.run(fn_http_request, data)

    def response(self, data):
        """What to send to the client for these bytes from the upstream: the same, where nothing is rewritten.

        Raises BadMessage where they can't be followed.
        """
        return self.run(fn_http_response, data)

    @property
    def request_passes(self):
        """How many of the client's next bytes may be relayed without being shown here; ALL for ever.

        They are a body's, a chunk's, or no HTTP any more. 0: they must go through ``request``.
        """
        return fn_http_request_passes(self.http)

    @property
    def response_passes(self):
        """How many of the upstream's next bytes may be relayed without being shown here; ALL for ever."""
        return fn_http_response_passes(self.http)

    def request_passed(self, n):
        """So many bytes of ``request_passes`` were relayed. Raises ValueError for more than those."""
        if not 0 <= n <= fn_http_request_passes(self.http):
            raise ValueError(f"{n} bytes passed: expected 0 to {fn_http_request_passes(self.http)}")
        fn_http_request_passed(self.http, n)

    def response_passed(self, n):
        """So many bytes of ``response_passes`` were relayed. Raises ValueError for more than those."""
        if not 0 <= n <= fn_http_response_passes(self.http):
            raise ValueError(f"{n} bytes passed: expected 0 to {fn_http_response_passes(self.http)}")
        fn_http_response_passed(self.http, n)

    @property
    def held(self):
        """Whether to read no more from the client before the next response."""
        return fn_http_held(self.http)

    @property
    def head_pending(self):
        """Whether a request's head has begun and not ended: the time for it is running."""
        return fn_http_head_pending(self.http)

    @property
    def refusal(self):
        """What is wrong with the client's last request, which was not passed on; None where nothing is."""
        cdef const char *reason = fn_http_refusal(self.http)
        return None if reason is NULL else reason.decode()

    @property
    def idle(self):
        """Whether no response is due or under way: one of our own may be sent."""
        return fn_http_idle(self.http)
