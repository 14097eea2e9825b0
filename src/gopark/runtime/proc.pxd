cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime cimport _sys
from gopark.runtime cimport polldesc
from gopark.runtime.g cimport GList, Goroutine, ParkLock
from gopark.runtime.p cimport P
from gopark.runtime.timers cimport Timer, TimerHeap

cdef int _RUNNABLE
cdef int _RUNNING
cdef int _WAITING
cdef int _DEAD
cdef int _WOKEN
cdef int _TIMEDOUT
cdef int _CANCELLED
cdef int _RUNNING_P
cdef int _ENDING
cdef int _CLOSING
cdef int64_t _NEVER
cdef int64_t _NO_NS
cdef int _GFREE_MAX
cdef int _LATECOMERS
cdef object _Coroutine
cdef P _p
cdef SleepLock _sleeplock

cdef class SleepLock(ParkLock):
    pass


cdef object sleep_ns(int64_t ns)
cpdef int64_t nanotime() noexcept
cpdef P getp()
@cython.locals(ident=long)
cpdef bint foreign() except -1
cpdef bint elsewhere() noexcept
cpdef object later(object fn)
@cython.locals(gp=Goroutine)
cpdef Goroutine getg()
cpdef object gopark(ParkLock lock, int mode, str reason)
@cython.locals(p=P, gp=Goroutine, done=bint)
cdef bint park_commit(ParkLock lock, int mode, str reason, int64_t when) except -1
cdef object park_failed(Goroutine gp, ParkLock lock, int mode)
@cython.locals(gp=Goroutine)
cdef object park_end()
@cython.locals(p=P, gp=Goroutine)
cdef object resumed()
cdef object guest(Goroutine gp)
cdef Goroutine enter_to_park(ParkLock lock, int mode, str reason)
cpdef bint gopark_until(ParkLock lock, int mode, str reason, int64_t when) except -1
@cython.locals(gp=Goroutine)
cdef bint park_in_time() except -1
cpdef object park_timeout(Goroutine gp, uint64_t seq)
cpdef object interrupt(Goroutine gp, object exc)
@cython.locals(lock=ParkLock)
cdef object unpark(Goroutine gp, int how)
cpdef object on_p(object fn)
@cython.locals(p=P)
cpdef object goready(Goroutine gp)
@cython.locals(p=P, gp=Goroutine)
cpdef object gosched()
@cython.locals(p=P, gp=Goroutine)
cdef object yield_to(GList queue)
@cython.locals(now=int64_t)
cpdef int64_t deadline_after(int64_t ns) except -1
@cython.locals(fast=int64_t)
cpdef int64_t seconds_to_ns(object seconds, str what) except? -1
@cython.locals(p=P, gp=Goroutine, here=bint)
cpdef Goroutine newproc(object fn, tuple args, object kwargs)
cdef bint start_for_go(P p) except -1
@cython.locals(p=P, gp=Goroutine)
cdef bint begin_goroutine() except -1
@cython.locals(p=P, gp=Goroutine)
cdef object end_goroutine()
@cython.locals(p=P)
cdef object goexit0(Goroutine gp)
@cython.locals(p=P)
cpdef object g0_main()
@cython.locals(p=P)
cdef object g0_turn()
@cython.locals(p=P, gp=Goroutine)
cdef object stack_failed(object exc)
cdef object new_g0(object root)
@cython.locals(p=P, gp=Goroutine)
cdef object start_stack()
cdef Goroutine enter(str what)
cdef object exited(Goroutine gp)
cdef bint checkdead() except -1
