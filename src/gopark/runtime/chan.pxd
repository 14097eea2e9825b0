cimport cython
from libc.stdint cimport int64_t
from gopark.runtime cimport _sys
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine, ParkLock
from gopark.runtime.proc cimport P

cdef int _SEND
cdef int _RECV
cdef int _DONE
cdef int _CLOSED
cdef int64_t _NEVER
cdef Py_ssize_t _FREE_MAX
cdef Py_ssize_t _FIRST_SLOTS
cdef object _NOTHING
cdef object _ATEND
cdef P _p
cdef list _free

cdef class Sudog(ParkLock):
    cdef Chan c
    cdef int mode
    cdef object elem
    cdef int woken
    cdef Goroutine gp
    cdef object note
    cdef list group
    cdef Py_ssize_t index
    cdef SudogQ q
    cdef Sudog next
    cdef Sudog prev
    @cython.locals(c=Chan)
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    @cython.locals(c=Chan)
    cpdef object after_fork(self)
    @cython.locals(other=Sudog)
    cdef object wake(self, int how)

cdef class SudogQ:
    cdef Sudog head
    cdef Sudog tail
    cdef Py_ssize_t size
    cdef object push(self, Sudog sg)
    @cython.locals(before=Sudog, after=Sudog)
    cdef object remove(self, Sudog sg)

cdef class Chan:
    cdef object __weakref__
    cdef readonly Py_ssize_t cap
    cdef Py_ssize_t qcount
    cdef Py_ssize_t recvx
    cdef Py_ssize_t slots
    cdef list buf
    cdef readonly bint closed
    cdef SudogQ sendq
    cdef SudogQ recvq
    @cython.locals(sg=Sudog)
    cpdef object close(self)
    @cython.locals(q=SudogQ)
    cpdef object after_fork(self)
    @cython.locals(case=Case)
    cpdef Case on_recv(self)
    @cython.locals(case=Case)
    cpdef Case on_send(self, object value)
    cdef bint sendready(self) noexcept
    cdef bint recvready(self) noexcept
    @cython.locals(sg=Sudog, i=Py_ssize_t)
    cdef bint sendnow(self, object value) except -1
    @cython.locals(sg=Sudog, i=Py_ssize_t)
    cdef object recvnow(self)
    @cython.locals(wanted=Py_ssize_t, new=list, old=list, i=Py_ssize_t, n=Py_ssize_t)
    cdef object grow(self)
    @cython.locals(sg=Sudog, woken=int)
    cdef object sendwait(self, object value)
    @cython.locals(sg=Sudog, woken=int)
    cdef object recvwait(self)

cdef class Case:
    cdef Chan c
    cdef int mode
    cdef object elem

@cython.locals(sg=Sudog)
cdef Sudog acquire_sudog(Chan c, int mode, object elem)
cdef object release_sudog(Sudog sg)
cpdef object new_note()
cdef bint thread_park(ParkLock lock, int mode, object note, int64_t when) except -1
