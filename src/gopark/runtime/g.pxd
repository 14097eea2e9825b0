cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from gopark.runtime cimport _sys
from gopark.runtime.timers cimport Timer

cdef int _RUNNABLE
cdef int _WAITING
cdef int _DEAD
cdef object _bury
cdef object _rare
cdef object _is_tracked

cpdef object rare()

cdef class ParkLock:
    cpdef bint parkcommit(self, Goroutine gp, int mode) except -1
    cpdef bint parkcancel(self, Goroutine gp, int mode) except -1
    cpdef object parkrefuse(self, int mode)
    cpdef object after_fork(self)

cdef class Hook:
    cdef void switched(self, Goroutine gp) noexcept
    cdef void begun(self, Goroutine gp) noexcept
    cpdef unsigned long ident(self) except? 0
    cdef void attended(self) noexcept
    cdef void ended(self, Goroutine gp) noexcept

cdef class Goroutine:
    cdef object __weakref__
    cdef readonly uint64_t id
    cdef readonly signed char status
    cdef public signed char wake
    cdef public signed char parkmode
    cdef signed char guest
    cdef public signed char collected
    cdef public signed char forked
    cdef public int shield
    cdef public int nopreempt
    cdef readonly int creator_lasti
    cdef readonly uint32_t parkseq
    cdef Goroutine link
    cdef Goroutine waitprev
    cdef Goroutine allnext
    cdef Goroutine allprev
    cdef public object stack
    cdef public object fn
    cdef public tuple args
    cdef public dict kwargs
    cdef public object ctx
    cdef public str waitreason
    cdef readonly int64_t waitsince
    cdef readonly ParkLock parklock
    cdef int64_t waitval
    cdef Timer timer
    cdef public object pending
    cdef public object value
    cdef public object exc
    cdef public object joinq
    cdef public list watchers
    cdef public uint64_t parent_id
    cdef readonly object creator
    cdef public object label
    cdef public object thread
    cpdef object take_pending(self)

cdef class AllGs:
    cdef Goroutine head
    cdef readonly Py_ssize_t size
    @cython.locals(gp=Goroutine, out=list)
    cpdef list members(self)
    cpdef set copy(self)
    cpdef object add(self, Goroutine gp)
    @cython.locals(before=Goroutine, after=Goroutine)
    cpdef object discard(self, Goroutine gp)
    @cython.locals(gp=Goroutine)
    cpdef object clear(self)

cdef class GList:
    cdef Goroutine head
    cdef Goroutine tail
    cdef readonly Py_ssize_t size
    cpdef object push(self, Goroutine gp)
    @cython.locals(gp=Goroutine)
    cpdef Goroutine pop(self)
    cpdef object splice(self, GList other)
