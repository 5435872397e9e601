"""Results that are kept as long as they are true; ``fastnet._contract.monitor`` has the contract."""

import os

from cpython.dict cimport PyDict_GetItem, PyDict_SetItem
from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject *PyThreadState_GetDict()

cdef extern from "monitor.h" nogil:
    struct fn_monitor:
        pass
    void fn_monitor_init(fn_monitor *monitor)
    void fn_monitor_close(fn_monitor *monitor)
    int fn_monitor_is_quiet(const fn_monitor *monitor)
    int fn_monitor_renew(fn_monitor *monitor)

cdef str KEPT = "fastnet._native.monitor"


cdef class _Kept:
    """A thread's monitor and results; the dictionary of the thread owns it until the thread ends."""

    cdef fn_monitor monitor
    cdef dict results

    def __cinit__(self):
        fn_monitor_init(&self.monitor)
        self.results = {}

    def __dealloc__(self):
        fn_monitor_close(&self.monitor)


cdef _Kept of_thread():
    cdef PyObject *mine = PyThreadState_GetDict()
    if mine is NULL:
        raise MemoryError
    cdef PyObject *found = PyDict_GetItem(<object>mine, KEPT)
    if found is not NULL:
        return <_Kept>found
    new = _Kept()
    PyDict_SetItem(<object>mine, KEPT, new)
    return new


def _forget():
    """In a forked child: drop the copy of the parent's monitor."""
    cdef PyObject *mine = PyThreadState_GetDict()
    if mine is not NULL:
        (<dict>mine).pop(KEPT, None)


os.register_at_fork(after_in_child=_forget)


def kept():
    cdef _Kept mine = of_thread()
    if not fn_monitor_is_quiet(&mine.monitor):
        mine.results = {}
        if fn_monitor_renew(&mine.monitor) < 0:
            return {}
    return mine.results
