cimport cython
from libc.stdint cimport int64_t, uint64_t
from gopark.poll cimport quiet
from gopark.poll.fd_mutex cimport FDMutex
from gopark.runtime cimport _sys
from gopark.runtime cimport netpoll
from gopark.runtime cimport polldesc
from gopark.runtime cimport proc
from gopark.runtime.polldesc cimport PollDesc
from gopark.runtime.sema cimport WaitQ

cdef int _R
cdef int _W
cdef int _EINTR
cdef int _EAGAIN
cdef int _ECONNABORTED
cdef Py_ssize_t _MAX_READ
cdef int64_t _NEVER
cdef PollDesc _nobody
cdef FDMutex _closed

cdef class FD:
    cdef object __weakref__
    cdef readonly int sysfd
    cdef readonly signed char stream
    cdef readonly signed char is_socket
    cdef public signed char drained
    cdef public signed char trusting
    cdef public signed char owned
    cdef signed char held
    cdef readonly str net
    cdef readonly FDMutex fdmu
    cdef readonly PollDesc pd
    cdef WaitQ csema
    cdef object rawr
    cdef object raww
    cdef public object laddr
    cdef public object raddr
    cdef public bytes laddr_raw
    cdef public bytes raddr_raw
    cdef public uint64_t raddr4
    cpdef object init(self)
    cpdef object register(self)
    cpdef object readlock(self, str op)
    cpdef object readunlock(self)
    cpdef object writelock(self, str op)
    cpdef object writeunlock(self)
    cpdef object incref(self, str op)
    cpdef object decref(self)
    cpdef object prepare(self, int mode, str op)
    @cython.locals(code=int)
    cpdef object wait(self, int mode, str op)
    cpdef object close(self)
    cdef bint is_callers_own(self) except -1
    cpdef object finish_close(self)
    @cython.locals(fd=int)
    cdef object destroy(self)
    cpdef object read(self, Py_ssize_t n)
    @cython.locals(again=bint)
    cdef object read_after(self, Py_ssize_t n, int code)
    @cython.locals(got=Py_ssize_t)
    cdef object try_read(self, Py_ssize_t n, int code)
    cdef object prepare_read(self)
    @cython.locals(r=Py_ssize_t, size=Py_ssize_t)
    cpdef Py_ssize_t read_into(self, object buf) except -1
    cpdef FD accept(self, object laddr)
    @cython.locals(conn=FD)
    cdef FD accepted(self, int sysfd, bytes raddr_raw, object laddr)
    @cython.locals(total=Py_ssize_t, off=Py_ssize_t, r=Py_ssize_t, code=int)
    cpdef Py_ssize_t write(self, object data) except -1
    @cython.locals(done=Py_ssize_t, r=Py_ssize_t, i=Py_ssize_t, pending=list, code=int)
    cpdef Py_ssize_t writev(self, list bufs) except -1
    @cython.locals(err=int)
    cpdef object connect(self, object connect_ex, int64_t until=*, str op=*)
    cpdef object abort(self)
    cpdef object set_deadline(self, int64_t when, int mode)
