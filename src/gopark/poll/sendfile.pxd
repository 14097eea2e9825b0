cimport cython
from libc.stdint cimport int64_t
from gopark.poll.fd cimport FD
from gopark.runtime cimport _sys

cdef int _W

cdef class Source:
    cdef readonly int fd
    @cython.locals(fd=int)
    cpdef object close(self)
