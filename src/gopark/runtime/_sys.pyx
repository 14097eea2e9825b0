# What only C can say: system calls that return a negative errno instead of raising, epoll with its 64-bit data and
# nanosecond timeouts, greenlet's C API, contexts.  No policy lives here: no scheduler, no descriptors' state.
#
# The GIL: a call that cannot block keeps it (releasing it would invite another thread to hold it for 5 ms); only
# EventBuffer.wait with a non-zero delay releases it.
cimport cython
from cpython.object cimport PyObject
from libc.errno cimport EINVAL, ENOSYS, EPERM, errno

IS_COMPILED = True

cdef extern from "_sys.h":
    bint gopark_is_async(object fn)
    ctypedef struct sigset_t:
        pass
    int CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, EFD_CLOEXEC, EFD_NONBLOCK
    int64_t gopark_clock(int c) nogil
    int64_t gopark_coarseres() nogil
    int gopark_epoll_pwait2(int epfd, epoll_event *ev, int n, int64_t ns, const sigset_t *mask) nogil
    int gopark_epoll_pwait2_exact(int epfd, epoll_event *ev, int n, int64_t ns) nogil
    int c_epoll_create "epoll_create"(int size) nogil
    int c_epoll_create1 "epoll_create1"(int flags) nogil
    int c_epoll_ctl "epoll_ctl"(int epfd, int op, int fd, epoll_event *ev) nogil
    int c_epoll_wait "epoll_wait"(int epfd, epoll_event *ev, int n, int timeout) nogil
    int c_epoll_pwait "epoll_pwait"(int epfd, epoll_event *ev, int n, int timeout, const sigset_t *mask) nogil
    int c_eventfd "eventfd"(unsigned int v, int flags) nogil
    int sigemptyset(sigset_t *s) nogil
    int sigaddset(sigset_t *s, int sig) nogil
    unsigned long pthread_self() nogil
    Py_ssize_t c_read "read"(int fd, void *buf, size_t n) nogil
    Py_ssize_t c_write "write"(int fd, const void *buf, size_t n) nogil

cdef extern from "_sysmon.h" nogil:
    void gopark_sysmon_risk(int begins) nogil
    ctypedef struct gopark_sysmon_t:
        int started
        uint64_t tick
        int64_t polled
        int running
        int requested
        int preempt
        int64_t slice
        uint64_t rounds
        uint64_t requests
        int collecting
    gopark_sysmon_t gopark_sysmon
    void gopark_sysmon_resumed()
    int gopark_sysmon_start()
    void gopark_sysmon_stop()
    void gopark_sysmon_forked()
    int gopark_blocked_wanted "gopark_blocked.wanted"
    int gopark_blocked_ready "gopark_blocked.ready"
    long gopark_blocked_number "gopark_blocked.call"
    const char *gopark_blocked_library "gopark_blocked.library"
    const char *gopark_blocked_call(long number)
    int gopark_blocked_take(int64_t *ns, int *gone)
    void gopark_preempt_postpone()

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyErr_CheckSignals() except -1
    int PyObject_GC_IsTracked(object obj)
    int PyObject_IS_GC(object obj)
    void PyObject_GC_UnTrack(void *obj)
    void PyObject_GC_Track(void *obj)
    ctypedef struct PyThreadState:
        pass
    ctypedef struct PyInterpreterState:
        pass
    PyInterpreterState *PyInterpreterState_Get()
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *interp)
    PyThreadState *PyThreadState_Next(PyThreadState *state)
    void gopark_instruction(object frame, int *plain, int *actual)
    int gopark_tracing()
    int gopark_room()
    PyObject *gopark_local(object frame, object name)
    object gopark_take_exception()
    object gopark_outcome(object ctx, object fn, object args, PyObject *kwargs, int *raised)
    ctypedef struct PyFrameObject:
        pass
    PyFrameObject *PyEval_GetFrame()
    object gopark_frame_code(PyFrameObject *frame)
    int PyFrame_GetLasti(PyFrameObject *frame)
    int _PyBytes_Resize(PyObject **b, Py_ssize_t n) except -1

cdef extern from "greenlet/greenlet.h":
    ctypedef struct PyGreenlet:
        pass
    PyGreenlet *PyGreenlet_New(PyObject *run, PyGreenlet *parent)
    PyGreenlet *PyGreenlet_GetCurrent()
    PyObject *PyGreenlet_Switch(PyGreenlet *g, PyObject *args, PyObject *kwargs)
    void PyGreenlet_Import()

cdef extern from "Python.h":
    void Py_DECREF(PyObject *o)
    void Py_XDECREF(PyObject *o)
    void Py_INCREF(PyObject *o)

PyGreenlet_Import()


# -- the seam ----------------------------------------------------------------------------------------------------------

cdef object kernel = None


def use_kernel(other):
    """The clock and the system calls on descriptors from now on: the methods of *other*, named and called as the functions
    below that look at `kernel` first; None: the real ones.  Returns what was in use.

    For a simulation.  On the real path it costs a comparison of two pointers."""
    global kernel
    before, kernel = kernel, other
    return before


# -- clocks and threads ------------------------------------------------------------------------------------------------

cpdef int64_t nanotime() noexcept:
    """CLOCK_MONOTONIC in nanoseconds."""
    if kernel is not None:
        return kernel.nanotime()
    return gopark_clock(CLOCK_MONOTONIC)


cpdef int64_t coarsetime() noexcept:
    """CLOCK_MONOTONIC_COARSE in nanoseconds: a quarter of the price, behind nanotime by at most coarseres()."""
    if kernel is not None:
        return kernel.coarsetime()
    return gopark_clock(CLOCK_MONOTONIC_COARSE)


cpdef int64_t coarseres() noexcept:
    """How far coarsetime() may lag behind nanotime(), in nanoseconds."""
    return gopark_coarseres()


cpdef long thread_ident() noexcept:
    """The OS thread, whoever Python is made to believe that it is (hook/identity.h)."""
    return <long>pthread_self()


# -- epoll -------------------------------------------------------------------------------------------------------------

cdef bint have_pwait2 = True


cdef inline int ms_ceil(int64_t ns) noexcept nogil:
    # Rounded up: a wait that ends early would find its timer not yet expired and spin.
    if ns < 0:
        return -1
    if ns > <int64_t>2147483647 * 1000000:
        return 2147483647
    return <int>((ns + 999999) // 1000000)


@cython.final
cdef class EventBuffer:
    """Room for the 128 events that one netpoll may deliver."""

    cpdef int wait(self, int epfd, int64_t delay) except? -1:
        """epoll_wait into the buffer.  *delay* in ns: 0 polls (and keeps the GIL), < 0 blocks, > 0 waits that long.

        Returns the number of events, or a negative errno."""
        global have_pwait2
        cdef int n, err = 0
        if delay == 0:
            n = c_epoll_wait(epfd, self.ev, 128, 0)
            return n if n >= 0 else -errno
        with nogil:
            if delay > 0 and have_pwait2:
                n = gopark_epoll_pwait2_exact(epfd, self.ev, 128, delay)
                if n < 0 and (errno == ENOSYS or errno == EPERM):
                    # An old kernel, or a sandbox that refuses the new call: milliseconds then, for good.
                    have_pwait2 = False
                    n = c_epoll_wait(epfd, self.ev, 128, ms_ceil(delay))
            else:
                n = c_epoll_wait(epfd, self.ev, 128, ms_ceil(delay))
            if n < 0:
                err = errno
        return n if n >= 0 else -err

    cdef uint32_t mask(self, int i) noexcept:
        return self.ev[i].events

    cdef uint64_t data(self, int i) noexcept:
        return self.ev[i].data.u64


cpdef int epoll_create(int size) noexcept:
    cdef int r = c_epoll_create(size)
    return r if r >= 0 else -errno


cpdef int epoll_create1(int flags) noexcept:
    cdef int r = c_epoll_create1(flags)
    return r if r >= 0 else -errno


cpdef int epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data) noexcept:
    cdef epoll_event ev
    ev.events = events
    ev.data.u64 = data
    return 0 if c_epoll_ctl(epfd, op, fd, &ev) == 0 else -errno


cdef int fill_sigset(sigset_t *s, object signals) except -1:
    sigemptyset(s)
    for sig in signals:
        if sigaddset(s, <int>sig) != 0:
            return EINVAL
    return 0


def epoll_wait_raw(int epfd, int maxevents, int64_t timeout_ns, sigmask, bint nanoseconds):
    """epoll_wait, epoll_pwait (*sigmask* not None) or epoll_pwait2 (*nanoseconds*): a list of (events, data), or errno."""
    cdef epoll_event *ev
    cdef sigset_t mask
    cdef sigset_t *pmask = NULL
    cdef int n, err = 0, ms
    if maxevents <= 0:
        return EINVAL
    if sigmask is not None:
        err = fill_sigset(&mask, sigmask)
        if err:
            return err
        pmask = &mask
    room = bytearray(maxevents * sizeof(epoll_event))
    ev = <epoll_event *><char *>room
    ms = ms_ceil(timeout_ns)
    with nogil:
        if nanoseconds:
            n = gopark_epoll_pwait2(epfd, ev, maxevents, timeout_ns, pmask)
        elif pmask != NULL:
            n = c_epoll_pwait(epfd, ev, maxevents, ms, pmask)
        else:
            n = c_epoll_wait(epfd, ev, maxevents, ms)
        if n < 0:
            err = errno
    if n < 0:
        return err
    return [(ev[i].events, ev[i].data.u64) for i in range(n)]


cpdef int eventfd() noexcept:
    cdef int r = c_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    return r if r >= 0 else -errno


cpdef int eventfd_write(int fd) noexcept:
    cdef uint64_t one = 1
    return 0 if c_write(fd, &one, 8) == 8 else -errno


cpdef int eventfd_drain(int fd) noexcept:
    cdef uint64_t n
    return 0 if c_read(fd, &n, 8) == 8 else -errno


include "_sys_fd.pxi"


# -- greenlets, contexts, signals --------------------------------------------------------------------------------------

cdef object steal(PyGreenlet *g):
    # A new reference from greenlet's API, or NULL with an exception set.
    if g == NULL:
        propagate()
    cdef object r = <object><PyObject *>g
    Py_DECREF(<PyObject *>g)
    return r


cdef int propagate() except -1:
    return -1  # the exception that the API set goes on


cpdef object new_greenlet(object run, object parent):
    return steal(PyGreenlet_New(<PyObject *>run, <PyGreenlet *><PyObject *>parent))


cpdef object getcurrent():
    return steal(PyGreenlet_GetCurrent())


cpdef bint is_current(object g) noexcept:
    """Is *g* the greenlet that runs?"""
    cdef PyGreenlet *current = PyGreenlet_GetCurrent()
    Py_XDECREF(<PyObject *>current)  # its thread holds it
    return <PyObject *>current == <PyObject *>g


cpdef int switch(object g) except -1:
    """Switch to *g*; returns when somebody switches back, whatever it passed."""
    cdef PyObject *r = PyGreenlet_Switch(<PyGreenlet *><PyObject *>g, NULL, NULL)
    if r == NULL:
        return -1
    Py_DECREF(r)
    return 0


cpdef object copy_context():
    return PyContext_CopyCurrent()


@cython.final
cdef class Raised:
    """What a function raised."""


cpdef object take_exception():
    """The exception that is set, which is set no more.  For who has called a function that leaves it set (poll/quiet.pxd)."""
    return gopark_take_exception()


cdef object make_raised(object exc):
    cdef Raised r = Raised()
    r.exc = exc
    return r


cpdef object outcome(object ctx, object fn, tuple args, dict kwargs):
    """fn(*args, **kwargs) with *ctx* as the current context: what it returned, or a Raised of what it raised."""
    cdef int raised = 0
    cdef object r = gopark_outcome(ctx, fn, args, <PyObject *>kwargs if kwargs is not None else NULL, &raised)
    return make_raised(r) if raised else r


cpdef object untrack(object obj):
    """Take *obj* out of the garbage collector's care: for what is never freed, or not part of a cycle."""
    if PyObject_GC_IsTracked(obj):
        PyObject_GC_UnTrack(<void *>obj)


cpdef object track(object obj):
    """Give *obj* into the garbage collector's care again."""
    if PyObject_IS_GC(obj) and not PyObject_GC_IsTracked(obj):
        PyObject_GC_Track(<void *>obj)


@cython.final
@cython.no_gc
cdef class Finalizer:
    """Calls fn(arg) when it is destroyed.  The collector does not know it (it must know whatever else has a finalizer), so
    *fn* and *arg* must not lead back to it."""

    cdef object fn
    cdef object arg

    def __cinit__(self, fn, arg):
        self.fn = fn
        self.arg = arg

    def __del__(self):
        self.fn(self.arg)


def thread_states() -> int:
    """How many threads Python knows of, also those that have not begun to run, or run none of its code."""
    cdef int n = 0
    cdef PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    while state != NULL:
        n += 1
        state = PyThreadState_Next(state)
    return n


cpdef bint is_async(fn):
    """Is *fn* an `async def`, or a method that is one?"""
    return gopark_is_async(fn)


def immortalize(obj) -> None:
    """One reference that is never given back."""
    Py_INCREF(<PyObject *>obj)


cpdef object caller_code():
    """The code object of the innermost Python frame; None if there is none."""
    cdef PyFrameObject *frame = PyEval_GetFrame()
    return None if frame == NULL else gopark_frame_code(frame)


cpdef int caller_lasti() except -2:
    """The instruction that it is at, as an offset in its code; -1 if there is none."""
    cdef PyFrameObject *frame = PyEval_GetFrame()
    return -1 if frame == NULL else PyFrame_GetLasti(frame)


def measure_headroom() -> None:
    """Nothing to do: see headroom in _sys.pxd."""


cpdef int check_signals() except -1:
    """Run the Python signal handlers that are due (main thread only); raises what they raise."""
    PyErr_CheckSignals()
    return 0


# -- sysmon: the P's side, and the controls ----------------------------------------------------------------------------

cdef void sysmon_tick(uint64_t tick) noexcept:
    gopark_sysmon.tick = tick


cdef void sysmon_blocking() noexcept:
    gopark_sysmon.running = 0


cdef void sysmon_resumed() noexcept:
    gopark_sysmon_resumed()


cpdef int sysmon_take_request() noexcept:
    """The preemption handler asks: was it sysmon that sent the signal?  0: no; 1: yes; 2: yes, because the thread was blocked
    in a lock."""
    cdef int r = gopark_sysmon.requested
    gopark_sysmon.requested = 0
    return r


cdef risk_function sysmon_risk() noexcept:
    """For the hooks: to be called before (1) and after (0) a system call that may block although it was ready just now."""
    return <risk_function>gopark_sysmon_risk


cdef enum:
    TRIES = 50
    ROOM = 60  # nested calls that looking at the stack may need


@cython.final
cdef class PreemptHandler:
    """The handler of SIGURG: postpones a request until the interrupted frame is at an instruction where only the interpreter
    looks for signals.

    In C, because a Python function would run into its own postponed signal.  What handler returns says whether it is to be
    called again at the next such instruction: the function that must not be interrupted has perhaps returned by then.
    (Without that a loop of a long call into C and a short function of that kind would never be preempted: the signal comes
    in the one, and is refused in the other.)

    Postponing ends after some times, until sysmon asks again, a slice later: each costs, and is a byte for the wake-up
    descriptor, which may be the program's own."""
    cdef object handler
    cdef int tries  # in a row
    cdef bint between[256]
    cdef bint fused[256]

    def __call__(self, signum, frame):
        cdef bint refused = True, room = gopark_room() >= ROOM
        if raiser is not None:
            raiser()
        if room and self.tries == 0 and gopark_sysmon.requested and frame is not None and looker is not None:
            if not gopark_tracing():
                looker(frame)
        if gopark_sysmon.requested != 1 or room and self.good(frame):
            refused = self.handler(signum, frame)
            if raiser is not None:
                raiser()  # others may have run meanwhile
            if refused:
                gopark_sysmon.requested = 1
        if not refused:
            self.tries = 0
        elif self.tries < TRIES:
            self.tries += 1
            gopark_preempt_postpone()
        else:
            self.tries = 0
            gopark_sysmon.requested = 0
            if room:
                self.handler(signum, frame)  # the program may have been sent one, too

    cdef bint good(self, frame):
        cdef int plain, actual
        if frame is None:
            return True
        if gopark_tracing():
            return False
        gopark_instruction(frame, &plain, &actual)
        return self.between[plain] or self.fused[actual]


cdef object looker = None
cdef object raiser = None


def preempt_raiser(fn) -> None:
    """Have fn() called first by the handler of SIGURG: it may raise what ended a hooked call, which ended with EINTR."""
    global raiser
    raiser = fn


def preempt_look(look) -> None:
    """Have look(frame) called when a preemption is requested, before it is known whether it will be granted: the first
    Python instruction after the time slice is the nearest to where the time was spent."""
    global looker
    looker = look


def preempt_handler(handler, between, fused) -> PreemptHandler:
    """What to install for SIGURG: it calls handler(signum, frame) when the frame is at one of the instructions *between*, or at
    one whose specialized form is one of *fused*.

    The handler returns whether the request has been refused, because of where the goroutine is."""
    cdef PreemptHandler h = PreemptHandler()
    h.handler = handler
    for opcode in between:
        if opcode < 256:
            h.between[opcode] = True
    for opcode in fused:
        h.fused[opcode] = True
    return h


def tracing() -> bool:
    """Does a trace function run, a profiler, or a callback of sys.monitoring or greenlet.settrace?"""
    return gopark_tracing() != 0


def frame_local(frame, str name):
    """The value of a local variable of a function that runs; None if it has none."""
    cdef PyObject *value = gopark_local(frame, name)
    if value == NULL:
        return None
    found = <object>value
    Py_DECREF(value)
    return found


# Functions of C, which near the recursion limit can still be called.
def gc_begins(phase, info) -> None:
    """The first of gc.callbacks."""
    if phase == "start":
        gopark_sysmon.collecting = 1


def gc_ended(phase, info) -> None:
    """The last of gc.callbacks."""
    if phase == "stop":
        gopark_sysmon.collecting = 0


def collecting() -> bool:
    """Does the garbage collector run, with the finalizers and callbacks that it calls?"""
    return gopark_sysmon.collecting != 0


def sysmon_start(bint preempt) -> int:
    """Start sysmon's thread for the calling thread; 0, or an errno."""
    gopark_sysmon.preempt = preempt
    return gopark_sysmon_start()


def sysmon_ident() -> int:
    """The ident of sysmon's thread if it runs Python code: it does not."""
    return 0


def native_threads() -> int:
    """How many threads of ours there are that Python does not know: sysmon's."""
    return gopark_sysmon.started


def sysmon_stop() -> None:
    with nogil:
        gopark_sysmon_stop()


def sysmon_forked() -> None:
    """In a forked child the thread does not exist."""
    gopark_sysmon_forked()


def sysmon_set(int64_t slice, bint preempt) -> None:
    """The time slice (ns), and whether preemption is on."""
    gopark_sysmon.slice = slice
    gopark_sysmon.preempt = preempt


def sysmon_watch(bint wanted) -> None:
    """Note what has the thread in C for long."""
    global gopark_blocked_wanted, gopark_blocked_ready
    gopark_blocked_ready = 0
    gopark_blocked_wanted = wanted


def sysmon_blocked():
    """In the preemption handler: None, or (ns, what, library, gone) of the C code that has just had the thread for long.

    What: a system call's name, or "" if it computed.  Gone: it was another goroutine than the one that runs."""
    global gopark_blocked_ready
    cdef int64_t ns = 0
    cdef int gone = 0, kind = gopark_blocked_take(&ns, &gone)
    if kind == 0:
        return None
    if kind == 2:
        return ns, "", "", False
    said = ns, gopark_blocked_call(gopark_blocked_number).decode(), gopark_blocked_library.decode("utf-8", "replace"), gone != 0
    gopark_blocked_ready = 0
    return said


def sysmon_counters() -> tuple[int, int]:
    """(times that sysmon woke, preemptions that it asked for)."""
    return gopark_sysmon.rounds, gopark_sysmon.requests
