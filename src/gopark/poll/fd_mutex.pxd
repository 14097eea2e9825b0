cimport cython
from libc.stdint cimport uint32_t
from gopark.runtime.sema cimport WaitQ

cdef uint32_t _CLOSED
cdef uint32_t _RLOCK
cdef uint32_t _WLOCK
cdef uint32_t _REF
cdef uint32_t _REFMASK

cdef class LockQ(WaitQ):
    cdef int fd
    cdef bint read

cdef class FDMutex:
    cdef readonly int fd
    cdef public uint32_t state
    cdef readonly WaitQ rsema
    cdef readonly WaitQ wsema
    cpdef bint incref(self) except -1
    cpdef bint incref_and_close(self) except -1
    cpdef bint begin_close(self) except -1
    cpdef object wake_waiters(self)
    cpdef bint decref(self) except -1
    @cython.locals(bit=uint32_t)
    cpdef bint rwlock(self, bint read) except -1
    @cython.locals(q=WaitQ)
    cdef WaitQ queue(self, bint read)
    @cython.locals(bit=uint32_t, q=WaitQ)
    cpdef bint rwunlock(self, bint read) except -1
    cpdef object after_fork(self)
    cpdef bint over(self) noexcept
