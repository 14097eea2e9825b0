cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime cimport chan
from gopark.runtime cimport proc
from gopark.runtime.chan cimport Case, Chan, Sudog
from gopark.runtime.g cimport Goroutine, ParkLock

cdef int _SEND
cdef int _DONE
cdef int _CLOSED
cdef int64_t _NEVER
cdef uint64_t _MASK
cdef uint64_t _random
cdef object _noresult

cdef class Selection(ParkLock):
    cdef tuple cases
    cdef list sudogs
    @cython.locals(sg=Sudog, case=Case, i=Py_ssize_t)
    cdef object prepare(self)
    @cython.locals(sg=Sudog, c=Chan)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    @cython.locals(sg=Sudog)
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object after_fork(self)
    @cython.locals(sg=Sudog, closed=bint, sudogs=list)
    cdef object finish(self)

@cython.locals(ready=uint64_t, case=Case, chosen=Case, index=Py_ssize_t, i=Py_ssize_t)
cdef object perform(tuple cases)
@cython.locals(sel=Selection, woken=bint, reason=str)
cdef object wait(tuple cases, int64_t when)
@cython.locals(sg=Sudog)
cdef bint thread_wait(Selection sel, int64_t when) except -1
@cython.locals(x=uint64_t)
cpdef uint64_t randn(uint64_t n) noexcept
cpdef object seed(object n)
