cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef class Timer:
    cdef readonly int64_t when
    cdef readonly int64_t heapwhen
    cdef readonly Py_ssize_t index
    cdef readonly uint64_t seq
    cdef readonly int64_t period
    cdef object f
    cdef object arg

cdef class TimerHeap:
    cdef list heap
    cdef readonly int64_t first
    cdef readonly Py_ssize_t stale
    cdef readonly uint64_t fired
    cdef public int64_t waituntil
    cdef public object wake
    cpdef Py_ssize_t armed(self)
    cpdef object modify(self, Timer t, int64_t when, uint64_t seq)
    @cython.locals(i=Py_ssize_t)
    cdef object arm(self, Timer t, int64_t when, uint64_t seq)
    cdef object end_wait(self)
    cdef bint disarm(self, Timer t) except -1
    cdef object tidy(self)
    cpdef bint stop(self, Timer t) except -1
    @cython.locals(t=Timer)
    cpdef object run(self, int64_t now)
    @cython.locals(t=Timer)
    cdef Timer take(self, int64_t now)
    @cython.locals(t=Timer)
    cpdef object retain(self, object keep)
    @cython.locals(n=int)
    cpdef object settle(self)
    @cython.locals(t=Timer)
    cdef bint unsettled(self) except -1
    @cython.locals(t=Timer)
    cdef Timer settle_top(self)
    @cython.locals(t=Timer)
    cdef object sink(self)
    @cython.locals(t=Timer)
    cdef object look(self)
    @cython.locals(t=Timer, last=Timer)
    cdef object removemin(self)
    @cython.locals(room=list, old=list)
    cdef bint sweep(self) except -1
    @cython.locals(t=Timer, old=list, i=Py_ssize_t)
    cdef list rebuild(self, list keep)
    @cython.locals(heap=list, t=Timer, p=Timer, parent=Py_ssize_t)
    cdef Py_ssize_t up(self, Py_ssize_t i) except -1
    @cython.locals(heap=list, t=Timer, b=Timer, other=Timer, n=Py_ssize_t, c=Py_ssize_t, best=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t down(self, Py_ssize_t i) except -1
