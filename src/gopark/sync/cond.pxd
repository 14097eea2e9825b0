cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine
from gopark.sync.waiters cimport Waiters, block, ready, standin, until

cdef int64_t _SIGNALLED
cdef int64_t _LINKED
cdef int64_t _PARKED

cdef class Cond(Waiters):
    cdef readonly object mutex
    @cython.locals(gp=Goroutine, when=int64_t, away=bint, woken=bint)
    cpdef bint wait(self, object timeout=*) except -1
    @cython.locals(gp=Goroutine, after=Goroutine, parked=bint)
    cpdef object signal(self)
    @cython.locals(n=Py_ssize_t)
    cpdef object broadcast(self)
    @cython.locals(woken=bint)
    cdef bint block_thread(self, Goroutine gp, int64_t when) except -1
    cdef object relock(self)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
