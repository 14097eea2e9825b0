cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine
from gopark.sync.waiters cimport Waiters, ready, until

cdef int64_t _STARVATION_NS
cdef int _NEW
cdef int _AWOKE
cdef int64_t _COMPETE
cdef int64_t _OWNS

cdef class Mutex(Waiters):
    cdef readonly bint locked
    cdef readonly bint starving
    cdef bint woken
    cdef uint64_t contended
    cdef uint64_t handoffs
    cpdef bint lock(self, object timeout=*) except -1
    cpdef bint try_lock(self) except -1
    @cython.locals(gp=Goroutine, after=Goroutine)
    cpdef object unlock(self)
    @cython.locals(when=int64_t, start=int64_t, val=int64_t, mode=int)
    cdef bint lock_slow(self, object timeout) except -1
    @cython.locals(before=Goroutine, after=Goroutine)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef object parkdrop(self, Goroutine gp, int mode)
    cpdef object after_fork(self)
