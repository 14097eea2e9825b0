cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine, ParkLock

cdef class WaitQ(ParkLock):
    cdef Goroutine head
    cdef Goroutine tail
    cdef readonly Py_ssize_t size
    cpdef object park(self, str reason, int64_t val=*)
    cpdef bint park_until(self, str reason, int64_t when, int64_t val=*) except -1
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    @cython.locals(before=Goroutine, after=Goroutine)
    cdef object unlink(self, Goroutine gp)
    cpdef object after_fork(self)
    @cython.locals(gp=Goroutine)
    cpdef Goroutine wake_one(self)
    @cython.locals(n=Py_ssize_t)
    cpdef Py_ssize_t wake_all(self) except -1
