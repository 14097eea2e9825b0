cimport cython

# Who runs the program's signal handlers.  CPython's promise is: the main thread does, and its blocking call ends with EINTR for that.
# Here the main goroutine is the main thread.  The interpreter looks for signals wherever Python runs, so each handler of the
# program's is installed inside a Deferred, which calls it if it is the main goroutine that runs, and else notes it:
#
#   the main goroutine is parked in a hooked call     that ends with EINTR; CPython looks for signals and finds ours, and goes on
#   it is runnable                                    it looks when it runs again (signals_switched)
#   it is parked in a wait of gopark's own            which cannot be ended and gone on with: a goroutine of its own calls the
#                                                     handler, and what that raises is raised in the main one
#
# What is noted is run by SIGURG's handler.  (To mark the program's signal once more would be one more byte for its wake-up
# descriptor.)  The runtime's own handlers may run anywhere, and the program does not see them.
import _signal as _c_signal
from gopark.runtime import handlers as _handlers
from gopark.runtime import interrupts as _interrupts

cdef extern from "rooms.h" nogil:
    int park_main
    object signals_raw_set(object signum, object handler)
    object signals_raw_get(object signum)
    object signals_raw_wakeup(object args, object kwargs)
    int signals_replace(object set, object get, object wakeup) except -1
    void method_restore_all()

cdef bint signals_due = False  # something is noted
cdef dict noted = {}  # signum -> Deferred, to be called by the main goroutine
cdef object urgent = _c_signal.SIG_DFL  # the program's action for SIGURG, if it is no function
cdef int main_deaf = 0  # its hooked call is not to be ended by a signal


class _Due(BaseException):
    """What ends the park of the main goroutine when it has handlers to run.  Nobody sees it raised."""


_due = _Due()


@cython.final
cdef class Deferred:
    """The program's handler of a signal, called in the main goroutine."""
    cdef object handler

    def __call__(self, signum, frame):
        if _p.maing is None or _p.curg is _p.maing:
            self.handler(signum, frame)
        else:
            note(self, signum)

    def __repr__(self):
        return f"<gopark: {self.handler!r} in the main goroutine>"


cdef object note(Deferred what, object signum):
    global signals_due
    cdef Goroutine main = _p.maing
    if not park_main and main.status == _WAITING:
        gp = proc.newproc(run_for_main, (what.handler, signum), None)
        (<Goroutine>gp).shield += 1  # it begins, also if the run is about to end
        (<Goroutine>gp).label = "signal handler"
        return
    noted[signum] = what
    signals_due = True
    if park_main and not main_deaf and main.status == _WAITING and main.shield == 0 and main.pending is None:
        proc.interrupt(main, _due)


def run_for_main(handler, signum):
    """The main goroutine waits for something of gopark's."""
    main = _p.maing
    try:
        handler(signum, getattr(main.stack, "gr_frame", None) if main is not None else None)
    except BaseException as e:
        if main is None:
            raise
        proc.interrupt(main, e)


cdef inline void signals_switched(Goroutine gp) noexcept:
    """*gp* runs again.  Ctrl-C that came while it was runnable does not wait until it parks next: it has no park, perhaps."""
    if gp is _p.maing and (signals_due or gp.pending is not None):
        PyErr_SetInterruptEx(_SIGURG)


cdef object run_noted():
    """In SIGURG's handler: the main goroutine calls what was noted for it."""
    global signals_due
    while noted and _p.curg is _p.maing:
        signum, what = noted.popitem()
        try:
            (<Deferred>what).handler(signum, None)
        except BaseException:
            if noted:
                PyErr_SetInterruptEx(_SIGURG)
            raise
    signals_due = len(noted) > 0


# -- what the program sees -----------------------------------------------------------------------------------------------------------

cdef bint is_ours(object handler):
    """One of the runtime's."""
    if type(handler) is Deferred or not callable(handler):
        return False
    module = getattr(handler, "__module__", None) or type(handler).__module__
    return str(module).startswith("gopark.")


cdef object shown(object signum, object handler):
    """What the program has installed, where *handler* is."""
    if type(handler) is Deferred:
        return (<Deferred>handler).handler
    if handler is _interrupts.on_sigint:
        return _c_signal.default_int_handler
    if handler is _sysmon._handler:
        before = _sysmon._previous
        return shown(signum, before) if before is not None else urgent
    if is_ours(handler) and str(getattr(handler, "__module__", "")).startswith("gopark.runtime."):
        return _c_signal.SIG_DFL
    return handler


cdef object wrapped(object handler):
    cdef Deferred what
    if not callable(handler) or type(handler) is Deferred or is_ours(handler):
        return handler
    what = Deferred()
    what.handler = handler
    return what


cdef object refuse_thread(str what):
    """As CPython does, for a goroutine that is a thread."""
    if _p.curg is not None and _p.curg is not _p.maing and loaded is not None and loaded.started:
        raise ValueError(f"{what} only works in main thread of the main interpreter")


cdef object signals_set "signals_set" (object signum, object handler):
    global urgent
    cdef object before
    refuse_thread("signal")
    if signum == _SIGURG and _sysmon.chained() and not is_ours(handler):
        before = shown(signum, _sysmon._handler)
        if callable(handler) or (type(handler) is int and 0 <= handler <= 1):
            _sysmon.chain(wrapped(handler) if callable(handler) else None)
            urgent = handler
            return before
    if signum == _signal.SIGINT and handler is _c_signal.default_int_handler and _p.maing is not None:
        before = shown(signum, signals_raw_get(signum))
        signals_raw_set(signum, handler)
        _interrupts.watch_sigint()
        return before
    return shown(signum, signals_raw_set(signum, wrapped(handler)))


cdef object signals_get "signals_get" (object signum):
    return shown(signum, signals_raw_get(signum))


cdef object signals_wakeup "signals_wakeup" (object args, object kwargs):
    """The runtime has a descriptor there whenever the program has none."""
    refuse_thread("set_wakeup_fd")
    before = signals_raw_wakeup(args, kwargs)
    if args and args[0] == -1:
        _interrupts.rewatch_signals()
    return -1 if before == _interrupts._wakeup_fd else before


def _raw_install(signum, handler):
    return signals_raw_set(signum, handler)


def _raw_installed(signum):
    return signals_raw_get(signum)


def signals_start() -> None:
    """From now on the main goroutine runs the program's handlers, also those that are installed already."""
    signals_replace(_c_signal.signal, _c_signal.getsignal, _c_signal.set_wakeup_fd)
    _handlers.install, _handlers.installed = _raw_install, _raw_installed
    for signum in _signal.valid_signals():
        rewrap(int(signum), True)


def signals_stop() -> None:
    """Every handler as the program has installed it."""
    if _handlers.install is not _raw_install:
        return
    for signum in _signal.valid_signals():
        rewrap(int(signum), False)
    method_restore_all()
    _handlers.install, _handlers.installed = _c_signal.signal, _c_signal.getsignal


cdef object rewrap(int signum, bint wrap):
    """Exchange a handler for its Deferred, or back.  (Like signal.signal it makes the signal interrupt system calls.)"""
    handler = signals_raw_get(signum)
    if not wrap and type(handler) is Deferred:
        signals_raw_set(signum, (<Deferred>handler).handler)
    elif wrap and wrapped(handler) is not handler and handler is not _c_signal.default_int_handler:
        signals_raw_set(signum, wrapped(handler))
