cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime cimport _sys
from gopark.runtime cimport proc
from gopark.runtime.chan cimport Chan
from gopark.runtime.g cimport Goroutine
from gopark.runtime.proc cimport P
from gopark.runtime.timers cimport Timer as RuntimeTimer

cdef P _p
cdef int64_t _ENDLESS

cdef class Timer:
    cdef object __weakref__
    cdef RuntimeTimer rt
    cdef object lease
    cdef Chan chan
    cdef bint calls
    cdef bint unsent
    cdef bint endless
    cpdef bint stop(self) except -1
    @cython.locals(ns=int64_t)
    cpdef bint reset(self, object seconds) except -1
    @cython.locals(due=int64_t)
    cpdef object open(self)
    @cython.locals(when=int64_t)
    cpdef object arm(self, int64_t ns)
    @cython.locals(was=bint)
    cpdef bint disarm(self) except -1
    @cython.locals(was=bint)
    cpdef bint rearm(self, int64_t ns) except -1

cdef class Ticker:
    cdef object __weakref__
    cdef RuntimeTimer rt
    cdef bint endless
    cdef readonly Chan c
    @cython.locals(was=bint)
    cpdef bint disarm(self) except -1
    @cython.locals(when=int64_t)
    cpdef object rearm(self, int64_t ns)

@cython.locals(timer=Timer)
cpdef Timer caller(tuple call)
cpdef object _abandoned(RuntimeTimer rt)
cpdef object stop_later(RuntimeTimer rt)
cdef bint drain(Chan chan) except -1
cdef int64_t deadline(int64_t ns) except -1
cpdef int64_t interval(object seconds, str what) except -1
cdef object state(RuntimeTimer rt, bint endless)
cpdef bint here() noexcept
