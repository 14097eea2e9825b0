/* The bridge from a hooked call to the scheduler.  Every room parks through it.

   A hooked call is made with or without the GIL, with errno and perhaps an exception set that are not its own, on any thread.
   Off the runtime's thread it is the real call; so it is wherever nobody can park (PARK_CANNOT).

   What must not live here: what a goroutine waits for (descriptors.pxi and the rooms' own files).

   A goroutine's C stack is moved by a switch.  So nobody but the goroutine itself may hold a pointer into it while it is parked:
   what others write for it is on the heap. */
#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

enum { PARK_CANNOT = -1, PARK_READY = 0, PARK_TIMEOUT = 1, PARK_EINTR = 2, PARK_CLOSED = 3 };

static PyThreadState *park_tstate; /* the runtime's thread's, of the main interpreter: goroutines share it */

enum { PYTHON_RELEASED, PYTHON_HELD, PYTHON_OTHER };

/* On the runtime's thread: does it have the GIL?  PYTHON_OTHER: with the state of another interpreter, which no goroutine may be
   switched to.  (Until 3.11 the current thread state is the process's: whichever thread has the GIL.) */
static inline int python_state(void) {
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState *current = PyThreadState_GetUnchecked();
#else
    PyThreadState *current = _PyThreadState_UncheckedGet();
#endif
    if (current == NULL) return PYTHON_RELEASED;
    if (current == park_tstate) return PYTHON_HELD;
#if PY_VERSION_HEX < 0x030C0000
    /* A native thread's?  This thread's other states were made under its own ident, or a goroutine's, which is odd. */
    if (current->thread_id != (unsigned long)pthread_self() && !(current->thread_id & 1)) return PYTHON_RELEASED;
#endif
    return PYTHON_OTHER;
}
#if PY_VERSION_HEX < 0x030C0000
static inline PyObject *park_take_raised(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!type) return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}
static inline void park_put_raised(PyObject *exc) {
    if (exc) PyErr_Restore(Py_NewRef(Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
    else PyErr_Restore(NULL, NULL, NULL);
}
#else
#define park_take_raised PyErr_GetRaisedException
#define park_put_raised PyErr_SetRaisedException
#endif

/* The runtime's side, park.pxi.  The GIL is held; they set no exception. */
static int bridge_main(void); /* is it the main goroutine that runs? */
static int bridge_fd(int fd, int mode, int64_t deadline);
static int bridge_until(int64_t deadline);
static int bridge_call(void (*fn)(void *), void *arg);

static volatile int park_on;    /* patched */
static pthread_t park_thread;   /* the runtime's */
static volatile long park_parks, park_refused;

static int park_main;           /* the main goroutine is in a hooked call that parks */
static int park_forking;        /* fork_exec is under way: this may be a child that has the parent's memory (fork.h) */
static pid_t park_process;      /* whose memory it is */

/* Patched, and on the runtime's thread?  Else a hook is the real call. */
static inline int on_runtime(void) {
    return park_on && pthread_equal(pthread_self(), park_thread) && (!park_forking || getpid() == park_process);
}

static inline int64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Is this another interpreter than the one that is patched?  It has our methods all the same: they are static, and all share them;
   but perhaps not our GIL. */
static inline int python_other(void) { return PyInterpreterState_Get() != PyInterpreterState_Main(); }

/* In and out of Python: the GIL is taken if this thread does not have it, what is being raised is set aside. */
struct python { int had; PyObject *raised; };
static inline int python_enter(struct python *p) {
    int state = python_state();
    p->had = state == PYTHON_HELD;
    if (state == PYTHON_OTHER) return 0;
    if (!p->had) {
        if (!park_tstate || PyGILState_GetThisThreadState() != park_tstate) return 0;
        PyEval_RestoreThread(park_tstate);
    }
    p->raised = park_take_raised();
    return 1;
}
static inline void python_leave(struct python *p) {
    int e = errno;
    park_put_raised(p->raised);
    if (!p->had) PyEval_SaveThread();
    errno = e;
}

static int held_forbid(void); /* mutexes.h: the goroutine holds a library's mutex */

#define PARK(CALL)                                                                                                                   \
    struct python p;                                                                                                                 \
    int r, m;                                                                                                                        \
    if (held_forbid()) return PARK_CANNOT;                                                                                           \
    if (!python_enter(&p)) return PARK_CANNOT;                                                                                       \
    park_main += m = bridge_main();                                                                                                  \
    r = CALL;                                                                                                                        \
    park_main -= m;                                                                                                                  \
    if (r == PARK_CANNOT) park_refused++;                                                                                            \
    else park_parks++;                                                                                                               \
    python_leave(&p);                                                                                                                \
    return r;

/* Park until the descriptor is ready for mode (1 read, 2 write), or the deadline (ns of the monotonic clock; 0: none).
   PARK_READY: look again. */
static int park_fd(int fd, int mode, int64_t deadline) { PARK(bridge_fd(fd, mode, deadline)) }
/* Sleep. */
static int park_until(int64_t deadline) { PARK(bridge_until(deadline)) }
/* fn(arg) on a thread of the pool, without the GIL.  arg is on the heap.  PARK_READY: it has run. */
static int park_call(void (*fn)(void *), void *arg) { PARK(bridge_call(fn, arg)) }
