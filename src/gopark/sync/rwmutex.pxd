cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime.g cimport Goroutine
from gopark.sync.waiters cimport Waiters, ready, until

cdef int _READ
cdef int _WRITE

cdef class RWMutex(Waiters):
    cdef readonly bint locked
    cdef readonly Py_ssize_t readers
    cdef Goroutine rhead
    cdef Goroutine rtail
    cdef Py_ssize_t rsize
    cdef uint64_t contended
    @cython.locals(when=int64_t)
    cpdef bint lock(self, object timeout=*) except -1
    cpdef bint try_lock(self) except -1
    cpdef object unlock(self)
    @cython.locals(when=int64_t)
    cpdef bint rlock(self, object timeout=*) except -1
    cpdef bint try_rlock(self) except -1
    @cython.locals(gp=Goroutine, after=Goroutine)
    cpdef object runlock(self)
    cdef object settle(self)
    @cython.locals(gp=Goroutine, after=Goroutine)
    cdef bint settle_one(self) except -1
    @cython.locals(before=Goroutine)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    @cython.locals(before=Goroutine, after=Goroutine)
    cdef bint rcancel(self, Goroutine gp) except -1
    cpdef object parkdrop(self, Goroutine gp, int mode)
    cpdef object after_fork(self)
