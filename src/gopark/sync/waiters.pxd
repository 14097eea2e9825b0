cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport _sys
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine, ParkLock

cdef int64_t _TIMEDOUT

cdef class Waiters(ParkLock):
    cdef object __weakref__
    cdef Goroutine head
    cdef Goroutine tail
    cdef readonly Py_ssize_t size
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    @cython.locals(before=Goroutine, after=Goroutine)
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object parkdrop(self, Goroutine gp, int mode)
    cpdef object after_fork(self)
    @cython.locals(gp=Goroutine)
    cpdef int64_t park(self, str reason, int mode, int64_t val, int64_t when) except? -2
    @cython.locals(gp=Goroutine, woken=bint)
    cpdef int64_t park_thread(self, str reason, int mode, int64_t val, int64_t when) except? -2

@cython.locals(gp=Goroutine)
cpdef Goroutine standin(int64_t val)
cpdef bint block(Waiters lock, Goroutine gp, int64_t when) except -1
cdef bint block_until(Goroutine gp, int64_t when) except -1
cpdef object ready(Goroutine gp)
@cython.locals(ns=int64_t)
cpdef int64_t until(object timeout, str what) except? -2
