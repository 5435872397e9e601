"""A permutation of 0 ... size - 1 chosen by a seed, in C; ``fastnet._pure.permute`` documents it."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "permute.h" nogil:
    struct fn_permute:
        uint64_t size
    void fn_permute_init(fn_permute *permute, uint64_t size, uint64_t seed)
    uint64_t fn_permute_at(const fn_permute *permute, uint64_t place)
    void fn_permute_fill(const fn_permute *permute, uint64_t first, uint64_t step, uint64_t *out, size_t count)

MAX_SIZE = (1 << 64) - 1


cdef uint64_t bounded(str name, value, low, high) except? 0:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: expected {low} to {high}")
    return value


cdef class Permutation:
    cdef fn_permute permute
    cdef readonly uint64_t seed

    def __cinit__(self, size, seed=0):
        cdef uint64_t checked = bounded("size", size, 1, MAX_SIZE)
        self.seed = bounded("seed", seed, 0, MAX_SIZE)
        fn_permute_init(&self.permute, checked, self.seed)

    @property
    def size(self):
        return self.permute.size

    def at(self, place):
        return fn_permute_at(&self.permute, bounded("place", place, 0, self.permute.size - 1))

    def fill(self, first, step, count):
        from array import array  # only here: it loads collections

        cdef uint64_t start = bounded("first", first, 0, self.permute.size - 1)
        cdef uint64_t stride = bounded("step", step, 1, MAX_SIZE)
        cdef size_t wanted = bounded("count", count, 0, (self.permute.size - 1 - start) // stride + 1)
        if wanted > <size_t>(PY_SSIZE_T_MAX // 8):
            raise MemoryError
        numbers = array("Q", [0]) * wanted
        cdef Py_buffer view
        PyObject_GetBuffer(numbers, &view, PyBUF_WRITABLE)
        with nogil:
            fn_permute_fill(&self.permute, start, stride, <uint64_t *>view.buf, wanted)
        PyBuffer_Release(&view)
        return numbers
