# The runtime's side of park.h.  Everything here is called with the GIL, and nothing lets an exception out.
#
# A park that ends with an exception (the goroutine was cancelled, or is the main one at Ctrl-C) ends the call with EINTR.  CPython
# then runs PyErr_CheckSignals, which calls SIGURG's handler, which is ours and raises it (raise_kept).  A C library that goes on
# after EINTR parks again; the exception waits until the library has returned to Python.
from gopark.runtime cimport _sys, proc
from gopark.runtime.g cimport Goroutine
from gopark.runtime.p cimport P

import signal as _signal
import sys as _sys_module

from gopark.runtime import _sys as _sys_module_
from gopark.runtime import blocking as _blocking
from gopark.runtime import g as _g
from gopark.runtime import sysmon as _sysmon
from gopark.runtime.g import Cancelled

cdef extern from "rooms.h" nogil:
    int PARK_CANNOT, PARK_READY, PARK_TIMEOUT, PARK_EINTR
    int park_on
    long park_parks, park_refused
    unsigned long park_thread
    void *park_tstate
    int PYTHON_HELD
    int python_state()
    bint python_other()
    int64_t monotonic_ns()

cdef extern from "Python.h":
    int PyErr_SetInterruptEx(int signum)

cdef P _p = proc.getp()
cdef int _RUNNING = _g.GRUNNING
cdef int _WAITING = _g.GWAITING
cdef int _SIGURG = _signal.SIGURG
cdef dict kept = {}  # goroutine -> the exception that ended its park, and that nobody has raised yet


cdef bint can_park() noexcept:
    """Can the running goroutine be parked here?"""
    cdef Goroutine gp = _p.curg
    return gp is not None and gp.status == _RUNNING and _sys.thread_ident() == _p.thread and python_state() == PYTHON_HELD


cdef int bridge_main "bridge_main" () noexcept:
    return _p.curg is _p.maing and _p.curg is not None


cdef int keep(object exc) noexcept:
    """A park has ended with *exc*."""
    try:
        if exc is not _due:
            kept[_p.curg] = exc
        PyErr_SetInterruptEx(_SIGURG)
    except BaseException as e:
        complain(e)
    return PARK_EINTR


cdef int bridge_kept "bridge_kept" () noexcept:
    return _p.curg in kept


def raise_kept() -> None:
    """In SIGURG's handler: raise what the running goroutine's last hooked call was ended by.  Handlers of signals that wait for the
    main goroutine run here, too."""
    exc = kept.pop(_p.curg, None)
    if exc is not None:
        raise exc
    if signals_due:
        run_noted()
    gp = _p.curg
    if gp is not None and gp is _p.maing and gp.pending is not None and gp.pending is not _due and gp.shield == 0:
        if not isinstance(gp.pending, Cancelled):
            raise gp.take_pending()


cdef void resumed() noexcept:
    """A hooked call has parked; what ended an earlier one may still have to be raised: others' code has run since."""
    if signals_due and _p.maing is not None and _p.maing.pending is _due and _p.curg is _p.maing:
        _p.maing.pending = None  # it was woken before that could end its park
    signals_switched(_p.curg)
    if kept and _p.curg in kept:
        try:
            PyErr_SetInterruptEx(_SIGURG)
        except BaseException as e:
            complain(e)


cdef void complain(object exc) noexcept:
    """Nobody is there to raise it to."""
    try:
        _sys_module.excepthook(type(exc), exc, exc.__traceback__)
    except BaseException:
        pass


cdef int bridge_until "bridge_until" (int64_t deadline) noexcept:
    if not can_park():
        return PARK_CANNOT
    try:
        if deadline <= monotonic_ns():
            proc.gosched()
        else:
            proc.gopark_until(proc._sleeplock, 0, "sleep", deadline)
        resumed()
        return PARK_READY
    except BaseException as e:
        return keep(e)


cdef class Native:
    """A C function and its argument."""
    cdef void (*fn)(void *) noexcept nogil
    cdef void *arg

    def __call__(self):
        with nogil:
            self.fn(self.arg)


cdef int bridge_call "bridge_call" (void (*fn)(void *) noexcept nogil, void *arg) noexcept:
    cdef Native call
    cdef Goroutine gp = _p.curg
    if not can_park():
        return PARK_CANNOT
    try:
        call = Native()
        call.fn = fn
        call.arg = arg
        gp.shield += 1  # the caller takes what arg holds when it has run
        try:
            _blocking.blocking(call)
        finally:
            gp.shield -= 1
        resumed()
        return PARK_READY
    except BaseException as e:
        complain(e)
        return PARK_CANNOT


def bridge_start() -> None:
    """Hooks park from now on, on this thread."""
    global park_on, park_thread, park_tstate
    park_thread = <unsigned long>_sys.thread_ident()
    park_tstate = PyThreadState_Get()
    if not _sysmon.chained():
        _sysmon.install()
    _sys_module_.preempt_raiser(raise_kept)
    park_on = 1


def bridge_stop() -> None:
    """Hooks are the real calls again."""
    global park_on
    park_on = 0
    _sys_module_.preempt_raiser(None)


def counters() -> dict[str, int]:
    """How many hooked calls have parked, and how many could not and blocked."""
    return {"parks": park_parks, "refused": park_refused}
