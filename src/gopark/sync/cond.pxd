cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine, ParkLock
from gopark.sync.waiters cimport Waiters, block, ready, standin, until

cdef int64_t _SIGNALLED
cdef int64_t _LINKED
cdef int64_t _PARKED

cdef class Latch(ParkLock):
    cdef Cond cond
    cdef Goroutine node
    cdef Goroutine gp
    cdef bint released
    @cython.locals(gp=Goroutine)
    cpdef object release(self)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object after_fork(self)

cdef class Cond(Waiters):
    cdef readonly object mutex
    cdef bint plain
    @cython.locals(gp=Goroutine, when=int64_t, away=bint, unlocked=bint, woken=bint)
    cpdef bint wait(self, object timeout=*) except -1
    @cython.locals(gp=Goroutine, after=Goroutine, parked=bint)
    cpdef object signal(self)
    @cython.locals(n=Py_ssize_t)
    cpdef object broadcast(self)
    @cython.locals(lock=ParkLock)
    cdef object park_waiter(self, Goroutine gp, bint away, int64_t when)
    cdef bint quit(self, Goroutine gp) except -1
    cdef object relock(self, bint woken)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
