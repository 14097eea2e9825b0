cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime.g cimport Goroutine

cdef int _WAITING
cdef int _DEAD

cdef class Tally:
    cdef readonly list buckets
    cdef public Py_ssize_t goroutines
    cdef readonly Py_ssize_t runqueue
    cdef readonly Py_ssize_t waiters
    cdef readonly Py_ssize_t timers
    cdef readonly uint64_t holds
    cdef readonly int64_t held
    cdef readonly int64_t longest
    cdef readonly str stack
    cdef str noted
    cdef uint64_t notedtick
    cdef int64_t notedat
    cdef int64_t notedgap
    cdef bint looking
    cdef public object capture
    @cython.locals(us=int64_t, i=int)
    cpdef object latency(self, int64_t ns)
    cdef object count(self, Py_ssize_t goroutines)
    cdef object peaks(self, Py_ssize_t runqueue, Py_ssize_t waiters, Py_ssize_t timers)
    @cython.locals(gap=int64_t)
    cpdef object look(self, int64_t ns, uint64_t tick, uint64_t gid, object frame)
    cpdef object hold(self, int64_t ns, uint64_t tick, uint64_t gid)

@cython.locals(gp=Goroutine)
cpdef object census(object allgs)
