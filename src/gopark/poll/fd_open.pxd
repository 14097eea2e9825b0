cimport cython
from gopark.poll.fd cimport FD
from gopark.runtime cimport _sys

cdef int _STREAM

@cython.locals(sysfd=int)
cpdef FD open_socket(int family, str net, str prefix)
@cython.locals(first=FD)
cpdef tuple socket_pair(str prefix)
@cython.locals(fd=FD)
cpdef FD own(int sysfd, str net)
cpdef object register(FD fd, str prefix)
cpdef object take_over(FD fd, object sock, str prefix)
