cimport cython
from gopark.runtime cimport _sys
from gopark.runtime cimport proc
from gopark.runtime.g cimport Goroutine, ParkLock
from gopark.runtime.p cimport P

cdef int _PARKED
cdef int _NEW
cdef int _GATED
cdef int _QUEUED
cdef int _RUNNING
cdef int _OVER
cdef P _p
cdef Pool _pool

cdef class Queue:
    cdef Call head
    cdef Call tail
    cdef readonly Py_ssize_t size

cdef class Gate(Queue):
    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t running
    cdef Pool pool

cdef class Call(ParkLock):
    cdef Gate gate
    cdef object fn
    cdef tuple args
    cdef dict kwargs
    cdef object ctx
    cdef str what
    cdef int state
    cdef Call before
    cdef Call after
    cdef Goroutine gp
    cdef object lock
    cdef readonly long thread
    cdef object value
    cdef object exc
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cdef object run(self)
    cdef object drop(self)

cdef class Worker:
    cdef Pool pool
    cdef Py_ssize_t number
    cdef bint counted
    cdef object lock
    cdef Worker over
    cdef Worker under

cdef class Pool(Queue):
    cdef Worker top
    cdef readonly Py_ssize_t idle
    cdef readonly Py_ssize_t threads
    cdef Py_ssize_t started
    @cython.locals(gate=Gate, queue=Queue, state=int, last=Call, stale=Call, old=Pool, worker=Worker, under=Worker)
    cdef object enter(self, Call call)
    @cython.locals(gate=Gate, queue=Queue, state=int, before=Call, after=Call, last=Call, following=Call)
    cdef object leave(self, Call call, bint ran)
    @cython.locals(call=Call, after=Call, under=Worker)
    cdef Call take(self, Worker worker)
    @cython.locals(worker=Worker, under=Worker)
    cdef object rouse(self)
    @cython.locals(over=Worker, under=Worker)
    cdef bint retire(self, Worker worker) except -1
    cdef object submit(self, Call call)
    @cython.locals(worker=Worker)
    cdef object hire(self)
    @cython.locals(call=Call)
    cpdef object serve(self, Worker worker)
    cdef object staff(self)
    cdef object over(self, Call call)

cdef object _locked()
cdef bint idle(object lock) except -1
cdef object renew(Worker worker)
@cython.locals(gp=Goroutine, call=Call)
cdef object park(Gate gate, object fn, tuple args, dict kwargs)
@cython.locals(gp=Goroutine)
cdef object give_up(Call call)
@cython.locals(call=Call, pool=Pool)
cdef object wait_here(Gate gate, object fn, tuple args, dict kwargs)
