cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from gopark.runtime cimport _sys
from gopark.runtime cimport netpoll as netpoll_portable
from gopark.runtime cimport proc
from gopark.runtime._sys cimport EventBuffer
from gopark.runtime cimport polldesc
from gopark.runtime.g cimport GList
from gopark.runtime.polldesc cimport PollDesc

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
cdef int _epfd
cdef int _breakfd
cdef int _sigfd
cdef int _wakesig
cdef bint _busy
cdef EventBuffer _buffer
cdef uint64_t _polls
cdef uint64_t _events
cdef uint64_t _stale
cdef uint64_t _breaks

@cython.locals(epfd=int, breakfd=int, err=int)
cpdef object netpollinit()
@cython.locals(pd=PollDesc)
cpdef object netpollforked()
cpdef bint netpoll_is_poll_descriptor(int fd) noexcept
cpdef int netpollopen(int fd, PollDesc pd) noexcept
cpdef int netpollclose(int fd) noexcept
@cython.locals(err=int)
cpdef object netpollbreak()
@cython.locals(torun=GList, pd=PollDesc, n=int, i=int, data=uint64_t, mask=uint32_t, mode=int)
cpdef GList netpoll(int64_t delay)
