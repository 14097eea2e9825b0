# Threads are goroutines: what _thread does on the runtime's thread, and what Python keeps for each of them (tstate.h).
#
# threading.py stays the standard library's.  Every goroutine, also one of gopark.go, is a thread of its own to Python as long as the
# process is patched: it has an ident, its own threading.local, running asyncio loop, trace function.  Those that _thread has started
# are threads also at their end (what they raise is reported as a thread's) and at the program's (waited for, or left, as threads).
from cpython.ref cimport PyObject

import _thread as _thread_module
import threading as _threading
from types import MethodType as _MethodType

from gopark.runtime.g import GDEAD as _GDEAD
from gopark.runtime.g import GRUNNABLE as _GRUNNABLE
from gopark.runtime.g import Cancelled as _Cancelled
from gopark.runtime.g import Goexit as _Goexit
from gopark.runtime.p import ENDING as _ENDING_OBJECT

cdef extern from "rooms.h":
    ctypedef struct tstate_part:
        PyObject *async_exc
    void tstate_init(tstate_part *s)
    void tstate_save(void *ts, tstate_part *s)
    void tstate_swap(tstate_part *before, tstate_part *now, unsigned long ident)
    void tstate_begin()
    void tstate_clear()
    void tstate_drop(tstate_part *s)
    int tstate_trace(tstate_part *s, object set, object function) except -1
    void *method_replace(object fn, void *function) except NULL
    void method_restore_all()
    ctypedef struct PyTypeObject:
        pass
    PyTypeObject *handle_type
    void handle_watch(PyTypeObject *type)
    int handle_replace_ident(object descriptor, void *get) except -1
    void *handle_ident_before
    void handle_restore()
    void thread_report(object exc, object fn)

cdef extern from "Python.h":
    void *PyThreadState_Get()
    object PyContext_New()
    int PyArg_ParseTuple(object args, const char *format, ...) except 0
    int PyArg_ParseTupleAndKeywords(object args, PyObject *kwargs, const char *format, char **names, ...) except 0
    int PyArg_UnpackTuple(object args, const char *name, Py_ssize_t low, Py_ssize_t high, ...) except 0
    int PySys_Audit(const char *event, const char *format, ...) except -1
    int PyCallable_Check(PyObject *o)
    int PyTuple_Check(PyObject *o)
    int PyDict_Check(PyObject *o)
    void Py_XINCREF(PyObject *o)
    void Py_XDECREF(PyObject *o)
    PyTypeObject *Py_TYPE(object o)

ctypedef object (*_noargs)(object, PyObject *)
ctypedef object (*_oneobject)(object, object)
ctypedef object (*_keywords)(object, object, PyObject *)
ctypedef object (*_getter)(object, void *)


@cython.final
@cython.no_gc
cdef class ThreadPart:
    """What Python keeps for a thread, of one goroutine.  Goroutine.thread.

    The collector does not know it: it refers to nothing but its goroutine, until that has ended."""
    cdef tstate_part state
    cdef readonly bint started  # as a thread, by _thread
    cdef readonly bint daemon
    cdef bint done  # _ThreadHandle._set_done
    cdef Goroutine gp  # whose it is, if it is a thread
    cdef object sentinel  # up to 3.12: the lock that is released at its end

    def __cinit__(self):
        tstate_init(&self.state)

    def __dealloc__(self):
        tstate_drop(&self.state)

    @property
    def name(self):
        """The thread's name, if it is one of threading's.  (Dumps ask: no code of the program's runs.)"""
        fn = None if self.gp is None else self.gp.fn
        if type(fn) is _MethodType and isinstance(fn.__self__, _threading.Thread):
            name = object.__getattribute__(fn.__self__, "__dict__").get("_name")
            return str.__str__(name) if isinstance(name, str) else None
        return None


cdef int _ENDING = _ENDING_OBJECT
cdef int _RUNNABLE = _GRUNNABLE
cdef int _DEAD = _GDEAD
cdef ThreadPart loaded = None  # whose part the thread state has; None: not patched
cdef ThreadPart main_part = None  # the main goroutine's
cdef Py_ssize_t threads_alive = 0  # that _thread has started
cdef dict handles = {}  # address of a _thread._ThreadHandle -> ThreadPart


cdef ThreadPart part_of(Goroutine gp):
    """What Python keeps for *gp*; made when it first runs.  None: the scheduler's own stack, where the main goroutine's handlers
    run."""
    if gp is None:
        gp = _p.maing
        if gp is None:
            return main_part
    if gp.thread is None:
        gp.thread = main_part if gp is _p.maing else ThreadPart()
    return <ThreadPart>gp.thread


cdef void threads_switched(Goroutine gp) noexcept:
    """*gp* is about to run.  (It is called twice for one that begins, the second time on its stack.)"""
    global loaded
    cdef ThreadPart part
    if loaded is None:
        return
    try:
        part = part_of(gp)
    except MemoryError:
        part = main_part  # rather no identity of its own than no run
    if part is not loaded:
        tstate_swap(&loaded.state, &part.state, ident_of(gp))
        loaded = part


cdef void threads_ended(Goroutine gp) noexcept:
    """The running goroutine's function is over: what is the thread's goes, as at a thread's end."""
    global threads_alive
    cdef ThreadPart part = gp.thread
    if part is None or loaded is None:
        return
    gp.shield += 1
    try:
        if part.started:
            end_of_thread(gp)
        forget_dummy(ident_of(gp))
        tstate_clear()
        if part.sentinel is not None and part.sentinel.locked():
            part.sentinel.release()
        part.sentinel = None
    except BaseException as e:
        complain(e)
    finally:
        if part.started:
            threads_alive -= 1
        gp.shield -= 1
        gp.thread = None


cdef object end_of_thread(Goroutine gp):
    """What a thread has returned is dropped, and what it has raised is reported, unless threading has done so."""
    cdef object exc = gp.exc
    gp.value = gp.exc = None
    if exc is not None and not isinstance(exc, (SystemExit, _Cancelled)):
        thread_report(exc, gp.fn)


cdef object forget_dummy(unsigned long ident):
    """threading.current_thread() makes a Thread for whoever has none, and Python before 3.13 never forgets it.

    The last ones are kept for a while: who has started such a thread may still look it up."""
    if isinstance(_threading._active.get(ident), _threading._DummyThread):
        dummies.append(ident)
    while len(dummies) > _DUMMIES:
        ident = dummies.pop(0)
        thread = _threading._active.get(ident)
        if isinstance(thread, _threading._DummyThread):
            with _threading._active_limbo_lock:
                if _threading._active.get(ident) is thread:
                    del _threading._active[ident]


cdef list dummies = []  # idents of those that have ended
cdef int _DUMMIES = 64


# -- starting ----------------------------------------------------------------------------------------------------------------

cdef object _bootstrap = _threading.Thread._bootstrap


cdef bint starts_goroutine(object fn) except -1:
    """Is a thread that is to run *fn* a goroutine?  Not where none can run any more; nor are gopark's own threads, and those of other
    interpreters."""
    if not park_on or <unsigned long>_sys.thread_ident() != park_thread:
        return False
    if _p.thread == 0 or _p.state >= _ENDING or _p.curg is None or python_state() != PYTHON_HELD:
        return False
    if type(fn) is _MethodType and fn.__func__ is _bootstrap:
        return True
    module = getattr(fn, "__module__", None)
    return type(module) is not str or not module.startswith("gopark.runtime.")


cdef ThreadPart new_thread(object fn, object args, object kwargs, bint daemon):
    """A thread that is to call fn(*args, **kwargs): run_first starts it."""
    global threads_alive
    cdef ThreadPart part = ThreadPart()
    cdef Goroutine gp = Goroutine(fn, args if type(args) is tuple else tuple(args), dict(kwargs) if kwargs else None)
    gp.ctx = PyContext_New()  # a thread begins with none of its creator's
    gp.creator, gp.creator_lasti = creator()
    gp.parent_id = _p.curg.id
    gp.thread = part
    part.gp = gp
    part.started = True
    part.daemon = daemon
    threads_alive += 1
    gp.id = _p.nextid  # as in proc.newproc
    _p.nextid += 1
    _p.created += 1
    _p.allgs.add(gp)
    _p.tally.count(len(_p.allgs))
    return part


cdef object run_first(Goroutine gp):
    """Switch to *gp*, which is new: it runs until it first parks, or ends, and the running goroutine has the next turn.

    Whoever starts a thread waits until it runs (threading.Thread.start): so it need not wait."""
    cdef Goroutine me = _p.curg
    if me.status != _RUNNING:
        _p.enqueue(gp)
        return
    me.status = _RUNNABLE
    if _p.runnext is not None:
        _p.runq.push(_p.runnext)
    _p.runnext = me
    _p.schedtick += 1
    _sys.sysmon_tick(_p.schedtick)
    _p.since = _p.coarse = _sys.coarsetime()
    _p.lastid = gp.id
    _p.curg = gp
    if not _sys.is_current(me.stack):
        proc.guest(me)
    _sys.switch(_p.gogo())
    proc.resumed()
    me.status = _RUNNING


cdef object creator():
    """Where a thread is started: dumps show it, and not threading.Thread.start."""
    cdef object frame = _sys_module._getframe()
    if frame.f_code is _start_code and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


cdef object _start_code = _threading.Thread.start.__code__
cdef void *before_start = NULL
cdef void *before_joinable = NULL
cdef void *before_sentinel = NULL
cdef void *before_count = NULL
cdef void *before_report = NULL
cdef void *before_frames = NULL
cdef void *before_exceptions = NULL
cdef void *before_trace = NULL
cdef void *before_profile = NULL
cdef void *before_join = NULL
cdef void *before_done = NULL
cdef void *before_set_done = NULL
cdef void *before_shutdown = NULL


cdef object m_start_new_thread(object module, object args):
    cdef PyObject *fn
    cdef PyObject *a
    cdef PyObject *k = NULL
    cdef ThreadPart part
    if park_on and PyTuple_Check(<PyObject *>args) and 2 <= len(args) <= 3:
        PyArg_UnpackTuple(args, "start_new_thread", 2, 3, &fn, &a, &k)
        if PyCallable_Check(fn) and PyTuple_Check(a) and (k == NULL or PyDict_Check(k)) and starts_goroutine(<object>fn):
            PySys_Audit("_thread.start_new_thread", "OOO", fn, a, k if k != NULL else <PyObject *>None)
            part = new_thread(<object>fn, <object>a, <object>k if k != NULL else None, True)
            ident = ident_of(part.gp)
            run_first(part.gp)
            return ident
    return (<_oneobject>before_start)(module, args)  # it also says what is wrong


cdef object m_start_joinable_thread(object module, object args, PyObject *kwargs):
    cdef char **names = ["function", "handle", "daemon", NULL]
    cdef PyObject *fn
    cdef PyObject *h = <PyObject *>None
    cdef int daemon = 1
    cdef ThreadPart part
    if park_on:
        PyArg_ParseTupleAndKeywords(args, kwargs, "O|Op:start_joinable_thread", names, &fn, &h, &daemon)
        handle = <object>h
        if PyCallable_Check(fn) and (handle is None or Py_TYPE(handle) == handle_type) and starts_goroutine(<object>fn):
            PySys_Audit("_thread.start_joinable_thread", "OiO", fn, daemon, h)
            if handle is None:
                handle = _thread_module._ThreadHandle()
            elif <uintptr_t>h in handles or (<_getter>handle_ident_before)(handle, NULL) != 0:
                raise RuntimeError("thread already started")
            part = new_thread(<object>fn, (), None, daemon)
            handles[<uintptr_t><PyObject *>handle] = part
            run_first(part.gp)
            return handle
    return (<_keywords>before_joinable)(module, args, kwargs)


cdef object m_set_sentinel(object module, PyObject *unused):
    """Up to 3.12: the lock that a thread's end releases, which Thread.join waits for."""
    cdef ThreadPart part
    if python_other() or loaded is None or <unsigned long>_sys.thread_ident() != park_thread or _p.curg is None:
        return (<_noargs>before_sentinel)(module, unused)
    part = part_of(_p.curg)
    part.sentinel = _thread_module.allocate_lock()
    return part.sentinel


# -- what Python says of threads ---------------------------------------------------------------------------------------------

cdef object m_count(object module, PyObject *unused):
    return (<_noargs>before_count)(module, unused) - len(_blocking.idents) + threads_alive


cdef object m_excepthook(object module, object args):
    """threading.excepthook: a cancelled thread, and one that calls gopark.goexit, end in silence, as goroutines do."""
    if type(args) is _threading.ExceptHookArgs and args[0] in (_Cancelled, _Goexit):
        return None
    return (<_oneobject>before_report)(module, args)


cdef object m_current_frames(object module, PyObject *unused):
    frames = (<_noargs>before_frames)(module, unused)
    cdef Goroutine gp
    for gp in _p.allgs.copy():
        if gp.stack is not None and gp is not _p.curg:
            frame = gp.stack.gr_frame
            if frame is not None:
                frames[ident_of(gp)] = frame
    return frames


cdef object m_current_exceptions(object module, PyObject *unused):
    """Of those that do not run it is not known what they handle: None, as for who handles nothing."""
    found = (<_noargs>before_exceptions)(module, unused)
    cdef Goroutine gp
    for gp in _p.allgs.copy():
        if gp.stack is not None and gp is not _p.curg:
            found[ident_of(gp)] = None
    return found


cdef object set_all(object set_one, object function):
    """sys.settrace or setprofile for all goroutines but the running one, as if each called it."""
    cdef Goroutine gp
    cdef ThreadPart part
    for gp in _p.allgs.copy():
        if gp is not _p.curg:
            part = part_of(gp)
            if part is not loaded:
                tstate_trace(&part.state, set_one, function)


cdef object m_settraceallthreads(object module, object function):
    if loaded is not None and <unsigned long>_sys.thread_ident() == park_thread:
        set_all(_sys_module.settrace, function)
    return (<_oneobject>before_trace)(module, function)


cdef object m_setprofileallthreads(object module, object function):
    if loaded is not None and <unsigned long>_sys.thread_ident() == park_thread:
        set_all(_sys_module.setprofile, function)
    return (<_oneobject>before_profile)(module, function)


cdef int bridge_async "bridge_async" (unsigned long ident, PyObject *exc) noexcept:
    cdef Goroutine gp
    cdef ThreadPart part
    cdef PyObject *old
    try:
        for gp in _p.allgs.copy():
            if ident_of(gp) == ident:
                part = part_of(gp)
                if part is loaded:
                    return 0  # the thread state's own
                old = part.state.async_exc
                Py_XINCREF(exc)
                part.state.async_exc = exc
                Py_XDECREF(old)
                return 1
    except BaseException as e:
        complain(e)
    return 0


# -- _thread._ThreadHandle: CPython 3.13's -----------------------------------------------------------------------------------

cdef void bridge_handle_gone "bridge_handle_gone" (PyObject *handle) noexcept:
    if handles:
        try:
            handles.pop(<uintptr_t>handle, None)
        except BaseException as e:
            complain(e)


cdef ThreadPart handled(object handle):
    """The thread of *handle*; None: it is a native thread's, or nobody's."""
    if python_other():
        return None
    return handles.get(<uintptr_t><PyObject *>handle)


cdef bint is_over(ThreadPart part) except -1:
    return part.done or part.gp.status == _DEAD or part.gp.thread is None


cdef object m_handle_ident(object handle, void *unused):
    cdef ThreadPart part = handled(handle)
    return (<_getter>handle_ident_before)(handle, unused) if part is None else <unsigned long><void *>part.gp | 1


cdef object m_handle_is_done(object handle, PyObject *unused):
    cdef ThreadPart part = handled(handle)
    return (<_noargs>before_done)(handle, unused) if part is None else is_over(part)


cdef object m_handle_set_done(object handle, PyObject *unused):
    cdef ThreadPart part = handled(handle)
    if part is None:
        return (<_noargs>before_set_done)(handle, unused)
    part.done = True
    if part.gp.joinq is not None:
        (<WaitQ>part.gp.joinq).wake_all()


cdef object m_handle_join(object handle, object args):
    cdef ThreadPart part = handled(handle)
    cdef PyObject *timeout = <PyObject *>None
    PyArg_ParseTuple(args, "|O:join", &timeout)
    if part is None:
        return join_native(handle, args)
    seconds = None if timeout == <PyObject *>None or <object>timeout < 0 else <object>timeout
    if not is_over(part):
        if part.gp is _p.curg and <unsigned long>_sys.thread_ident() == park_thread:
            raise RuntimeError("Cannot join current thread")
        part.gp.join(seconds)


cdef object join_native(object handle, object args):
    """Its thread is waited for on a thread of the pool: it may need goroutines that go on meanwhile."""
    started = (<_getter>handle_ident_before)(handle, NULL)
    if not can_park() or started in (0, identity_main) or (<_noargs>before_done)(handle, NULL):
        return (<_oneobject>before_join)(handle, args)
    return _blocking.blocking(Before(handle, args))


cdef object m_shutdown(object module, PyObject *unused):
    """At exit: wait for all threads that are not daemons."""
    if python_other():
        return (<_noargs>before_shutdown)(module, unused)
    join_nondaemons()
    native = any(handled(t._handle) is None for t in _threading.enumerate() if not t.daemon and t is not _threading.main_thread())
    if native and can_park():
        return _blocking.blocking(Before(module, None))
    return (<_noargs>before_shutdown)(module, unused)


cdef object join_nondaemons():
    cdef Goroutine gp
    cdef ThreadPart part
    while can_park():
        for gp in _p.allgs.copy():
            part = gp.thread
            if part is not None and part.started and not part.daemon and not part.done and gp is not _p.curg:
                gp.join()
                break
        else:
            return


cdef class Before:
    """The original join of a handle, or the original _shutdown (args None), for the pool."""
    cdef object subject
    cdef object args

    def __init__(self, subject, args):
        self.subject = subject
        self.args = args

    def __call__(self):
        if self.args is None:
            return (<_noargs>before_shutdown)(self.subject, NULL)
        return (<_oneobject>before_join)(self.subject, self.args)


# -- patch and unpatch -------------------------------------------------------------------------------------------------------

cdef object m_get_main_thread_ident(object module, PyObject *unused):
    return identity_main


def threads_running() -> list[str]:
    """The names of the threads that are goroutines."""
    cdef Goroutine gp
    return [gp.name for gp in _p.allgs.copy() if gp.thread is not None and (<ThreadPart>gp.thread).started]


def threads_start() -> None:
    """Threads are goroutines from now on."""
    global loaded, main_part, before_start, before_joinable, before_sentinel, before_count, before_report, before_frames
    global before_exceptions, before_trace, before_profile, before_join, before_done, before_set_done, before_shutdown
    t = _thread_module
    s = _sys_module
    before_start = method_replace(t.start_new_thread, <void *>m_start_new_thread)
    method_replace(t.start_new, <void *>m_start_new_thread)
    before_count = method_replace(t._count, <void *>m_count)
    before_report = method_replace(t._excepthook, <void *>m_excepthook)
    before_frames = method_replace(s._current_frames, <void *>m_current_frames)
    before_exceptions = method_replace(s._current_exceptions, <void *>m_current_exceptions)
    if s.version_info >= (3, 12):
        before_trace = method_replace(s._settraceallthreads, <void *>m_settraceallthreads)
        before_profile = method_replace(s._setprofileallthreads, <void *>m_setprofileallthreads)
    if s.version_info >= (3, 13):
        before_joinable = method_replace(t.start_joinable_thread, <void *>m_start_joinable_thread)
        before_shutdown = method_replace(t._shutdown, <void *>m_shutdown)
        method_replace(t._get_main_thread_ident, <void *>m_get_main_thread_ident)
        kind = t._ThreadHandle
        before_join = method_replace(kind.__dict__["join"], <void *>m_handle_join)
        before_done = method_replace(kind.__dict__["is_done"], <void *>m_handle_is_done)
        before_set_done = method_replace(kind.__dict__["_set_done"], <void *>m_handle_set_done)
        handle_replace_ident(kind.__dict__["ident"], <void *>m_handle_ident)
        handle_watch(<PyTypeObject *><PyObject *>kind)
    else:
        before_sentinel = method_replace(t._set_sentinel, <void *>m_set_sentinel)
    main_part = loaded = ThreadPart()
    tstate_save(PyThreadState_Get(), &main_part.state)
    threads_switched(_p.curg)


def threads_stop() -> None:
    """Threads are threads again.  What goroutines have kept as threads is forgotten."""
    global loaded, main_part
    cdef Goroutine gp
    if loaded is not None:
        threads_switched(None)
        loaded = None
    for gp in _p.allgs.copy():
        gp.thread = None
    if main_part is not None:
        tstate_init(&main_part.state)  # the thread state owns it
    main_part = None
    handle_restore()
    method_restore_all()



cdef void threads_forked() noexcept:
    """In a forked child: who forked is the only thread, and the main one, with whatever it has as a thread."""
    global threads_alive
    cdef ThreadPart part
    if loaded is None:
        return
    part = None if _p.curg is None else _p.curg.thread
    threads_alive = 1 if part is not None and part.started else 0
    try:
        if part is not None and part is not main_part and before_set_done != NULL:
            main = _threading.main_thread()
            for thread in list(_threading._dangling):
                if type(thread) is _threading._MainThread and thread is not main:
                    (<_noargs>before_set_done)(thread._handle, NULL)
    except BaseException as e:
        complain(e)
