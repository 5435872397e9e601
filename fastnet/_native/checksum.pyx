"""The Internet checksum (RFC 1071) in C; ``fastnet._pure.checksum`` documents it."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from _collections_abc import Iterable

from fastnet._contract.values import counted, quoted
from fastnet.errors import InvalidArgument

cdef extern from "checksum.h":
    ctypedef uint16_t fn_sum_fn(const uint8_t *data, size_t len, uint16_t initial) noexcept nogil
    struct fn_checksum_kernel:
        const char *name
        fn_sum_fn *sum
    enum:
        FN_CHECKSUM_KERNELS
    size_t fn_checksum_kernels(const fn_checksum_kernel **out) noexcept nogil
    uint16_t fn_checksum_update(uint16_t checksum, uint32_t before, uint32_t after) noexcept nogil
    uint16_t fn_checksum_pseudo_ipv4(const uint8_t *src, const uint8_t *dst, uint8_t protocol, uint16_t length) noexcept nogil
    uint16_t fn_checksum_pseudo_ipv6(const uint8_t *src, const uint8_t *dst, uint8_t protocol, uint32_t length) noexcept nogil

# For smaller buffers, releasing the GIL costs more time than it saves.
cdef enum:
    RELEASE_GIL_ABOVE = 65536

cdef const fn_checksum_kernel *available[FN_CHECKSUM_KERNELS]
cdef size_t available_count = fn_checksum_kernels(available)
cdef const fn_checksum_kernel *chosen = available[available_count - 1]

# The default initial sum, compared by identity: checking its value would take a tenth of a short buffer's time.
cdef object NOTHING = 0


cdef int bounded(value, long long limit, str name, long long *out) except -1:
    cdef int overflow
    if not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an int, not {type(value).__name__}")
    out[0] = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or not 0 <= out[0] <= limit:
        raise InvalidArgument(f"{name} {quoted(value)}: expected 0 to {limit}")
    return 0


cdef int view(object data, Py_buffer *buffer) except -1:
    if not PyObject_CheckBuffer(data):
        raise InvalidArgument(f"data must be a bytes-like object, not {type(data).__name__}")
    try:
        PyObject_GetBuffer(data, buffer, PyBUF_SIMPLE)
    except BufferError:
        raise BufferError("data must be a contiguous buffer") from None
    return 0


cdef int sum_buffer(object data, uint16_t initial) except -1:
    cdef Py_buffer buffer
    cdef uint16_t total
    cdef fn_sum_fn *sum = chosen.sum
    if PyBytes_CheckExact(data) and PyBytes_GET_SIZE(data) <= RELEASE_GIL_ABOVE:
        return sum(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), initial)
    view(data, &buffer)
    if buffer.len <= RELEASE_GIL_ABOVE:
        total = sum(<const uint8_t *>buffer.buf, buffer.len, initial)
    else:
        with nogil:
            total = sum(<const uint8_t *>buffer.buf, buffer.len, initial)
    PyBuffer_Release(&buffer)
    return total


cdef uint16_t sum_argument(initial) except? 0xffff:
    cdef long long value
    if initial is NOTHING:
        return 0
    bounded(initial, 0xffff, "initial", &value)
    return <uint16_t>value


def checksum(data, initial=0, /):
    """The Internet checksum of a buffer (RFC 1071), 0 to 0xffff.

    ``data`` is any contiguous buffer (bytes, bytearray, memoryview, mmap, array); an odd last byte
    counts as the high half of a word. ``initial`` is a sum to start from, such as a pseudo-header's. Raises
    InvalidArgument if data is not a buffer or initial is out of range, BufferError if data is not
    contiguous.
    """
    return 0xffff ^ sum_buffer(data, sum_argument(initial))


def verify(data, initial=0, /):
    """Whether data that contains its own checksum is intact: its sum is 0xffff (RFC 1071, section 1).

    Takes the same arguments and raises the same errors as ``checksum``.
    """
    return sum_buffer(data, sum_argument(initial)) == 0xffff


def checksum_many(buffers, /):
    """The checksum of each buffer, in order. Raises the errors of ``checksum`` at the first bad buffer."""
    if not isinstance(buffers, Iterable):
        raise InvalidArgument(f"buffers must be an iterable of buffers, not {type(buffers).__name__}")
    return [0xffff ^ sum_buffer(data, 0) for data in buffers]


def update(checksum, before, after, /):
    """The checksum after one aligned field changed from ``before`` to ``after`` (RFC 1624, equation 3).

    The field has 16 or 32 bits: values up to 0xffffffff. For data that becomes all zeros it returns 0;
    ``checksum`` returns 0xffff. Both verify. Raises InvalidArgument for a value out of range.
    """
    cdef long long old_sum, old, new
    bounded(checksum, 0xffff, "checksum", &old_sum)
    bounded(before, 0xffffffff, "before", &old)
    bounded(after, 0xffffffff, "after", &new)
    return fn_checksum_update(<uint16_t>old_sum, <uint32_t>old, <uint32_t>new)


cdef inline const uint8_t *address(bytes packed) noexcept:
    return <const uint8_t *>PyBytes_AS_STRING(packed)


cdef bytes packed(value, Py_ssize_t size, str name):
    try:
        packed = bytes(memoryview(getattr(value, "packed", value)))
    except TypeError:
        raise InvalidArgument(f"{name} must be {counted(size, 'byte')} or an address object, not {type(value).__name__}") from None
    if len(packed) != size:
        raise InvalidArgument(f"{name} has {counted(len(packed), 'byte')}: expected {size}")
    return packed


def pseudo_header_ipv4(src, dst, protocol, length, /):
    """The sum of an IPv4 pseudo-header (RFC 9293, section 3.1; RFC 768), for ``checksum``'s initial.

    ``src`` and ``dst`` are addresses, of 4 bytes or of ``ipaddress``; ``length`` is the segment's in bytes, 0
    to 65535. Raises InvalidArgument for a value out of range.
    """
    cdef long long number, size
    cdef bytes first = packed(src, 4, "src"), second = packed(dst, 4, "dst")
    bounded(protocol, 0xff, "protocol", &number)
    bounded(length, 0xffff, "length", &size)
    return fn_checksum_pseudo_ipv4(address(first), address(second), <uint8_t>number, <uint16_t>size)


def pseudo_header_ipv6(src, dst, protocol, length, /):
    """The sum of an IPv6 pseudo-header (RFC 8200, section 8.1), for ``checksum``'s initial.

    ``src`` and ``dst`` are addresses, of 16 bytes or of ``ipaddress``; ``length`` is the upper layer's in
    bytes, 0 to 4294967295. Raises InvalidArgument for a value out of range.
    """
    cdef long long number, size
    cdef bytes first = packed(src, 16, "src"), second = packed(dst, 16, "dst")
    bounded(protocol, 0xff, "protocol", &number)
    bounded(length, 0xffffffff, "length", &size)
    return fn_checksum_pseudo_ipv6(address(first), address(second), <uint8_t>number, <uint32_t>size)


def kernels():
    """The names of the kernels that this machine supports, slowest first. The last one is the default."""
    return tuple([available[i].name.decode() for i in range(available_count)])


def kernel():
    """The name of the current kernel."""
    return chosen.name.decode()


def use_kernel(name, /):
    """Select the kernel that computes sums. Raises InvalidArgument for a name not in ``kernels()``."""
    global chosen
    for i in range(available_count):
        if available[i].name.decode() == name:
            chosen = available[i]
            return
    raise InvalidArgument(f"name {quoted(name)}: expected one of {', '.join(kernels())}")
