cimport cython
from libc.stdint cimport int64_t
from gopark.poll.fd cimport FD
from gopark.runtime cimport _sys
from gopark.runtime cimport proc

cdef int _MODE_R
cdef int _MODE_W
cdef int _MODE_RW
cdef int64_t _NEVER
cdef FD _closed

cdef class Conn:
    cdef object __weakref__
    cdef readonly FD fd
    cdef readonly int64_t timeout
    cdef object arm(self, int mode)

cpdef Py_ssize_t size(object n, str what) except -1
cpdef int64_t deadline(object when) except? -2
