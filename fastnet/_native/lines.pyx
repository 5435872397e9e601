"""Lines of text about many addresses, in C; ``fastnet._pure.lines`` documents it."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fastnet._contract.lines import SKIPPED, check_lines

cdef extern from "lines.h" nogil:
    enum fn_lines_field:
        FN_LINES_END
    struct fn_lines_piece:
        const char *text
        size_t size
        fn_lines_field field
        unsigned width
    struct fn_lines_template:
        const fn_lines_piece *pieces
    struct fn_lines_run:
        uint8_t first[16]
        size_t address_size
        uint64_t step
        const float *ms
        const uint8_t *macs
    size_t fn_lines_longest(const fn_lines_template *template)
    size_t fn_lines_format(const fn_lines_template *templates, const fn_lines_run *run, const uint8_t *kinds,
                           size_t count, char *out)


cdef size_t cut(list templates, fn_lines_template *into, fn_lines_piece *piece) except? 0:
    """Convert the templates; returns the most bytes of a line."""
    cdef size_t longest = 0
    cdef Py_ssize_t number
    for number in range(len(templates)):
        into[number].pieces = piece
        for text, field, width in templates[number]:
            piece.text = PyBytes_AS_STRING(text)
            piece.size = PyBytes_GET_SIZE(text)
            piece.field = field
            piece.width = width
            piece += 1
        longest = max(longest, fn_lines_longest(&into[number]))
    return longest


def format_lines(templates, bytes first, step, ms, bytes macs, bytes kinds):
    cdef Py_buffer times
    PyObject_GetBuffer(ms, &times, PyBUF_SIMPLE)
    try:
        return format_times(list(templates), first, step, &times, macs, kinds)
    finally:
        PyBuffer_Release(&times)


cdef bytes format_times(list templates, bytes first, step, Py_buffer *times, bytes macs, bytes kinds):
    cdef fn_lines_run run
    cdef size_t count = len(kinds), longest, size
    # The texts of the pieces stay alive in here.
    cdef list held = [[(bytes(text), field, width) for text, field, width in each] for each in templates]
    most = max(kinds.translate(None, bytes([SKIPPED])), default=-1)
    check_lines(held, first, step, (count, times.len // 4, len(macs)), most)
    memcpy(run.first, PyBytes_AS_STRING(first), len(first))
    run.address_size = len(first)
    run.step = step
    run.ms = <const float *>times.buf
    run.macs = <const uint8_t *>PyBytes_AS_STRING(macs)
    pieces = sum(map(len, held))
    cdef fn_lines_template *list_of = <fn_lines_template *>PyMem_Malloc(len(held) * sizeof(fn_lines_template) +
                                                                        <size_t>pieces * sizeof(fn_lines_piece))
    if list_of == NULL:
        raise MemoryError
    try:
        longest = cut(held, list_of, <fn_lines_piece *>(list_of + len(held)))
        made = PyBytes_FromStringAndSize(NULL, longest * count)
        size = fn_lines_format(list_of, &run, <const uint8_t *>PyBytes_AS_STRING(kinds), count,
                               PyBytes_AS_STRING(made))
        return made[:size]
    finally:
        PyMem_Free(list_of)
