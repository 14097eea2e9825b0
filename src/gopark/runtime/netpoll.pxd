cimport cython
from libc.stdint cimport int64_t, uint64_t, uint32_t
from gopark.runtime cimport _sys
from gopark.runtime cimport proc
from gopark.runtime cimport polldesc
from gopark.runtime.g cimport GList, Goroutine, ParkLock
from gopark.runtime.p cimport P
from gopark.runtime.polldesc cimport PollDesc
from gopark.runtime.poller cimport Poller
from gopark.runtime.timers cimport Timer, TimerHeap

cdef object _READY
cdef object _WAIT
cdef int _R
cdef int _W
cdef P _p
cdef object claim

@cython.locals(pd=PollDesc, err=int)
cpdef PollDesc poll_open(int fd)
cpdef object poll_close(PollDesc pd)
cpdef int poll_reset(PollDesc pd, int mode) noexcept
@cython.locals(err=int)
cpdef int poll_wait(PollDesc pd, int mode) except -1
cpdef object poll_wait_canceled(PollDesc pd, int mode)
@cython.locals(t=Timer, rd=int64_t, wd=int64_t, gen=uint64_t)
cpdef object poll_set_deadline(PollDesc pd, int64_t when, int mode)
@cython.locals(timers=TimerHeap, rt=Timer, wt=Timer, both=bint, both0=bint, rchanged=bint, wchanged=bint)
cdef object change_deadlines(PollDesc pd, int64_t rd, int64_t wd)
@cython.locals(rg=Goroutine, wg=Goroutine, rt=Timer, wt=Timer)
cpdef object poll_unblock(PollDesc pd)
cpdef int netpollcheckerr(PollDesc pd, int mode) noexcept
cpdef object netpollgoready(Goroutine gp=*)
cpdef bint netpollblock(PollDesc pd, int mode, bint waitio=*) except -1
cdef bint block_begin(PollDesc pd, int mode, bint waitio) except -1
cdef bint block_end(PollDesc pd, int mode) except -1
cpdef object netpolldeadlineimpl(PollDesc pd, uint64_t seq, bint read, bint write)
