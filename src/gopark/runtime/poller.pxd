from libc.stdint cimport int64_t, uint64_t
from gopark.runtime.g cimport GList
from gopark.runtime.polldesc cimport PollDesc

cdef class Poller:
    cdef readonly bint inited
    cdef public bint signalled
    cdef readonly uint64_t polls
    cdef readonly uint64_t events
    cdef readonly uint64_t stale
    cdef readonly uint64_t breaks
    cdef GList torun
    cdef GList nothing
    cpdef object netpollinit(self)
    cpdef int netpollopen(self, int fd, PollDesc pd) except? -1
    cpdef int netpollrearm(self, int fd, PollDesc pd, int mode) except? -1
    cpdef int netpollclose(self, int fd) except? -1
    cpdef object netpollbreak(self)
    cpdef int netpollbreaker(self) except? -1
    cpdef int netpollsignal(self) except -1
    cpdef bint netpoll_is_poll_descriptor(self, int fd) except -1
    cpdef object netpollforked(self)
    cpdef GList netpoll(self, int64_t delay)
