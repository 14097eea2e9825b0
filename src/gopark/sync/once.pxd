cimport cython
from gopark.runtime cimport _sys
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine
from gopark.sync.waiters cimport Waiters, ready

cdef int _NEW
cdef int _RUNNING
cdef int _DONE

cdef class Once(Waiters):
    cdef int state
    cdef object owner
    cpdef object do(self, object fn)
    cdef object release(self)
    @cython.locals(gp=Goroutine, after=Goroutine)
    cdef bint release_one(self) except -1
    @cython.locals(before=Goroutine)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
