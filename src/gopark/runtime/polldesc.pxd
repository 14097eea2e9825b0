cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from gopark.runtime.g cimport GList, Goroutine, ParkLock
from gopark.runtime.timers cimport Timer

cdef object _READY
cdef object _WAIT
cdef int _R
cdef int _W
cdef Py_ssize_t netpoll_waiters
cdef PollCache pollcache
cdef PollDesc nobody

cdef class PollDesc(ParkLock):
    cdef readonly uint32_t index
    cdef readonly uint64_t gen
    cdef readonly int fd
    cdef readonly bint closing
    cdef public bint everr
    cdef public bint rhup
    cdef bint rtboth
    cdef object rg
    cdef object wg
    cdef readonly uint64_t rseq
    cdef readonly uint64_t wseq
    cdef readonly int64_t rd
    cdef readonly int64_t wd
    cdef Timer rt
    cdef Timer wt
    cdef PollDesc link
    cdef public object user
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object parkrefuse(self, int mode)
    cpdef bint readable_pending(self) noexcept

cdef class PollCache:
    cdef list table
    cdef PollDesc first
    cdef readonly Py_ssize_t free
    @cython.locals(block=list)
    cpdef PollDesc alloc(self)
    @cython.locals(pd=PollDesc, n=uint32_t)
    cdef object extend(self, list block)
    @cython.locals(pd=PollDesc)
    cdef PollDesc take(self)
    @cython.locals(pd=PollDesc)
    cpdef object after_fork(self)
    @cython.locals(pd=PollDesc)
    cpdef object operations_ended(self)
    cpdef object put(self, PollDesc pd)

cpdef object netpoll_adjust_waiters(Py_ssize_t delta)
cpdef Py_ssize_t waiters() noexcept
@cython.locals(gp=Goroutine)
cpdef object netpollready(GList torun, PollDesc pd, int mode)
cpdef Goroutine netpollunblock(PollDesc pd, int mode, bint ioready)
