cimport cython
from libc.stdint cimport int64_t
from gopark.runtime.g cimport Goroutine
from gopark.sync.waiters cimport Waiters, ready, until

cdef int64_t _MAX

cdef class WaitGroup(Waiters):
    cdef readonly int64_t count
    cdef int64_t round
    @cython.locals(count=int64_t)
    cpdef object add(self, object n=*)
    cpdef object done(self)
    @cython.locals(when=int64_t)
    cpdef bint wait(self, object timeout=*) except -1
    cdef object release(self)
    @cython.locals(gp=Goroutine, after=Goroutine)
    cdef bint release_one(self) except -1
    @cython.locals(before=Goroutine)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
