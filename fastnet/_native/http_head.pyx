"""Finds HTTP/1 message heads in a byte stream, in C; ``fastnet._pure.http_head`` documents it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EBADMSG
from libc.stdint cimport int64_t

from fastnet._contract.values import counted
from fastnet._contract.http_head import BadMessage

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
    void fn_http_rewrite_add_origin(fn_http_rewrite *rewrite)
    void fn_http_rewrite_free(fn_http_rewrite *rewrite)
    struct fn_http:
        pass
    fn_http *fn_http_new(const fn_http_rewrite *rewrite, const char *destination)
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
    bint fn_http_awaits_request(const fn_http *http)
    const char *fn_http_refusal(const fn_http *http)
    const char *fn_http_unfollowed(const fn_http *http)
    bint fn_http_idle(const fn_http *http)
    bint fn_http_unanswered(const fn_http *http)
    bint fn_http_in_answer(const fn_http *http)
    bint fn_http_has_answered(const fn_http *http)
    size_t fn_http_refuse(int status, const char *reason, char *out, size_t room)

ctypedef int (*direction)(fn_http *, const char *, size_t, fn_http_step *) noexcept nogil

HEAD_LIMIT = FN_HTTP_HEAD_LIMIT
CHUNK_LINE_LIMIT = FN_HTTP_CHUNK_LINE_LIMIT
PIPELINE_LIMIT = FN_HTTP_PIPELINE_LIMIT
ALL = FN_HTTP_ALL


def refusal(status, reason):
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
    cdef fn_http_rewrite *rewrite
    cdef readonly tuple names
    cdef readonly object port
    cdef readonly str upstream
    cdef readonly bint always, responses, origin

    def __cinit__(self, names, port, upstream, always=False, responses=False, origin=False):
        self.names, self.port, self.upstream = tuple(names), port, upstream
        self.always, self.responses, self.origin = always, responses, origin
        cdef list encoded = [name.encode() for name in self.names]
        cdef bytes port_text = str(port).encode(), upstream_text = upstream.encode("ascii")
        cdef fn_http_text *texts = <fn_http_text *>PyMem_Malloc((len(encoded) + 1) * sizeof(fn_http_text))
        cdef Py_ssize_t i
        if texts is NULL:
            raise MemoryError
        for i in range(len(encoded)):
            texts[i] = text_of(encoded[i])
        self.rewrite = fn_http_rewrite_new(texts, len(encoded), text_of(port_text), text_of(upstream_text), always,
                                           responses)
        PyMem_Free(texts)
        if self.rewrite is NULL:
            raise MemoryError
        if origin:
            fn_http_rewrite_add_origin(self.rewrite)

    def __dealloc__(self):
        fn_http_rewrite_free(self.rewrite)


cdef class Exchange:
    cdef fn_http *http
    cdef HostRewrite rewrite

    def __cinit__(self, HostRewrite rewrite not None, destination=""):
        self.rewrite = rewrite
        self.http = fn_http_new(rewrite.rewrite, destination.encode())
        if self.http is NULL:
            raise MemoryError

    def __dealloc__(self):
        fn_http_free(self.http)

    cdef object run(self, direction step_on, bytes data):
        """The joined output of the steps; data itself if they are equal."""
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
            error = BadMessage(fn_http_unfollowed(self.http).decode())
            error.before = b"".join(pieces)
            raise error
        if code < 0:
            raise MemoryError
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def request(self, data=b""):
        return self.run(fn_http_request, data)

    def response(self, data):
        return self.run(fn_http_response, data)

    @property
    def request_passes(self):
        return fn_http_request_passes(self.http)

    @property
    def response_passes(self):
        return fn_http_response_passes(self.http)

    def request_passed(self, n):
        if not 0 <= n <= fn_http_request_passes(self.http):
            raise ValueError(f"{counted(n, 'byte')} passed: expected 0 to {fn_http_request_passes(self.http)}")
        fn_http_request_passed(self.http, n)

    def response_passed(self, n):
        if not 0 <= n <= fn_http_response_passes(self.http):
            raise ValueError(f"{counted(n, 'byte')} passed: expected 0 to {fn_http_response_passes(self.http)}")
        fn_http_response_passed(self.http, n)

    @property
    def held(self):
        return fn_http_held(self.http)

    @property
    def head_pending(self):
        return fn_http_head_pending(self.http)

    @property
    def awaits_request(self):
        return fn_http_awaits_request(self.http)

    @property
    def refusal(self):
        cdef const char *reason = fn_http_refusal(self.http)
        return None if reason is NULL else reason.decode()

    @property
    def idle(self):
        return fn_http_idle(self.http)

    @property
    def unfollowed(self):
        cdef const char *reason = fn_http_unfollowed(self.http)
        return None if reason is NULL else reason.decode()

    @property
    def unanswered(self):
        return fn_http_unanswered(self.http)

    @property
    def in_answer(self):
        return fn_http_in_answer(self.http)

    @property
    def has_answered(self):
        return fn_http_has_answered(self.http)
