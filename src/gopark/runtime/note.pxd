cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine, ParkLock

cdef class Note(ParkLock):
    cdef object __weakref__
    cdef readonly bint woken
    cdef Goroutine gp
    cdef public str what
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object after_fork(self)
    cpdef object sleep(self, str reason)
    cpdef bint sleep_until(self, str reason, int64_t when) except -1
    @cython.locals(gp=Goroutine)
    cpdef object wakeup(self)
    cpdef object clear(self)
