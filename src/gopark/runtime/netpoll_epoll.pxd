cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from gopark.runtime cimport _sys
from gopark.runtime._sys cimport EventBuffer
from gopark.runtime cimport polldesc
from gopark.runtime.g cimport GList
from gopark.runtime.polldesc cimport PollDesc
from gopark.runtime.poller cimport Poller

cdef uint32_t EPOLLIN
cdef uint32_t EPOLLOUT
cdef uint32_t EPOLLRDHUP
cdef uint32_t EPOLLET
cdef uint32_t EPOLLERR
cdef uint32_t _READ
cdef uint32_t _WRITE
cdef uint32_t _GONE
cdef uint32_t _INTEREST
cdef uint64_t _BREAK
cdef uint64_t _SIGNAL
cdef uint64_t _INDEX
cdef int _EINTR
cdef int _EAGAIN

@cython.locals(moved=int)
cpdef int high(int fd) noexcept

cdef class EpollPoller(Poller):
    cdef readonly int epfd
    cdef readonly int breakfd
    cdef readonly int sigfd
    cdef int wakesig
    cdef bint busy
    cdef EventBuffer buffer
    cdef readonly bint lost
    @cython.locals(epfd=int, breakfd=int, err=int, pd=PollDesc)
    cpdef object netpollinit(self)
    cpdef object netpollforked(self)
    cdef object shut(self)
    cdef object recover(self)
    cpdef int netpollbreaker(self) except? -1
    cpdef int netpollsignal(self) except -1
    cpdef bint netpoll_is_poll_descriptor(self, int fd) except -1
    cpdef int netpollopen(self, int fd, PollDesc pd) except? -1
    @cython.locals(mask=uint32_t)
    cpdef int netpollrearm(self, int fd, PollDesc pd, int mode) except? -1
    cpdef int netpollclose(self, int fd) except? -1
    @cython.locals(err=int)
    cpdef object netpollbreak(self)
    @cython.locals(torun=GList, n=int, i=int, data=uint64_t)
    cpdef GList netpoll(self, int64_t delay)
    @cython.locals(pd=PollDesc, table=list, mode=int, index=uint64_t)
    cdef object deliver(self, GList torun, uint64_t data, uint32_t mask)
