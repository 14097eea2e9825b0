cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime.g cimport Goroutine
from gopark.sync.waiters cimport Waiters, ready, until

cdef class Semaphore(Waiters):
    cdef readonly int64_t total
    cdef readonly int64_t free
    cdef uint64_t contended
    @cython.locals(k=int64_t, when=int64_t)
    cpdef bint acquire(self, object n=*, object timeout=*) except -1
    @cython.locals(k=int64_t)
    cpdef bint try_acquire(self, object n=*) except -1
    @cython.locals(k=int64_t)
    cpdef object release(self, object n=*)
    cdef object grant(self)
    @cython.locals(gp=Goroutine, after=Goroutine)
    cdef bint grant_one(self) except -1
    @cython.locals(k=int64_t)
    cdef int64_t amount(self, object n, str what) except -1
    @cython.locals(before=Goroutine)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object parkdrop(self, Goroutine gp, int mode)

cpdef int64_t units(object n, str what) except -1
