cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.runtime cimport _sys
from gopark.runtime cimport polldesc
from gopark.runtime cimport proc
from gopark.runtime.g cimport AllGs, GList, Goroutine, Hook
from gopark.runtime.poller cimport Poller
from gopark.runtime.tally cimport Tally
from gopark.runtime.timers cimport TimerHeap

cdef int _RUNNABLE
cdef int _RUNNING
cdef int _WAITING
cdef int _DEAD
cdef int _STOPPED
cdef int _UNDERWAY
cdef int _CLOSING
cdef int64_t _NEVER
cdef uint64_t _FAIR
cdef uint64_t _POLL_TICKS
cdef int64_t _POLL_NS
cdef int64_t _RECHECK_NS
cdef uint64_t _TRACK_TICKS
cdef int64_t _HOLD_NS
cdef int _ATTEND_MAX

cdef class P:
    cdef public long thread
    cdef public object g0
    cdef public Goroutine curg
    cdef public Goroutine maing
    cdef public Goroutine runnext
    cdef public uint64_t inherited
    cdef readonly GList runq
    cdef readonly GList globq
    cdef readonly GList preempted
    cdef readonly TimerHeap timers
    cdef public Poller poller
    cdef public list gfree
    cdef public bint handoff
    cdef public int state
    cdef public int forks
    cdef public int64_t watched
    cdef public int latecomers
    cdef public object graves
    cdef public Goroutine reaper
    cdef public object injected
    cdef public bint attention
    cdef public bint polling
    cdef readonly AllGs allgs
    cdef public uint64_t nextid
    cdef public Py_ssize_t external
    cdef readonly int64_t coarse
    cdef int64_t coarseres
    cdef public int64_t lastpoll
    cdef readonly uint64_t polltick
    cdef readonly uint64_t schedtick
    cdef readonly uint64_t parks
    cdef public uint64_t switches
    cdef public uint64_t landed
    cdef readonly uint64_t created
    cdef public uint64_t preemptions
    cdef public object ondrain
    cdef public Hook hook
    cdef public object outcome
    cdef readonly Tally tally
    cdef readonly int64_t since
    cdef readonly uint64_t lastid
    cdef Goroutine tracked
    cdef int64_t trackedat
    cdef readonly uint64_t tracktick
    @cython.locals(gp=Goroutine)
    cpdef Goroutine findrunnable(self)
    cdef object not_runnable(self, Goroutine gp)
    cpdef object track(self, Goroutine gp)
    cpdef object put(self, GList queue, Goroutine gp)
    @cython.locals(held=int64_t)
    cdef object hold(self)
    @cython.locals(gp=Goroutine)
    cdef object track_one(self, GList torun)
    cpdef object pollnow(self)
    @cython.locals(n=Py_ssize_t)
    cpdef object injectglist(self, GList torun)
    @cython.locals(first=int64_t, delay=int64_t, now=int64_t, signals=bint, forks=int)
    cdef bint block(self) except -1
    @cython.locals(forks=int)
    cdef object wait(self, int64_t delay)
    cpdef bint asleep(self) except -1
    cpdef object enqueue(self, Goroutine gp)
    cpdef object wake(self)
    cpdef Py_ssize_t runqsize(self) except -1
    cdef object rewatch(self, int64_t now)
    cdef bint signals(self) except -1
    cdef bint checkdead(self) except -1
    @cython.locals(forks=int)
    cdef object checksignals(self)
    cdef object runtimers(self, int64_t now)
    cpdef object uncaught(self, object exc)
    @cython.locals(gp=Goroutine)
    cpdef object preempt(self)
    cpdef object abandon(self, Goroutine gp)
    cpdef object gone(self, Goroutine gp)
    cdef object late(self, Goroutine gp)
    @cython.locals(reaper=Goroutine)
    cpdef bint bury(self, Goroutine gp) except -1
    cdef object tell_ended(self, Goroutine gp)
    cpdef object gcpoll(self)
    cpdef object begin(self, Goroutine main, object root)
    cpdef object advance(self, int state)
    @cython.locals(me=Goroutine)
    cpdef object end(self)
    cpdef object inject(self, object item)
    cpdef object attend_now(self)
    @cython.locals(n=int)
    cdef object attend(self)
    @cython.locals(gp=Goroutine)
    cdef object gogo(self)
    cdef object idle_stack(self)
